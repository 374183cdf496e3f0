"""Bounds of margins in balls that a network can be trained on: by intervals, and by one pass of linear relaxation.

They are those of ``relaxation`` in real numbers and in the network's own precision: rounding moves them, as it moves a
loss. What is certified afterwards allows for it.
"""

from __future__ import annotations

from collections.abc import Sequence

import keras
import tensorflow as tf

from .. import checks
from .balls import BALLS
from .graph import nodes_of
from .linear import Padding, Rearranged
from .rules import Interval, Linear, product
from .windows import Rows


class Bounds:
    """Lower bounds of a network's margins, differentiable by its weights.

    Args:
        net: a network that has a linear relaxation; see ``certifier.Certifier``. Batch normalisation is as at rest.
        norm: of the balls, 'L2' or 'Linf'; all are cut to the box [0, 1].

    Raises:
        ValueError: a layer that has none, in a sentence that names it.
    """

    def __init__(self, net: keras.Model, norm: str):
        self.nodes, self.ball = nodes_of(net), BALLS[checks.one_of('norm', norm, BALLS)]
        self.dtype, self.classes = tf.as_dtype(net.inputs[0].dtype), self.nodes[-1].shape[0]

    def intervals(self, x: tf.Tensor, radius: tf.Tensor) -> list[Interval]:
        """Of each node's numbers, each from those of the nodes before it (Gowal et al., arXiv 1810.12715, section 3).

        In L2 the first linear layers take the ball itself, in which ``w h`` moves by radius * ||w||.

        Args:
            x: images [N, H, W, C] in [0, 1].
            radius: [N].
        """
        found = [self.ball.interval(x, radius)]
        middles: list[tf.Tensor | None] = [x]  # where the ball is still that of the images
        for node in self.nodes[1:]:
            rule = node.rule
            assert rule is not None
            interval, middle = rule.interval([found[j] for j in node.inputs]), middles[node.inputs[0]]
            if middle is not None:
                moved = rule.interval([Interval(middle, middle)] * len(node.inputs)).low
                lengths = rule.lengths(x.dtype) if isinstance(rule, Linear) and self.ball.norm == 'L2' else None
                if lengths is not None:
                    reach = lengths * tf.reshape(radius, [-1] + [1] * len(node.shape))
                    interval = Interval(tf.maximum(interval.low, moved - reach),
                                        tf.minimum(interval.high, moved + reach))
                middle = moved if isinstance(rule, (Rearranged, Padding)) else None
            found.append(interval)
            middles.append(middle)
        return found

    def margins(self, intervals: Sequence[Interval], x: tf.Tensor, y: tf.Tensor, radius: tf.Tensor,
                relaxed: bool) -> tf.Tensor:
        """Lower bounds of the logit of the right class less each other, [N, classes]; 0 at the right class.

        Args:
            intervals: of the same images and radii.
            x, radius: see ``intervals``.
            y: classes, [N].
            relaxed: whether the whole network is passed backwards, by linear functions from the logits to the image
                (CROWN-IBP; Zhang et al., arXiv 1906.06316, section 3), or what is linear after the last other layer
                (IBP with the last layer elided; arXiv 1810.12715, section 3).
        """
        right = tf.one_hot(y, self.classes, dtype=self.dtype)
        rows = Rows((right[:, tf.newaxis] - tf.eye(self.classes, dtype=self.dtype))[:, tf.newaxis], None)
        nowhere = tf.zeros([1, 2], tf.int32)
        waiting, bounds = {len(self.nodes) - 1: rows}, tf.zeros([1, 1, 1], self.dtype)
        for k in range(len(self.nodes) - 1, 0, -1):
            if k not in waiting:
                continue
            node, rows = self.nodes[k], waiting.pop(k)
            assert node.rule is not None
            if not (relaxed or node.rule.is_linear):
                low, high = intervals[k]
                bounds += (product(tf.nn.relu(rows.values), rows.window, low, nowhere)
                           - product(tf.nn.relu(-rows.values), rows.window, high, nowhere))
                continue
            given, more = node.rule.backward(rows, [intervals[j] for j in node.inputs], nowhere)
            bounds = bounds if more is None else bounds + more
            for j, own in zip(node.inputs, given):
                waiting[j] = own if j not in waiting else Rows(waiting[j].values + own.values, own.window)
        if 0 in waiting:
            bounds += self.ball.least(*waiting[0], nowhere, x, radius)
        return bounds[:, 0]
