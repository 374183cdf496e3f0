"""Check: whether random search, which needs no gradient, breaks what the attack says stands."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from ..attacks.square import Square
from ..attacks.squares import SQUARES, shares
from .evidence import Evidence
from .findings import Finding, many, skipped

QUERIES = 150
FIRST = 0.3
"""The share of an image that the first squares cover."""


def gradient_free_beats_gradient(e: Evidence) -> Finding:
    """How many of the images that stand a short random search by squares breaks, within the budgets they stand at."""
    name = 'gradient_free_beats_gradient'
    if isinstance(e.attack, Square):
        return skipped(name, 'the attack takes no gradients')
    members = list(getattr(e.attack, 'members', ()))
    if 'square' in members and e.result.by is not None:
        by_square, of = int((e.result.by == members.index('square')).sum()), int(e.right.sum())
        return _finding(name, by_square, of, 'Square')
    if e.attack.norm not in SQUARES:
        return skipped(name, f'there is no search by squares in {e.attack.norm}')
    rows = e.standing
    return _finding(name, int(search(e, rows, e.rng(name)).sum()), len(rows), f'{QUERIES} random squares')


def _finding(name: str, broken: int, of: int, by: str) -> Finding:
    return Finding(name, many(broken, of), {'images': broken, 'of': of},
                   f'{by} broke {broken} of {of} images that no gradient step did: the gradient leads astray, so attack '
                   'with AUTO_ATTACK, or SQUARE with thousands of queries, and look for what hides the gradient')


def search(e: Evidence, rows: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Whether a random search (``attacks.square``) breaks images, of these rows, within ``e.held``; bool [n]."""
    x, eps = tf.constant(e.x[rows]), tf.constant(e.held[rows], tf.float32)
    squares = SQUARES[e.attack.norm](e.x.shape[1:], shares(QUERIES, FIRST, True), False)
    best = squares.start(x, eps, _uniform(rng, len(rows), squares.at_start))
    lead = e.lead(best.numpy(), rows) if len(rows) else np.zeros(0)
    for i in range(QUERIES if len(rows) else 0):
        if (lead < 0).all():
            break
        new = squares.moved(i, best, x, eps, _uniform(rng, len(rows), squares.each))
        now = e.lead(new.numpy(), rows)
        better = (now < lead) & (lead >= 0)
        best, lead = tf.where(better[:, np.newaxis, np.newaxis, np.newaxis], new, best), np.where(better, now, lead)
    # What is within the budget but for rounding counts, if it is.
    within = e.attack.distance(best.numpy(), e.x[rows]) <= e.held[rows] + e.attack.ball.rounding(
        e.held[rows], e.x[0].size)
    return (lead < 0) & within


def _uniform(rng: np.random.Generator, n: int, numbers: tuple[int, int]) -> tf.Tensor:
    return tf.constant(rng.uniform(size=(n, sum(numbers))), tf.float32)
