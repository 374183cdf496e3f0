"""Steps up a loss within a budget, of sizes that adapt: the loop of Auto-PGD (Croce and Hein, arXiv 2003.01690).

All of it is of each image alone: what an image gets does not depend on its batch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import tensorflow as tf

from . import ops
from .balls import Ball, Bounds
from .descent import Guide

FIRST = 2.0
"""The first steps, in units of the budget."""
ONWARD = 0.75
"""The share of a step in a move; the rest is the move before."""


class Climb(NamedTuple):
    """Where images stand after a step.

    Attributes:
        x, before: the point, and the one before it, [N, H, W, C].
        up: a direction that the loss rises in, at ``x``.
        loss: where the last step ended, [N].
        best, best_up, best_loss: the point of the largest loss so far, and the same of it.
        found: the last point that was misclassified; the start if none was.
        wrong: whether any was, bool [N].
        length: of a step, [N].
        rises: steps since the last check at which the loss rose, int32 [N].
        halved: whether the last check halved the length, bool [N].
        best_then: the largest loss at that check, [N].
        stuck: whether there was no gradient anywhere, bool [N].
    """

    x: tf.Tensor
    before: tf.Tensor
    up: tf.Tensor
    loss: tf.Tensor
    best: tf.Tensor
    best_up: tf.Tensor
    best_loss: tf.Tensor
    found: tf.Tensor
    wrong: tf.Tensor
    length: tf.Tensor
    rises: tf.Tensor
    halved: tf.Tensor
    best_then: tf.Tensor
    stuck: tf.Tensor


def windows(steps: int) -> list[int]:
    """For each step, by how many steps the check after it looks back; 0 where there is none.

    0.22 of all steps at first, each 0.03 less than the one before, and 0.06 at least; rounded down, but to 1.
    """
    window, shorter, least = (max(int(share * steps), 1) for share in (0.22, 0.03, 0.06))
    found, since = [0] * steps, 0
    for i in range(steps):
        since += 1
        if since == window:
            found[i], since, window = window, 0, max(window - shorter, least)
    return found


def climb(guide: Guide, value: Callable[..., tf.Tensor], ball: Ball, bounds: Bounds, steps: int, start: tf.Tensor,
          clean: tf.Tensor, y: tf.Tensor, eps: tf.Tensor, known: Sequence[tf.Tensor],
          is_wrong: Callable[[tf.Tensor, tf.Tensor], tf.Tensor], before_first: float, rho: float, stop: bool,
          compact: bool = True) -> Climb:
    """Steps with momentum along the ball's direction, each projected onto the ball and the box.

    At the checks of ``windows``, the steps of an image are halved, and it returns to its best point, if its loss rose
    in at most ``rho`` of the steps since the last check; or if its best loss is what it was then, and the step was not
    halved then.

    Args:
        guide: the way *down* at each step, which is what the loss rises against.
        value: the loss, [N], from logits, labels and ``known``: it is only ever compared.
        ball, bounds, start, clean, y, eps, known: see ``descend``.
        steps: how many.
        is_wrong: from logits and labels to whether an image is misclassified, bool [N].
        before_first: the loss that that of the first step is compared with. The released code compares with a 0 of its
            table, not with the loss of the start.
        rho: share of the steps.
        stop: whether an image is done once it is misclassified.
        compact: whether images that are done leave the batch.
    """
    looks_back = windows(steps)
    is_check = tf.constant([window > 0 for window in looks_back])
    too_few = tf.constant([int(rho * window) if window else -1 for window in looks_back])

    def inside(x, clean, eps):
        return tf.clip_by_value(ball.onto(x, clean, eps), *bounds)

    def step(i, state, fixed):
        s, (clean, y, eps, *known) = Climb(*state), fixed
        moved = inside(s.x + ops.per_image(s.length) * ball.direction(s.up), clean, eps)
        share = tf.where(i > 0, ONWARD, 1.0)
        moved = inside(s.x + share * (moved - s.x) + (1 - share) * (s.x - s.before), clean, eps)
        way = guide(i, moved, y, *known)
        up, loss, wrong = -way.gradient, value(way.logits, y, *known), is_wrong(way.logits, y)

        better = loss > s.best_loss
        best, best_up = (tf.where(ops.per_image(better), a, b) for a, b in ((moved, s.best), (up, s.best_up)))
        best_loss = tf.where(better, loss, s.best_loss)
        found = tf.where(ops.per_image(wrong), moved, s.found)

        rises = s.rises + tf.cast(loss > s.loss, tf.int32)
        check = is_check[i]
        halved = (rises <= too_few[i]) | (check & ~s.halved & (s.best_then >= best_loss))
        x, up = (tf.where(ops.per_image(halved), a, b) for a, b in ((best, moved), (best_up, up)))
        new = Climb(
            x, s.x, up, loss, best, best_up, best_loss, found, s.wrong | wrong,
            tf.where(halved, s.length / 2, s.length), tf.where(check, 0, rises), tf.where(check, halved, s.halved),
            tf.where(check, best_loss, s.best_then), s.stuck | way.stuck)
        return list(new), wrong if stop else tf.zeros_like(wrong)

    way = guide(0, start, y, *known)
    loss, wrong = value(way.logits, y, *known), is_wrong(way.logits, y)
    begun = Climb(
        start, start, -way.gradient, tf.fill(tf.shape(loss), tf.constant(before_first, loss.dtype)), start,
        -way.gradient, loss, start, wrong, FIRST * eps, tf.zeros_like(wrong, tf.int32), tf.ones_like(wrong), loss,
        way.stuck)
    return Climb(*ops.compacting_loop(step, list(begun), [clean, y, eps, *known], steps, compact and stop))
