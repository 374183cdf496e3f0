"""FMN: the fast minimum-norm attack."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from .. import checks
from ..in_graphs import loops_in_graph
from . import leads, ops
from .balls import Ball
from .base import Net
from .minimum_norm import MinimumNormAttack


class FMN(MinimumNormAttack):
    """Minimises the distance: each step follows the gradient of the lead of the right class over a smooth maximum of
    the others, and is projected onto a ball whose radius is, until the class first changes, that of the linearised
    boundary, and then shrinks while the image is misclassified and grows while it is not (Pintor et al., arXiv
    2102.12827, algorithm 1).

    The first radius is lengthened by gamma too: where the box clips every step, the paper's approaches the boundary
    from within and may never cross it. For the same reason an L2 step leaves out what the box would take from it.

    Args:
        model: ``Model``, or any built Keras model that maps images to logits.
        steps: gradient steps of a search.
        alpha: L2 length of the first step; steps are cosine-annealed to a hundredth of it.
        gamma: first relative change of the radius, cosine-annealed to 0.001.
        norm: 'L2' or 'Linf', or a ball of another norm.
        starts: number of searches; the first begins at the clean image, the others at random points around it.
    """

    def __init__(self, model: Net, steps: int = 100, alpha: float = 1.0, gamma: float = 0.05, norm: str | Ball = 'L2',
                 starts: int = 1):
        super().__init__(model, steps, starts, norm)
        self.alpha = checks.number('alpha', alpha)
        self.gamma = checks.number('gamma', gamma, high=0.99)

    @loops_in_graph
    def _search(self, x, y, delta, best, best_norm):
        ball = self.ball
        spread = self._spread(x, y)
        furthest = ball.reach(x, self.bounds)
        epsilon = tf.fill([tf.shape(x)[0]], np.float32(np.inf))
        found = tf.zeros_like(y, tf.bool)
        own_norm = tf.fill([tf.shape(x)[0]], np.float32(np.inf))  # of this search, which steers by it
        for i in tf.range(self.steps):
            at = leads.slope(self.quick_net, x + delta, y, spread, leads.sharpening(i, self.steps),
                             ball.walls(self.bounds))
            wrong, norm = self._is_wrong(at.logits, y), ball.size(delta)
            best, best_norm = ops.nearer(wrong, x + delta, norm, best, best_norm)
            own_norm = tf.where(wrong, tf.minimum(own_norm, norm), own_norm)
            found |= wrong
            gamma = ops.cosine_annealed(self.gamma, 0.001, i, self.steps)
            grown = tf.where(found, epsilon, norm + leads.to_boundary(at, ball.dual_size(at.gradient))) * (1 + gamma)
            epsilon = tf.where(wrong, tf.minimum(epsilon * (1 - gamma), own_norm), grown)
            epsilon = tf.clip_by_value(epsilon, ops.LEAST * furthest, furthest)
            delta -= ops.cosine_annealed(self.alpha, self.alpha / 100, i, self.steps) * ops.unit(at.gradient)
            delta = tf.clip_by_value(x + ball.project(delta, epsilon), *self.bounds) - x
        wrong = self._is_wrong_at(x + delta, y)
        return ops.nearer(wrong, x + delta, ball.size(delta), best, best_norm)
