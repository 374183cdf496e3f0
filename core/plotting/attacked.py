"""What attacks on the test sets of runs found, for tables."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..workdir import Workdir
from .histories import ATTACKING, task_of
from .tables import Cell

NORMS = {'L2': 'L2', 'Linf': 'L∞', 'L1': 'L1'}
Kind = tuple[str, tuple[float, ...]]
"""A norm, and budgets."""


@dataclass(frozen=True)
class Measured:
    """What an evaluation says of the last epoch that it measured: ``numbers`` of its summary."""

    place: Workdir
    summary: Mapping[str, Any]
    eid: int
    numbers: Mapping[str, Any]

    @property
    def kind(self) -> Kind:
        return self.summary['norm'], tuple(sorted(map(float, self.numbers['robust_accuracy'])))

    @property
    def attack(self) -> str:
        """What attacked, in words."""
        if 'joined' in self.summary:
            return f"{self.summary['evaluation']}: {', '.join(self.summary['joined'])}"
        settings = self.summary['settings']
        numbers = [f'{settings[flag]} {unit}' for flag, unit in (('attack_E', 'restarts'), ('attack_K', 'steps'))
                   if settings[flag] is not None]
        return ', '.join([f"{self.summary['evaluation']}: {settings['attack_type']}", *numbers])


def measured(run: Workdir, name: str) -> list[Measured]:
    """The attacks on a run's test set whose summaries have a number of this name."""
    found = []
    for place in run.evaluations():
        summary = place.read_summary()
        if task_of(place) in ATTACKING and summary.get('epochs') and summary['settings']['attack_set'] == 'test':
            eid = max(map(int, summary['epochs']))
            if name in (numbers := summary['epochs'][str(eid)]):
                found.append(Measured(place, summary, eid, numbers))
    return found


def largest(several: Sequence[Measured]) -> Measured:
    """The one with the most images, then the newest."""
    return max(several, key=lambda m: (m.numbers['images'], m.place.path.name))


def size_in_words(eps: float, of: Sequence[float]) -> str:
    """A budget; as of pixels to 255, if all of them are such numbers."""
    levels = [round(255 * e) for e in of]
    of_255 = all(math.isclose(255 * e, n, rel_tol=1e-4) for e, n in zip(of, levels)) and any(
        e != round(e, 2) for e in of)
    return f'{round(255 * eps)}/255' if of_255 else f'{eps:g}'


def budget(eps: float, of: Sequence[float]) -> Cell:
    """The head of a column of accuracies within a budget."""
    size = size_in_words(eps, of)
    return Cell(f'accuracy at {size}', f'ε = {size}', rf'$\varepsilon = {size}$')
