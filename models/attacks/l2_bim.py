"""L2BIM: the basic iterative method with a search for the budget, as Foolbox 2 made it."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from .. import checks
from . import leads, ops
from .base import Attack, Net
from .compiled import IMAGES, LABELS, PER_IMAGE, compiled
from .descent import Way, descend
from .results import Proposal


class L2BIM(Attack):
    """The smallest misclassified image met while searching the budget within which gradient steps succeed.

    As the original's evaluation ran it, with Foolbox 2's L2BasicIterativeAttack: steps along the gradient of the cross
    entropy of the logits divided by their largest magnitude (through which the gradient flows), from the clean image;
    the step keeps its ratio to the budget. From ``epsilon`` the budget grows by half until it is enough, at most
    ``search_steps`` times, and is then bisected ``search_steps`` times.

    Args:
        model: ``Model``, or any built Keras model that maps images to logits.
        stepsize: size of a step, root mean square over pixels, at the budget ``epsilon``.
        iterations: steps for each budget.
        epsilon: the first budget, root mean square over pixels.
        search_steps: the most budgets tried in each of the two searches.
        compact: False keeps images whose search has finished in the batch, to no one's gain.
    """

    def __init__(self, model: Net, stepsize: float = 0.05, iterations: int = 10, epsilon: float = 0.3,
                 search_steps: int = 20, compact: bool = True):
        super().__init__(model)
        self.stepsize = checks.number('stepsize', stepsize)
        self.iterations = checks.count('iterations', iterations)
        self.epsilon = checks.number('epsilon', epsilon)
        self.search_steps = checks.count('search_steps', search_steps)
        self.compact = checks.flag('compact', compact)
        self._tried = compiled(self._try, IMAGES, LABELS, PER_IMAGE)

    def _run(self, x, y, rng):
        best, best_norm = np.zeros_like(x), np.full(len(x), np.inf)

        def enough(eps: np.ndarray, rows: np.ndarray) -> np.ndarray:
            ends, wrong = self._tried(x[rows], y[rows], eps)
            norm = self.distance(ends, x[rows])
            better = wrong & (norm < best_norm[rows])
            best[rows[better]], best_norm[rows[better]] = ends[better], norm[better]
            return wrong

        eps, rows = np.full(len(x), self.epsilon), np.arange(len(x))
        for _ in range(self.search_steps):
            rows = rows[~enough(eps[rows], rows)]
            if not len(rows):
                break
            eps[rows] *= 1.5
        found = np.isfinite(best_norm)
        rows, good, bad = np.flatnonzero(found), eps[found], np.zeros(found.sum())
        for _ in range(self.search_steps if len(rows) else 0):
            middle = (good + bad) / 2
            wrong = enough(middle, rows)
            good, bad = np.where(wrong, middle, good), np.where(wrong, bad, middle)
        return Proposal(best, found)

    def _try(self, x, y, eps):
        """Steps within budgets [N], until the class is wrong; the points reached, and whether they are wrong."""
        pixels = tf.sqrt(tf.cast(tf.size(x[0]), tf.float32))  # L2 norm of an image whose root mean square is 1

        length = eps * (self.stepsize / self.epsilon) * pixels
        at, found, _ = descend(self._way, self.ball, self.bounds, self.iterations, x, x, y, eps * pixels, length,
                               is_wrong=self._is_wrong, compact=self.compact)
        return at, found | self._is_wrong_at(at, y)

    def _way(self, i, x, y):
        logits, gradient = ops.value_and_gradient(self.quick_net, x, lambda z: self._cross_entropy(z, y))
        return Way(-gradient, tf.zeros_like(y, tf.bool), logits)

    @staticmethod
    def _cross_entropy(logits, y):
        size = leads.largest(logits)
        scaled = logits / tf.where(size > 0, size, 1.0)[:, tf.newaxis]
        return tf.nn.sparse_softmax_cross_entropy_with_logits(y, scaled)
