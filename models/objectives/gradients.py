"""Dual norms of the gradients of class scores with respect to activations."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from .labels import checked_labels

DUAL = {1.0: math.inf, 2.0: 2.0, math.inf: 1.0}
"""q of the norm dual to the p-norm: 1/p + 1/q = 1."""


def rows_norm(a: tf.Tensor, q: float) -> tf.Tensor:
    """The q-norm of each sample's part of [N, ...], as a vector: [N].

    Its derivative is finite everywhere, and 0 at a vector of zeros (a network whose ReLUs are all dead).
    """
    axes = list(range(1, a.shape.rank))
    if q == 1:
        return tf.reduce_sum(tf.abs(a), axes)
    if q == math.inf:
        return tf.reduce_max(tf.abs(a), axes)
    squares = tf.reduce_sum(tf.square(a), axes)
    # Of two branches, both derivatives are taken, and 0 times an infinite one is nan: hence the inner where.
    nonzero = squares > 0
    return tf.where(nonzero, tf.sqrt(tf.where(nonzero, squares, tf.ones_like(squares))), tf.zeros_like(squares))


def gradient_norms(tape: tf.GradientTape, logits: tf.Tensor, directions: tf.Tensor,
                   activations: Sequence[tf.Tensor], p: float) -> tf.Tensor:
    """Dual norms of the gradients of combinations of logits, at all activations.

    Each combination takes one backward pass, which meets all activations on its way; on 2 CPU cores that is faster
    than all combinations at once by tf.vectorized_map (see benchmarks/large_margin.py).

    The gradient is that of the sum over the batch: a sample's own, unless samples interact, as they do through batch
    norm in training mode. Then it is what the published implementation takes as well.

    Args:
        tape: persistent, from the activations to the logits.
        logits: [N, C].
        directions: [N, K, C], the combinations of each sample.
        activations: L tensors [N, ...].
        p: the norm of distances: 1, 2 or inf.

    Returns:
        float64 [L, N, K].

    Raises:
        ValueError: an activation from which nothing leads to the logits, on the tape.
    """
    directions = tf.cast(directions, logits.dtype)
    norms = []
    for direction in tf.unstack(directions, axis=1):
        gradients = tape.gradient(logits, list(activations), output_gradients=direction)
        if any(g is None for g in gradients):
            i = next(i for i, g in enumerate(gradients) if g is None)
            raise ValueError(f'the logits do not depend on activation {i}, as far as the tape knows; an activation '
                             f'that is not computed from another one must be watched')
        norms.append([tf.cast(rows_norm(_wide(tf.convert_to_tensor(g)), DUAL[p]), tf.float64) for g in gradients])
    return tf.stack([tf.stack(layer, axis=1) for layer in zip(*norms)])


def _wide(gradient: tf.Tensor) -> tf.Tensor:
    """In float32, if it is in half precision, in which squares and sums soon leave the range."""
    return tf.cast(gradient, tf.float32) if gradient.dtype in (tf.float16, tf.bfloat16) else gradient


def one_hot_labels(y: Any, logits: tf.Tensor) -> tf.Tensor:
    """bool [N, C], whether the class is the sample's.

    Raises:
        ValueError: logits that are not [N, C], or labels that are not integers of shape [N] or [N, 1], or no classes.
    """
    if logits.shape.rank != 2 or logits.shape[-1] is None or logits.shape[-1] < 2:
        raise ValueError(f'the logits must have the shape [N, C], of at least 2 classes, not {logits.shape}')
    y = checked_labels(y, logits)
    return tf.one_hot(tf.cast(tf.reshape(y, [-1]), tf.int64), logits.shape[-1], True, False, dtype=tf.bool)
