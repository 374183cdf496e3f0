"""Steps down a slope within a budget: the loop that attacks within budgets, and searches for one, have in common."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeAlias

import tensorflow as tf

from . import ops
from .balls import Ball, Bounds


class Way(NamedTuple):
    """Which way is down at the images of a step, and what was seen there.

    Attributes:
        gradient: of what is to be made small, [N, H, W, C].
        stuck: where it is none, bool [N]; what that means is up to the guide.
        logits: [N, num_labels].
    """

    gradient: tf.Tensor
    stuck: tf.Tensor
    logits: tf.Tensor


Guide: TypeAlias = Callable[..., Way]
"""From the number of a step, images float32, labels, and what else it knows of each image, to the way."""


def descend(guide: Guide, ball: Ball, bounds: Bounds, steps: int, start: tf.Tensor, clean: tf.Tensor, y: tf.Tensor,
            eps: tf.Tensor, length: tf.Tensor, known: Sequence[tf.Tensor] = (),
            is_wrong: Callable[[tf.Tensor, tf.Tensor], tf.Tensor] | None = None, compact: bool = True
            ) -> list[tf.Tensor]:
    """Steps along the ball's direction for the gradient, each projected onto the ball and the box.

    Args:
        guide: the way at each step.
        ball, bounds: in what perturbations are measured; the least and the largest value of a pixel.
        steps: how many.
        start, clean: where the steps begin, and the centres of the balls, [N, H, W, C] of one floating type.
        y: labels, int64 [N].
        eps: budgets, [N], of the type of the images.
        length: of a step, float32 [N].
        known: what else the guide is given of each image, [N, ...].
        is_wrong: from logits and labels to whether an image is done, bool [N], and stays where it is; None for all the
            steps of every image.
        compact: whether images that are done leave the batch.

    Returns:
        The images after their steps; whether each was done when it was last looked at; whether its way was stuck
        anywhere.
    """
    def step(i, state, fixed):
        (x, done, stuck), (clean, y, eps, length, *known) = state, fixed
        way = guide(i, tf.cast(x, tf.float32), y, *known)
        direction = ball.direction(way.gradient)
        moved = x - ops.per_image(tf.cast(length, x.dtype)) * tf.cast(direction, x.dtype)
        moved = tf.clip_by_value(ball.onto(moved, clean, eps), *bounds)
        if is_wrong is not None:
            done = is_wrong(way.logits, y)
            moved = tf.where(ops.per_image(done), x, moved)
        return [moved, done, stuck | way.stuck], done

    no = tf.zeros_like(y, tf.bool)
    return ops.compacting_loop(step, [start, no, no], [clean, y, eps, length, *known], steps,
                               compact and is_wrong is not None)
