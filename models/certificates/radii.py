"""The largest radius that is certified, of each image for itself."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

PRECISION = 0.01
"""How much larger, relatively, a radius must be at most for it not to be certified."""
STEPS = 40
"""Most radii that are tried of an image."""


def largest_radii(bound: Callable[[np.ndarray], np.ndarray], images: int, start: float, most: float,
                  precision: float = PRECISION, steps: int = STEPS) -> np.ndarray:
    """The largest radii that were tried and at which a bound is above 0, float64 [N]; 0 where it is not at radius 0.

    A bound falls with the radius. Each image is between a radius that holds and one that fails; the next is where the
    line through both bounds crosses 0, and in the middle where that gets on badly, all images at once.

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
    radius = np.full(images, min(start, most))
    for step in range(1, steps):
        done = is_wrong | (holds >= most) | (fails - holds <= precision * holds)
        if done.all():
            break
        radius = np.where(done, holds, radius)
        values = _values(bound, radius)
        good = ~done & (values > 0)
        bad = ~done & (values <= 0)
        slope = np.where(good & (radius > holds), (at_holds - values) / np.where(good, radius - holds, 1.0), 0.0)
        holds, at_holds = np.where(good, radius, holds), np.where(good, values, at_holds)
        fails, at_fails = np.where(bad, radius, fails), np.where(bad, values, at_fails)
        radius = np.minimum(_next(holds, fails, at_holds, at_fails, slope, step, precision), most)
    return np.where(is_wrong, 0.0, holds)


def _values(bound: Callable[[np.ndarray], np.ndarray], radii: np.ndarray) -> np.ndarray:
    return np.nan_to_num(bound(radii), nan=-np.inf, posinf=np.inf, neginf=-np.inf)


def _next(holds: np.ndarray, fails: np.ndarray, at_holds: np.ndarray, at_fails: np.ndarray, slope: np.ndarray,
          step: int, precision: float) -> np.ndarray:
    """The radii to try next."""
    with np.errstate(divide='ignore', invalid='ignore', over='ignore'):
        # Where none has failed yet: along the last slope, which grows steeper, to a bit before it says 0.
        further = np.where(slope > 0, holds + 0.7 * at_holds / slope, 2 * holds)
        further = np.clip(further, 1.1 * holds, 100 * holds)
        line = holds + (fails - holds) * at_holds / (at_holds - at_fails)
        middle = np.where(holds > 0, (holds + fails) / 2, fails / 100)
        # The line's 0 is too far where the bound is concave; a bit before it, and a bit beyond, in turns.
        line = line * (1 + (precision / 2 if step % 2 else -precision / 2))
        gap = fails - holds
        line = np.clip(line, holds + 0.05 * gap, fails - 0.05 * gap)
        uses_line = np.isfinite(line) & (step % 3 > 0) & (holds > 0)
    return np.where(np.isinf(fails), further, np.where(uses_line, line, middle))
