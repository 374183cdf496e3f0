"""Balls: the norms in which perturbations are measured, and what an attack does within a budget of such a norm.

A new norm is a class here (or anywhere: attacks take an instance for their ``norm``); no attack asks which one it has.
Perturbations are [N, H, W, C], budgets [N]. What attacks do is on tensors and traceable; what is measured is on arrays,
in float64.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import ClassVar, TypeAlias

import numpy as np
import tensorflow as tf

from .. import checks
from . import ops

Rng: TypeAlias = np.random.Generator | np.random.RandomState
Bounds: TypeAlias = tuple[float, float]

ROUNDED = 2.0 ** -24
"""By so much a float32 pixel of [0, 1] is off where it was added up."""
RELATIVE = 1e-6
"""By this share of itself a norm that was taken in float32 is off."""


class Ball(ABC):
    """All perturbations whose norm is at most a budget.

    Attributes:
        name: of the norm.
        budgets: those of attacks within budgets that are given none.
        grid: perturbation sizes at which evaluations report the accuracy under attack.
    """

    name: ClassVar[str]
    budgets: ClassVar[tuple[float, ...]]
    grid: ClassVar[tuple[float, ...]]

    # ---- tensors ----

    @abstractmethod
    def size(self, delta: tf.Tensor) -> tf.Tensor:
        """The norm of each perturbation, [N]."""

    @abstractmethod
    def dual_size(self, gradient: tf.Tensor) -> tf.Tensor:
        """How much a function of these gradients changes along ``direction``, to first order: their dual norm, [N]."""

    @abstractmethod
    def direction(self, gradient: tf.Tensor) -> tf.Tensor:
        """The perturbation of norm 1 along which a function of this gradient rises most; 0 where the gradient is 0."""

    @abstractmethod
    def project(self, delta: tf.Tensor, eps: tf.Tensor) -> tf.Tensor:
        """The nearest perturbations, in L2, within budgets [N] of at least 0."""

    @abstractmethod
    def random(self, like: tf.Tensor, eps: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        """Perturbations of the shape of images, uniform in the balls of budgets [N]: a function of the seed, int32
        [2], alone."""

    @abstractmethod
    def reach(self, x: tf.Tensor, bounds: Bounds) -> tf.Tensor:
        """A size that no perturbation within the box exceeds, [N]."""

    def onto(self, x: tf.Tensor, clean: tf.Tensor, eps: tf.Tensor) -> tf.Tensor:
        """The nearest points, in L2, of the balls around the clean images."""
        return clean + self.project(x - clean, eps)

    def walls(self, bounds: Bounds) -> Bounds | None:
        """The bounds of a pixel that a step along the gradient has to heed; None for none.

        Where pixels share a budget, what the walls take from a step is lost to the others: see ``ops.inwards``.
        """
        return bounds

    # ---- arrays ----

    @abstractmethod
    def norm(self, delta: np.ndarray) -> np.ndarray:
        """Norms of perturbations, float64, of their absolute values [N, values]."""

    @abstractmethod
    def draw(self, shape: tuple[int, ...], eps: float, rng: Rng) -> np.ndarray:
        """Perturbations [N, H, W, C], float64, uniform in the ball of a budget."""

    def distance(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """Distances of images, float64 [N]."""
        return self.norm(np.abs(a.astype(np.float64) - b).reshape(len(a), math.prod(a.shape[1:])))

    def furthest(self, x: np.ndarray, bounds: Bounds) -> np.ndarray:
        """Distances of images from what the box has furthest from them, float64 [N]."""
        return self.distance(x, np.where(x - bounds[0] > bounds[1] - x, *bounds))

    def diagonal(self, size: int | None) -> float:
        """The largest distance in [0, 1] of images of so many values; None if that is not known."""
        return math.inf if size is None else float(self.norm(np.ones((1, size)))[0])

    def rounding(self, eps: np.ndarray | float, size: int) -> np.ndarray | float:
        """By how much the distance of float32 images, of so many values, may be above the budget that they were made
        within."""
        return np.multiply(RELATIVE, eps) + float(self.norm(np.full((1, size), ROUNDED))[0])


class Linf(Ball):
    """L-infinity: each pixel has a budget of its own."""

    name = 'Linf'
    budgets = (0.01, 0.02, 0.03, 0.04, 0.05, 0.1, 0.3)
    grid = tuple(k / 100 for k in range(1, 31))

    def size(self, delta):
        return ops.linf_norm(delta)

    def dual_size(self, gradient):
        return tf.reduce_sum(tf.abs(gradient), axis=[1, 2, 3])

    def direction(self, gradient):
        return tf.sign(gradient)

    def project(self, delta, eps):
        return tf.clip_by_value(delta, -ops.per_image(eps), ops.per_image(eps))

    def random(self, like, eps, seed):
        return ops.per_image(eps) * tf.random.stateless_uniform(tf.shape(like), seed, -1, 1)

    def reach(self, x, bounds):
        return tf.fill([tf.shape(x)[0]], tf.constant(bounds[1] - bounds[0], x.dtype))

    def walls(self, bounds):
        return None

    def norm(self, delta):
        return delta.max(axis=1)

    def draw(self, shape, eps, rng):
        return rng.uniform(-eps, eps, shape)

    def diagonal(self, size):
        return 1.0


class L2(Ball):
    """L2: the Euclidean norm of all pixels."""

    name = 'L2'
    budgets = (0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0)
    grid = tuple(k / 4 for k in range(1, 21))

    def size(self, delta):
        return ops.l2_norm(delta)

    def dual_size(self, gradient):
        return ops.l2_norm(gradient)

    def direction(self, gradient):
        return ops.unit(gradient)

    def project(self, delta, eps):
        return ops.within_l2(delta, eps)

    def random(self, like, eps, seed):
        shape = tf.shape(like)
        seeds = tf.random.split(seed, 2)
        share = tf.random.stateless_uniform(shape[:1], seeds[0]) ** (1 / tf.cast(tf.reduce_prod(shape[1:]), tf.float32))
        return ops.per_image(eps * share) * ops.unit(tf.random.stateless_normal(shape, seeds[1]))

    def reach(self, x, bounds):
        return ops.furthest_l2(x, bounds)

    def norm(self, delta):
        return np.sqrt(np.square(delta).sum(axis=1))

    def draw(self, shape, eps, rng):
        noise = rng.normal(size=shape)
        radius = eps * rng.uniform(size=(len(noise), 1, 1, 1)) ** (1 / math.prod(shape[1:]))
        noise *= radius / np.sqrt(np.square(noise).sum(axis=(1, 2, 3), keepdims=True))
        return noise


BALLS: dict[str, Ball] = {ball.name: ball for ball in (Linf(), L2())}
"""By the names of their norms."""


def require_within_the_box(name: str, eps: float, ball: Ball, size: int | None) -> None:
    """Sees that a distance is one that images can have.

    Args:
        name: what to call it.
        eps, ball: the distance, and of which norm.
        size: values in an image, if that is known.

    Raises:
        ValueError: it is larger than the box allows.
    """
    most = ball.diagonal(size)
    if eps > most:
        raise ValueError(f'{name} is {eps:g}, but pixels are in [0, 1], and no two images are further apart than '
                         f'{most:g} in {ball.name}; 8 of 255 grey levels are 8 / 255')


def ball_of(norm: str | Ball) -> Ball:
    """The ball of a norm, by its name; a ball is its own.

    Raises:
        ValueError: there is no norm of this name.
    """
    return norm if isinstance(norm, Ball) else BALLS[checks.one_of('norm', norm, BALLS)]
