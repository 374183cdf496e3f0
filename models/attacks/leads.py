"""By how much the right class leads, and the way down; tensors of one batch, images float32 [N, H, W, C].

All of it is free of the scale of the logits: leads are taken in units of the logits' own spread, so that neither they
nor their gradients under- or overflow when the last layer is multiplied by 1e30 or by 1e-30.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from . import ops


class Slope(NamedTuple):
    """Where an image stands, and which way is down.

    Attributes:
        logits: float32 [N, C].
        lead: of the right class, in units of the spread, float32 [N]; negative where the image is misclassified.
        gradient: of the lead over a smooth maximum of the others, in the same units, [N, H, W, C]. Where there is none,
            a direction of noise stands for it.
        blind: where there is none: it vanished, or is not a number; bool [N].
    """

    logits: tf.Tensor
    lead: tf.Tensor
    gradient: tf.Tensor
    blind: tf.Tensor


def best_other(logits: tf.Tensor, y: tf.Tensor) -> tf.Tensor:
    """The largest logit of a class other than ``y``, [N]."""
    mask = tf.one_hot(y, logits.shape[-1], on_value=True, off_value=False)
    return tf.reduce_max(tf.where(mask, logits.dtype.min, logits), axis=1)


def logit_of(logits: tf.Tensor, y: tf.Tensor) -> tf.Tensor:
    """The logit of class ``y``, [N]."""
    return tf.gather(logits, y, axis=1, batch_dims=1)


def lead(logits: tf.Tensor, y: tf.Tensor) -> tf.Tensor:
    """By how much the logit of class ``y`` leads every other, [N]; negative where the image is misclassified."""
    return logit_of(logits, y) - best_other(logits, y)


def largest(logits: tf.Tensor) -> tf.Tensor:
    """The largest magnitude of a logit, [N]."""
    return tf.reduce_max(tf.abs(logits), axis=1)


SOFTEST, SHARPEST = 7.0, 50.0
"""Inverse widths of the smooth maximum of ``soft_lead`` at the first and last step, in units of the logits' spread."""


def sharpening(i: tf.Tensor | int, steps: int) -> tf.Tensor:
    """How sharp the maximum of ``soft_lead`` is at step i. Early on many classes count, so that the search is not tied
    to the one that happens to be second at the clean image; at the end only those at the boundary do."""
    return SOFTEST * (SHARPEST / SOFTEST) ** (tf.cast(i, tf.float32) / steps)


def spread_of(logits: tf.Tensor, y: tf.Tensor) -> tf.Tensor:
    """How far the logit of class ``y`` is above the mean of the others, [N]: the unit of leads; 0 or less if it is
    not."""
    classes = tf.cast(tf.shape(logits)[1], logits.dtype)
    own = logit_of(logits, y)
    return own - (tf.reduce_sum(logits, axis=1) - own) / (classes - 1)


def soft_lead(logits: tf.Tensor, y: tf.Tensor, sharp: tf.Tensor | float) -> tf.Tensor:
    """``lead`` with a smooth maximum over the other classes, [N].

    Its gradient has the direction of that of the cross entropy of the logits times ``sharp``, and never vanishes.
    """
    mask = tf.one_hot(y, logits.shape[-1], on_value=True, off_value=False)
    others = tf.where(mask, -np.inf, logits * sharp)
    return logit_of(logits, y) - tf.reduce_logsumexp(others, axis=1) / sharp


def slope(net: Callable[[tf.Tensor], tf.Tensor], x: tf.Tensor, y: tf.Tensor, spread: tf.Tensor,
          sharp: tf.Tensor | float, bounds: tuple[float, float] | None = None) -> Slope:
    """The slope of ``soft_lead`` at ``x``.

    Args:
        net: from images to logits, float32.
        x, y: images and right classes.
        spread: at the clean images, see ``spread_of``; where it is not above 0 (a black image, say, of a network
            without biases, whose logits are all 0), that at ``x`` serves.
        sharp: of the smooth maximum, in units of the spread.
        bounds: of a pixel; the gradient then leaves out what would lead out of the box. None for the whole gradient.
    """
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(x)
        logits = net(x)
        unit = tf.stop_gradient(_positive(spread, spread_of(logits, y), largest(logits)))
        value = soft_lead(logits / unit[:, tf.newaxis], y, sharp)
    gradient = ops.finite(tape.gradient(value, x, unconnected_gradients='zero'))
    if bounds is not None:
        gradient = ops.inwards(gradient, x, bounds)
    blind = ops.linf_norm(gradient) == 0
    gradient = tf.where(ops.per_image(blind), ops.noise_like(x), gradient)
    return Slope(logits, lead(logits, y) / unit, gradient, blind)


def gaps(net: Callable[[tf.Tensor], tf.Tensor], x: tf.Tensor, y: tf.Tensor, candidates: tf.Tensor,
         through_unit: bool = False) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor, list[tf.Tensor]]:
    """By how much classes lead the right one, and the gradients of that.

    Args:
        net: from images to logits, float32.
        x, y: images and right classes.
        candidates: classes, int64 [N, K].
        through_unit: whether the gradient flows through the unit of the scores.

    Returns:
        Logits [N, C]; scores, the logits in units of their largest magnitude; of these, the leads of the candidates,
        [K, N]; and their gradients, K of [N, H, W, C].
    """
    with tf.GradientTape(persistent=True, watch_accessed_variables=False) as tape:
        tape.watch(x)
        logits = net(x)
        size = largest(logits)
        unit = tf.where(size > 0, size, 1.0)  # a constant otherwise, which keeps small gradients in float32's range
        scores = logits / (unit if through_unit else tf.stop_gradient(unit))[:, tf.newaxis]
        leading = [logit_of(scores, candidates[:, k]) - logit_of(scores, y) for k in range(candidates.shape[1])]
    gradients = [ops.finite(tape.gradient(lead, x, unconnected_gradients='zero')) for lead in leading]
    del tape
    return logits, scores, tf.stack(leading), gradients


def _positive(*candidates: tf.Tensor) -> tf.Tensor:
    """The first that is above 0, else 1; [N]."""
    found = tf.ones_like(candidates[0])
    for candidate in reversed(candidates):
        found = tf.where(candidate > 0, candidate, found)
    return found


def to_boundary(at: Slope, dual_norm: tf.Tensor) -> tf.Tensor:
    """Distance from the linearised boundary, [N], where the gradient's dual norm is this; inf where there is no
    gradient, and it may be anywhere."""
    return tf.where(at.blind, np.inf, tf.abs(at.lead) / tf.where(dual_norm > 0, dual_norm, 1.0))
