"""Search along a direction for the place where a network changes its mind."""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf

Margin = Callable[[tf.Tensor], tf.Tensor]
"""From sizes of perturbations, [N], to margins, [N]: below 0 where the image of this size is classified correctly."""


def bisected(margin: Margin, first: tf.Tensor, at_first: tf.Tensor, most: tf.Tensor, steps: int,
             least: tf.Tensor | None = None) -> tuple[tf.Tensor, tf.Tensor]:
    """Bisection for the size at which the margin becomes 0 (Ding et al., arXiv 1812.02637, algorithm 2).

    An end moves only inwards: where the margin is below 0 the lower end rises to the size that was looked at; else, at
    0 too, the upper end falls to it. So an image that stays correct ends 2^-steps of the way below ``most``, and one
    that is wrong everywhere 2^-steps of the way above ``least``.

    Args:
        margin: looked at ``steps - 1`` times.
        first: the sizes to begin with, at most ``most``, [N].
        at_first: their margins, [N].
        most: the largest sizes, [N].
        steps: midpoints, at least 1.
        least: the smallest sizes, [N]; None for 0.

    Returns:
        The last midpoints, [N]; and the upper ends, [N], which are sizes that were seen to be wrong, but for those that
        are still ``most``.
    """
    low = tf.zeros_like(first) if least is None else least

    def tightened(size, found, low, high):
        right = found < 0
        low, high = tf.where(right, tf.maximum(size, low), low), tf.where(right, high, tf.minimum(size, high))
        return (low + high) / 2, low, high

    def step(i, size, low, high):
        return i + 1, *tightened(size, margin(size), low, high)

    _, size, _, high = tf.while_loop(lambda i, *_: i < steps - 1, step, (0, *tightened(first, at_first, low, most)))
    return size, high
