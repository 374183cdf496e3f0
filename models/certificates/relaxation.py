"""Bounds of a network in balls around images, by linear functions that are propagated backwards (CROWN; Zhang et al.,
arXiv 1811.00866; Weng et al., arXiv 1804.09699; Boopathy et al., arXiv 1811.12395).

What is bounded is the network as it is evaluated, see ``rounding``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf

from .balls import Ball
from .graph import Node, nodes_of
from .nonlinear import ReLU
from .rounding import LARGEST
from .rules import Interval, product
from .windows import Rows, Window, added, whole

NUMBERS = 2 ** 22
"""Coefficients that are worked on at a time, about; several tensors of so many float64 are needed."""


class Known(NamedTuple):
    """What is known of each node where images are in balls: intervals, and what rounding can move."""

    intervals: list[Interval]
    errors: list[tf.Tensor | None]


class Relaxation:
    """The linear relaxation of a network.

    Args:
        net: a network that has one, see ``graph.nodes_of``.
        ball: where images are.
        numbers: coefficients that are worked on at a time.

    Raises:
        ValueError: it has none.
    """

    def __init__(self, net: keras.Model, ball: Ball, numbers: int = NUMBERS):
        self.nodes, self.ball, self.numbers = nodes_of(net), ball, numbers
        self.classes = self.nodes[-1].shape[0]
        self.relus = [i for i, node in enumerate(self.nodes) if isinstance(node.rule, ReLU)]
        # The intervals of ReLUs and maxima are as tight as those of what they take.
        self.tightened = {j for node in self.nodes[1:] if not _is_linear(node) for j in node.inputs
                          if j and _is_linear(self.nodes[j])}
        of_image = [True]  # linear functions of the image, whose bounds are exact
        for node in self.nodes[1:]:
            of_image.append(_is_linear(node) and all(of_image[j] for j in node.inputs))
        self.exact = {i for i in self.tightened if of_image[i]}

    # ---- all nodes ----

    def know(self, x: tf.Tensor, radius: tf.Tensor, tighten: bool = True) -> Known:
        """Bounds of every node.

        Args:
            x: images, float64 [N, H, W, C] in [0, 1].
            radius: float64 [N].
            tighten: whether by the relaxation, where that is needed, or by intervals, but for linear functions of the
                image.
        """
        known = Known([self.ball.interval(x, radius)], [None])
        for i, node in enumerate(self.nodes[1:], start=1):
            assert node.rule is not None
            interval, error = node.rule.forward([known.intervals[j] for j in node.inputs])
            known.intervals.append(interval)
            known.errors.append(error)
            if i in (self.tightened if tighten else self.exact):
                low, high = self._bounds(i, known, x, radius)
                known.intervals[i] = Interval(tf.maximum(interval.low, low), tf.minimum(interval.high, high))
        return known

    def margins(self, known: Known, x: tf.Tensor, y: tf.Tensor, radius: tf.Tensor,
                slopes: Mapping[int, tf.Tensor] | None = None) -> tf.Tensor:
        """Lower bounds of the logit of the right class less each other, float64 [N, classes]; infinity at the right
        class. Where bounds overflow float32 it is -infinity.

        Args:
            known: of every node, in these balls.
            x, radius: as of ``know``.
            y: classes, [N].
            slopes: of ReLUs from below, by their numbers; see ``nonlinear.ReLU``.
        """
        right = tf.one_hot(y, self.classes, dtype=tf.float64)
        rows = Rows((right[:, tf.newaxis] - tf.eye(self.classes, dtype=tf.float64))[:, tf.newaxis], None)
        nowhere = tf.zeros([1, 2], tf.int32)
        bounds = self._lower(len(self.nodes) - 1, rows, nowhere, known, x, radius, slopes or {})[:, 0]
        return self.judged(known, bounds, right)

    def judged(self, known: Known, bounds: tf.Tensor, right: tf.Tensor) -> tf.Tensor:
        """Bounds of margins, [N, classes], infinity at the right class; -infinity where there is no bound, or float32
        may overflow."""
        largest = tf.stack([tf.reduce_max(tf.reshape(i.magnitude, [tf.shape(bounds)[0], -1]), axis=1)
                            for i in known.intervals])
        fits = tf.reduce_all(largest <= LARGEST, axis=0)
        infinity = tf.constant(np.inf, tf.float64)
        bounds = tf.where(fits[:, tf.newaxis] & ~tf.math.is_nan(bounds), bounds, -infinity)
        return tf.where(right > 0, infinity, bounds)

    # ---- one node ----

    def _bounds(self, i: int, known: Known, x: tf.Tensor, radius: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Of what a node gives, by the relaxation of all before it, some places at a time."""
        shape = self.nodes[i].shape
        channels, images = shape[-1], x.shape[0]
        each = max(1, self.numbers // (images * self._numbers(i)))
        if len(shape) == 3:
            grid = np.stack(np.meshgrid(*map(np.arange, shape[:2]), indexing='ij'), axis=-1).reshape(-1, 2)
        else:
            grid = np.stack([np.arange(channels), np.zeros(channels, int)], axis=1)
        parts = -(-len(grid) // each)
        each = -(-len(grid) // parts)
        padded = np.concatenate([grid, np.repeat(grid[:1], parts * each - len(grid), axis=0)])

        def of_some(places: tf.Tensor) -> tf.Tensor:
            found = self._lower(i, _unit_rows(shape, places), places, known, x, radius, {})
            return tf.ensure_shape(found, [images, each, None])
        chunks = tf.constant(padded.reshape(parts, each, 2), tf.int32)
        if parts == 1:
            found = of_some(chunks[0])
        else:
            # A map has AutoGraph rewrite its function, which is Python as it stands.
            found = tf.map_fn(tf.autograph.experimental.do_not_convert(of_some), chunks,
                              fn_output_signature=tf.float64, parallel_iterations=1)
            found = tf.reshape(tf.transpose(found, [1, 0, 2, 3]), [images, parts * each, -1])
        low, high = tf.split(found[:, :len(grid)], 2, axis=2)
        return tf.reshape(low, [images, *shape]), tf.reshape(-high, [images, *shape])

    def _numbers(self, i: int) -> int:
        """How many coefficients there are at most for each place whose value a node gives."""
        shape = self.nodes[i].shape
        rows = 2 * shape[-1] if len(shape) == 3 else 2
        windows: dict[int, Window | None] = {i: _start(shape)}
        most = 1
        for k in range(i, -1, -1):
            if k not in windows:
                continue
            node, window = self.nodes[k], windows[k]
            size = int(np.prod(node.shape))
            if window is not None and len(node.shape) == 3:
                size = min(size, window.size[0] * window.size[1] * node.shape[2])
            most = max(most, size)
            for j in node.inputs:
                below = self.nodes[j].shape
                is_small = window is not None and len(node.shape) == 3 == len(below) and j not in windows
                windows[j] = node.rule.window(window) if is_small and node.rule else whole(below)
        return rows * most

    def _lower(self, i: int, rows: Rows, places: tf.Tensor, known: Known, x: tf.Tensor, radius: tf.Tensor,
               slopes: Mapping[int, tf.Tensor]) -> tf.Tensor:
        """Lower bounds of linear functions of what a node gives, [N, P, R]."""
        waiting, constant = {i: rows}, tf.zeros([1, 1, 1], tf.float64)
        for k in range(i, 0, -1):
            if k not in waiting:
                continue
            node, rows = self.nodes[k], waiting.pop(k)
            assert node.rule is not None
            if (error := known.errors[k]) is not None:
                constant -= product(tf.abs(rows.values), rows.window, error, places)
            given, more = node.rule.backward(rows, [known.intervals[j] for j in node.inputs], places, slopes.get(k))
            constant = constant if more is None else constant + more
            for j, own in zip(node.inputs, given):
                waiting[j] = own if j not in waiting else added(waiting[j], own, self.nodes[j].shape, places)
        return constant + self.ball.least(*waiting[0], places, x, radius)


def _is_linear(node: Node) -> bool:
    return node.rule is None or node.rule.is_linear


def _start(shape: Sequence[int]) -> Window | None:
    """The window that is a place of a layer."""
    return Window((1, 1), (0, 0), (1, 1)) if len(shape) == 3 else None


def _unit_rows(shape: Sequence[int], places: tf.Tensor) -> Rows:
    """Of each place each channel, and less each channel; of a layer without pixels a unit is a place."""
    units = shape[-1]
    if len(shape) == 3:
        own = tf.eye(units, dtype=tf.float64)
        return Rows(tf.concat([own, -own], axis=0)[tf.newaxis, tf.newaxis, :, tf.newaxis, tf.newaxis], _start(shape))
    own = tf.one_hot(places[:, 0], units, dtype=tf.float64)
    return Rows(tf.stack([own, -own], axis=1)[tf.newaxis], None)
