"""Fast adversarial training: FGSM from a random start (Wong, Rice & Kolter, arXiv 2001.03994)."""

from __future__ import annotations

from typing import Any

from .adversarial import Adversarial


class FGSMRS(Adversarial):
    """The loss of every image after one step along the signs of its gradient, from a random point of its L-infinity
    ball, projected onto the ball.

    With longer steps, or a large budget, training may overfit to the one step; the monitor 'pgd' tells when. The
    network is attacked as in inference, where the released code has it as in training.

    Args:
        eps: the budget, in pixels of [0, 1], above 0; or one that follows a schedule, see ``schedules.Control``.
        step: size of the step, in units of the budget.

    Raises:
        ValueError: an argument that is not such.
    """

    def __init__(self, eps: Any, step: float = 1.25):
        super().__init__(eps, k=1, step=step)
