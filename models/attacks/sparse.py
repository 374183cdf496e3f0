"""Steps up a loss within an L1 ball, of few pixels at a time: the loop of Auto-PGD in L1 (Croce and Hein, arXiv
2103.01208, section 3).

It has the arguments of ``adaptive.climb`` and gives what that gives. All of it is of each image alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import tensorflow as tf

from . import ops
from .adaptive import Climb
from .balls import Ball, Bounds
from .descent import Guide

FIRST_SHARE = 0.2
"""Of the pixels that the first steps from noise change."""
FEWER = 1.5
"""The next steps change so many times fewer pixels than the best point does."""
SHORTER = 1.5
"""By what a step is divided at a check that finds no sparser point."""
SHORTEST = 10.0
"""Steps are the budget over this at least."""
SPARSER = 0.95
"""A point is sparser if it changes at most so many times as many pixels as that of the check before."""
EVERY = 0.04
"""Share of the steps between two checks."""
STAGES = ((3, 0.3), (2, 0.3), (1, 0.4))
"""Of a climb that begins in larger balls: the radius, in units of the budget, and the share of the steps."""


class _At(NamedTuple):
    """Where images stand after a step; see ``adaptive.Climb``. ``share`` of the pixels is what a step changes, and
    ``pixels`` what the best point changed at the check before, [N] each."""

    x: tf.Tensor
    up: tf.Tensor
    best: tf.Tensor
    best_up: tf.Tensor
    best_loss: tf.Tensor
    found: tf.Tensor
    wrong: tf.Tensor
    length: tf.Tensor
    share: tf.Tensor
    pixels: tf.Tensor
    stuck: tf.Tensor


def sparse_direction(up: tf.Tensor, share: tf.Tensor) -> tf.Tensor:
    """The perturbation of L1 norm 1 that changes the pixels of the steepest slopes, all by as much.

    Args:
        up: slopes, float32 [N, H, W, C].
        share: of the pixels, [N]; one at least, and all that are as steep as the last; those without a slope stay.
    """
    flat = tf.abs(tf.reshape(up, [tf.shape(up)[0], -1]))
    size = tf.shape(flat)[1]
    rank = tf.cast((1 - share) * tf.cast(size, tf.float32), tf.int32)
    ascending = tf.sort(flat, axis=1)
    least = tf.gather(ascending, tf.clip_by_value(rank, 0, size - 1), axis=1, batch_dims=1)
    signs = tf.where(flat >= least[:, tf.newaxis], tf.sign(tf.reshape(up, tf.shape(flat))), 0.0)
    count = tf.reduce_sum(tf.abs(signs), axis=1, keepdims=True)
    return tf.reshape(signs / tf.maximum(count, 1.0), tf.shape(up))


def _changed(x: tf.Tensor, clean: tf.Tensor) -> tf.Tensor:
    """How many pixels differ, float32 [N]."""
    return tf.reduce_sum(tf.cast(x != clean, tf.float32), axis=[1, 2, 3])


def sparse_climb(guide: Guide, value: Callable[..., tf.Tensor], ball: Ball, bounds: Bounds, steps: int,
                 start: tf.Tensor, clean: tf.Tensor, y: tf.Tensor, eps: tf.Tensor, known: Sequence[tf.Tensor],
                 is_wrong: Callable[[tf.Tensor, tf.Tensor], tf.Tensor], before_first: float, rho: float, stop: bool,
                 compact: bool = True, from_noise: bool = True) -> Climb:
    """Steps along the sparse direction, each projected onto the ball within the box.

    At the checks, every 0.04 of the steps, the share of the pixels that a step changes is set by how many the best
    point changes. Where these are fewer than at the check before, the image returns to that point, and steps are as
    long as the budget again; elsewhere steps become shorter.

    Args:
        guide, value, ball, bounds, steps, start, clean, y, eps, known, is_wrong, stop, compact: see ``adaptive.climb``.
        before_first, rho: not used; steps do not depend on how often the loss rose.
        from_noise: whether the start is noise, rather than a point that was climbed to.
    """
    every = max(int(EVERY * steps), 1)

    def step(i, state, fixed):
        s, (clean, y, eps, *known) = _At(*state), fixed
        moved = s.x + ops.per_image(s.length) * sparse_direction(s.up, s.share)
        x = tf.clip_by_value(ball.onto(moved, clean, eps), *bounds)
        way = guide(i, x, y, *known)
        up, loss, wrong = -way.gradient, value(way.logits, y, *known), is_wrong(way.logits, y)
        better = loss > s.best_loss
        best, best_up = (tf.where(ops.per_image(better), a, b) for a, b in ((x, s.best), (up, s.best_up)))
        found = tf.where(ops.per_image(wrong), x, s.found)

        check = (i + 1) % every == 0
        pixels = tf.where(check, _changed(best, clean), s.pixels)
        sparser = check & (pixels < SPARSER * s.pixels)
        x, up = (tf.where(ops.per_image(sparser), a, b) for a, b in ((best, x), (best_up, up)))
        shorter = tf.maximum(s.length / SHORTER, eps / SHORTEST)
        length = tf.where(sparser, eps, tf.where(check, shorter, s.length))
        share = tf.where(check, pixels / size / FEWER, s.share)
        new = _At(x, up, best, best_up, tf.where(better, loss, s.best_loss), found, s.wrong | wrong, length, share,
                  pixels, s.stuck | way.stuck)
        return list(new), wrong if stop else tf.zeros_like(wrong)

    size = tf.cast(tf.reduce_prod(tf.shape(start)[1:]), tf.float32)
    way = guide(0, start, y, *known)
    loss, wrong = value(way.logits, y, *known), is_wrong(way.logits, y)
    pixels = tf.fill(tf.shape(loss), size) if from_noise else _changed(start, clean)
    share = tf.fill(tf.shape(loss), FIRST_SHARE) if from_noise else pixels / size / FEWER
    begun = _At(start, -way.gradient, start, -way.gradient, loss, start, wrong, eps, share, pixels, way.stuck)
    end = _At(*ops.compacting_loop(step, list(begun), [clean, y, eps, *known], steps, compact and stop))
    none = tf.zeros_like(end.wrong)
    return Climb(end.x, end.x, end.up, end.best_loss, end.best, end.best_up, end.best_loss, end.found, end.wrong,
                 end.length, tf.cast(none, tf.int32), none, end.best_loss, end.stuck)


def staged_climb(guide: Guide, value: Callable[..., tf.Tensor], ball: Ball, bounds: Bounds, steps: int,
                 start: tf.Tensor, clean: tf.Tensor, y: tf.Tensor, eps: tf.Tensor, known: Sequence[tf.Tensor],
                 is_wrong: Callable[[tf.Tensor, tf.Tensor], tf.Tensor], before_first: float, rho: float, stop: bool,
                 compact: bool = True) -> Climb:
    """``sparse_climb`` in balls of three times the budget, of twice, and of the budget, each from where the loss was
    largest in the one before, brought into the smaller ball; in the end only the last counts. The start should be of
    the largest."""
    left, stuck = steps, tf.zeros_like(y, tf.bool)
    for radius, share in STAGES:
        last = radius == 1
        now = left if last else min(math.ceil(share * steps), left)
        begin = tf.clip_by_value(ball.onto(start, clean, radius * eps), *bounds)
        end = sparse_climb(guide, value, ball, bounds, now, begin, clean, y, radius * eps, known, is_wrong,
                           before_first, rho, stop and last, compact, from_noise=False)
        left, start, stuck = left - now, end.best, stuck | end.stuck
    return end._replace(stuck=stuck)
