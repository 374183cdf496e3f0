"""DDN: the L2 attack that decouples the direction and the norm of the perturbation."""

from __future__ import annotations

import tensorflow as tf

from . import ops
from .base import Net
from .minimum_norm import MinimumNormAttack


class DDN(MinimumNormAttack):
    """Minimises the L2 distance: each step turns the perturbation along the gradient and then sets its norm, which
    shrinks by a factor while the image is misclassified and grows while it is not (Rony et al., arXiv 1811.09600).

    The gradient is that of the lead of the right class over a smooth maximum of the others, not of the cross entropy of
    the paper, which has no float32 gradient at large leads.

    Args:
        model: ``Model``, or any Keras model that maps images to logits.
        steps: gradient steps of a search.
        gamma: the factors are 1 - gamma and 1 + gamma.
        final_gamma: what gamma is cosine-annealed to; None, as in the paper, for no change. From 0.2 to 0.01 takes a
            third of the steps to the same distance.
        init_epsilon: norm of the first perturbation; None for each image's distance to the linearised boundary.
        starts: number of searches; the first begins at the clean image, the others at random points around it.
    """

    def __init__(self, model: Net, steps: int = 100, gamma: float = 0.05, final_gamma: float | None = None,
                 init_epsilon: float | None = 1.0, starts: int = 1):
        super().__init__(model, steps, starts)
        self.gamma = gamma
        self.final_gamma = gamma if final_gamma is None else final_gamma
        self.init_epsilon = init_epsilon

    def _search(self, x, y, delta, best, best_norm):
        spread = ops.inverse_spread(self.quick_net(x), y)
        furthest = ops.furthest_l2(x, self.bounds)
        epsilon = tf.fill([tf.shape(x)[0]], 1.0 if self.init_epsilon is None else float(self.init_epsilon))
        for i in tf.range(self.steps):
            logits, gradient = ops.lead_gradient(self.quick_net, x + delta, y, spread * ops.sharpening(i, self.steps))
            wrong = ops.is_wrong(logits, y)
            best, best_norm = ops.nearer(wrong, x + delta, ops.l2_norm(delta), best, best_norm)
            gamma = ops.cosine_annealed(self.gamma, self.final_gamma, i, self.steps)
            epsilon *= tf.where(wrong, 1 - gamma, 1 + gamma)
            if self.init_epsilon is None and i == 0:
                epsilon = ops.to_boundary(ops.lead(logits, y), ops.l2_norm(gradient)) + ops.l2_norm(delta)
            epsilon = tf.minimum(epsilon, furthest)
            delta -= ops.cosine_annealed(1.0, 0.01, i, self.steps) * ops.unit(gradient)
            delta = tf.clip_by_value(x + ops.unit(delta) * ops.per_image(epsilon), *self.bounds) - x
        wrong = ops.is_wrong(self.net(x + delta, training=False), y)
        return ops.nearer(wrong, x + delta, ops.l2_norm(delta), best, best_norm)
