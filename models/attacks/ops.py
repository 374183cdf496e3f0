"""What the attacks' compiled loops are made of; tensors of one batch, images float32 [N, H, W, C]."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import tensorflow as tf

LEAST = 1e-6
"""Of the largest distance that the box allows, or of a pixel: no search takes a shorter step or has a smaller radius.
At a tie, where the linearised boundary is no distance away, it would not move at all."""


def per_image(a: tf.Tensor) -> tf.Tensor:
    """[N] -> [N, 1, 1, 1]."""
    return a[:, tf.newaxis, tf.newaxis, tf.newaxis]


def value_and_gradient(net: Callable[[tf.Tensor], tf.Tensor], x: tf.Tensor, value: Callable[[tf.Tensor], tf.Tensor]
                       ) -> tuple[tf.Tensor, tf.Tensor]:
    """The logits at ``x``, and the gradient with respect to ``x`` of ``value`` (of the logits, summed over images)."""
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(x)
        logits = net(x)
        values = value(logits)
    return logits, finite(tape.gradient(values, x, unconnected_gradients='zero'))


def finite(gradient: tf.Tensor) -> tf.Tensor:
    """The gradient, with the largest number for what overflowed, and 0 for what is no number."""
    largest = gradient.dtype.max
    return tf.where(tf.math.is_nan(gradient), tf.zeros_like(gradient), tf.clip_by_value(gradient, -largest, largest))


def inwards(gradient: tf.Tensor, x: tf.Tensor, bounds: tuple[float, float]) -> tf.Tensor:
    """The gradient without what a step against it would lose at the walls of the box.

    A descent in an L2 ball that does not leave it out stands still in corners: what the ball's projection takes from
    the other pixels is more than they gain.
    """
    near = 1e-6 * (bounds[1] - bounds[0])  # a clean image plus a perturbation is rounded
    stuck = ((x <= bounds[0] + near) & (gradient > 0)) | ((x >= bounds[1] - near) & (gradient < 0))
    return tf.where(stuck, tf.zeros_like(gradient), gradient)


def noise_like(x: tf.Tensor) -> tf.Tensor:
    """A direction for images that have no gradient: always the same, and the same for all, [1, H, W, C], so that what
    an image gets does not depend on its batch."""
    return tf.random.stateless_normal([1, *x.shape[1:]], seed=[1906, 5890])


def l2_norm(a: tf.Tensor) -> tf.Tensor:
    """L2 norm of each image, [N]; neither under- nor overflows, whatever the scale."""
    scale = tf.reduce_max(tf.abs(a), axis=[1, 2, 3])
    safe = tf.where(scale > 0, scale, 1.0)
    return scale * tf.sqrt(tf.reduce_sum(tf.square(a / per_image(safe)), axis=[1, 2, 3]))


def unit(a: tf.Tensor) -> tf.Tensor:
    """Each image scaled to L2 norm 1; zero stays zero."""
    scale = tf.reduce_max(tf.abs(a), axis=[1, 2, 3])
    a = a / per_image(tf.where(scale > 0, scale, 1.0))
    norm = tf.sqrt(tf.reduce_sum(tf.square(a), axis=[1, 2, 3]))
    return a / per_image(tf.where(norm > 0, norm, 1.0))


def linf_norm(a: tf.Tensor) -> tf.Tensor:
    """L-infinity norm of each image, [N]."""
    return tf.reduce_max(tf.abs(a), axis=[1, 2, 3])


def within_l2(a: tf.Tensor, radius: tf.Tensor) -> tf.Tensor:
    """Each image scaled down to an L2 norm of at most ``radius``, [N] or a scalar."""
    norm = l2_norm(a)
    return a * per_image(tf.where(norm > radius, radius / tf.where(norm > 0, norm, 1.0), 1.0))


def within_l1(a: tf.Tensor, radius: tf.Tensor, room: tf.Tensor | None = None) -> tf.Tensor:
    """The nearest image to each, in L2, of an L1 norm of at most ``radius``, [N], and with pixels within ``room`` of 0.

    They are ``sign(a) clip(|a| - t, 0, room)`` with the least t of at least 0 at which their sum is no more than the
    radius. As t falls the sum is made of straight lines, which become steeper by one where t meets an |a|, and flatter
    by one where it meets an |a| - room. In float64, for the sums cancel.

    Args:
        a: float [N, H, W, C].
        radius: at least 0.
        room: how far each pixel may go, of at least 0, of the shape of ``a``; None for anywhere.
    """
    flat, radius = tf.cast(tf.reshape(tf.abs(a), [tf.shape(a)[0], -1]), tf.float64), tf.cast(radius, tf.float64)
    most, bends, steeper = flat, flat, tf.ones_like(flat)
    if room is not None:
        most = tf.cast(tf.maximum(tf.reshape(room, tf.shape(flat)), 0.0), tf.float64)
        bends, steeper = tf.concat([flat, flat - most], axis=1), tf.concat([steeper, -steeper], axis=1)
    order = tf.argsort(bends, axis=1, direction='DESCENDING')
    bends, steeper = (tf.gather(b, order, axis=1, batch_dims=1) for b in (bends, steeper))
    slope = tf.cumsum(steeper, axis=1)
    sums = tf.pad(tf.cumsum(slope[:, :-1] * (bends[:, :-1] - bends[:, 1:]), axis=1), [[0, 0], [1, 0]])  # at each bend
    last = tf.reduce_sum(tf.cast(sums[:, 1:] < radius[:, tf.newaxis], tf.int32), axis=1)  # before the radius is reached
    bend, its_slope, before = (tf.gather(b, last, axis=1, batch_dims=1) for b in (bends, slope, sums))
    t = bend - (radius - before) / tf.maximum(its_slope, 1.0)
    inside = tf.reduce_sum(tf.minimum(flat, most), axis=1) <= radius
    t = tf.where(inside, tf.zeros_like(t), tf.maximum(t, 0.0))
    found = tf.clip_by_value(flat - t[:, tf.newaxis], 0.0, most)
    return tf.sign(a) * tf.cast(tf.reshape(found, tf.shape(a)), a.dtype)


def furthest_l2(x: tf.Tensor, bounds: tuple[float, float]) -> tf.Tensor:
    """L2 distance of each image from the furthest corner of the box, [N]."""
    return l2_norm(tf.maximum(x - bounds[0], bounds[1] - x))


def nearer(wrong: tf.Tensor, x: tf.Tensor, norm: tf.Tensor, best: tf.Tensor, best_norm: tf.Tensor
           ) -> tuple[tf.Tensor, tf.Tensor]:
    """The nearest images so far, and their norms [N]: those of ``x`` that are wrong and nearer replace the best."""
    better = wrong & (norm < best_norm)
    return tf.where(per_image(better), x, best), tf.where(better, norm, best_norm)


def cosine_annealed(first: float, last: float, i: tf.Tensor, steps: int) -> tf.Tensor:
    """From ``first`` at i = 0 to ``last`` at i = steps, along half a cosine."""
    return last + (first - last) * (1 + tf.cos(math.pi * tf.cast(i, tf.float32) / steps)) / 2


def compacting_loop(step: Callable, state: Sequence[tf.Tensor], fixed: Sequence[tf.Tensor], iterations: int,
                    compact: bool = True) -> list[tf.Tensor]:
    """Repeats ``step`` for every image until it is finished, at most ``iterations`` times.

    Finished images are frozen, and leave the batch as soon as they are a quarter of it, so that they stop costing.

    Args:
        step: (iteration, state, fixed) -> (new state, bool [n]: whether each image is finished).
        state: tensors [N, ...] that change.
        fixed: tensors [N, ...] that do not.
        iterations: the most steps.
        compact: False keeps finished images in the batch; the results are the same but for rounding.

    Returns:
        The last state of every image.
    """
    n = tf.shape(state[0])[0]

    def going(i, active, rows, final, state, fixed):
        return (i < iterations) & tf.reduce_any(active)

    def body(i, active, rows, final, state, fixed):
        new, finished = step(i, state, fixed)
        state = [_where(active, a, b) for a, b in zip(new, state)]
        active &= ~finished
        if compact:
            left = tf.reduce_sum(tf.cast(active, tf.int32))
            active, rows, final, state, fixed = tf.cond(
                (left > 0) & (4 * left <= 3 * tf.size(rows)),
                lambda: shrunk(active, rows, final, state, fixed), lambda: (active, rows, final, state, fixed))
        return i + 1, active, rows, final, state, fixed

    def shrunk(active, rows, final, state, fixed):
        keep = tf.where(active)[:, 0]
        active, rows_left, state_left, fixed = tf.nest.map_structure(
            lambda a: tf.gather(a, keep), (active, rows, state, fixed))
        return active, rows_left, _scatter(final, rows, state), state_left, fixed

    start = (0, tf.ones([n], tf.bool), tf.range(n), list(state), list(state), list(fixed))
    free = tf.nest.map_structure(lambda a: tf.TensorShape([None, *a.shape[1:]]), start[1:])
    _, _, rows, final, state, _ = tf.while_loop(going, body, start, shape_invariants=(tf.TensorShape([]), *free))
    return _scatter(final, rows, state)


def _scatter(final: Sequence[tf.Tensor], rows: tf.Tensor, state: Sequence[tf.Tensor]) -> list[tf.Tensor]:
    return [tf.tensor_scatter_nd_update(a, rows[:, tf.newaxis], b) for a, b in zip(final, state)]


def _where(mask: tf.Tensor, a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
    """Of each image, ``a`` where the mask [N] is true, else ``b``."""
    return tf.where(tf.reshape(mask, [-1] + [1] * (len(a.shape) - 1)), a, b)
