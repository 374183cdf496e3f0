"""IFGSM: the iterated fast gradient sign method."""

from __future__ import annotations

from collections.abc import Sequence

from .balls import Ball
from .base import Net
from .gradient_descent import GradientDescentAttack


class IFGSM(GradientDescentAttack):
    """Steps from the clean image within the budget (Kurakin, Goodfellow & Bengio, arXiv 1607.02533). See
    ``GradientDescentAttack`` for the arguments."""

    def __init__(self, model: Net, eps_list: Sequence[float] | None = None, k: int = 10, a: float = 0.1,
                 norm: str | Ball = 'Linf', compact: bool = True):
        super().__init__(model, eps_list, k, a, random_start=False, norm=norm, compact=compact)
