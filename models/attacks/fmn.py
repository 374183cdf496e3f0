"""FMN: the fast minimum-norm attack."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from . import ops
from .base import Net
from .minimum_norm import MinimumNormAttack


class FMN(MinimumNormAttack):
    """Minimises the distance: each step follows the gradient of the lead of the right class over a smooth maximum of
    the others, and is projected onto a ball whose radius is, until the class first changes, that of the linearised
    boundary, and then shrinks while the image is misclassified and grows while it is not (Pintor et al., arXiv
    2102.12827, algorithm 1).

    The first radius is lengthened by gamma too: where the box clips every step, the paper's approaches the boundary
    from within and may never cross it.

    Args:
        model: ``Model``, or any Keras model that maps images to logits.
        steps: gradient steps of a search.
        alpha: L2 length of the first step; steps are cosine-annealed to a hundredth of it.
        gamma: first relative change of the radius, cosine-annealed to 0.001.
        norm: 'L2' or 'Linf'.
        starts: number of searches; the first begins at the clean image, the others at random points around it.
    """

    def __init__(self, model: Net, steps: int = 100, alpha: float = 1.0, gamma: float = 0.05, norm: str = 'L2',
                 starts: int = 1):
        super().__init__(model, steps, starts)
        if norm not in ('L2', 'Linf'):
            raise ValueError(f"norm must be 'L2' or 'Linf', not {norm!r}")
        self.alpha = alpha
        self.gamma = gamma
        self.norm = norm

    def _search(self, x, y, delta, best, best_norm):
        flat = self.norm == 'Linf'
        size = ops.linf_norm if flat else ops.l2_norm
        spread = ops.inverse_spread(self.quick_net(x), y)
        furthest = ops.linf_norm(tf.ones_like(x)) if flat else ops.furthest_l2(x, self.bounds)
        epsilon = tf.fill([tf.shape(x)[0]], np.float32(np.inf))
        found = tf.zeros_like(y, tf.bool)
        own_norm = tf.fill([tf.shape(x)[0]], np.float32(np.inf))  # of this search, which steers by it
        for i in tf.range(self.steps):
            logits, gradient = ops.lead_gradient(self.quick_net, x + delta, y, spread * ops.sharpening(i, self.steps))
            wrong, norm = ops.is_wrong(logits, y), size(delta)
            best, best_norm = ops.nearer(wrong, x + delta, norm, best, best_norm)
            own_norm = tf.where(wrong, tf.minimum(own_norm, norm), own_norm)
            found |= wrong
            dual = tf.reduce_sum(tf.abs(gradient), axis=[1, 2, 3]) if flat else ops.l2_norm(gradient)
            gamma = ops.cosine_annealed(self.gamma, 0.001, i, self.steps)
            to_boundary = ops.to_boundary(ops.lead(logits, y), dual)
            grown = tf.where(found, epsilon, norm + to_boundary) * (1 + gamma)
            epsilon = tf.where(wrong, tf.minimum(epsilon * (1 - gamma), own_norm), grown)
            epsilon = tf.minimum(epsilon, furthest)
            delta -= ops.cosine_annealed(self.alpha, self.alpha / 100, i, self.steps) * ops.unit(gradient)
            radius = ops.per_image(epsilon)
            delta = tf.clip_by_value(delta, -radius, radius) if flat else ops.within_l2(delta, epsilon)
            delta = tf.clip_by_value(x + delta, *self.bounds) - x
        wrong = ops.is_wrong(self.net(x + delta, training=False), y)
        return ops.nearer(wrong, x + delta, size(delta), best, best_norm)
