"""Losses that attacks climb, beside ``margin_losses``: ratios of logit differences, and the cross entropy's twin.

Each is a function of logits, floats [N, C], and labels, integers [N], to the loss of each sample, [N], in the dtype of
the logits; all are large where the network is wrong.
"""

from __future__ import annotations

import tensorflow as tf

from .margin_losses import logit_margin

FLOOR = 1e-12
"""What the denominators of DLR have added, so that they are not 0 where logits are tied."""


def dlr(logits: tf.Tensor, y: tf.Tensor) -> tf.Tensor:
    """DLR, the difference of logits ratio: ``-(z_y - max_{j != y} z_j) / (z_1 - z_3)``.

    z_1 and z_3 are the largest logit and the third largest. Above 0 where the network is wrong, and -1 at least, where
    it is right. It does not change when all logits are multiplied by a number, or have one added. Croce and Hein,
    arXiv 2003.01690, equation 6. Of three classes at least.
    """
    top = tf.math.top_k(logits, 3).values
    return logit_margin(logits, y) / (top[:, 0] - top[:, 2] + tf.constant(FLOOR, logits.dtype))


def targeted_dlr(logits: tf.Tensor, y: tf.Tensor, target: tf.Tensor) -> tf.Tensor:
    """Targeted DLR: ``-(z_y - z_t) / (z_1 - (z_3 + z_4) / 2)``, above 0 where the target t is ahead of the label.

    As ``dlr``, ibid., equation 7. Of four classes at least; ``target`` are classes, integers [N].
    """
    top = tf.math.top_k(logits, 4).values
    ahead = _of(logits, target) - _of(logits, y)
    return ahead / (top[:, 0] - (top[:, 2] + top[:, 3]) / 2 + tf.constant(FLOOR, logits.dtype))


def mean_soft_margin(logits: tf.Tensor, y: tf.Tensor) -> tf.Tensor:
    """SLM above that of equal logits: ``ln mean_{j != y} exp(z_j - z_y)``, which is SLM - ln(C - 1).

    A function of the cross entropy that rises with it, so that both compare any two points alike, and their gradients
    have one direction. But it saturates nowhere: the cross entropy is 0 in float32 where the label leads by 104 logits,
    and it, and SLM, are one and the same number where logits differ by less than 1e-7.
    """
    classes = tf.shape(logits)[1]
    own = tf.one_hot(y, classes, on_value=True, off_value=False)
    ahead = tf.where(own, tf.zeros_like(logits), logits - _of(logits, y)[:, tf.newaxis])
    others = tf.cast(classes - 1, logits.dtype)
    near = tf.reduce_max(tf.abs(ahead), axis=1) < 1
    # The branch that is not taken is given 0, for its gradient must be finite, too.
    small = tf.where(near[:, tf.newaxis], ahead, tf.zeros_like(ahead))  # the label's own adds nothing: expm1(0) = 0
    close = tf.math.log1p(tf.reduce_sum(tf.math.expm1(small), axis=1) / others)
    large = tf.where(near[:, tf.newaxis], tf.zeros_like(ahead), ahead)
    far = tf.reduce_logsumexp(tf.where(own, logits.dtype.min, large), axis=1) - tf.math.log(others)
    return tf.where(near, close, far)


def _of(logits: tf.Tensor, classes: tf.Tensor) -> tf.Tensor:
    return tf.gather(logits, classes, axis=1, batch_dims=1)
