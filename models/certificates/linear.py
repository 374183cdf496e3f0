"""Rules of linear layers."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf

from .rounding import gamma
from .rules import Interval, Linear, Rule
from .sliding import Sliding, spread
from .windows import Rows, Window, cut, fitted

Numbers = Callable[[tf.DType], tf.Tensor]
"""Gives the weights of a layer as they are now."""


def _root(squares: tf.Tensor) -> tf.Tensor:
    """Square roots, whose derivative at 0 is 0."""
    return tf.sqrt(tf.maximum(squares, tf.constant(1e-37, squares.dtype)))


class Dense(Linear):
    """A dense layer of units.

    Args:
        kernel: gives the kernel as it is now, in a dtype, [in, out].
        bias: gives the bias, [out]; None for none.
    """

    def __init__(self, kernel: Numbers, bias: Numbers | None,
                 inputs: Sequence[int], units: int, dtype: str = 'float32'):
        super().__init__((units,), [inputs], dtype)
        self.kernel, self._bias, self.terms = kernel, bias, int(inputs[0]) + 1

    def bias(self, dtype: tf.DType = tf.float64) -> tf.Tensor | None:
        return None if self._bias is None else self._bias(dtype)

    def _kernel(self, magnitude: bool, dtype: tf.DType) -> tf.Tensor:
        return tf.abs(self.kernel(dtype)) if magnitude else self.kernel(dtype)

    def apply(self, h: tf.Tensor, magnitude: bool = False) -> tf.Tensor:
        return h @ self._kernel(magnitude, h.dtype)

    def lengths(self, dtype: tf.DType) -> tf.Tensor | None:
        return _root(tf.reduce_sum(tf.square(self.kernel(dtype)), axis=0))

    def transpose(self, rows: Rows, places: tf.Tensor, magnitude: bool = False) -> Rows:
        return Rows(tf.einsum('npru,iu->npri', rows.values, self._kernel(magnitude, rows.values.dtype)), None)


class Convolution(Linear):
    """A convolution with channels last, whose kernel has all groups and the zeros of a dilation in it.

    Args:
        kernel: gives the kernel as it is now, in a dtype, [height, width, in, out].
        bias: gives the bias, [out]; None for none.
        sliding: how the kernel moves.
        terms: products of each number.
    """

    def __init__(self, kernel: Numbers, bias: Numbers | None, inputs: Sequence[int],
                 shape: Sequence[int], sliding: Sliding, terms: int, dtype: str = 'float32'):
        super().__init__(shape, [inputs], dtype)
        self.kernel, self._bias, self.sliding, self.terms = kernel, bias, sliding, terms + 1

    def bias(self, dtype: tf.DType = tf.float64) -> tf.Tensor | None:
        return None if self._bias is None else self._bias(dtype)

    def _kernel(self, magnitude: bool, dtype: tf.DType) -> tf.Tensor:
        return tf.abs(self.kernel(dtype)) if magnitude else self.kernel(dtype)

    def apply(self, h: tf.Tensor, magnitude: bool = False) -> tf.Tensor:
        return self._convolved(h, self._kernel(magnitude, h.dtype))

    def _convolved(self, h: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
        return tf.nn.conv2d(self.sliding.padded(h), kernel, self.sliding.stride, 'VALID')

    def lengths(self, dtype: tf.DType) -> tf.Tensor | None:
        return _root(self._convolved(tf.ones([1, *self.inputs[0]], dtype), tf.square(self.kernel(dtype))))

    def window(self, window: Window | None) -> Window | None:
        return self.sliding.below(window)

    def transpose(self, rows: Rows, places: tf.Tensor, magnitude: bool = False) -> Rows:
        a, below = rows.values, self.sliding.below(rows.window)
        lead, kernel = tf.shape(a)[:3], self._kernel(magnitude, a.dtype)
        flat = tf.reshape(a, [-1, *a.shape[3:]])
        size = [tf.shape(flat)[0], *below.size, self.inputs[0][2]]
        back = tf.nn.conv2d_transpose(flat, kernel, size, self.sliding.stride, 'VALID')
        values = tf.ensure_shape(tf.reshape(back, tf.concat([lead, size[1:]], 0)),
                                 [*a.shape[:3], *below.size, self.inputs[0][2]])
        return fitted(Rows(values, below), self.inputs[0], places)


class Scale(Linear):
    """``scale * h + shift`` of each channel, as batch normalisation in inference computes it.

    Args:
        numbers: gives scale, shift, and the sum of magnitudes that make up the shift, in a dtype, [channels], as they
            are now.
    """

    terms = 16  # the roots, products and sums that make up scale and shift are rounded, too

    def __init__(self, numbers: Callable[[tf.DType], tuple[tf.Tensor, tf.Tensor, tf.Tensor]], shape: Sequence[int],
                 dtype: str = 'float32'):
        super().__init__(shape, [shape], dtype)
        self.numbers = numbers

    def bias(self, dtype: tf.DType = tf.float64) -> tf.Tensor | None:
        return self.numbers(dtype)[1]

    def bias_magnitude(self) -> tf.Tensor | None:
        return self.numbers(tf.float64)[2]

    def apply(self, h: tf.Tensor, magnitude: bool = False) -> tf.Tensor:
        scale = self.numbers(h.dtype)[0]
        return h * (tf.abs(scale) if magnitude else scale)

    def transpose(self, rows: Rows, places: tf.Tensor, magnitude: bool = False) -> Rows:
        return Rows(self.apply(rows.values, magnitude), rows.window)


class AveragePooling(Linear):
    """The mean over windows, of the pixels that lie in the image."""

    def __init__(self, inputs: Sequence[int], shape: Sequence[int], sliding: Sliding, dtype: str = 'float32'):
        super().__init__(shape, [inputs], dtype)
        self.sliding, self.terms = sliding, int(np.prod(sliding.kernel)) + 2

    def _shares(self, dtype: tf.DType) -> tf.Tensor:
        """Over how many pixels each mean is, as a factor, [1, H, W, 1]."""
        ones = tf.ones([1, *self.inputs[0][:2], 1], dtype)
        return 1 / tf.add_n(self.sliding.pieces(ones, self.shape))

    def apply(self, h: tf.Tensor, magnitude: bool = False) -> tf.Tensor:
        return tf.add_n(self.sliding.pieces(h, self.shape)) * self._shares(h.dtype)

    def window(self, window: Window | None) -> Window | None:
        return self.sliding.below(window)

    def transpose(self, rows: Rows, places: tf.Tensor, magnitude: bool = False) -> Rows:
        values = rows.values * cut(self._shares(rows.values.dtype), rows.window, places)[:, :, tf.newaxis]
        n = int(np.prod(self.sliding.kernel))
        return fitted(Rows(spread([values] * n, self.sliding), self.sliding.below(rows.window)), self.inputs[0], places)


class GlobalAverage(Linear):
    """The mean over all pixels."""

    def __init__(self, inputs: Sequence[int], shape: Sequence[int], dtype: str = 'float32'):
        super().__init__(shape, [inputs], dtype)
        self.pixels = int(inputs[0] * inputs[1])
        self.terms = self.pixels + 2

    def apply(self, h: tf.Tensor, magnitude: bool = False) -> tf.Tensor:
        return tf.reshape(tf.reduce_mean(h, axis=[1, 2]), [-1, *self.shape])

    def transpose(self, rows: Rows, places: tf.Tensor, magnitude: bool = False) -> Rows:
        height, width, channels = self.inputs[0]
        each = tf.reshape(rows.values / self.pixels, tf.concat([tf.shape(rows.values)[:3], [1, 1, channels]], 0))
        values = each * tf.ones([height, width, 1], each.dtype)
        return Rows(tf.ensure_shape(values, [*rows.values.shape[:3], *self.inputs[0]]), Window((height, width)))


class Rearranged(Rule):
    """What moves numbers and changes none: flattening, and dropout at rest."""

    is_linear = True

    def interval(self, inputs: Sequence[Interval]) -> Interval:
        return Interval(*(tf.reshape(t, [-1, *self.shape]) for t in inputs[0]))

    def backward(self, rows, inputs, places, slopes=None):
        values, below = rows.values, self.inputs[0]
        if below == self.shape:
            return [rows], None
        values = tf.reshape(values, tf.concat([tf.shape(values)[:3], below], 0))
        window = Window((below[0], below[1])) if len(below) == 3 else None
        return [Rows(tf.ensure_shape(values, [*rows.values.shape[:3], *below]), window)], None

    def gradient(self, low, high, inputs):
        nowhere = tf.zeros([1, 2], tf.int32)
        return [(self.backward(low, inputs, nowhere)[0][0], self.backward(high, inputs, nowhere)[0][0])]


class Padding(Rule):
    """Zeros around an image; ``before`` rows above and columns to the left of it."""

    is_linear = True

    def __init__(self, inputs: Sequence[int], shape: Sequence[int], before: tuple[int, int]):
        super().__init__(shape, [inputs])
        self.before = before

    def interval(self, inputs: Sequence[Interval]) -> Interval:
        pads = [[b, self.shape[i] - self.inputs[0][i] - b] for i, b in enumerate(self.before)]
        return Interval(*(tf.pad(t, [[0, 0], *pads, [0, 0]]) for t in inputs[0]))

    def window(self, window: Window | None) -> Window | None:
        assert window is not None
        start = (window.start[0] - self.before[0], window.start[1] - self.before[1])
        return window._replace(start=start)

    def backward(self, rows, inputs, places, slopes=None):
        return [fitted(Rows(rows.values, self.window(rows.window)), self.inputs[0], places)], None

    def gradient(self, low, high, inputs):
        nowhere = tf.zeros([1, 2], tf.int32)
        return [tuple(self.backward(rows, inputs, nowhere)[0][0] for rows in (low, high))]


class Sum(Rule):
    """The sum of two or more layers."""

    is_linear = True

    def interval(self, inputs: Sequence[Interval]) -> Interval:
        return Interval(tf.add_n([i.low for i in inputs]), tf.add_n([i.high for i in inputs]))

    def error(self, inputs: Sequence[Interval]) -> tf.Tensor | None:
        return gamma(len(inputs), self.dtype) * tf.add_n([i.magnitude for i in inputs])

    def backward(self, rows, inputs, places, slopes=None):
        return [rows] * len(inputs), None

    def gradient(self, low, high, inputs):
        return [(low, high)] * len(inputs)


