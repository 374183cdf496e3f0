"""The largest radius that is certified, of each image for itself."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

PRECISION = 0.02
"""How much larger, relatively, a radius must be at most for it not to be certified."""
STEPS = 40
"""Most radii that are tried of an image."""


def largest_radii(bound: Callable[[np.ndarray], np.ndarray], images: int, start: float, most: float,
                  precision: float = PRECISION, steps: int = STEPS) -> np.ndarray:
    """The largest radii that were tried and at which a bound is above 0, float64 [N]; 0 where it is not at radius 0.

    A bound falls with the radius, and the steeper the larger that is. Each image is between a radius that holds and one
    that fails; the next is where the chord between both crosses 0, or further where that gets on badly; all images at
    once.

    Args:
        bound: from radii [N] to what has to be above 0, [N]; nan is below.
        images: N.
        start: the first radius that is tried.
        most: a radius that is as good as any larger one.
        precision: of each, relative.
        steps: calls of ``bound``, at most.
    """
    holds, fails = np.zeros(images), np.full(images, np.inf)
    at_holds, at_fails = _values(bound, holds), np.full(images, -np.inf)
    is_wrong = at_holds <= 0
    radius, slopes = np.full(images, min(start, most)), np.zeros(images)
    for step in range(1, steps):
        done = is_wrong | (holds >= most) | (fails - holds <= precision * holds)
        if done.all():
            break
        radius = np.where(done, holds, radius)
        values = _values(bound, radius)
        good = ~done & (values > 0)
        bad = ~done & (values <= 0)
        slope = np.where(good & (radius > holds), (at_holds - values) / np.where(good, radius - holds, 1.0), 0.0)
        slopes = np.where(good, slope, slopes)
        holds, at_holds = np.where(good, radius, holds), np.where(good, values, at_holds)
        fails, at_fails = np.where(bad, radius, fails), np.where(bad, values, at_fails)
        radius = np.minimum(_next(holds, fails, at_holds, at_fails, slopes, step, precision), most)
    return np.where(is_wrong, 0.0, holds)


def _values(bound: Callable[[np.ndarray], np.ndarray], radii: np.ndarray) -> np.ndarray:
    return np.nan_to_num(bound(radii), nan=-np.inf, posinf=np.inf, neginf=-np.inf)


def _next(holds: np.ndarray, fails: np.ndarray, at_holds: np.ndarray, at_fails: np.ndarray, slope: np.ndarray,
          step: int, precision: float) -> np.ndarray:
    """The radii to try next."""
    gap = fails - holds
    with np.errstate(divide='ignore', invalid='ignore', over='ignore'):
        beyond = holds + at_holds / slope
        # Where none has failed yet: to a bit before the last slope, which grows steeper, says 0.
        further = np.clip(np.where(slope > 0, holds + 0.8 * (beyond - holds), 2 * holds), 1.1 * holds, 100 * holds)
        # Of a concave bound the chord crosses 0 before it, the extrapolated slope beyond it.
        chord = holds + gap * at_holds / (at_holds - at_fails)
        guess = chord if step % 3 else (chord + np.minimum(beyond, fails)) / 2
        middle = np.where(holds > 0, (holds + fails) / 2, fails / 30)
        use = np.isfinite(guess) & (guess >= holds) & (guess < fails) & (holds > 0) & (step % 5 > 0)
        guess = np.clip(guess, holds + 0.03 * gap, fails - 0.03 * gap)
        guess = np.where(use, guess, middle)
        # Nearer to either side nothing can be learnt that ends the search.
        least, most = holds * (1 + 0.9 * precision), fails / (1 + 0.9 * precision)
        guess = np.where(least < most, np.clip(guess, least, most), middle)
    return np.where(np.isinf(fails), further, guess)
