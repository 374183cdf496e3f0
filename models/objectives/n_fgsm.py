"""Fast adversarial training: N-FGSM, a step from stronger noise (de Jorge et al., arXiv 2202.01181)."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from .. import checks
from ..batch import Batch
from .adversarial import Adversarial


class NFGSM(Adversarial):
    """The loss of every image after uniform noise, of ``noise`` times the budget, and one step along the signs of the
    gradient there. What comes out is not projected onto the ball of the budget: it may be up to ``noise + step``
    budgets away. Noise and step are each clipped to [0, 1], as in the authors' code.

    Args:
        eps: the budget, in pixels of [0, 1], above 0; or one that follows a schedule, see ``schedules.Control``.
        noise: size of the noise, in units of the budget; k in the paper.
        step: size of the step, in units of the budget; alpha in the paper.

    Raises:
        ValueError: an argument that is not such.
    """

    def __init__(self, eps: Any, noise: float = 2.0, step: float = 1.0):
        self.noise = checks.number('noise', noise)
        self.reach = self.noise + checks.number('step', step)
        super().__init__(eps, k=1, step=step / self.reach)  # of a ball that holds noise and step

    def _attacked(self, batch: Batch, x: tf.Tensor, y: tf.Tensor, eps: tf.Tensor) -> tf.Tensor:
        attack = self.attack_on(batch.net)
        start = attack.ball.start(x, self.noise * eps, batch.uniform_like(x))
        return attack.perturb_from(start, x, y, self.reach * eps)
