"""The rules of Keras's layers: a function each, from a layer and the shape of what it is given to rules in a row."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from ..chains import is_exactly
from ..networks.orthogonal import OrthogonalConv2D, OrthogonalDense
from .linear import AveragePooling, Convolution, Dense, GlobalAverage, Numbers, Padding, Rearranged, Scale, Sum
from .nonlinear import MaxPooling, ReLU, Square
from .rounding import UNITS
from .rules import Rule
from .sliding import Sliding

L = keras.layers
Shape = tuple[int, ...]


def rules_of(layer: keras.Layer, inputs: Sequence[Shape], are_same: bool) -> list[Rule]:
    """What a layer computes at rest, as rules one after the other.

    Args:
        layer: of Keras.
        inputs: shapes of its inputs, without the batch.
        are_same: whether it has several inputs that are one.

    Raises:
        ValueError: it has no rule, with a sentence that names it.
    """
    kind = next((kind for kind in RULES if is_exactly(layer, kind)), None)
    if kind is None:
        plain = ' whose methods were replaced' if type(layer) in RULES else ''
        raise ValueError(f'{layer.name}: there is no linear relaxation of a {type(layer).__name__}{plain}')
    for dtype in (layer.compute_dtype, layer.variable_dtype):
        if dtype not in UNITS:
            raise ValueError(f'{layer.name}: there is no linear relaxation of a layer in {dtype}; it needs float32 or '
                             'float64')
    if layer.quantization_mode is not None:
        raise ValueError(f'{layer.name}: there is no linear relaxation of a layer quantised to '
                         f'{layer.quantization_mode}')
    if getattr(layer, 'data_format', None) == 'channels_first':
        raise ValueError(f'{layer.name}: linear relaxation needs channels last')
    return RULES[kind](layer, inputs, are_same)


def number(variable: Any, dtype: tf.DType) -> tf.Tensor:
    return tf.cast(tf.convert_to_tensor(variable), dtype)


def _activated(layer: keras.Layer, rule: Rule) -> list[Rule]:
    """A rule, and the one of the activation that a layer has built in."""
    return [rule, *_activation(layer, [rule.shape], False)]


def _activation(layer: keras.Layer, inputs: Sequence[Shape], are_same: bool) -> list[Rule]:
    if layer.activation in (None, keras.activations.linear):
        return []
    if layer.activation is keras.activations.relu:
        return [ReLU(inputs[0], inputs)]
    name = getattr(layer.activation, '__name__', type(layer.activation).__name__)
    raise ValueError(f'{layer.name}: there is no linear relaxation of the activation {name}, only of relu')


def _relu(layer: keras.Layer, inputs: Sequence[Shape], are_same: bool) -> list[Rule]:
    if layer.negative_slope or layer.threshold or layer.max_value is not None:
        raise ValueError(f'{layer.name}: there is no linear relaxation of a ReLU with a negative_slope, a threshold or '
                         'a max_value')
    return [ReLU(inputs[0], inputs)]


def _bias(layer: keras.Layer) -> Numbers | None:
    return None if layer.bias is None else lambda dtype: number(layer.bias, dtype)


def _dense(layer: keras.Layer, inputs: Sequence[Shape], are_same: bool) -> list[Rule]:
    (shape,) = inputs
    if len(shape) == 1:
        return _activated(layer, Dense(lambda dtype: number(layer.kernel, dtype), _bias(layer), shape, layer.units,
                                       layer.compute_dtype))
    if len(shape) != 3:
        raise ValueError(f'{layer.name}: there is no linear relaxation of a dense layer of the shape {shape}')
    return _activated(layer, Convolution(  # of pixels, which is a convolution of 1x1
        lambda dtype: number(layer.kernel, dtype)[tf.newaxis, tf.newaxis], _bias(layer), shape,
        (*shape[:2], layer.units), Sliding.of(shape[:2], (1, 1), (1, 1), 'valid'), shape[2], layer.compute_dtype))


def _convolution(layer: keras.Layer, inputs: Sequence[Shape], are_same: bool) -> list[Rule]:
    (shape,), channels = inputs, layer.filters
    sizes = [(k - 1) * d + 1 for k, d in zip(layer.kernel_size, layer.dilation_rate)]
    sliding = Sliding.of(shape[:2], sizes, layer.strides, layer.padding)
    out = [(n + b + a - k) // s + 1 for n, b, a, k, s in zip(
        shape, sliding.before, sliding.after, sliding.kernel, sliding.stride)]

    def kernel(dtype: tf.DType) -> tf.Tensor:
        own = number(layer.kernel, dtype)
        if layer.groups > 1:
            each = own.shape[2]
            parts = tf.split(own, layer.groups, axis=3)
            own = tf.concat([tf.pad(part, [[0, 0], [0, 0], [g * each, shape[2] - (g + 1) * each], [0, 0]])
                             for g, part in enumerate(parts)], axis=3)
        for axis, d in enumerate(layer.dilation_rate):
            if d > 1:
                n = own.shape[axis]
                own = tf.pad(tf.expand_dims(own, axis + 1), [[0, d - 1] if i == axis + 1 else [0, 0] for i in range(5)])
                rest = [*own.shape]
                own = tf.reshape(own, [*rest[:axis], n * d, *rest[axis + 2:]])
                own = own[:sizes[0]] if axis == 0 else own[:, :sizes[1]]
        return own
    terms = int(np.prod(layer.kernel_size)) * shape[2] // layer.groups
    return _activated(layer, Convolution(kernel, _bias(layer), shape, (*out, channels), sliding, terms,
                                         layer.compute_dtype))


def _normalisation(layer: keras.Layer, inputs: Sequence[Shape], are_same: bool) -> list[Rule]:
    (shape,) = inputs
    if layer.axis not in (-1, len(shape)):
        raise ValueError(f'{layer.name}: linear relaxation needs batch normalisation over the last axis')

    def numbers(dtype: tf.DType) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        scale = 1 / tf.sqrt(number(layer.moving_variance, dtype) + layer.epsilon)
        scale *= number(layer.gamma, dtype) if layer.scale else 1.0
        beta = number(layer.beta, dtype) if layer.center else tf.zeros_like(scale)
        moved = number(layer.moving_mean, dtype) * scale
        return scale, beta - moved, tf.abs(beta) + tf.abs(moved)
    return [Scale(numbers, shape, layer.compute_dtype)]


def _sliding(layer: keras.Layer, shape: Shape) -> tuple[Sliding, Shape]:
    sliding = Sliding.of(shape[:2], layer.pool_size, layer.strides, layer.padding)
    out = tuple((n + b + a - k) // s + 1 for n, b, a, k, s in zip(
        shape, sliding.before, sliding.after, sliding.kernel, sliding.stride))
    return sliding, (*out, shape[2])


def _max_pooling(layer: keras.Layer, inputs: Sequence[Shape], are_same: bool) -> list[Rule]:
    sliding, shape = _sliding(layer, inputs[0])
    return [MaxPooling(inputs[0], shape, sliding, layer.compute_dtype)]


def _average_pooling(layer: keras.Layer, inputs: Sequence[Shape], are_same: bool) -> list[Rule]:
    sliding, shape = _sliding(layer, inputs[0])
    return [AveragePooling(inputs[0], shape, sliding, layer.compute_dtype)]


def _global_average(layer: keras.Layer, inputs: Sequence[Shape], are_same: bool) -> list[Rule]:
    if layer.keepdims:
        raise ValueError(f'{layer.name}: there is no linear relaxation of a mean over pixels with keepdims')
    return [GlobalAverage(inputs[0], inputs[0][2:], layer.compute_dtype)]


def _flatten(layer: keras.Layer, inputs: Sequence[Shape], are_same: bool) -> list[Rule]:
    return [Rearranged((int(np.prod(inputs[0])),), inputs)]


def _at_rest(layer: keras.Layer, inputs: Sequence[Shape], are_same: bool) -> list[Rule]:
    return []


def _padding(layer: keras.Layer, inputs: Sequence[Shape], are_same: bool) -> list[Rule]:
    (top, bottom), (left, right) = layer.padding
    h, w, c = inputs[0]
    return [Padding(inputs[0], (h + top + bottom, w + left + right, c), (top, left))]


def _sum(layer: keras.Layer, inputs: Sequence[Shape], are_same: bool) -> list[Rule]:
    if len(set(inputs)) != 1:
        raise ValueError(f'{layer.name}: linear relaxation needs a sum of layers of one shape')
    return [Sum(inputs[0], inputs, layer.compute_dtype)]


def _square(layer: keras.Layer, inputs: Sequence[Shape], are_same: bool) -> list[Rule]:
    if not are_same or len(inputs) != 2:
        raise ValueError(f'{layer.name}: there is no linear relaxation of a product of different layers')
    return [Square(inputs[0], inputs[:1], layer.compute_dtype)]


RULES: dict[type[keras.Layer], Callable[[keras.Layer, Sequence[Shape], bool], list[Rule]]] = {
    L.Conv2D: _convolution, L.Dense: _dense, L.MaxPooling2D: _max_pooling, L.AveragePooling2D: _average_pooling,
    L.GlobalAveragePooling2D: _global_average, L.BatchNormalization: _normalisation, L.ReLU: _relu,
    L.Activation: _activation, L.Flatten: _flatten, L.Dropout: _at_rest, L.ZeroPadding2D: _padding, L.Add: _sum,
    L.Multiply: _square, OrthogonalConv2D: _convolution, OrthogonalDense: _dense}
"""Of each kind of layer the function that says what it computes; see ``rules_of``."""
