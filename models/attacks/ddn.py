"""DDN: the L2 attack that decouples the direction and the norm of the perturbation."""

from __future__ import annotations

import tensorflow as tf

from .. import checks
from ..in_graphs import loops_in_graph
from . import leads, ops
from .base import Net
from .minimum_norm import MinimumNormAttack


class DDN(MinimumNormAttack):
    """Minimises the L2 distance: each step turns the perturbation along the gradient and then sets its norm, which
    shrinks by a factor while the image is misclassified and grows while it is not (Rony et al., arXiv 1811.09600).

    The gradient is that of the lead of the right class over a smooth maximum of the others, not of the cross entropy of
    the paper, which has no float32 gradient at large leads.

    Args:
        model: ``Model``, or any built Keras model that maps images to logits.
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
        self.gamma = checks.number('gamma', gamma, high=0.99)
        self.final_gamma = self.gamma if final_gamma is None else checks.number('final_gamma', final_gamma, high=0.99)
        self.init_epsilon = None if init_epsilon is None else checks.number('init_epsilon', init_epsilon)

    @loops_in_graph
    def _search(self, x, y, delta, best, best_norm):
        spread = self._spread(x, y)
        furthest = ops.furthest_l2(x, self.bounds)
        epsilon = tf.fill([tf.shape(x)[0]], 1.0 if self.init_epsilon is None else self.init_epsilon)
        for i in tf.range(self.steps):
            at = leads.slope(self.quick_net, x + delta, y, spread, leads.sharpening(i, self.steps))
            wrong = self._is_wrong(at.logits, y)
            best, best_norm = ops.nearer(wrong, x + delta, ops.l2_norm(delta), best, best_norm)
            gamma = ops.cosine_annealed(self.gamma, self.final_gamma, i, self.steps)
            epsilon *= tf.where(wrong, 1 - gamma, 1 + gamma)
            if self.init_epsilon is None and i == 0:
                epsilon = leads.to_boundary(at, ops.l2_norm(at.gradient)) + ops.l2_norm(delta)
            epsilon = tf.clip_by_value(epsilon, ops.LEAST * furthest, furthest)
            delta -= ops.cosine_annealed(1.0, 0.01, i, self.steps) * ops.unit(at.gradient)
            delta = tf.clip_by_value(x + ops.unit(delta) * ops.per_image(epsilon), *self.bounds) - x
        wrong = self._is_wrong_at(x + delta, y)
        return ops.nearer(wrong, x + delta, ops.l2_norm(delta), best, best_norm)
