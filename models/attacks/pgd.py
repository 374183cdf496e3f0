"""PGD: projected gradient descent with random starts."""

from __future__ import annotations

from .gradient_descent import GradientDescentAttack


class PGD(GradientDescentAttack):
    """Steps from random points of the ball, several times (Madry et al., arXiv 1706.06083). See
    ``GradientDescentAttack`` for the arguments.

    Beside the original's ``LinfPGDAttack``: the best other logit may be negative, no lead is enough to stand still, and
    every point on the way is looked at.
    """
