"""Gradient steps within given budgets: what FGSM, IFGSM and PGD have in common."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from .. import checks
from . import leads, ops
from .base import IMAGES, LABELS, SCALAR, Attack, Net, Proposal, Rng

DEFAULT_EPS = {
    'Linf': (0.01, 0.02, 0.03, 0.04, 0.05, 0.1, 0.3),
    'L2': (0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0),
}


def budgets(norm: str, eps_list: Sequence[float] | None, size: int | None = None) -> list[float]:
    """Budgets, ascending; those that suit the norm for None.

    Args:
        norm: 'L2' or 'Linf'.
        eps_list: what was asked for.
        size: values in an image, if that is known.

    Raises:
        ValueError: no list of finite numbers above 0, or one that is larger than the box allows.
    """
    most = 1.0 if norm == 'Linf' else math.inf if size is None else math.sqrt(size)
    if eps_list is None:
        return [eps for eps in DEFAULT_EPS[norm] if eps < most] or [most]
    found = checks.numbers('eps_list', eps_list)
    if found[-1] > most:
        raise ValueError(f'eps_list has {found[-1]:g}, but pixels are in [0, 1], and no two images are further apart '
                         f'than {most:g} in {norm}; 8 of 255 grey levels are 8 / 255')
    return found


class GradientDescentAttack(Attack):
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
        norm: 'Linf' or 'L2'.
        compact: False keeps images whose search has finished in the batch, to no one's gain.

    Raises:
        ValueError: an argument that is not such, or with which there is nothing to do.
    """

    has_budgets = True

    def __init__(self, model: Net, eps_list: Sequence[float] | None = None, k: int = 100, a: float = 0.1,
                 repeat: int = 10, random_start: bool = True, norm: str = 'Linf', compact: bool = True):
        super().__init__(model)
        self.norm = checks.one_of('norm', norm, DEFAULT_EPS)
        self.eps_list = budgets(norm, eps_list, self.image_size)
        self.k = checks.count('k', k)
        self.a = checks.number('a', a)
        self.repeat = checks.count('repeat', repeat) if random_start else 1
        self.random_start = checks.flag('random_start', random_start)
        self.compact = checks.flag('compact', compact)
        self._descended = self._compiled(self._descend, IMAGES, IMAGES, LABELS, SCALAR)
        self._moved = self._compiled(self._move, IMAGES, LABELS, SCALAR)

    def _run(self, x, y, rng):
        images, eps = np.zeros_like(x), np.full(len(x), np.inf)
        active = np.arange(len(x))
        steps = self._single_steps(x, y)
        for budget in self.eps_list:
            for _ in range(self.repeat):
                # Drawn for every image, so that what an image gets does not depend on which others are done.
                start = self._random_start(x, budget, rng)[active] if self.random_start else x[active]
                active = self._take(active, images, eps, budget, *self._descended(start, x[active], y[active], budget))
                if not len(active):
                    return Proposal(images, np.isfinite(eps), eps)
            if steps is not None:
                size = np.full(len(active), budget)
                active = self._take(active, images, eps, budget,
                                    *self._stepped(x[active], steps[active], y[active], size))
        return Proposal(images, np.isfinite(eps), eps)

    @staticmethod
    def _take(active: np.ndarray, images: np.ndarray, eps: np.ndarray, budget: float, ends: np.ndarray,
              wrong: np.ndarray) -> np.ndarray:
        """Records what was found of the active images, int64 [n]; returns those that are left."""
        images[active[wrong]], eps[active[wrong]] = ends[wrong], budget
        return active[~wrong]

    def _single_steps(self, x: np.ndarray, y: np.ndarray) -> np.ndarray | None:
        """The directions of single steps; None if the attack itself is one."""
        return None if self.k == 1 and self.a == 1.0 and not self.random_start else self._looked(x, y)[0]

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
        x = self._checked_images(images)
        y = self._checked_labels(labels, *self._checked_logits(x).shape)
        moved, finite = self._moved(x, y, eps)
        if not finite:
            raise ValueError("the gradient of the network's logits is not finite")
        return moved

    def _move(self, clean, y, eps):
        def step(i, x, finite):
            with tf.GradientTape(watch_accessed_variables=False) as tape:
                tape.watch(x)
                lead = leads.soft_lead(self.quick_net(x), y, 1.0)
            gradient = tape.gradient(lead, x, unconnected_gradients='zero')
            direction = tf.sign(gradient) if self.norm == 'Linf' else ops.unit(gradient)
            moved = self._project(x - eps * self.a * direction - clean, eps)
            finite &= tf.reduce_all(tf.math.is_finite(gradient))
            return i + 1, tf.clip_by_value(clean + moved, *self.bounds), finite

        _, x, finite = tf.while_loop(lambda i, x, finite: i < self.k, step, (0, clean, tf.constant(True)))
        return x, finite

    def _random_start(self, x: np.ndarray, eps: float, rng: Rng) -> np.ndarray:
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
            at = leads.slope(self.quick_net, x, y, spread, leads.sharpening(i, self.k),
                             None if self.norm == 'Linf' else self.bounds)
            wrong = self._is_wrong(at.logits, y)
            direction = tf.sign(at.gradient) if self.norm == 'Linf' else ops.unit(at.gradient)
            moved = self._project(x - eps * self.a * direction - clean, eps)
            x = tf.where(ops.per_image(wrong), x, tf.clip_by_value(clean + moved, *self.bounds))
            return [x, wrong], wrong

        found = tf.zeros_like(y, tf.bool)
        x, found = ops.compacting_loop(step, [x, found], [clean, y, self._spread(clean, y)], self.k, self.compact)
        return x, found | self._is_wrong_at(x, y)

    def _project(self, delta, eps):
        if self.norm == 'Linf':
            return tf.clip_by_value(delta, -eps, eps)
        return ops.within_l2(delta, eps)
