"""Softmax cross entropy that keeps its precision when the loss is 1e-880 (Lyu & Li, arXiv 1906.05890, appendix on
numerical stability).

Two things make it work. The logit gaps are taken in float64 after the float32 network, so that no gap is rounded away
against 1; and version 2 expresses the loss in units of a frame, ``loss * exp(-log_frame)``, so that a loss far below
the smallest float64 is an ordinary number, and so are its gradients.
"""

from __future__ import annotations

import math
from numbers import Real
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from .logits import class_labels, require_logit_shape

_ALL_CORRECT = -30.0
"""Below this wrong-minus-correct gap log1p(x) and x agree to 1e-13, so v2 may drop the log1p."""


def separate_logits(y, y_, dtype: tf.DType | None = None) -> tuple[tf.Tensor, tf.Tensor]:
    """Splits logits into those of the right class and those of the others.

    Args:
        y: labels, integers of shape [N] or [N, 1]; or floats that are whole, into which Keras converts them.
        y_: logits, float [N, C], C known and at least 2.
        dtype: type to convert both parts to; that of ``y_`` if None.

    Returns:
        ``(correct, wrong)`` of shapes [N, 1] and [N, C - 1], the wrong ones in ascending order of class. Where a
        compiled function meets a label that is no class, the correct one is nan, and so is every loss made of it.

    Raises:
        ValueError: logits of another shape; when run eagerly, labels that are not in 0..C - 1.
    """
    y_ = tf.convert_to_tensor(y_)
    require_logit_shape(() if y_.shape.rank is None else tuple(y_.shape), 'a cross entropy')
    y, is_class = _class_numbers(y, y_)
    others = tf.range(y_.shape[-1] - 1)[tf.newaxis, :]
    others += tf.cast(others >= y, tf.int32)  # step over the right class
    correct = tf.gather(y_, y, axis=1, batch_dims=1)
    wrong = tf.gather(y_, others, axis=1, batch_dims=1)
    if dtype is not None:
        correct, wrong = tf.cast(correct, dtype), tf.cast(wrong, dtype)
    if correct.dtype.is_floating:
        correct = tf.where(is_class, correct, tf.constant(math.nan, correct.dtype))
    return correct, wrong


def _class_numbers(y, logits: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Labels as int32 [N, 1], 0 for what is no class of these logits, and whether they are classes, bool [N, 1].

    Raises:
        ValueError: see ``separate_logits``.
    """
    y, classes = tf.convert_to_tensor(y), logits.shape[-1]
    if tf.executing_eagerly():
        labels = y.numpy()
        if labels.dtype.kind == 'f' and np.isfinite(labels).all() and (labels == np.floor(labels)).all():
            labels = labels.astype(np.int64)
        class_labels(labels, classes, len(logits))
    if not (y.dtype.is_integer or y.dtype.is_floating) or (y.shape.rank or 1) > 1 and y.shape[-1] not in (1, None):
        raise ValueError(f'labels must be integers of shape [N], not {y.dtype.name} of shape {y.shape}; for one-hot '
                         'labels give y.argmax(axis=1)')
    if y.dtype.is_integer:
        y = tf.cast(y, tf.int64)  # the number of classes may be more than a narrower type holds
    y = tf.reshape(y, [-1, 1])
    is_class = (y >= 0) & (y < classes)
    if y.dtype.is_floating:
        is_class &= tf.floor(y) == y
    return tf.cast(tf.where(is_class, y, tf.zeros_like(y)), tf.int32), is_class


def _softplus_of_gaps(gaps: tf.Tensor) -> tf.Tensor:
    return tf.math.softplus(tf.reduce_logsumexp(gaps, axis=1))


def hp_sparse_softmax_cross_entropy_with_logits_v1(y, y_) -> tf.Tensor:
    """Per-sample cross entropy in float64 ("hp": high precision), exact down to the smallest float64.

    Its arguments are in Keras's order, (y_true, y_pred), so it serves as the ``loss`` of ``keras.Model.compile``.

    Args:
        y: labels, integers of shape [N] or [N, 1].
        y_: logits, float [N, C].

    Returns:
        float64 [N], log(1 + sum over wrong j of exp(y_j - y_correct)).
    """
    correct, wrong = separate_logits(y, y_, dtype=tf.float64)
    return _softplus_of_gaps(wrong - correct)


def hp_sparse_softmax_cross_entropy_with_logits_v2(y, y_, log_frame) -> tf.Tensor:
    """Per-sample cross entropy in units of a frame: the real loss is the result times exp(log_frame).

    When every gap of the batch is below -30 the first-order value, the sum of exp(gap - log_frame), is used; it neither
    underflows nor loses precision. Otherwise every sample uses the value of v1 divided by the frame, which is not
    finite when exp(log_frame) underflows: a batch so far above its frame is a failed step. The decision is one for the
    whole batch.

    Args:
        y: labels, integers of shape [N] or [N, 1].
        y_: logits, float [N, C].
        log_frame: natural logarithm of the frame, float64 scalar.

    Returns:
        float64 [N].
    """
    correct, wrong = separate_logits(y, y_, dtype=tf.float64)
    gaps = wrong - correct
    log_frame = tf.cast(log_frame, tf.float64)
    return tf.cond(
        tf.reduce_max(gaps) < _ALL_CORRECT,
        lambda: tf.reduce_sum(tf.exp(gaps - log_frame), axis=1),
        lambda: _softplus_of_gaps(gaps) / tf.exp(log_frame))


@keras.saving.register_keras_serializable(package='max_margin')
class HPSparseSoftmaxCrossEntropy(keras.losses.Loss):
    """The cross entropy of this module for ``keras.Model.compile``; it is saved and loaded with the model.

    Whether it uses a frame is decided when it is made; the frame itself may then change between epochs, and a compiled
    model follows without being traced anew. Keras converts what a loss returns to float32, which is harmless in units
    of a frame near the loss: the gradients do not underflow, whatever the real loss.

    Args:
        log_frame: natural logarithm of the frame: losses are real losses times exp(-log_frame); None for real losses,
            down to about 1e-38. ``LossBasedLR`` moves the frame along with the loss.
        reduction, name, dtype: as of every ``keras.losses.Loss``; dtype is that of the reduction.

    Raises:
        ValueError: a frame that is not a finite number; when called, logits that are not [N, C] of two classes at
            least, or labels that are not integers of shape [N] or [N, 1]. A label that is no class raises when run
            eagerly; compiled, its loss is nan.
    """

    def __init__(self, log_frame: float | None = None, reduction: str | None = 'sum_over_batch_size',
                 name: str = 'hp_sparse_softmax_cross_entropy', dtype: Any = 'float64'):
        super().__init__(name=name, reduction=reduction, dtype=dtype)
        # A variable, because a number would become a constant of the compiled training step.
        self._log_frame = None
        if log_frame is not None:
            self._log_frame = tf.Variable(_finite(log_frame), trainable=False, dtype=tf.float64)

    @property
    def log_frame(self) -> float | None:
        """Natural logarithm of the frame; None without one."""
        return None if self._log_frame is None else float(self._log_frame.numpy())

    @log_frame.setter
    def log_frame(self, value: float) -> None:
        if self._log_frame is None:
            raise ValueError('this loss was made without a frame; HPSparseSoftmaxCrossEntropy(log_frame=0.0) has one')
        self._log_frame.assign(_finite(value))

    def call(self, y_true, y_pred):
        """Per-sample cross entropy, float64 [N], of labels [N] or [N, 1] and logits [N, C]."""
        if self._log_frame is None:
            return hp_sparse_softmax_cross_entropy_with_logits_v1(y_true, y_pred)
        return hp_sparse_softmax_cross_entropy_with_logits_v2(y_true, y_pred, self._log_frame)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), 'log_frame': self.log_frame, 'dtype': self.dtype}


def _finite(log_frame: Any) -> float:
    if isinstance(log_frame, bool) or not isinstance(log_frame, Real) or not math.isfinite(log_frame):
        raise ValueError(f'log_frame must be a finite number, not {log_frame!r}')
    return float(log_frame)
