"""The nearest points of hyperplanes within the box, in each norm: what FAB steps to (Croce and Hein, arXiv 1907.02044,
section 2.2), for all images of a batch at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import tensorflow as tf

FAR = 1e30
"""Stands for the length at which a pixel that has no part in the hyperplane meets a wall; a square of it overflows."""


def _level(slope: tf.Tensor, reach: tf.Tensor, gain: tf.Tensor, goal: tf.Tensor) -> tf.Tensor:
    """The least length at which pixels gain enough: of ``sum_i min(slope_i length, gain_i) = goal``, [n].

    The sum is concave in the length, and of straight pieces: Newton's method from 0 never goes too far, and ends, when
    no pixel meets its wall any more, where it is exact. That takes a few sums over pixels, in place of sorting them.

    Args:
        slope: what a pixel gains per length until it meets its wall, float32 [n, D].
        reach: the length at which it does, [n, D].
        gain: what it has gained then, [n, D].
        goal: what they have to gain together, at least 0, [n].

    Returns:
        The lengths; ``FAR`` where all of the box does not reach.
    """
    def body(length, before):
        held = reach <= length[:, tf.newaxis]
        left = goal - tf.reduce_sum(tf.where(held, gain, 0.0), axis=1)
        rising = tf.reduce_sum(tf.where(held, 0.0, slope), axis=1)
        there = tf.where(left > 0, FAR, length)
        new = tf.where(rising > 0, left / tf.where(rising > 0, rising, 1.0), there)
        return tf.clip_by_value(tf.maximum(new, length), 0.0, FAR), length

    zero = tf.zeros_like(goal)
    length, _ = tf.while_loop(lambda length, before: tf.reduce_any(length > before), body, body(zero, zero - 1))
    return length


def _linf(w: tf.Tensor, room: tf.Tensor, goal: tf.Tensor) -> tf.Tensor:
    """All pixels go equally far, or to their walls."""
    reach = tf.where(w > 0, room, FAR)
    return tf.minimum(_level(w, reach, w * room, goal)[:, tf.newaxis], tf.where(w > 0, room, 0.0))


def _l2(w: tf.Tensor, room: tf.Tensor, goal: tf.Tensor) -> tf.Tensor:
    """Each pixel goes as far as its weight says, or to its wall."""
    reach = tf.minimum(tf.where(w > 0, room / tf.where(w > 0, w, 1.0), FAR), FAR)
    return tf.minimum(_level(tf.square(w), reach, w * room, goal)[:, tf.newaxis] * w, tf.where(w > 0, room, 0.0))


def _l1(w: tf.Tensor, room: tf.Tensor, goal: tf.Tensor) -> tf.Tensor:
    """The pixels of the largest weights go to their walls, one after another, and the last as far as it must."""
    order = tf.argsort(w, axis=1, direction='DESCENDING')
    sorted_w, gain = (tf.gather(a, order, axis=1, batch_dims=1) for a in (w, w * room))
    left = tf.maximum(goal[:, tf.newaxis] - tf.cumsum(gain, axis=1, exclusive=True), 0.0)
    moved = tf.minimum(left, gain) / tf.where(sorted_w > 0, sorted_w, 1.0)
    return tf.gather(moved, tf.argsort(order, axis=1), axis=1, batch_dims=1)


Projection: TypeAlias = Callable[[tf.Tensor, tf.Tensor, tf.Tensor], tf.Tensor]

PROJECTIONS: dict[str, Projection] = {'Linf': _linf, 'L2': _l2, 'L1': _l1}
"""By the names of norms: from weights and rooms, at least 0, [n, D], and what is to be gained, [n], to how far each
pixel goes, [n, D]."""


def to_hyperplane(norm: str, x: tf.Tensor, w: tf.Tensor, value: tf.Tensor, bounds: tuple[float, float]) -> tf.Tensor:
    """The shortest way from images to hyperplanes within the box: of least norm with ``<w, d> = -value``.

    Args:
        norm: a name of ``PROJECTIONS``.
        x: images within the box, float32 [n, H, W, C].
        w: normals of the hyperplanes, of any scale, [n, H, W, C].
        value: of the linear function with these normals, at the images, [n].
        bounds: of a pixel.

    Returns:
        The ways d, [n, H, W, C]. Where the box does not reach the hyperplane, to the corner that is nearest to it, in
        value; where w is 0, none.
    """
    flat, normal = (tf.reshape(a, [tf.shape(x)[0], -1]) for a in (x, w))
    largest = tf.reduce_max(tf.abs(normal), axis=1)
    unit = tf.where(largest > 0, largest, 1.0)
    down = normal / unit[:, tf.newaxis] * tf.where(value > 0, -1.0, 1.0)[:, tf.newaxis]
    room = tf.maximum(tf.where(down > 0, bounds[1] - flat, flat - bounds[0]), 0.0)
    moved = PROJECTIONS[norm](tf.abs(down), room, tf.minimum(tf.abs(value) / unit, FAR))
    return tf.reshape(tf.sign(down) * moved, tf.shape(x))
