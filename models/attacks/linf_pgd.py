"""LinfPGDAttack: projected gradient descent in the L-infinity ball, as the original's evaluations run it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from . import ops
from .base import LABELS, Attack, Net, Proposal


class LinfPGDAttack(Attack):
    """The smallest of given budgets within which signed gradient steps end at a wrong class.

    The objective is the original's: minus ``relu(correct - wrong + 50)``, where ``wrong`` is the maximum over the
    logits *with that of the right class set to 0*, so that it is never negative. An image is looked at only after its k
    steps. Each restart begins at the clean image; images that are not fooled go on to the next. ``PGD`` has the
    objective put right, and is the one to use where numbers need not match the original's.

    In the original an image misclassified to begin with is given the smallest budget; here its distance is 0.

    Args:
        model: ``Model``, or any Keras model that maps images to logits.
        eps_list: budgets, tried in ascending order.
        k: steps.
        a: size of a step, in units of the budget.
        repeat: restarts; without a random start they would all be the same, and one is made.
        random_start: whether to start from a uniformly random point of the ball.
        loss_func: 'cw', the only one (the original's 'xent' ends in an error).
    """

    norm = 'Linf'
    has_budgets = True

    def __init__(self, model: Net, eps_list: Sequence[float] = (0.01, 0.02, 0.03, 0.04, 0.05, 0.1, 0.3), k: int = 100,
                 a: float = 0.1, repeat: int = 50, random_start: bool = True, loss_func: str = 'cw'):
        super().__init__(model)
        if loss_func != 'cw':
            raise ValueError(f"loss_func must be 'cw', not {loss_func!r}")
        self.eps_list = sorted(eps_list)
        self.k = k
        self.a = a
        self.repeat = repeat if random_start else 1
        self.random_start = random_start
        x, number = tf.TensorSpec(self.images.shape, tf.float64), tf.TensorSpec([], tf.float64)
        self._descended = self._compiled(self._descend, x, x, LABELS, number, number)

    def _run(self, x, y, rng):
        images, eps = np.zeros_like(x), np.full(len(x), np.inf)
        active = np.arange(len(x))
        for budget in self.eps_list:
            for _ in range(self.repeat):
                clean = x[active].astype(np.float64)
                start = clean + rng.uniform(-budget, budget, clean.shape) if self.random_start else clean
                # NumPy 1 multiplies a float by a float32 array in float32
                step = float(np.float32(budget * self.a))
                ends, wrong = self._descended(start, clean, y[active], budget, step)
                images[active[wrong]], eps[active[wrong]] = ends[wrong], budget
                active = active[~wrong]
                if not len(active):
                    return Proposal(images, np.isfinite(eps), eps)
        return Proposal(images, np.isfinite(eps), eps)

    def _descend(self, x, clean, y, eps, step):
        """k steps from x, float64 as in the original; the network sees float32."""
        for _ in tf.range(self.k):
            seen = tf.cast(x, tf.float32)
            _, gradient = ops.value_and_gradient(self.quick_net, seen, lambda z: self._objective(z, y))
            x += step * tf.cast(tf.sign(gradient), tf.float64)
            x = tf.clip_by_value(tf.clip_by_value(x, clean - eps, clean + eps), *self.bounds)
        x = tf.cast(x, tf.float32)
        return x, ops.is_wrong(self.net(x, training=False), y)

    @staticmethod
    def _objective(logits, y):
        mask = tf.one_hot(y, logits.shape[-1])
        correct = tf.reduce_sum(mask * logits, axis=1)
        wrong = tf.reduce_max((1 - mask) * logits, axis=1)
        return -tf.nn.relu(correct - wrong + 50)

