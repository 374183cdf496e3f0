"""FAB: the fast adaptive boundary attack."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from .. import checks
from ..in_graphs import loops_in_graph
from . import leads, ops
from .balls import BALLS
from .base import Net
from .bisection import bisected
from .compiled import IMAGES, LABELS, PER_IMAGE, compiled
from .hyperplanes import PROJECTIONS, to_hyperplane
from .minimum_norm import MinimumNormAttack
from .results import Proposal

RADII = {'Linf': 0.3, 'L2': 1.0, 'L1': 5.0}
"""Random starts are at most half as far from the clean image, as AutoAttack has it."""
NORMS = tuple(name for name in PROJECTIONS if name in BALLS)


class FAB(MinimumNormAttack):
    """Minimises the distance: each step goes to the linearised boundary that is nearest, within the box, biased towards
    the point of that boundary that is nearest to the clean image; and a misclassified point goes back a part of the way
    (Croce and Hein, arXiv 1907.02044, algorithm 1).

    With x0 the clean image, d and d0 the shortest ways from x and from x0 to the boundary within the box, and
    ``a = min(|d| / (|d| + |d0|), alpha_max)``:

        x <- clip((1 - a) (x + eta d) + a (x0 + eta d0)),  and x <- x0 + beta (x - x0)  where x is misclassified.

    In the end the boundary is looked for on the way from the clean image to the nearest misclassified one, by bisection
    (the paper takes three steps of a secant method). Unlike AutoAttack, where it is asked for the accuracy within one
    budget, every restart and every target is tried for each image. Where all of them fail, see ``MinimumNormAttack``.

    Args:
        model: ``Model``, or any built Keras model that maps images to logits.
        k: steps of a search, each with a gradient for every class, or of one if targeted.
        repeat: restarts; the first is at the clean image, the others at random points around it, at most half as far
            as the nearest misclassified image so far.
        alpha_max: the largest bias towards the clean image.
        eta: by what factor steps go beyond the boundary.
        beta: what is left of a misclassified perturbation.
        target_classes: None for the nearest of all boundaries at each step; or in how many classes' direction, those of
            the largest logits at the clean image, to search, each with all the restarts: a gradient a step, for
            networks of many classes, and another path. Any wrong class counts. AutoAttack has 9.
        norm: 'Linf', 'L2' or 'L1'.
        search_steps: of the bisection: it ends within 2^-search_steps of the distance.

    Raises:
        ValueError: an argument that is not such.
    """

    norm = 'Linf'

    def __init__(self, model: Net, k: int = 100, repeat: int = 1, alpha_max: float = 0.1, eta: float = 1.05,
                 beta: float = 0.9, target_classes: int | None = None, norm: str = 'Linf', search_steps: int = 12):
        super().__init__(model, checks.count('k', k), checks.count('repeat', repeat),
                         checks.one_of('norm', norm, NORMS))
        self.alpha_max = checks.number('alpha_max', alpha_max, high=1.0)
        self.eta = checks.number('eta', eta, low=1.0, strict=False)
        self.beta = checks.number('beta', beta, high=1.0)
        self.target_classes = None if target_classes is None else checks.count('target_classes', target_classes)
        self.search_steps = checks.count('search_steps', search_steps)
        self._aimed = compiled(self._aim, IMAGES, LABELS, LABELS, IMAGES, IMAGES, PER_IMAGE)
        self._refined = compiled(self._refine, IMAGES, LABELS, IMAGES, PER_IMAGE)

    def _run(self, x, y, rng):
        best = [x, np.full(len(x), np.inf, np.float32)]
        for targets in [None] if self.target_classes is None else self._targets(x, y):
            for restart in range(self.starts):
                delta = self.random_start(x, restart, best, rng) if restart else np.zeros_like(x)
                best = (self._searched(x, y, delta, *best) if targets is None
                        else self._aimed(x, y, targets, delta, *best))
        best = self._refined(x, y, *self.rescue(x, y, best, rng))
        return Proposal(best[0], np.isfinite(best[1]))

    def _targets(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Classes to search for, int64 [targets, N]: the wrong ones of the largest logits, largest first."""
        logits = self.logits(x)
        logits[np.arange(len(x)), y] = -np.inf
        order = np.argsort(-logits, axis=1, kind='stable')[:, :-1]  # the last is the right class
        return order.T[:self.target_classes]

    def random_start(self, x, start, best, rng):
        radius = np.minimum(best[1], RADII[self.norm]) / 2
        noise = rng.uniform(-1, 1, x.shape) if self.norm == 'Linf' else rng.normal(size=x.shape)
        noise *= (radius / self.ball.norm(abs(noise).reshape(len(x), -1)))[:, np.newaxis, np.newaxis, np.newaxis]
        return (np.clip(x + noise, *self.bounds) - x).astype(np.float32)

    def _search(self, x, y, delta, best, best_norm):
        classes = self.quick_net(x[:1]).shape[-1]
        others = tf.stack([(y + j) % classes for j in range(1, classes)], axis=1)
        return self._descended(x, y, others, delta, best, best_norm)

    def _aim(self, x, y, target, delta, best, best_norm):
        return self._descended(x, y, target[:, tf.newaxis], delta, best, best_norm)

    @loops_in_graph
    def _descended(self, x, y, candidates, delta, best, best_norm):
        """A search from ``x + delta`` to the boundaries of the candidates, int64 [N, K]."""
        point = x + delta
        for _ in tf.range(self.steps):
            _, scores, gaps, gradients = leads.gaps(self.quick_net, point, y, candidates)
            sizes = tf.stack([self.ball.dual_size(gradient) for gradient in gradients])
            distance = tf.where(sizes > 0, tf.abs(gaps) / tf.where(sizes > 0, sizes, 1.0), np.inf)
            nearest = tf.argmin(distance, axis=0, output_type=tf.int32)
            rows = tf.stack([nearest, tf.range(tf.size(nearest))], axis=1)
            gap, normal = tf.gather_nd(gaps, rows), tf.gather_nd(tf.stack(gradients), rows)
            # Rounding puts a point of the boundary on the wrong side of it.
            gap -= 2 * self.slack * leads.largest(scores)
            at_clean = gap + tf.reduce_sum(normal * (x - point), axis=[1, 2, 3])
            way = to_hyperplane(self.norm, point, normal, gap, self.bounds)
            clean_way = to_hyperplane(self.norm, x, normal, at_clean, self.bounds)
            size, clean_size = (tf.maximum(self.ball.size(d), 1e-8) for d in (way, clean_way))
            bias = ops.per_image(tf.minimum(size / (size + clean_size), self.alpha_max))
            point = (1 - bias) * (point + self.eta * way) + bias * (x + self.eta * clean_way)
            point = tf.clip_by_value(point, *self.bounds)
            wrong = self._is_wrong(self.quick_net(point), y)
            best, best_norm = ops.nearer(wrong, point, self.ball.size(point - x), best, best_norm)
            point = tf.where(ops.per_image(wrong), x + self.beta * (point - x), point)
        return best, best_norm

    def _refine(self, x, y, best, best_norm):
        """The images, and norms, where the way from the clean ones to the best crosses the boundary last."""
        def at(share):
            return x + ops.per_image(share) * (best - x)

        def margin(share):
            logits = self.quick_net(at(share))
            return -leads.lead(logits, y) - self.slack * leads.largest(logits)

        one = tf.ones_like(best_norm)
        _, share = bisected(margin, one, margin(one), one, self.search_steps + 1)
        share = tf.where(tf.math.is_finite(best_norm), share, 1.0)
        return at(share), share * best_norm
