"""What a layer does to intervals, and to rows of coefficients: the contract of a layer's rule.

A certificate is built from three ways of passing through a layer:

- ``forward``: from intervals of its inputs to one of its output, and what rounding adds to it;
- ``backward``: from a linear function of its output to one of its inputs that is never above it, where these are in
  their intervals (Fast-Lin, arXiv 1804.09699; CROWN, arXiv 1811.00866; CNN-Cert, arXiv 1811.12395);
- ``gradient``: from an interval of the derivatives with respect to its output to one with respect to its inputs
  (Fast-Lip, arXiv 1804.09699).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import NamedTuple

import tensorflow as tf

from .rounding import gamma, underflow
from .windows import Rows, Window, cut

DERIVATIVE = 2.0 ** -36
"""The error in float64 of a sum of fewer than 2**16 products that make up a derivative, over their magnitudes."""


class Interval(NamedTuple):
    """Bounds of the numbers of a layer, [N, *shape]: float64, or float32 where they are trained with."""

    low: tf.Tensor
    high: tf.Tensor

    @property
    def magnitude(self) -> tf.Tensor:
        return tf.maximum(tf.abs(self.low), tf.abs(self.high))


class Rule(ABC):
    """What a layer computes.

    Attributes:
        shape: of its output, without the batch.
        inputs: shapes of its inputs.
        dtype: in which it computes.
        is_linear: whether it is, but for rounding. What is not needs tight intervals of its inputs.
    """

    is_linear = False

    def __init__(self, shape: Sequence[int], inputs: Sequence[Sequence[int]], dtype: str = 'float32'):
        self.shape, self.inputs, self.dtype = tuple(shape), [tuple(s) for s in inputs], dtype

    def forward(self, inputs: Sequence[Interval]) -> tuple[Interval, tf.Tensor | None]:
        """The interval of the output, and by how much rounding can move it, [N, *shape]; None for not at all."""
        (low, high), error = self.interval(inputs), self.error(inputs)
        return (Interval(low, high), None) if error is None else (Interval(low - error, high + error), error)

    @abstractmethod
    def interval(self, inputs: Sequence[Interval]) -> Interval:
        """The interval of the output in real numbers, of intervals in float32 or float64."""

    def error(self, inputs: Sequence[Interval]) -> tf.Tensor | None:
        """By how much rounding can move it; see ``forward``."""
        return None

    @abstractmethod
    def backward(self, rows: Rows, inputs: Sequence[Interval], places: tf.Tensor,
                 slopes: tf.Tensor | None = None) -> tuple[list[Rows], tf.Tensor | None]:
        """Of each input the coefficients, and the constant [N, P, R] that is to be added; None for none.

        Args:
            rows: coefficients of the output.
            inputs: intervals.
            places: of the windows, [P, 2].
            slopes: of the relaxation from below, [N, *shape], where it has such; None for its own.
        """

    @abstractmethod
    def gradient(self, low: Rows, high: Rows, inputs: Sequence[Interval]) -> list[tuple[Rows, Rows]]:
        """Of each input, bounds of the derivatives with respect to it, from those with respect to the output; both over
        all pixels."""

    def window(self, window: Window | None) -> Window | None:
        """The window of the inputs on which a window of the output depends, for layers with pixels."""
        return window


class Linear(Rule):
    """A layer that computes ``W h + b``, each number a sum of ``terms`` products.

    A subclass applies W and its transpose, as they are or with every weight's magnitude in its place.
    """

    is_linear = True
    terms: int

    @abstractmethod
    def apply(self, h: tf.Tensor, magnitude: bool = False) -> tf.Tensor:
        """``W h``, [N, *inputs[0]] to [N, *shape]."""

    @abstractmethod
    def transpose(self, rows: Rows, places: tf.Tensor, magnitude: bool = False) -> Rows:
        """``A W``."""

    def bias(self, dtype: tf.DType = tf.float64) -> tf.Tensor | None:
        """b, [channels]; None for none."""
        return None

    def bias_magnitude(self) -> tf.Tensor | None:
        """What of b enters the error; its magnitude, unless it is itself a sum."""
        bias = self.bias()
        return None if bias is None else tf.abs(bias)

    def lengths(self, dtype: tf.DType) -> tf.Tensor | None:
        """The L2 norms of the rows of W, [1, *shape] or [*shape]; None where they are not known."""
        return None

    def interval(self, inputs: Sequence[Interval]) -> Interval:
        low, high = inputs[0]
        middle, half = self.apply((low + high) / 2), self.apply((high - low) / 2, magnitude=True)
        bias = self.bias(low.dtype)
        if bias is not None:
            middle += bias
        return Interval(middle - half, middle + half)

    def error(self, inputs: Sequence[Interval]) -> tf.Tensor | None:
        size = self.apply(inputs[0].magnitude, magnitude=True)
        weights = self.apply(tf.ones_like(inputs[0].low), magnitude=True)
        magnitude = self.bias_magnitude()
        if magnitude is not None:
            size += magnitude
        return gamma(self.terms, self.dtype) * size + underflow(self.terms, weights)

    def backward(self, rows: Rows, inputs: Sequence[Interval], places: tf.Tensor,
                 slopes: tf.Tensor | None = None) -> tuple[list[Rows], tf.Tensor | None]:
        bias = self.bias(rows.values.dtype)
        constant = None if bias is None else tf.reduce_sum(rows.values * bias, axis=own_axes(rows))
        return [self.transpose(rows, places)], constant

    def gradient(self, low: Rows, high: Rows, inputs: Sequence[Interval]) -> list[tuple[Rows, Rows]]:
        nowhere = tf.zeros([1, 2], tf.int32)
        middle = self.transpose(Rows((low.values + high.values) / 2, low.window), nowhere)
        rounding = DERIVATIVE * tf.maximum(tf.abs(low.values), tf.abs(high.values))
        half = self.transpose(Rows((high.values - low.values) / 2 + rounding, low.window), nowhere, magnitude=True)
        return [(Rows(middle.values - half.values, middle.window), Rows(middle.values + half.values, middle.window))]


def own_axes(rows: Rows) -> list[int]:
    """The axes of the layer's own numbers in rows."""
    return list(range(3, rows.values.shape.rank))


def product(rows: tf.Tensor, window: Window | None, numbers: tf.Tensor, places: tf.Tensor) -> tf.Tensor:
    """Of rows [N, P, R, ...] and numbers of the layer [N, *shape] the sums of products, [N, P, R]."""
    own = cut(numbers, window, places)[:, :, tf.newaxis]
    return tf.reduce_sum(rows * own, axis=list(range(3, rows.shape.rank)))
