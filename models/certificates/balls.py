"""Images within a radius of an image, in L2 or L-infinity, and in the box [0, 1]."""

from __future__ import annotations

from abc import ABC, abstractmethod

import tensorflow as tf

from .rounding import of_a_sum
from .rules import Interval
from .windows import Window, cut

ROUNDS = 4
"""Of the search for the multiplier of the L2 ball; any multiplier gives a bound."""


class Ball(ABC):
    """The points of the box [0, 1] at most ``radius`` from an image.

    Attributes:
        norm: its name.
    """

    norm: str

    def interval(self, x: tf.Tensor, radius: tf.Tensor) -> Interval:
        """Of each pixel, float64 [N, H, W, C]."""
        r = _like(radius, x) * (1 + 2.0 ** -50)
        return Interval(tf.clip_by_value(x - r, 0, 1), tf.clip_by_value(x + r, 0, 1))

    def least(self, rows: tf.Tensor, window: Window | None, places: tf.Tensor, x: tf.Tensor, radius: tf.Tensor
              ) -> tf.Tensor:
        """The least value of linear functions of the points, [N, P, R], or less, rounding included.

        Args:
            rows: coefficients of pixels, [N, P, R, h, w, C]; 1 in place of N or P for the same in all.
            window: where they lie.
            places: of the windows.
            x: images [N, H, W, C].
            radius: [N].
        """
        middle, box = cut(x, window, places)[:, :, tf.newaxis], self.interval(x, radius)
        low, high = (cut(t, window, places)[:, :, tf.newaxis] - middle for t in box)  # 0 outside the image
        axes = list(range(3, rows.shape.rank))
        sizes = tf.reduce_sum(tf.abs(rows), axis=axes)
        r = _like(radius, sizes)
        terms = 1
        for n in rows.shape[3:]:
            terms *= int(n)
        return (tf.reduce_sum(rows * middle, axis=axes) + self.step(rows, low, high, r, axes)
                - of_a_sum(terms) * sizes * (1 + r))

    @abstractmethod
    def step(self, rows: tf.Tensor, low: tf.Tensor, high: tf.Tensor, radius: tf.Tensor, axes: list[int]) -> tf.Tensor:
        """The least value of linear functions of steps in the ball that are between ``low`` and ``high``, or less."""

    def furthest(self, least: tf.Tensor, most: tf.Tensor, x: tf.Tensor, radius: tf.Tensor) -> tf.Tensor:
        """How far a function can fall within the ball whose derivatives are between two bounds, [N, R], or more.

        Args:
            least, most: of the derivatives, [N, R, H, W, C].
            x: images.
            radius: [N].
        """
        box = self.interval(x, radius)
        low, high = ((t - x)[:, tf.newaxis] for t in box)
        # A pixel falls by the one or the other way; as if both were one way, up.
        axes = list(range(2, least.shape.rank))
        rows = -tf.maximum(tf.nn.relu(-least) * tf.cast(high > 0, tf.float64),
                           tf.nn.relu(most) * tf.cast(low < 0, tf.float64))
        reach = tf.maximum(high, -low)
        sizes = -tf.reduce_sum(rows, axis=axes)
        r = _like(radius, sizes)
        terms = 1
        for n in least.shape[2:]:
            terms *= int(n)
        return -self.step(rows, tf.zeros_like(reach), reach, r, axes) + of_a_sum(terms) * sizes * (1 + r)


class LInf(Ball):
    """L-infinity: the ball and the box are intervals, and so is what is in both."""

    norm = 'Linf'

    def step(self, rows, low, high, radius, axes):
        return tf.reduce_sum(tf.minimum(rows * low, rows * high), axis=axes)


class L2(Ball):
    """L2. For any multiplier m > 0,

        min_{|d| <= r, low <= d <= high} a d >= min_{low <= d <= high} a d + m / 2 (|d|^2 - r^2),

    whose minimum is where d is -a / m, cut to the box; with the best m the two sides are equal. Pixels that are cut
    leave the others the rest of the radius: from m = |a| / r on, m is the norm of a over pixels that are not cut, over
    what of the radius those that are cut leave.
    """

    norm = 'L2'

    def step(self, rows, low, high, radius, axes):
        within = tf.reduce_sum(tf.minimum(rows * low, rows * high), axis=axes)  # as if there were no ball
        tiny = tf.constant(1e-300 if rows.dtype == tf.float64 else 1e-30, rows.dtype)
        best = within
        multiplier = tf.sqrt(tf.reduce_sum(tf.square(rows), axis=axes)) / tf.maximum(radius, tiny)
        for i in range(ROUNDS):
            # Whatever the multiplier it is a bound: so it is to the gradient, where that of the best one is 0.
            multiplier = tf.stop_gradient(multiplier)
            m = tf.maximum(multiplier, tiny)[(..., *[tf.newaxis] * len(axes))]
            d = tf.clip_by_value(-rows / m, low, high)
            bound = tf.reduce_sum(rows * d + m / 2 * tf.square(d), axis=axes) - (
                tf.maximum(multiplier, tiny) / 2 * tf.square(radius))
            best = tf.maximum(best, bound)
            if i == ROUNDS - 1:
                break
            is_free = tf.cast((-rows / m >= low) & (-rows / m <= high), rows.dtype)
            taken = tf.reduce_sum((1 - is_free) * tf.square(d), axis=axes)
            rest = tf.sqrt(tf.maximum(tf.square(radius) - taken, tiny))
            multiplier = tf.sqrt(tf.reduce_sum(is_free * tf.square(rows), axis=axes)) / rest
        return best


BALLS: dict[str, Ball] = {'L2': L2(), 'Linf': LInf()}


def _like(radius: tf.Tensor, t: tf.Tensor) -> tf.Tensor:
    """Radii [N] to go with a tensor of images in front."""
    return tf.reshape(radius, [-1] + [1] * (t.shape.rank - 1))
