"""LinfPGDAttack: projected gradient descent in the L-infinity ball, as the original's evaluations run it."""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf

from .. import checks
from . import ops
from .balls import Linf
from .base import Net
from .descent import Way
from .results import Proposal
from .within_budgets import BudgetAttack


class _Points(Linf):
    """The L-infinity ball, whose points are clipped as the original clips them: themselves, not their differences from
    the clean image, which round otherwise."""

    def onto(self, x, clean, eps):
        return tf.clip_by_value(x, clean - ops.per_image(eps), clean + ops.per_image(eps))


class LinfPGDAttack(BudgetAttack):
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
    depends_on_scale = True
    _stops = False
    _exact = True  # as in the original, whose network sees float32

    def __init__(self, model: Net, eps_list: Sequence[float] = (0.01, 0.02, 0.03, 0.04, 0.05, 0.1, 0.3), k: int = 100,
                 a: float = 0.1, repeat: int = 50, random_start: bool = True, loss_func: str = 'cw'):
        checks.one_of('loss_func', loss_func, ('cw',))
        super().__init__(model, _Points(), eps_list, k, a, repeat, random_start)

    def _propose(self, x, y, done, rng):
        every = self._run(x, y, rng)
        return Proposal(*(None if a is None else a[~done] for a in every))

    def _starts(self, x, active, budget, rng):
        return x[active] + self.ball.draw(x[active].shape, budget, rng)

    def _way(self, i, x, y):
        logits, gradient = ops.value_and_gradient(self.quick_net, x, lambda z: self._objective(z, y))
        return Way(-gradient, ops.linf_norm(gradient) == 0, logits)

    @staticmethod
    def _objective(logits, y):
        mask = tf.one_hot(y, logits.shape[-1])
        correct = tf.reduce_sum(mask * logits, axis=1)
        wrong = tf.reduce_max((1 - mask) * logits, axis=1)
        return -tf.nn.relu(correct - wrong + 50)
