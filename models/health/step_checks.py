"""Checks of an attack's steps: whether the last ones still got on, and whether what they ended with was the best."""

from __future__ import annotations

import inspect
from collections.abc import Callable

import numpy as np

from ..attacks.base import Attack
from ..attacks.compiled import IMAGES, IMAGES64, LABELS, PER_IMAGE, PER_IMAGE64, compiled
from ..attacks.square import Square
from ..attacks.within_budgets import BudgetAttack
from .evidence import FEW, Evidence, again, stepping
from .findings import Finding, many, skipped

LAST = 10
"""Steps that are looked at, or half of them if they are fewer than 20."""
PACE = 0.5
"""The last steps may get on at this share of the mean pace of all."""
ARRIVED = 0.1
"""The last half of a search for the least distance may bring it down by this share, in the mean."""
NEARER = 0.05
"""By this share half of the steps must come nearer than all of them to count as better;"""
BETTER = 0.1
"""and they may on this share of the images: starts are random."""
COUNTS = 'k', 'steps', 'max_iterations', 'iterations'
"""What classes of attacks call their number of steps."""


class Steps:
    """The same attack with fewer steps, and its descents without an early end, compiled once for several epochs.

    Args:
        attack: that of the evaluation.
    """

    def __init__(self, attack: Attack):
        self.attack, self.part = attack, stepping(attack)
        subject = self.part or attack
        names = [name for name in COUNTS if name in inspect.signature(type(subject)).parameters]
        self.count = int(getattr(self.part, 'k', 0) or (names and _default(subject, names[0])) or 0)
        self.fewer = self.count - min(LAST, self.count // 2) if self.part else self.count // 2
        self.why = None
        if isinstance(attack, Square):
            self.why = 'a random search has no last steps'
        elif not names or self.count < 2:
            self.why = 'the attack takes no number of steps, or a single one'
        else:
            self.shorter = again(subject, attack.net, **{names[0]: self.fewer})
            if self.part:
                assert isinstance(self.shorter, BudgetAttack)
                self.short, self.whole = _descents(self.shorter), _descents(self.part)
                self.stopping = None if self.part._stops else _descents(self.part, stop=True)

    def check(self, e: Evidence) -> tuple[Finding, Finding]:
        """``still_moving`` and ``best_not_returned``."""
        names = 'still_moving', 'best_not_returned'
        if self.why is not None:
            return skipped(names[0], self.why), skipped(names[1], self.why)
        return self._descents_of(e, *names) if self.part else self._searches_of(e, *names)

    def _descents_of(self, e: Evidence, moving: str, best: str) -> tuple[Finding, Finding]:
        rows = e.standing[:FEW]
        if not len(rows) or self.part is None:
            return skipped(moving, 'no image stands'), skipped(best, 'no image stands')
        x, y, eps = e.x[rows], e.y[rows], e.held[rows]
        start = x
        if self.part.random_start:
            # Budgets differ, and starts are drawn within one: within the largest, and shortened.
            drawn = self.part._starts(x, np.arange(len(x)), float(eps.max()), e.rng(moving))
            start = (x + (drawn - x) * (eps / eps.max())[:, np.newaxis, np.newaxis, np.newaxis]).astype(np.float32)
        # What is misclassified cannot get further: a lead below 0 counts as 0.
        first, short, whole = (np.maximum(e.lead(images, rows), 0) for images in (
            start.astype(np.float32), self.short(start, x, y, eps)[0], self.whole(start, x, y, eps)[0]))
        way = float((first - np.minimum(whole, short)).sum())
        share = max(float((short - whole).sum()), 0.0) / way if way > 0 else 0.0
        pace = share / ((self.count - self.fewer) / self.count)
        fewer = self.count - self.fewer
        findings = [Finding(
            moving, pace > PACE, {'images': len(rows), 'steps': self.count, 'last': fewer, 'pace': pace},
            f'the last {fewer} of {self.count} steps still took the lead of the right class down at {100 * pace:.0f} % '
            'of the mean pace: it has not arrived, so take more steps (attack_K), or larger ones')]
        if self.stopping is None:
            return findings[0], Finding(best, False, {'images': 0, 'of': len(rows)})
        passed = int(e.is_wrong(self.stopping(start, x, y, eps)[0], rows).sum())
        return findings[0], _lost(best, passed, len(rows), many(passed, len(rows)),
                                  'were misclassified on the way, but not at the last step')

    def _searches_of(self, e: Evidence, moving: str, best: str) -> tuple[Finding, Finding]:
        rows = np.flatnonzero(e.right)[:FEW]
        fewer = self.shorter.attack(e.x[rows], e.y[rows], e.rng(moving))
        a, b = fewer.distances, e.result.distances[rows]
        both = np.isfinite(a) & np.isfinite(b)
        nearer = np.where(np.isinf(a) & np.isfinite(b), 1.0, 0.0)
        nearer[both] = 1 - b[both] / np.maximum(a[both], np.finfo(np.float32).tiny)
        gained = float(nearer.mean()) if len(rows) else 0.0
        lost = int((a < (1 - NEARER) * b).sum())
        return (Finding(moving, gained > ARRIVED, {'images': len(rows), 'steps': self.count, 'last': self.fewer,
                                                  'nearer': gained},
                        f'the last half of {self.count} steps still brought images {100 * gained:.0f} % nearer in the '
                        'mean: the search has not arrived, so take more steps (attack_K)'),
                _lost(best, lost, len(rows), many(lost, len(rows)) and lost > BETTER * len(rows),
                      'had a nearer image after half of the steps'))


def _lost(name: str, lost: int, of: int, fired: bool, how: str) -> Finding:
    return Finding(name, fired, {'images': lost, 'of': of},
                   f'{lost} of {of} images that the attack says stand {how}: it returns where it ends, so keep the '
                   'best point of the way (PGD and APGD do)')


def _default(attack: Attack, name: str) -> int:
    """The number of steps that an attack was made with."""
    args, kwargs = attack.given
    bound = inspect.signature(type(attack)).bind(*args, **kwargs)
    bound.apply_defaults()
    return int(bound.arguments[name] or 0)


def _descents(attack: BudgetAttack, stop: bool = False) -> Callable[..., list[np.ndarray]]:
    points, sizes = (IMAGES64, PER_IMAGE64) if attack._exact else (IMAGES, PER_IMAGE)
    return compiled(lambda start, x, y, eps: attack.perturb_from(start, x, y, eps, stop), points, points, LABELS, sizes)
