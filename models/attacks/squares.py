"""Squares of images that are changed at random: where they lie, how large they are, and what is put there, in each norm
(Andriushchenko et al., arXiv 1912.00049, algorithms 2 and 3)."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import tensorflow as tf

from . import ops

SPARE = 1e-12
"""Added to a norm that is divided by, as the authors do."""
HALVED_AFTER = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)
"""Queries, of 10,000, after which the share of an image that a square covers is halved."""


def shares(queries: int, first: float, rescaled: bool) -> np.ndarray:
    """The share of an image that the square of each query covers, float64 [queries].

    Args:
        queries: how many.
        first: the share at first.
        rescaled: whether the schedule, made for 10,000 queries, is stretched to those that there are.
    """
    at = np.arange(queries)
    if rescaled:
        at = (at / queries * 10000).astype(int)
    return first / 2.0 ** np.searchsorted(HALVED_AFTER, at)


def sides(share: np.ndarray, height: int, width: int, least: int = 1, odd: bool = False) -> np.ndarray:
    """The sides of squares that cover these shares of an image, in pixels, int32 [queries].

    Args:
        share: float64 [queries].
        height, width: of the image; no square is larger.
        least: the smallest side.
        odd: whether even sides are made one larger.
    """
    side = np.maximum(np.round(np.sqrt(share * height * width)).astype(np.int32), least)
    return np.minimum(side + (side % 2 == 0 if odd else 0), min(height, width)).astype(np.int32)


def hill(height: int, width: int, order: int = 2) -> np.ndarray:
    """A bump that falls off from its middle, of norm 1, [height, width]; of the released code, its terms too.

    Args:
        height, width: in pixels.
        order: of the norm, 1 or 2. In L1 the bump falls off more steeply.
    """
    far = np.maximum(abs(np.arange(height) - height // 2)[:, np.newaxis], abs(np.arange(width) - width // 2))
    terms = 1 / np.arange(1.0, max(height, width) // 2 + 2) ** (2 if order == 2 else 4)
    heights = terms[::-1].cumsum()[::-1]  # at each distance from the middle, the terms from there on
    bump = heights[far]
    return bump / np.linalg.norm(bump.ravel(), order) if bump.size else bump


def two_hills(side: int, order: int = 2) -> np.ndarray:
    """A hill above a hole, of norm 1, [side, side]."""
    bump = np.concatenate([hill(side // 2, side, order), -hill(side - side // 2, side, order)])
    return bump / np.linalg.norm(bump.ravel(), order)


def _place(uniform: tf.Tensor, room: tf.Tensor) -> tf.Tensor:
    """Whole numbers from 0 to ``room`` - 1, int32 [n], of numbers in [0, 1)."""
    return tf.cast(uniform * tf.cast(room, tf.float32), tf.int32)


def _inside(first: tf.Tensor, side: tf.Tensor, size: int) -> tf.Tensor:
    """Which of ``size`` pixels are in the window that begins at ``first``, bool [n, size]."""
    at = tf.range(size) - first[:, tf.newaxis]
    return (at >= 0) & (at < side)


def _signs(uniform: tf.Tensor) -> tf.Tensor:
    """-1 or 1, of numbers in [0, 1)."""
    return tf.where(uniform < 0.5, -1.0, 1.0)


class _Squares:
    """What the norms have in common.

    Attributes:
        at_start, each: how many random numbers an image takes at the start and at each query; the first number of the
            pair counts those that all images of the batch share in the released code.
    """

    at_start: tuple[int, int]
    each: tuple[int, int]

    def __init__(self, shape: tuple[int, int, int], share: np.ndarray, released: bool):
        self.height, self.width, self.channels = shape
        # The released code, and its authors', never take the last row or column that the paper has.
        self.last = 0 if released else 1
        self.released = released
        self.sides = sides(share, self.height, self.width, *self._least)

    _least: tuple[int, bool] = (1, False)

    def _window(self, rows: tf.Tensor, columns: tf.Tensor, side: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Windows at random places: whether a pixel is inside, bool [n, H, W, 1]; the first row and column, [n]."""
        row = _place(rows, self.height - side + self.last)
        column = _place(columns, self.width - side + self.last)
        inside = (_inside(row, side, self.height)[:, :, tf.newaxis, tf.newaxis]
                  & _inside(column, side, self.width)[:, tf.newaxis, :, tf.newaxis])
        return inside, row, column


class LinfSquares(_Squares):
    """Squares of one colour, the whole budget above or below the clean image in each channel; stripes to begin with."""

    def __init__(self, shape: tuple[int, int, int], share: np.ndarray, released: bool):
        super().__init__(shape, share, released)
        self.at_start, self.each = (0, self.width * self.channels), (2 + self.channels, 0)

    def start(self, x: tf.Tensor, eps: tf.Tensor, uniform: tf.Tensor) -> tf.Tensor:
        """Images with random stripes."""
        signs = tf.reshape(_signs(uniform), [-1, 1, self.width, self.channels])
        return tf.clip_by_value(x + ops.per_image(eps) * signs, 0.0, 1.0)

    def moved(self, i: tf.Tensor, best: tf.Tensor, x: tf.Tensor, eps: tf.Tensor, uniform: tf.Tensor) -> tf.Tensor:
        """Images with the square of query ``i``."""
        inside, _, _ = self._window(uniform[:, 0], uniform[:, 1], tf.gather(self.sides, i))
        change = ops.per_image(eps) * _signs(uniform[:, tf.newaxis, tf.newaxis, 2:])
        new = tf.where(inside, tf.clip_by_value(x + change, 0.0, 1.0), best)
        if self.released:
            return new
        # The authors draw again until something changes; the opposite colours always change something.
        idle = tf.reduce_max(tf.abs(new - best), axis=[1, 2, 3], keepdims=True) < 1e-7
        return tf.where(idle & inside, tf.clip_by_value(x - change, 0.0, 1.0), new)


class L2Squares(_Squares):
    """Hills and holes, which take the norm of another window and what is left of the budget; a grid of them to begin
    with."""

    _least = (3, True)
    _order = 2

    def __init__(self, shape: tuple[int, int, int], share: np.ndarray, released: bool):
        super().__init__(shape, share, released)
        self.tile = max(self.height // 5, 1)
        self.tiles = (self.height // self.tile, max(self.width // self.tile, 1))
        many = self.tiles[0] * self.tiles[1]
        self.at_start, self.each = (many, many * self.channels), (5, self.channels)
        largest = int(self.sides.max())
        self.kinds, self.kind = np.unique(self.sides, return_inverse=True)
        self.bumps = np.zeros((len(self.kinds), 2, largest, largest), np.float32)  # upright and lying
        for bumps, side in zip(self.bumps, self.kinds):
            bumps[0, :side, :side] = two_hills(side, self._order)
            bumps[1, :side, :side] = two_hills(side, self._order).T

    def start(self, x: tf.Tensor, eps: tf.Tensor, uniform: tf.Tensor) -> tf.Tensor:
        """Images with a bump in each tile."""
        rows, columns = self.tiles
        side = min(self.tile, self.width)
        lying = tf.reshape(uniform[:, :rows * columns] > 0.5, [-1, rows, columns, 1, 1, 1])
        signs = tf.reshape(_signs(uniform[:, rows * columns:]), [-1, rows, columns, 1, 1, self.channels])
        bump = two_hills(self.tile, self._order)[:, :side].astype(np.float32)[:, :, np.newaxis]
        turned = two_hills(self.tile, self._order).T[:, :side].astype(np.float32)[:, :, np.newaxis]
        tiles = tf.transpose(tf.where(lying, turned, bump) * signs, [0, 1, 3, 2, 4, 5])
        tiles = tf.reshape(tiles, [-1, rows * self.tile, columns * side, self.channels])
        above, left = (self.height - rows * self.tile) // 2, (self.width - columns * side) // 2
        delta = tf.image.pad_to_bounding_box(tiles, above, left, self.height, self.width)
        return self._of_size(x, delta, eps)

    def moved(self, i: tf.Tensor, best: tf.Tensor, x: tf.Tensor, eps: tf.Tensor, uniform: tf.Tensor) -> tf.Tensor:
        """Images with the bump of query ``i``, and without what there was in another window."""
        side, kind = tf.gather(self.sides, i), tf.gather(tf.cast(self.kind, tf.int32), i)
        here, row, column = self._window(uniform[:, 0], uniform[:, 1], side)
        there, _, _ = self._window(uniform[:, 2], uniform[:, 3], side)
        delta = best - x
        norm_here, norm_both = (self._norm(tf.where(w, delta, 0.0), [1, 2]) for w in (here, here | there))
        if self.released:  # of all channels together
            norm_both = self._norm(tf.where(here | there, delta, 0.0), [1, 2, 3])
        bump = self._bump(kind, uniform[:, 4], row, column) * _signs(uniform[:, tf.newaxis, tf.newaxis, 5:])
        new = tf.where(here, bump + delta / (SPARE + norm_here), 0.0)
        new *= self._size(delta, norm_both, eps) / (SPARE + self._norm(new, [1, 2]))
        return self._of_size(x, tf.where(here, new, tf.where(there, 0.0, delta)), eps)

    def _size(self, delta: tf.Tensor, norm_both: tf.Tensor, eps: tf.Tensor) -> tf.Tensor:
        """The norm of a new bump, in each channel: that of both windows, and a share of what the image has left."""
        spare = tf.maximum(ops.per_image(tf.square(eps)) - tf.reduce_sum(tf.square(delta), [1, 2, 3], True), 0.0)
        return tf.sqrt(spare / self.channels + tf.square(norm_both))

    def _bump(self, kind: tf.Tensor, uniform: tf.Tensor, row: tf.Tensor, column: tf.Tensor) -> tf.Tensor:
        """The bumps of this kind, each with its corner at a row and column, [n, H, W, 1]; elsewhere, anything."""
        bump = tf.gather(tf.gather(self.bumps, kind), tf.cast(uniform > 0.5, tf.int32))
        most = self.bumps.shape[-1] - 1
        rows = tf.clip_by_value(tf.range(self.height) - row[:, tf.newaxis], 0, most)
        columns = tf.clip_by_value(tf.range(self.width) - column[:, tf.newaxis], 0, most)
        bump = tf.gather(tf.gather(bump, rows, axis=1, batch_dims=1), columns, axis=2, batch_dims=1)
        return bump[..., tf.newaxis]

    def _of_size(self, x: tf.Tensor, delta: tf.Tensor, eps: tf.Tensor) -> tf.Tensor:
        """Images changed along ``delta``, by the whole budget, within the box."""
        delta *= ops.per_image(eps) / (SPARE + self._norm(delta, [1, 2, 3]))
        return tf.clip_by_value(x + delta, 0.0, 1.0)

    @staticmethod
    def _norm(a: tf.Tensor, axes: list[int]) -> tf.Tensor:
        return tf.sqrt(tf.reduce_sum(tf.square(a), axis=axes, keepdims=True))


class L1Squares(L2Squares):
    """The same in L1, with steeper hills, projected onto the ball within the box (Croce & Hein, arXiv 2103.01208)."""

    _order = 1

    def _size(self, delta, norm_both, eps):
        spare = tf.maximum(ops.per_image(eps) - self._norm(delta, [1, 2, 3]), 0.0)
        return spare + self.channels * norm_both  # as the authors have it; the projection holds it to the budget

    def _of_size(self, x, delta, eps):
        within = ops.within_l1(delta, eps * (1 - 1e-6), tf.where(delta > 0, 1 - x, x))
        return tf.clip_by_value(x + within, 0.0, 1.0)

    @staticmethod
    def _norm(a, axes):
        return tf.reduce_sum(tf.abs(a), axis=axes, keepdims=True)


Squares: TypeAlias = LinfSquares | L2Squares

SQUARES: dict[str, type[LinfSquares] | type[L2Squares]] = {'Linf': LinfSquares, 'L2': L2Squares, 'L1': L1Squares}
"""By the names of their norms."""
