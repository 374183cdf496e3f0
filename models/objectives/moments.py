"""Batch statistics that can be differentiated twice."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import tensorflow as tf


@contextmanager
def twice_differentiable_moments() -> Iterator[None]:
    """Within it, ``tf.nn.moments`` has a right second derivative; Keras's batch norm in training mode uses it.

    TensorFlow stops the gradient from the variance to the mean in it, which is 0, but not so the derivative of that
    gradient: through a batch norm in training mode it gets the gradient of a gradient wrong (by a fifth in a small
    network). What takes its place for the while gives the same values and first derivatives, so it does no harm where
    other threads meet it.
    """
    original = tf.nn.moments
    tf.nn.moments = _moments
    try:
        yield
    finally:
        tf.nn.moments = original


def _moments(x: tf.Tensor, axes: Any, shift: Any = None, keepdims: bool = False,
             name: str | None = None) -> tuple[tf.Tensor, tf.Tensor]:
    """Mean and (biased) variance over the axes; the arguments are those of ``tf.nn.moments``."""
    y = tf.cast(x, tf.float32) if x.dtype == tf.float16 else x
    mean = tf.reduce_mean(y, axes, keepdims=True)
    variance = tf.reduce_mean(tf.math.squared_difference(y, mean), axes, keepdims=keepdims)
    if not keepdims:
        mean = tf.squeeze(mean, axes)
    return tf.cast(mean, x.dtype), tf.cast(variance, x.dtype)
