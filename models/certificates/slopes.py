"""Slopes of the relaxation, optimised (alpha-CROWN; Xu et al., arXiv 2011.13824)."""

from __future__ import annotations

import tensorflow as tf

from .nonlinear import ReLU
from .relaxation import Known, Relaxation

STEPS = 12
RATE = 0.5
"""The largest change of a slope in the first step; it falls as 1 / (1 + i / 3)."""


def best_margins(relaxation: Relaxation, known: Known, x: tf.Tensor, y: tf.Tensor, radius: tf.Tensor, steps: int = STEPS
                 ) -> tf.Tensor:
    """``Relaxation.margins`` with slopes of ReLUs from below that are optimised for the image's smallest margin.

    Slopes are an image's own, the same for all its margins; what bounds the nodes before the logits keeps those of
    CROWN. Any slopes from 0 to 1 give bounds: of each margin the best is kept.
    """
    relus = [(k, relaxation.nodes[k]) for k in relaxation.relus]
    start = []
    for _, node in relus:
        assert isinstance(node.rule, ReLU)
        start.append(node.rule.below(known.intervals[node.inputs[0]], None)[0])

    def margins_at(slopes: list[tf.Tensor]) -> tf.Tensor:
        return relaxation.margins(known, x, y, radius, {k: s for (k, _), s in zip(relus, slopes)})

    def step(i: tf.Tensor, best: tf.Tensor, *slopes: tf.Tensor) -> tuple[tf.Tensor, ...]:
        with tf.GradientTape() as tape:
            tape.watch(slopes)
            margins = margins_at(list(slopes))
            least = tf.reduce_sum(tf.reduce_min(margins, axis=1))
        rate = RATE / (1 + tf.cast(i, tf.float64) / 3)
        moved = []
        for s, up in zip(slopes, tape.gradient(least, slopes, unconnected_gradients=tf.UnconnectedGradients.ZERO)):
            up = tf.where(tf.math.is_finite(up), up, tf.zeros_like(up))
            most = tf.reduce_max(tf.abs(up), axis=list(range(1, up.shape.rank)), keepdims=True)
            up /= tf.where(most > 0, most, tf.ones_like(most))
            # Small slopes of the bound count, too: most neurons have some.
            moved.append(tf.clip_by_value(s + rate * tf.sign(up) * tf.sqrt(tf.abs(up)), 0, 1))
        return (i + 1, tf.maximum(best, margins), *moved)
    if not relus or not steps:
        return margins_at(start)
    state = (tf.constant(0), tf.fill(tf.shape(y)[:1], tf.constant(float('-inf'), tf.float64))[:, tf.newaxis]
             + tf.zeros([1, relaxation.classes], tf.float64), *start)
    _, best, *slopes = tf.while_loop(lambda i, *_: i < steps, step, state, parallel_iterations=1)
    return tf.maximum(best, margins_at(slopes))
