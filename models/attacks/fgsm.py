"""FGSM: the fast gradient sign method."""

from __future__ import annotations

from collections.abc import Sequence

from .balls import Ball
from .base import Net
from .gradient_descent import GradientDescentAttack


class FGSM(GradientDescentAttack):
    """One step of the size of the budget (Goodfellow, Shlens & Szegedy, arXiv 1412.6572): along the signs of the
    gradient, or, for the norm 'L2', along the gradient. See ``GradientDescentAttack`` for the arguments."""

    def __init__(self, model: Net, eps_list: Sequence[float] | None = None, norm: str | Ball = 'Linf'):
        super().__init__(model, eps_list, k=1, a=1.0, random_start=False, norm=norm)
