"""Checks at the end of an attack: whether its numbers can be believed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from models import health as checks
from models.attacks import Attack, AttackResult
from models.attacks.doubts import Doubts

IMAGES = 64
"""Images that are looked at if the flag ``health`` says nothing."""
POOL = 512
"""Images that the surrogate of a check is trained on."""
PAGE = 'docs/health.md'


def images(flag: int | bool | None) -> int:
    """On how many images the flag ``health`` has an attack looked at."""
    if flag is None or flag is True:
        return IMAGES
    return int(flag)


class Health:
    """The checks of one attack, for its epochs.

    Args:
        attack: that of the evaluation.
    """

    def __init__(self, attack: Attack):
        self._health = checks.Health(attack)

    def of(self, parts: Sequence[Mapping[str, np.ndarray]], x: np.ndarray, y: np.ndarray, n: int, seed: int
           ) -> dict[str, Any]:
        """What the checks say of an epoch, by name, for summary.json.

        Args:
            parts: what was recorded of the first batches, at least n images.
            x, y: the images and labels of the evaluation.
            n: how many of the first are looked at.
            seed: of all that is drawn.
        """
        found = self._health.check(x[:n], y[:n], _result(parts, n), seed, x[:POOL])
        return {name: finding.plain() for name, finding in found.items()}


def lines(health: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """What is printed of the checks that fired, or failed."""
    fired = [f"health: {name}: {numbers['says']}; see {PAGE}#{name}" for name, numbers in health.items()
             if numbers['fired']]
    failed = [f"health: {name} could not be checked: {numbers['skipped']}" for name, numbers in health.items()
              if numbers.get('failed')]
    return fired + failed


def _result(parts: Sequence[Mapping[str, np.ndarray]], n: int) -> AttackResult:
    """What was recorded of the first images, as the attack gave it."""
    a = {name: np.concatenate([part[name] for part in parts])[:n] for name in parts[0]
         if name not in ('time', 'clean') and all(name in part for part in parts)}
    none = Doubts.none(n).arrays()
    return AttackResult(a['images'], a['distances'], a['success'], a.get('eps'),
                        Doubts(**{name: a.get(name, empty) for name, empty in none.items()}), a.get('by'))
