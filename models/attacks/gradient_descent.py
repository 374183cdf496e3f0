"""Gradient steps within given budgets: what FGSM, IFGSM and PGD have in common."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from .. import checks
from . import leads
from .balls import Ball
from .base import Net
from .compiled import IMAGES, LABELS, PER_IMAGE, compiled
from .descent import Way, descend
from .within_budgets import BudgetAttack


class GradientDescentAttack(BudgetAttack):
    """The smallest of given budgets within which gradient steps find a wrong class.

    A step reduces the lead of the right class over a smooth maximum of the others; it goes along the gradient (L2), or
    along its signs (L-infinity), and is projected onto the budget's ball and the box. Every point on the way is looked
    at, and an image that is fooled is done. Where a budget's steps fail, the single step of its size from the clean
    image is tried too. Where there is no gradient, a step goes along noise.

    Args:
        model: ``Model``, or any built Keras model that maps images to logits.
        eps_list: budgets, tried in ascending order; None for a list that suits the norm.
        k: steps.
        a: size of a step, in units of the budget.
        repeat: restarts within each budget; without a random start they would all be the same, and one is made.
        random_start: whether to start from a random point of the ball rather than from the clean image.
        norm: 'Linf' or 'L2', or a ball of another norm.
        compact: False keeps images whose search has finished in the batch, to no one's gain.

    Raises:
        ValueError: an argument that is not such, or with which there is nothing to do.
    """

    def __init__(self, model: Net, eps_list: Sequence[float] | None = None, k: int = 100, a: float = 0.1,
                 repeat: int = 10, random_start: bool = True, norm: str | Ball = 'Linf', compact: bool = True):
        super().__init__(model, norm, eps_list, k, a, repeat, random_start, compact)
        self._moved = compiled(self._move, IMAGES, LABELS, PER_IMAGE)

    def _known(self, clean, y):
        return [self._spread(clean, y)]

    def _way(self, i, x, y, spread):
        at = leads.slope(self.quick_net, x, y, spread, leads.sharpening(i, self.k), self.ball.walls(self.bounds))
        return Way(at.gradient, tf.zeros_like(at.blind), at.logits)  # noise stands for a gradient that is none

    def _starts(self, x, active, budget, rng):
        # Drawn for every image, so that what an image gets does not depend on which others are done.
        noise = self.ball.draw(x.shape, budget, rng)
        return np.clip(x + noise, *self.bounds).astype(np.float32)[active]

    def _single_steps(self, x, y):
        return None if self.k == 1 and self.a == 1.0 and not self.random_start else self._looked(x, y)[0]

    # ---- images of a given size ----

    def of_size(self, images: np.ndarray, labels: np.ndarray, eps: float) -> np.ndarray:
        """The images after all k steps from the clean ones within the budget ``eps``, whether they fool the network or
        not: adversarial images of a given size, such as are tried on another network.

        Steps go up the gradient of the cross entropy of the right class, whose direction is that of ``sum_j w_j (grad
        z_j - grad z_y)`` with w the softmax over the wrong classes j. It is taken like that, for the cross entropy's
        own gradient is 1 - p_y times as long: 0 in float32 at losses below 6e-8. Where there is no gradient at all, an
        image stays where it is.

        Args:
            images: floats in [0, 1], [N, H, W, C].
            labels: the right classes, integers [N], or one-hot [N, num_labels].
            eps: the budget, a finite number of at least 0, in the attack's norm.

        Returns:
            float32 [N, H, W, C], in [0, 1], at a distance of at most ``eps`` from ``images``.

        Raises:
            ValueError: images, labels or a budget that are not such, or a gradient that is not finite.
        """
        eps = checks.number('eps', eps, strict=False)
        x, y, _ = self._checked(images, labels)
        moved, stuck = self._moved(x, y, np.full(len(x), eps))
        if stuck.any():
            raise ValueError("the gradient of the network's logits is not finite")
        return moved

    def _move(self, clean, y, eps):
        x, _, stuck = descend(self._up_the_cross_entropy, self.ball, self.bounds, self.k, clean, clean, y, eps,
                              eps * self.a)
        return x, stuck

    def _up_the_cross_entropy(self, i, x, y):
        """The way; 'stuck' are images whose gradient is not finite."""
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(x)
            logits = self.quick_net(x)
            lead = leads.soft_lead(logits, y, 1.0)
        gradient = tape.gradient(lead, x, unconnected_gradients='zero')
        return Way(gradient, ~tf.reduce_all(tf.math.is_finite(gradient), axis=[1, 2, 3]), logits)
