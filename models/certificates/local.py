"""Lipschitz constants of a network within a ball (Fast-Lip; Weng et al., arXiv 1804.09699, section 3.3).

Within the ball neurons that cannot change their state have one slope; of the others it is between two. So is the
derivative of a margin with respect to everything before it, which intervals carry back from the logits to the image.
"""

from __future__ import annotations

import tensorflow as tf

from .relaxation import Relaxation
from .rules import own_axes
from .windows import Rows


def local_margins(relaxation: Relaxation, logits: tf.Tensor, x: tf.Tensor, y: tf.Tensor, radius: tf.Tensor
                  ) -> tf.Tensor:
    """Lower bounds of the logit of the right class less each other in balls, float64 [N, classes]; infinity at the
    right class.

    A margin is that at the image, less how far its derivative lets it fall, less twice what rounding moves: at the
    image, and anywhere in the ball. With errors e_k of the layers k, at most E_k, it is moved by their sum, each times
    a derivative with respect to layer k.

    Args:
        relaxation: of the network.
        logits: as the network gives them to the images, [N, classes].
        x: images, float64 [N, H, W, C] in [0, 1].
        y: classes, [N].
        radius: float64 [N].
    """
    known = relaxation.know(x, radius, tighten=False)
    right = tf.one_hot(y, relaxation.classes, dtype=tf.float64)
    rows = Rows((right[:, tf.newaxis] - tf.eye(relaxation.classes, dtype=tf.float64))[:, tf.newaxis], None)
    waiting, moved = {len(relaxation.nodes) - 1: (rows, rows)}, tf.zeros([1, 1], tf.float64)
    for k in range(len(relaxation.nodes) - 1, 0, -1):
        if k not in waiting:
            continue
        node, (low, high) = relaxation.nodes[k], waiting.pop(k)
        assert node.rule is not None
        if (error := known.errors[k]) is not None:
            size = tf.maximum(tf.abs(low.values), tf.abs(high.values)) * error[:, tf.newaxis, tf.newaxis]
            moved += tf.reduce_sum(size, axis=own_axes(low))[:, 0]
        for j, (least, most) in zip(node.inputs, node.rule.gradient(low, high, [known.intervals[j]
                                                                               for j in node.inputs])):
            if j in waiting:
                before = waiting[j]
                least = Rows(before[0].values + least.values, least.window)
                most = Rows(before[1].values + most.values, most.window)
            waiting[j] = least, most
    least, most = waiting[0]
    fall = relaxation.ball.furthest(least.values[:, 0], most.values[:, 0], x, radius)
    logits = tf.cast(logits, tf.float64)
    gaps = tf.gather(logits, y, axis=1, batch_dims=1)[:, tf.newaxis] - logits
    return relaxation.judged(known, gaps - 2 * moved - fall, right)
