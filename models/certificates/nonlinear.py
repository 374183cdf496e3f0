"""Rules of activations and of max pooling."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from .rounding import LARGEST, SMALLEST, gamma
from .rules import Interval, Rule, product
from .sliding import Sliding, spread
from .windows import Rows, Window, cut, fitted


class Elementwise(Rule):
    """A function of each number, which lies between two lines where its argument is in an interval."""

    @abstractmethod
    def below(self, h: Interval, slopes: tf.Tensor | None) -> tuple[tf.Tensor, tf.Tensor | None]:
        """Slope and intercept of a line that is not above the function; None for an intercept of 0."""

    @abstractmethod
    def above(self, h: Interval) -> tuple[tf.Tensor, tf.Tensor]:
        """Slope and intercept of a line that is not below it."""

    @abstractmethod
    def derivative(self, h: Interval) -> Interval:
        """Bounds of its derivative."""

    def backward(self, rows, inputs, places, slopes=None):
        (low, at_low), (high, at_high) = self.below(inputs[0], slopes), self.above(inputs[0])
        positive, negative = tf.nn.relu(rows.values), -tf.nn.relu(-rows.values)
        low, high = (cut(t, rows.window, places)[:, :, tf.newaxis] for t in (low, high))
        constant = product(negative, rows.window, at_high, places)
        if at_low is not None:
            constant += product(positive, rows.window, at_low, places)
        return [Rows(positive * low + negative * high, rows.window)], constant

    def gradient(self, low, high, inputs):
        d = Interval(*(t[:, tf.newaxis, tf.newaxis] for t in self.derivative(inputs[0])))
        products = [j.values * side for j in (low, high) for side in d]
        least, most = products[0], products[0]
        for p in products[1:]:
            least, most = tf.minimum(least, p), tf.maximum(most, p)
        return [(Rows(least, low.window), Rows(most, high.window))]


class ReLU(Elementwise):
    """max(h, 0). Where the sign of h is not known, the line from below is ``s h`` with s in [0, 1]: 1 or 0, whichever
    leaves less area (CROWN, section 3.3), or what it is given (alpha-CROWN, arXiv 2011.13824)."""

    def interval(self, inputs: Sequence[Interval]) -> Interval:
        return Interval(*map(tf.nn.relu, inputs[0]))

    def below(self, h: Interval, slopes: tf.Tensor | None) -> tuple[tf.Tensor, tf.Tensor | None]:
        own = tf.cast(h.high > -h.low, h.low.dtype) if slopes is None else slopes
        return tf.where(h.low >= 0, tf.ones_like(own), tf.where(h.high <= 0, tf.zeros_like(own), own)), None

    def above(self, h: Interval) -> tuple[tf.Tensor, tf.Tensor]:
        unstable = (h.low < 0) & (h.high > 0)
        width = tf.where(unstable, h.high - h.low, tf.ones_like(h.low))
        slope = tf.where(unstable, h.high / width, tf.cast(h.low >= 0, h.low.dtype))
        return slope, tf.where(unstable, -h.low * slope, tf.zeros_like(slope))

    def derivative(self, h: Interval) -> Interval:
        return Interval(tf.cast(h.low >= 0, tf.float64), tf.cast(h.high > 0, tf.float64))


class Square(Elementwise):
    """h * h: under its chord, and above its tangent in the middle of the interval. After a ReLU, that is relu2."""

    def interval(self, inputs: Sequence[Interval]) -> Interval:
        low, high = inputs[0]
        least = tf.where((low < 0) & (high > 0), tf.zeros_like(low), tf.square(tf.minimum(tf.abs(low), tf.abs(high))))
        return Interval(least, tf.square(inputs[0].magnitude))

    def error(self, inputs: Sequence[Interval]) -> tf.Tensor | None:
        return gamma(1, self.dtype) * tf.square(inputs[0].magnitude) + SMALLEST

    def below(self, h: Interval, slopes: tf.Tensor | None) -> tuple[tf.Tensor, tf.Tensor | None]:
        middle = (h.low + h.high) / 2
        return 2 * middle, -tf.square(middle)

    def above(self, h: Interval) -> tuple[tf.Tensor, tf.Tensor]:
        return h.low + h.high, -h.low * h.high

    def derivative(self, h: Interval) -> Interval:
        return Interval(2 * h.low, 2 * h.high)


class MaxPooling(Rule):
    """The maximum over windows of any size and stride.

    From below it is the number with the largest middle. From above (as in CNN-Cert, arXiv 1811.12395, section 3), with
    any t that is no less than the largest lower bound,

        max_i h_i <= t + sum_i relu(h_i - t) <= t + sum_i s_i (h_i - l_i),    s_i = relu(u_i - t) / (u_i - l_i).

    Here t is the second largest upper bound, or the largest lower one if that is more, so that one slope is left:
    CNN-Cert's, with which all of them sum to 1, is higher in the middle of the intervals. Where one number is above all
    others it is that number.
    """

    def __init__(self, inputs: Sequence[int], shape: Sequence[int], sliding: Sliding, dtype: str = 'float32'):
        super().__init__(shape, [inputs], dtype)
        self.sliding = sliding

    def _pieces(self, h: Interval) -> Interval:
        """[N, *shape, places in the pool]; what is outside the image is below everything."""
        return Interval(*(tf.stack(self.sliding.pieces(t, self.shape, -LARGEST), axis=-1) for t in h))

    def _largest(self, h: Interval) -> tuple[tf.Tensor, tf.Tensor]:
        """Which is the one with the largest middle, one-hot, and where it is sure to be the maximum."""
        places = int(np.prod(self.sliding.kernel))
        one = tf.one_hot(tf.argmax(h.low + h.high, axis=-1), places, dtype=h.low.dtype)
        others = tf.reduce_max(tf.where(one > 0, -2 * LARGEST * tf.ones_like(h.high), h.high), axis=-1)
        return one, tf.reduce_sum(one * h.low, axis=-1) >= others

    def interval(self, inputs: Sequence[Interval]) -> Interval:
        return Interval(*(tf.reduce_max(t, axis=-1) for t in self._pieces(inputs[0])))

    def _above(self, h: Interval) -> tuple[tf.Tensor, tf.Tensor]:
        one, is_sure = self._largest(h)
        high = tf.reduce_max(h.high, axis=-1, keepdims=True)
        top = tf.one_hot(tf.argmax(h.high, axis=-1), int(np.prod(self.sliding.kernel)), dtype=h.low.dtype)
        second = tf.reduce_max(tf.where(top > 0, -2 * LARGEST * tf.ones_like(h.high), h.high), axis=-1, keepdims=True)
        t = tf.maximum(second, tf.reduce_max(h.low, axis=-1, keepdims=True))
        counts = (top > 0) & (high > t) & (h.high > h.low)
        width = tf.where(counts, h.high - h.low, tf.ones_like(h.low))
        slopes = tf.where(counts, (h.high - t) / width, tf.zeros_like(width))
        rest = t[..., 0] - tf.reduce_sum(slopes * h.low, axis=-1)
        return tf.where(is_sure[..., tf.newaxis], one, slopes), tf.where(is_sure, tf.zeros_like(rest), rest)

    def window(self, window: Window | None) -> Window | None:
        return self.sliding.below(window)

    def backward(self, rows, inputs, places, slopes=None):
        h = self._pieces(inputs[0])
        one, _ = self._largest(h)
        above, rest = self._above(h)
        positive, negative = tf.nn.relu(rows.values), -tf.nn.relu(-rows.values)
        pieces = []
        for low, high in zip(tf.unstack(one, axis=-1), tf.unstack(above, axis=-1)):
            low, high = (cut(t, rows.window, places)[:, :, tf.newaxis] for t in (low, high))
            pieces.append(positive * low + negative * high)
        below = Rows(spread(pieces, self.sliding), self.sliding.below(rows.window))
        return [fitted(below, self.inputs[0], places)], product(negative, rows.window, rest, places)

    def gradient(self, low, high, inputs):
        h = self._pieces(inputs[0])
        one, is_sure = self._largest(h)
        may = tf.cast(h.high >= tf.reduce_max(h.low, axis=-1)[..., tf.newaxis], tf.float64)
        surely = tf.where(is_sure[..., tf.newaxis], one, tf.zeros_like(one))
        may = tf.where(is_sure[..., tf.newaxis], one, may)
        sides = []
        for rows, side in ((low, tf.minimum), (high, tf.maximum)):
            pieces = [tf.where(s[:, tf.newaxis, tf.newaxis] > 0, rows.values,
                               m[:, tf.newaxis, tf.newaxis] * side(rows.values, tf.zeros([], tf.float64)))
                      for s, m in zip(tf.unstack(surely, axis=-1), tf.unstack(may, axis=-1))]
            below = Rows(spread(pieces, self.sliding), self.sliding.below(rows.window))
            sides.append(fitted(below, self.inputs[0], tf.zeros([1, 2], tf.int32)))
        return [(sides[0], sides[1])]
