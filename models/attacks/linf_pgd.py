"""LinfPGDAttack: projected gradient descent in the L-infinity ball, as the original's evaluations run it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from .. import checks
from . import ops
from .base import LABELS, Attack, Net, Proposal
from .gradient_descent import budgets

_IMAGES64, _NUMBER64 = tf.TensorSpec([None, None, None, None], tf.float64), tf.TensorSpec([], tf.float64)


class LinfPGDAttack(Attack):
    """The smallest of given budgets within which signed gradient steps end at a wrong class.

    The objective is the original's: minus ``relu(correct - wrong + 50)``, where ``wrong`` is the maximum over the
    logits *with that of the right class set to 0*, so that it is never negative. An image is looked at only after its k
    steps. Each restart begins at the clean image; images that are not fooled go on to the next. ``PGD`` has the
    objective put right, and is the one to use where numbers need not match the original's.

    **Its result depends on the scale of the logits**, as the original's does: 50 is a lead in logits, beyond which an
    image stands still. At large logits a random start (which may lie outside the box) or a step can be misclassified
    by that much, stay, and be right again once it is clipped; at small ones it never stands still.

    In the original an image misclassified to begin with is given the smallest budget; here its distance is 0. It takes
    part in the random draws all the same, so that the others get those of the original.

    Args:
        model: ``Model``, or any built Keras model that maps images to logits.
        eps_list: budgets, tried in ascending order.
        k: steps.
        a: size of a step, in units of the budget.
        repeat: restarts; without a random start they would all be the same, and one is made.
        random_start: whether to start from a uniformly random point of the ball.
        loss_func: 'cw', the only one (the original's 'xent' ends in an error).

    Raises:
        ValueError: an argument that is not such, or with which there is nothing to do.
    """

    norm = 'Linf'
    has_budgets = True
    depends_on_scale = True

    def __init__(self, model: Net, eps_list: Sequence[float] = (0.01, 0.02, 0.03, 0.04, 0.05, 0.1, 0.3), k: int = 100,
                 a: float = 0.1, repeat: int = 50, random_start: bool = True, loss_func: str = 'cw'):
        super().__init__(model)
        checks.one_of('loss_func', loss_func, ('cw',))
        self.eps_list = budgets('Linf', eps_list)
        self.k = checks.count('k', k)
        self.a = checks.number('a', a)
        self.repeat = checks.count('repeat', repeat) if random_start else 1
        self.random_start = checks.flag('random_start', random_start)
        self._descended = self._compiled(self._descend, _IMAGES64, _IMAGES64, LABELS, _NUMBER64, _NUMBER64)

    def _propose(self, x, y, done, rng):
        every = self._run(x, y, rng)
        return Proposal(*(a[~done] for a in every))

    def _run(self, x, y, rng):
        images, eps, stood_still = np.zeros_like(x), np.full(len(x), np.inf), np.zeros(len(x), bool)
        active = np.arange(len(x))
        for budget in self.eps_list:
            for _ in range(self.repeat):
                clean = x[active].astype(np.float64)
                start = clean + rng.uniform(-budget, budget, clean.shape) if self.random_start else clean
                # NumPy 1 multiplies a float by a float32 array in float32
                step = float(np.float32(budget * self.a))
                ends, wrong, still = self._descended(start, clean, y[active], budget, step)
                stood_still[active] |= still
                images[active[wrong]], eps[active[wrong]] = ends[wrong], budget
                active = active[~wrong]
                if not len(active):
                    return Proposal(images, np.isfinite(eps), eps, stood_still)
        return Proposal(images, np.isfinite(eps), eps, stood_still)

    def _descend(self, x, clean, y, eps, step):
        """k steps from x, float64 as in the original; the network sees float32.

        Returns:
            The images; whether they are misclassified; whether there was no gradient at any of their steps.
        """
        still = tf.zeros_like(y, tf.bool)
        for _ in tf.range(self.k):
            seen = tf.cast(x, tf.float32)
            _, gradient = ops.value_and_gradient(self.quick_net, seen, lambda z: self._objective(z, y))
            still |= ops.linf_norm(gradient) == 0
            x += step * tf.cast(tf.sign(gradient), tf.float64)
            x = tf.clip_by_value(tf.clip_by_value(x, clean - eps, clean + eps), *self.bounds)
        x = tf.cast(x, tf.float32)
        return x, self._is_wrong_at(x, y), still

    @staticmethod
    def _objective(logits, y):
        mask = tf.one_hot(y, logits.shape[-1])
        correct = tf.reduce_sum(mask * logits, axis=1)
        wrong = tf.reduce_max((1 - mask) * logits, axis=1)
        return -tf.nn.relu(correct - wrong + 50)
