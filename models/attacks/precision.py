"""Networks that compute in half precision: their own logits, with gradients as of float32."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import keras
import tensorflow as tf

HALF = {'float16': 2e-3, 'bfloat16': 1e-2}
"""Types of half precision, and by what share of the largest logit such logits are off, a few roundings deep."""
SLACK = 1e-6
"""The same of float32: logits of one image differ by about so much between batches of different size."""


def is_half(net: keras.Model) -> bool:
    """Whether any layer computes in half precision."""
    return rounding_of(net) > SLACK


def rounding_of(net: keras.Model) -> float:
    """By what share of the largest logit a network's logits are off."""
    return max((HALF.get(layer.compute_dtype, SLACK) for layer in _layers(net)), default=SLACK)


def in_float32(net: Callable[[tf.Tensor], tf.Tensor]) -> Callable[[tf.Tensor], tf.Tensor]:
    """The same function of the images, with logits in float32, whatever the network computes in."""
    return lambda x: tf.cast(net(x), tf.float32)


def with_full_gradient(net: keras.Model) -> Callable[[tf.Tensor], tf.Tensor]:
    """The network's logits, float32, with the gradient that it has when all its layers compute in float32.

    In half precision a gradient below 6e-8 vanishes and one above 65,504 overflows, and an attack that follows it finds
    nothing. The logits stay those of the network as it is, whose boundaries are searched for.
    """
    def call(x: tf.Tensor) -> tf.Tensor:
        exact = tf.stop_gradient(tf.cast(net(x, training=False), tf.float32))
        with _float32(net):
            smooth = tf.cast(net(x, training=False), tf.float32)
        return exact + (smooth - tf.stop_gradient(smooth))
    return call


@contextmanager
def _float32(net: keras.Model) -> Iterator[None]:
    """Within it, what is traced of the network computes in float32; its variables are float32 anyway."""
    kept = [(layer, layer.dtype_policy) for layer in _layers(net) if layer.compute_dtype in HALF]
    try:
        for layer, _ in kept:
            layer.dtype_policy = 'float32'
        yield
    finally:
        for layer, policy in kept:
            layer.dtype_policy = policy


def _layers(net: keras.Model) -> list[keras.Layer]:
    return list(net._flatten_layers(include_self=True))
