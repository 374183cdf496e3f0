"""Layers that are 1-Lipschitz in L2 whatever their weights, and an activation that keeps lengths of gradients.

A kernel that is trained freely stands for an orthogonal one, by Cayley's transform (Trockman & Kolter, arXiv
2104.07167, who have the form for matrices that are not square, too): of a square U on top of V,

    A = U - U^T + V^T V,    Q = [(I - A) (I + A)^-1; -2 V (I + A)^-1],    Q^T Q = I.

A's symmetric part is V^T V, so I + A can always be inverted. The norm of Q is 1 whatever U and V are: a network of such
layers is not homogeneous.

A convolution over disjoint patches is such a matrix for each patch, and its norm that of the matrix. With patches that
overlap, as there, the kernel that a layer works with would be as large as the image.
"""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf


def cayley(weights: tf.Tensor) -> tf.Tensor:
    """The matrix with orthonormal columns, or, where it is wider than high, rows, of Cayley's transform.

    Computed in float64, so that what is rounded to the layer's precision does not depend on how it was computed.

    Args:
        weights: float [n, m], U on top of V, or transposed.

    Returns:
        float64 [n, m].
    """
    weights = tf.cast(weights, tf.float64)
    rows, columns = weights.shape
    if rows < columns:
        return tf.transpose(cayley(tf.transpose(weights)))
    u, v = weights[:columns], weights[columns:]
    a = u - tf.transpose(u) + tf.matmul(v, v, transpose_a=True)
    one = tf.eye(columns, dtype=tf.float64)
    inverse = tf.linalg.inv(one + a)
    return tf.concat([(one - a) @ inverse, -2 * v @ inverse], axis=0)


class _Orthogonal:
    """What the layers share. Keras saves what it calls the kernel, which is not what is trained."""

    @property
    def weights_of_kernel(self) -> keras.Variable:
        """What is trained, of the kernel's shape."""
        return super().kernel  # type: ignore[misc]

    def save_own_variables(self, store: Any) -> None:
        keras.layers.Layer.save_own_variables(self, store)

    def load_own_variables(self, store: Any) -> None:
        keras.layers.Layer.load_own_variables(self, store)


@keras.saving.register_keras_serializable(package='max_margin')
class OrthogonalDense(_Orthogonal, keras.layers.Dense):
    """A dense layer whose kernel has orthonormal columns, or rows; its weights are those of ``cayley``."""

    @property
    def kernel(self) -> Any:
        """What the input is multiplied by, [inputs, units]."""
        own = keras.ops.convert_to_tensor(self.weights_of_kernel)
        return tf.cast(cayley(own), own.dtype)


@keras.saving.register_keras_serializable(package='max_margin')
class OrthogonalConv2D(_Orthogonal, keras.layers.Conv2D):
    """A convolution over disjoint patches whose kernel is an orthogonal matrix, [pixels * channels, filters].

    Args:
        filters, kernel_size, kwargs: as of Keras; strides are the size of the kernel, and nothing is padded: rows and
            columns at the end that fill no patch are left out.

    Raises:
        ValueError: other strides, padding, dilation or groups.
    """

    def __init__(self, filters: int, kernel_size: Any, **kwargs: Any):
        given = {name: kwargs.pop(name) for name in ('strides', 'padding', 'groups', 'dilation_rate') if name in kwargs}
        super().__init__(filters, kernel_size, strides=kernel_size, padding='valid', **kwargs)
        for name, value in given.items():
            own = getattr(self, name)
            if value != own and tuple([value] * 2 if isinstance(value, int) else value) != own:
                raise ValueError(f'{name} of an orthogonal convolution must be {own}, not {value}')

    @property
    def kernel(self) -> Any:
        """What patches are multiplied by, [height, width, channels, filters]."""
        own = keras.ops.convert_to_tensor(self.weights_of_kernel)
        return tf.cast(tf.reshape(cayley(tf.reshape(own, [-1, self.filters])), own.shape), own.dtype)


@keras.saving.register_keras_serializable(package='max_margin')
class MaxMin(keras.layers.Layer):
    """Of each pair of channels the larger, then the smaller: GroupSort in groups of two (Anil et al., arXiv
    1811.05381). It moves numbers and loses none, so that gradients keep their length.

    Raises:
        ValueError: an odd number of channels.
    """

    def build(self, input_shape: Any) -> None:
        if input_shape[-1] is None or input_shape[-1] % 2:
            raise ValueError(f'maxmin sorts pairs of channels, and {input_shape[-1]} are not an even number of them')
        super().build(input_shape)

    def call(self, inputs: Any) -> Any:
        one, other = inputs[..., ::2], inputs[..., 1::2]
        pairs = keras.ops.stack([keras.ops.maximum(one, other), keras.ops.minimum(one, other)], axis=-1)
        return keras.ops.reshape(pairs, (-1, *inputs.shape[1:]))

    def compute_output_shape(self, input_shape: Any) -> Any:
        return input_shape
