"""Labels that are classes of the network, as objectives ask for them."""

from __future__ import annotations

import math
from typing import Any

import tensorflow as tf

from ..logits import class_labels


def checked_labels(y: Any, logits: tf.Tensor) -> tf.Tensor:
    """Labels as they came, as a tensor.

    Args:
        y: integers, [N] or [N, 1].
        logits: [N, C].

    Raises:
        ValueError: they are no integers of such a shape, or not as many as the logits; and, where they have values
            already, outside of a compiled function, if one of them is no class.
    """
    y = tf.convert_to_tensor(y)
    if not y.dtype.is_integer or y.shape.rank not in (1, 2) or (y.shape.rank == 2 and y.shape[-1] != 1):
        raise ValueError(f'labels must be integers of shape [N], not {y.dtype.name} of shape {y.shape}; for one-hot '
                         f'labels give y.argmax(axis=1)')
    if None not in (y.shape[0], logits.shape[0]) and y.shape[0] != logits.shape[0]:
        raise ValueError(f'labels must be as many as there are images, {logits.shape[0]}, not {y.shape[0]}')
    if hasattr(y, 'numpy') and logits.shape[-1] is not None:
        class_labels(y.numpy(), logits.shape[-1])
    return y


def nan_for_no_class(values: tf.Tensor, y: tf.Tensor, logits: tf.Tensor, axis: int = 0) -> tf.Tensor:
    """Values of samples, with nan for those whose label is no class: what a compiled function, which cannot raise,
    makes of them. The values of the others, and their gradients, are left as they are.

    Args:
        values: float [..., N, ...].
        y: integers, [N] or [N, 1].
        logits: [N, C].
        axis: of the samples.
    """
    y = tf.cast(tf.reshape(y, [-1]), tf.int64)
    known = tf.logical_and(y >= 0, y < tf.shape(logits, tf.int64)[-1])
    known = tf.reshape(known, [-1 if i == axis else 1 for i in range(values.shape.rank)])
    return tf.where(known, values, tf.constant(math.nan, values.dtype))
