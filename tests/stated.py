"""What a reference states of itself: settings, and the tolerance that each of its numbers deserves.

Both stand in its README.md, in sentences like those of reference/README.md. What it leaves out is as there.
"""

from __future__ import annotations

import math
import re
from functools import cache
from pathlib import Path
from typing import Any

from conftest import OWN, REFERENCE

NUMBER = r'(-?\d+(?:\.\d+)?(?:e[+-]?\d+)?)'


@cache
def readme(folder: Path = REFERENCE) -> str:
    """The text of a README, every space one blank; '' without one."""
    path = folder / 'README.md'
    return ' '.join(path.read_text(encoding='utf-8').split()) if path.exists() else ''


def stated(before: str, folder: Path = REFERENCE) -> float:
    """The number that follows these words (a pattern) in the README of a reference, or of this project's own."""
    for text in (readme(folder), readme(OWN)):
        if found := re.search(before + r'\W{0,3}' + NUMBER, text):
            return float(found.group(1))
    raise AssertionError(f'no reference states what follows "{before}"')


def bullet(name: str, folder: Path = REFERENCE) -> str:
    """What the README says of a case: from its name between backticks, at the beginning of a bullet, to the next."""
    for text in (readme(folder), readme(OWN)):
        for part in re.split(r' \* ', text):
            if f'`{name}`' in part.split(':')[0]:
                return part
    return ''


def _settings(text: str, patterns: dict[str, str], kinds: dict[str, type]) -> dict[str, Any]:
    found = {key: re.search(pattern, text) for key, pattern in patterns.items()}
    return {key: kinds.get(key, float)(float(match.group(1))) for key, match in found.items() if match}


def carlini_settings(name: str, inherited: str, folder: Path = REFERENCE) -> dict[str, Any]:
    """Arguments of CarliniL2 of a case; those that it does not name are those of the case ``inherited``."""
    counts = {'binary_search_steps': int, 'max_iterations': int}
    patterns = {'learning_rate': f'learning_rate {NUMBER}', 'binary_search_steps': r'(\d+) search steps',
                'initial_const': f'initial_const {NUMBER}', 'confidence': f'confidence {NUMBER}',
                'max_iterations': r'(\d+) iterations'}
    text = bullet(name, folder)
    return {**_settings(bullet(inherited, folder), patterns, counts), **_settings(text, patterns, counts),
            'normalize_output': 'normalize_output' in text, 'abort_early': 'abort_early off' not in text,
            'targeted': re.search('(?<!un)targeted at', text) is not None}


def pgd_settings(name: str, folder: Path = REFERENCE) -> tuple[dict[str, Any], int]:
    """Arguments of LinfPGDAttack of a case, and the seed of its random starts."""
    text = bullet(name, folder)
    settings = _settings(text, {'k': r'k=(\d+)', 'a': f'a={NUMBER}', 'repeat': r'repeat=(\d+)'},
                         {'k': int, 'repeat': int})
    sizes = re.search(r'eps ([\d.,]+\d)', text)
    seed = re.search(r'seed (\d+)', text)
    assert sizes and seed and len(settings) == 3, f'the README of the reference says how {name} was made'
    return {'eps_list': [float(e) for e in sizes.group(1).split(',')], **settings,
            'random_start': 'random' in name}, int(seed.group(1))


def gentle_runs(names: list[str], folder: Path = REFERENCE) -> dict[str, tuple[float, float]]:
    """Trajectories that decide alike from the start for some attempts (or all: infinity), with the tolerance of losses
    there. The README calls them by the beginning of their names, up to the first underscore."""
    found = re.search(r'(\w+) and (\w+) end to end: identical decisions for the first (\d+) attempts of \1 and for all '
                      rf'of \2, loss rtol {NUMBER}', readme(folder))
    if not found:
        return {}
    some, whole, attempts, rtol = found.groups()
    by_start = {name.split('_')[0]: name for name in names}
    return {by_start[start]: (count, float(rtol)) for start, count in ((some, int(attempts)), (whole, math.inf))
            if start in by_start}
