"""The loss and the accuracy of a network along one or two directions from its weights, at any loss.

Mean cross entropies are kept by their logarithms, so that a valley of 1e-300 is as deep as it is. With budgets, the
images are attacked on the way, as in Liu et al. (arXiv 2006.08403): made anew at the first point of each square block
of points, and used for all of it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import product
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import tensorflow as tf

from .. import checks
from ..types import shown
from .curvature import Net
from .scanner import Scanner

Point: TypeAlias = tuple[int, ...]
"""Where on a grid: an index for each direction."""


class Scan(NamedTuple):
    """What was found along directions; [B, n] for each of B budgets along one, [B, n, m] along two.

    Attributes:
        axes: the steps along each direction, float64.
        budgets: within which the images were attacked.
        loss: the mean loss, float64; nan where it is not finite, 0 where it is below the least float.
        log_loss: its natural logarithm.
        accuracy: 0 to 1; nan likewise.
        images: how many.
        non_finite: how many points are nan.
    """

    axes: list[np.ndarray]
    budgets: list[float]
    loss: np.ndarray
    log_loss: np.ndarray
    accuracy: np.ndarray
    images: int
    non_finite: int


def grid(low: float, high: float, step: float) -> np.ndarray:
    """The points of an axis as the released code has them, arange(low, high + 1e-8, step), float64.

    Raises:
        ValueError: numbers that are not finite, a step that is not above 0, or no point at all.
    """
    low, high = (checks.number('the ends of a range', v, -1e300, strict=False) for v in (low, high))
    found = np.arange(low, high + 1e-8, checks.number('the step of a range', step))
    if not len(found):
        raise ValueError(f'a range from {low:g} to {high:g} holds no point')
    return found


def blocks(shape: Sequence[int], freq: int) -> list[list[Point]]:
    """The points of a grid in square blocks of side ``freq``, clipped at the edges; blocks, and the points of each, in
    the order of rows."""
    corners = product(*(range(0, n, freq) for n in shape))
    return [list(product(*(range(i, min(i + freq, n)) for i, n in zip(corner, shape)))) for corner in corners]


def scan(net: Net, data: Any, directions: Sequence[Any], points: Any, loss: Any = None, attack: Any = None,
         budgets: Sequence[float] = (0.0,), adv_calc_freq: int = 1, seed: int = 0, batch: int = 500,
         told: Callable[[int], None] | None = None) -> Scan:
    """The mean loss and the accuracy at each point of a line or of a grid in a plane through the network's weights.

    Args:
        net, data, loss, attack, batch: see ``Scanner``.
        directions: one or two; see ``directions``.
        points: the steps along each direction, float [n], such as ``grid(-1, 1, 0.1)``; of two, a pair of these, or one
            for both.
        budgets: within which images are attacked, each at all points before the next; 0 for images as they are.
        adv_calc_freq: the side of the blocks of points that share their attacked images.
        seed: of what attacks draw.
        told: called after each point with how many are done.

    Raises:
        ValueError: an argument that is not such; directions of another network.
    """
    return scanned(Scanner(net, data, loss, attack, batch), directions, points, budgets, adv_calc_freq, seed, told)


def scanned(scanner: Scanner, directions: Sequence[Any], points: Any, budgets: Sequence[float] = (0.0,),
            adv_calc_freq: int = 1, seed: int = 0, told: Callable[[int], None] | None = None) -> Scan:
    """The same with what measures made before, which need not be compiled again; see ``scan``."""
    if len(directions) and isinstance(directions[0], (np.ndarray, tf.Tensor)):
        directions = [directions]
    scanner.along(directions)
    axes = _axes(points, len(directions))
    eps = [checks.number('each of budgets', b, strict=False) for b in budgets]
    chosen = blocks([len(axis) for axis in axes], checks.count('adv_calc_freq', adv_calc_freq))
    checks.count('seed', seed, 0)
    shape = [len(axis) for axis in axes]
    found = np.full((3, len(eps), int(np.prod(shape))), np.nan)
    done = 0
    for k, budget in enumerate(eps):
        for j, block in enumerate(chosen):
            rows = np.ravel_multi_index(np.transpose(block), shape)
            found[:, k, rows] = scanner.block([at(axes, point) for point in block], budget, seeds(seed, k, j))
            done += len(block)
            if told is not None:
                told(done)
    log_loss, loss, accuracy = found.reshape(3, len(eps), *shape)
    return Scan(axes, eps, loss, log_loss, accuracy, scanner.images, int(np.isnan(log_loss).sum()))


def at(axes: Sequence[np.ndarray], point: Point) -> list[float]:
    """The steps along each direction at a point of a grid."""
    return [float(axis[i]) for axis, i in zip(axes, point)]


def seeds(*place: int) -> Callable[[int], np.ndarray]:
    """What attacks draw at a place: from the number of a batch to int32 [2]."""
    return lambda i: np.random.default_rng([*place, i]).integers(2 ** 31, size=2).astype(np.int32)


def _axes(points: Any, k: int) -> list[np.ndarray]:
    several = k == 2 and len(points) == 2 and np.ndim(points[0]) == 1
    axes = [np.asarray(axis, np.float64) for axis in (points if several else [points] * k)]
    for axis in axes:
        if axis.ndim != 1 or not len(axis) or not np.isfinite(axis).all():
            raise ValueError(f'points must be finite numbers [n], of two directions a pair of such, not '
                             f'{shown(points)}')
    return axes
