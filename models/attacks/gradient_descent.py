"""Gradient steps within given budgets: what FGSM, IFGSM and PGD have in common."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from . import ops
from .base import LABELS, SCALAR, Attack, Net, Proposal

DEFAULT_EPS = {
    'Linf': (0.01, 0.02, 0.03, 0.04, 0.05, 0.1, 0.3),
    'L2': (0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0),
}


class GradientDescentAttack(Attack):
    """The smallest of given budgets within which gradient steps find a wrong class.

    A step reduces the lead of the right class over a smooth maximum of the others; it goes along the gradient (L2), or
    along its signs (L-infinity), and is projected onto the budget's ball and the box. Every point on the way is looked
    at, and an image that is fooled is done.

    Args:
        model: ``Model``, or any Keras model that maps images to logits.
        eps_list: budgets, tried in ascending order; None for a list that suits the norm.
        k: steps.
        a: size of a step, in units of the budget.
        repeat: restarts within each budget; without a random start they would all be the same, and one is made.
        random_start: whether to start from a random point of the ball rather than from the clean image.
        norm: 'Linf' or 'L2'.
        compact: False keeps images whose search has finished in the batch, to no one's gain.
    """

    has_budgets = True

    def __init__(self, model: Net, eps_list: Sequence[float] | None = None, k: int = 100, a: float = 0.1,
                 repeat: int = 10, random_start: bool = True, norm: str = 'Linf', compact: bool = True):
        super().__init__(model)
        if norm not in DEFAULT_EPS:
            raise ValueError(f"norm must be 'Linf' or 'L2', not {norm!r}")
        self.norm = norm
        self.eps_list = sorted(DEFAULT_EPS[norm] if eps_list is None else eps_list)
        self.k = k
        self.a = a
        self.repeat = repeat if random_start else 1
        self.random_start = random_start
        self.compact = compact
        self._descended = self._compiled(self._descend, self.images, self.images, LABELS, SCALAR)
        self._moved = self._compiled(self._move, self.images, LABELS, SCALAR)

    def _run(self, x, y, rng):
        images, eps = np.zeros_like(x), np.full(len(x), np.inf)
        active = np.arange(len(x))
        for budget in self.eps_list:
            for _ in range(self.repeat):
                # Drawn for every image, so that what an image gets does not depend on which others are done.
                start = self._random_start(x, budget, rng)[active] if self.random_start else x[active]
                ends, wrong = self._descended(start, x[active], y[active], budget)
                images[active[wrong]], eps[active[wrong]] = ends[wrong], budget
                active = active[~wrong]
                if not len(active):
                    return Proposal(images, np.isfinite(eps), eps)
        return Proposal(images, np.isfinite(eps), eps)

    def of_size(self, images: np.ndarray, labels: np.ndarray, eps: float) -> np.ndarray:
        """The images after all k steps from the clean ones within the budget ``eps``, whether they fool the network or
        not: adversarial images of a given size, such as are tried on another network.

        Steps go up the gradient of the cross entropy of the right class, whose direction is that of ``sum_j w_j (grad
        z_j - grad z_y)`` with w the softmax over the wrong classes j. It is taken like that, for the cross entropy's
        own gradient is 1 - p_y times as long: 0 in float32 at losses below 6e-8.

        Args:
            images: floats in [0, 1], [N, H, W, C].
            labels: the right classes, integers [N], or one-hot [N, num_labels].
            eps: the budget, at least 0, in the attack's norm.

        Returns:
            float32 [N, H, W, C], in [0, 1], at a distance of at most ``eps`` from ``images``.

        Raises:
            ValueError: images or labels that are not such, or a gradient that is not finite.
        """
        x, y = self._checked(images, labels)
        moved, finite = self._moved(x, y, eps)
        if not finite:
            raise ValueError("the gradient of the network's logits is not finite")
        return moved

    def _move(self, clean, y, eps):
        def step(i, x, finite):
            _, gradient = ops.lead_gradient(self.quick_net, x, y, tf.ones_like(y, tf.float32))
            moved = self._project(x - eps * self.a * self._direction(gradient) - clean, eps)
            finite &= tf.reduce_all(tf.math.is_finite(gradient))
            return i + 1, tf.clip_by_value(clean + moved, *self.bounds), finite

        _, x, finite = tf.while_loop(lambda i, x, finite: i < self.k, step, (0, clean, tf.constant(True)))
        return x, finite

    def _random_start(self, x: np.ndarray, eps: float, rng) -> np.ndarray:
        """Uniform in the ball, clipped to the box."""
        if self.norm == 'Linf':
            noise = rng.uniform(-eps, eps, x.shape)
        else:
            noise = rng.normal(size=x.shape)
            radius = eps * rng.uniform(size=(len(x), 1, 1, 1)) ** (1 / x[0].size)
            noise *= radius / np.sqrt(np.square(noise).sum(axis=(1, 2, 3), keepdims=True))
        return np.clip(x + noise, *self.bounds).astype(np.float32)

    def _descend(self, x, clean, y, eps):
        def step(i, state, fixed):
            (x, _), (clean, y, spread) = state, fixed
            logits, gradient = ops.lead_gradient(self.quick_net, x, y, spread * ops.sharpening(i, self.k))
            wrong = ops.is_wrong(logits, y)
            moved = self._project(x - eps * self.a * self._direction(gradient) - clean, eps)
            x = tf.where(ops.per_image(wrong), x, tf.clip_by_value(clean + moved, *self.bounds))
            return [x, wrong], wrong

        found = tf.zeros_like(y, tf.bool)
        spread = ops.inverse_spread(self.quick_net(clean), y)
        x, found = ops.compacting_loop(step, [x, found], [clean, y, spread], self.k, self.compact)
        return x, found | ops.is_wrong(self.net(x, training=False), y)

    def _direction(self, gradient):
        return tf.sign(gradient) if self.norm == 'Linf' else ops.unit(gradient)

    def _project(self, delta, eps):
        if self.norm == 'Linf':
            return tf.clip_by_value(delta, -eps, eps)
        return ops.within_l2(delta, eps)
