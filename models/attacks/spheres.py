"""Balls whose random starts are on the sphere, as those of Auto-PGD and of its relatives are.

What they differ in from ``balls`` is where an attack begins, not the ball.
"""

from __future__ import annotations

from abc import abstractmethod

import numpy as np
import tensorflow as tf

from .. import checks
from . import ops
from .balls import L1, L2, Ball, Linf, Rng


class Sphere(Ball):
    """A ball whose random perturbations have the size of the budget: noise, scaled."""

    @abstractmethod
    def noise(self, shape: tuple[int, ...], rng: Rng) -> np.ndarray:
        """What a start is made of, float32 [N, H, W, C]."""

    @abstractmethod
    def noise_like(self, like: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        """The same within a computation: a function of the seed, int32 [2], alone."""

    @abstractmethod
    def scaled(self, noise: tf.Tensor, eps: tf.Tensor) -> tf.Tensor:
        """Perturbations of the sizes ``eps``, [N]."""

    def start(self, x: tf.Tensor, eps: tf.Tensor, noise: tf.Tensor) -> tf.Tensor:
        """Points to start from, within the ball and [0, 1].

        Args:
            x: images, float32 [N, H, W, C] in [0, 1].
            eps: budgets, [N].
            noise: see ``noise``.
        """
        return tf.clip_by_value(x + self.scaled(noise, eps), 0.0, 1.0)

    def random(self, like, eps, seed):
        return self.scaled(self.noise_like(like, seed), eps)


class LinfSphere(Sphere, Linf):
    """L-infinity: uniform noise, whose largest entry is put at the budget."""

    def noise(self, shape, rng):
        return rng.uniform(size=shape).astype(np.float32)

    def noise_like(self, like, seed):
        return tf.random.stateless_uniform(tf.shape(like), seed)

    def scaled(self, noise, eps):
        noise = 2 * noise - 1
        largest = ops.linf_norm(noise)
        return ops.per_image(eps) * noise / ops.per_image(tf.where(largest > 0, largest, 1.0))


class L2Sphere(Sphere, L2):
    """L2: a uniformly random direction."""

    def noise(self, shape, rng):
        return rng.normal(size=shape).astype(np.float32)

    def noise_like(self, like, seed):
        return tf.random.stateless_normal(tf.shape(like), seed)

    def scaled(self, noise, eps):
        return ops.per_image(eps) * ops.unit(noise)


class L1Sphere(Sphere, L1):
    """L1: normal noise, brought into the ball and the box: on the sphere, and most pixels are as they were."""

    def noise(self, shape, rng):
        return rng.normal(size=shape).astype(np.float32)

    def noise_like(self, like, seed):
        return tf.random.stateless_normal(tf.shape(like), seed)

    def scaled(self, noise, eps):
        return self.project(noise, eps)

    def start(self, x, eps, noise):
        return self.onto(x + noise, x, eps)


SPHERES: dict[str, type[Sphere]] = {'Linf': LinfSphere, 'L2': L2Sphere, 'L1': L1Sphere}
"""By the names of their norms."""


def sphere_of(norm: str) -> Sphere:
    """The ball of a norm, by its name.

    Raises:
        ValueError: there is none of this name.
    """
    return SPHERES[checks.one_of('norm', norm, SPHERES)]()
