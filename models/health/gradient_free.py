"""Check: whether random search, which needs no gradient, breaks what the attack says stands."""

from __future__ import annotations

import numpy as np

from ..attacks.base import Attack
from ..attacks.square import Square
from ..attacks.squares import SQUARES
from .evidence import Evidence
from .findings import Finding, many, skipped

QUERIES = 200
FIRST = 0.3
"""The share of an image that the first squares cover."""


def searching(attack: Attack) -> Square | None:
    """The search of an attack's network; None if the attack is one, or has a norm for which there is none."""
    if isinstance(attack, Square) or attack.norm not in SQUARES:
        return None
    return Square(attack.net, k=QUERIES, p_init=FIRST, norm=attack.norm)


def gradient_free_beats_gradient(e: Evidence, square: Square | None) -> Finding:
    """How many of the images that stand a short random search by squares breaks, within the budgets they stand at; of
    an attack that ends with such a search, how many that broke."""
    name = 'gradient_free_beats_gradient'
    *earlier, last = getattr(e.attack, 'members', ()) or (None,)
    if last == 'square' and not earlier:
        return skipped(name, 'the attack takes no gradients')
    if last == 'square' and e.result.by is not None:
        by_square, of = int((e.result.by == len(earlier)).sum()), int(e.right.sum())
        return _finding(name, by_square, of, 'Square')
    if square is None:
        return skipped(name, f'the attack takes no gradients, or there is no search by squares in {e.attack.norm}')
    rows = e.standing
    if not len(rows):
        return skipped(name, 'no image stands')
    x, eps, seed = e.x[rows], e.held[rows], int(e.rng(name).integers(2 ** 31))
    ends, _, _ = square._searched(x, e.y[rows], eps, np.arange(len(rows)), seed, len(rows))
    near = e.attack.distance(ends, x) <= eps + e.attack.ball.rounding(eps, x[0].size)
    return _finding(name, int((near & e.is_wrong(ends, rows)).sum()), len(rows), f'{QUERIES} random squares')


def _finding(name: str, broken: int, of: int, by: str) -> Finding:
    return Finding(name, many(broken, of), {'images': broken, 'of': of},
                   f'{by} broke {broken} of {of} images that no gradient step did: the gradient leads astray, so '
                   'attack with AUTO_ATTACK, or SQUARE with thousands of queries, and look for what hides the gradient')
