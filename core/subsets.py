"""Training sets that were made smaller, or whose labels were switched, on purpose."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np


def set_apart(n: int, validation: int | tuple[str, int]) -> tuple[slice, slice]:
    """Sets validation images apart from training images, by their place.

    Args:
        n: how many images there are.
        validation: how many are set apart, the last ones; or ('first', how many), ('last', how many).

    Returns:
        The places of those that are left, and of those set apart.

    Raises:
        ValueError: none is left.
    """
    which, count = validation if isinstance(validation, tuple) else ('last', validation)
    if count >= n > 0:
        raise ValueError(f'validation_N is {count}, which leaves none of the {n} training images')
    first = which == 'first'
    return (slice(count, n), slice(0, count)) if first else (slice(0, n - count), slice(n - count, n))


def stratified(y: np.ndarray, fraction: float, rng: np.random.Generator) -> np.ndarray:
    """Chooses a fraction of the images at random, so that every class keeps its share of them.

    Of N images it is floor(fraction * N). Each class has the whole part of its share of those, and the classes with the
    largest remainders one more (of equal ones, the lowest class). A class's images are taken in an order that does not
    depend on the fraction, so that of one seed, but for these last ones, a smaller subset is part of a larger one.

    Args:
        y: labels, integers [N].
        fraction: above 0, at most 1; a decimal number is taken at its word, so that 0.29 of 100 is 29.
        rng: what the choice is drawn from.

    Returns:
        Indices, int64, ascending.
    """
    total = _times(fraction, len(y))
    classes, sizes = np.unique(y, return_counts=True)
    counts, remainders = np.divmod(total * sizes, len(y))
    for c in np.argsort(-remainders, kind='stable')[:total - counts.sum()]:
        counts[c] += 1
    chosen = [rng.permutation(np.flatnonzero(y == c))[:count] for c, count in zip(classes, counts)]
    return np.sort(np.concatenate(chosen)).astype(np.int64)


def switch_labels(y: np.ndarray, share: float, classes: np.ndarray, rng: np.random.Generator
                  ) -> tuple[np.ndarray, np.ndarray]:
    """Gives a share of the images, drawn at random, another label, drawn uniformly from the other classes.

    Args:
        y: labels, integers [N].
        share: 0 to 1; the labels of exactly round(share * N) images are switched.
        classes: ascending, two at least, all of those of y among them.
        rng: what is drawn from.

    Returns:
        The labels, of y's type, and the indices, int64, ascending, of those that were switched.
    """
    switched = np.sort(rng.permutation(len(y))[:_times(share, len(y), nearest=True)]).astype(np.int64)
    steps = rng.integers(1, len(classes), size=len(switched))
    labels = y.copy()
    labels[switched] = classes[(np.searchsorted(classes, y[switched]) + steps) % len(classes)]
    return labels, switched


def _times(share: float, n: int, nearest: bool = False) -> int:
    exact = Fraction(repr(float(share))) * n  # of the decimal number: 0.29 * 100 is below 29 in binary
    return round(exact) if nearest else math.floor(exact)
