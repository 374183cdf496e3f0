"""What adversarial training calls losses of logits: margins with the sign turned, hard and soft, and the cross entropy.

All are large where the network is wrong. Names and formulas are those of Ding et al., arXiv 1812.02637, section 2, and
of their released code. Each is a function of logits, floats [N, C], and labels, integers [N], to the loss of each
sample, [N], in the dtype of the logits; none over- or underflows whatever the scale of the logits.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from . import checks

SATURATION = 50.0
"""The lead of the right class, in logits, from which the Carlini-Wagner loss is constant."""


def soft_logit_margin(logits: tf.Tensor, y: tf.Tensor) -> tf.Tensor:
    """SLM: logsumexp of the other logits minus the label's.

    An upper bound of the logit margin, by at most ln(C - 1). Below 0 if and only if the label's softmax probability is
    above 1/2. Its gradient is that of the cross entropy over 1 - p, where p is the label's probability: the same
    direction, but it does not vanish where the network is sure.
    """
    others = tf.where(_own(logits, y), tf.constant(-math.inf, logits.dtype), logits)
    return tf.reduce_logsumexp(others, axis=1) - _label_logit(logits, y)


def logit_margin(logits: tf.Tensor, y: tf.Tensor) -> tf.Tensor:
    """LM: the largest other logit minus the label's. On a tie, one of the largest has the gradient: the first."""
    others = tf.where(_own(logits, y), logits.dtype.min, logits)
    largest = tf.argmax(others, axis=1)
    return tf.gather(logits, largest, axis=1, batch_dims=1) - _label_logit(logits, y)


def carlini_wagner(logits: tf.Tensor, y: tf.Tensor) -> tf.Tensor:
    """CW: the logit margin plus 50, but at least 0: without a gradient where the label leads by more than 50."""
    shifted = logit_margin(logits, y) + tf.constant(SATURATION, logits.dtype)
    return tf.maximum(shifted, tf.zeros_like(shifted))  # at exactly -50, maximum has the gradient of its first argument


def cross_entropy(logits: tf.Tensor, y: tf.Tensor) -> tf.Tensor:
    """ln(1 + exp(SLM)): softmax cross entropy."""
    return tf.math.softplus(soft_logit_margin(logits, y))


MarginLoss = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]

MARGIN_LOSSES: dict[str, MarginLoss] = {
    'slm': soft_logit_margin, 'lm': logit_margin, 'cw': carlini_wagner, 'xent': cross_entropy}
"""By the names of the released code."""

SIGNED = ('slm', 'lm')
"""Those that are below 0 where an image is right: the others cannot say so."""


def require_signed(search_loss: Any) -> None:
    """Sees that a loss is one whose sign says whether an image is right.

    Raises:
        ValueError: it is not.
    """
    if checks.one_of('search_loss', search_loss, MARGIN_LOSSES) not in SIGNED:
        raise ValueError(f'search_loss must be {" or ".join(map(repr, SIGNED))}: {search_loss!r} is never below 0, so '
                         'that no image would count as right')


def _own(logits: tf.Tensor, y: tf.Tensor) -> tf.Tensor:
    return tf.one_hot(y, tf.shape(logits)[1], on_value=True, off_value=False)


def _label_logit(logits: tf.Tensor, y: tf.Tensor) -> tf.Tensor:
    return tf.gather(logits, y, axis=1, batch_dims=1)
