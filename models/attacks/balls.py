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
WHOLE_BOX = math.nextafter(1.0, 0.0)
"""An L-infinity budget that is all of the box, 1 in float32, for what means that; who writes 1 is asked whether a grey
level of 255 was meant."""
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


class L1(Ball):
    """L1: the sum of what is added to pixels and of what is taken from them.

    ``onto`` minds the box [0, 1]: the ball's nearest point, clipped to the box as in other norms, is far inside of the
    ball (Croce & Hein, arXiv 2103.01208, section 2).
    """

    name = 'L1'
    budgets = (1.0, 2.0, 3.0, 5.0, 8.0, 12.0, 16.0, 20.0)
    grid = tuple(float(k) for k in range(1, 31))

    def size(self, delta):
        return tf.reduce_sum(tf.abs(delta), axis=[1, 2, 3])

    def dual_size(self, gradient):
        return ops.linf_norm(gradient)

    def direction(self, gradient):
        flat = tf.reshape(gradient, [tf.shape(gradient)[0], -1])
        largest = tf.one_hot(tf.argmax(tf.abs(flat), axis=1), tf.shape(flat)[1], dtype=flat.dtype)
        return tf.reshape(largest * tf.sign(flat), tf.shape(gradient))

    def project(self, delta, eps):
        return ops.within_l1(delta, eps)

    def onto(self, x, clean, eps):
        """The nearest points, in L2, that are in the balls around the clean images and in [0, 1]."""
        delta = x - clean
        return clean + ops.within_l1(delta, eps, tf.where(delta > 0, 1 - clean, clean))

    def random(self, like, eps, seed):
        shape = tf.shape(like)
        seeds = tf.random.split(seed, 3)
        parts, rest, signs = (tf.random.stateless_uniform(s, seeds[i]) for i, s in enumerate((shape, shape[:1], shape)))
        parts, rest = -tf.math.log1p(-parts), -tf.math.log1p(-rest)
        share = parts / ops.per_image(rest + tf.reduce_sum(parts, axis=[1, 2, 3]))
        return ops.per_image(eps) * tf.where(signs < 0.5, -share, share)

    def reach(self, x, bounds):
        return self.size(tf.maximum(x - bounds[0], bounds[1] - x))

    def norm(self, delta):
        return delta.sum(axis=1)

    def draw(self, shape, eps, rng):
        # Of d + 1 exponential numbers, each over their sum, d are a uniform point of the simplex.
        parts, rest = rng.exponential(size=shape), rng.exponential(size=(shape[0], 1, 1, 1))
        return eps * np.where(rng.uniform(size=shape) < 0.5, -1, 1) * parts / (
            rest + parts.sum(axis=(1, 2, 3), keepdims=True))


BALLS: dict[str, Ball] = {ball.name: ball for ball in (Linf(), L2(), L1())}
"""By the names of their norms."""


def require_within_the_box(name: str, eps: float, ball: Ball, size: int | None) -> None:
    """Sees that a distance is one that images can have.

    Args:
        name: what to call it.
        eps, ball: the distance, and of which norm.
        size: values in an image, if that is known.

    Raises:
        ValueError: it is larger than the box allows, or, in L-infinity, 1 or more, which is no bound.
    """
    most = ball.diagonal(size)
    if eps >= 1 and isinstance(ball, Linf):
        asked = f'was {eps:g}/255 meant?' if eps <= 255 else 'it must be below 1'
        raise ValueError(f'{name} is {eps:g}; pixels are in [0, 1]: {asked}')
    if eps > most:
        raise ValueError(f'{name} is {eps:g}, but pixels are in [0, 1], and no two images are further apart than '
                         f'{most:g} in {ball.name}; 8 of 255 grey levels are 8 / 255')


def ball_of(norm: str | Ball) -> Ball:
    """The ball of a norm, by its name; a ball is its own.

    Raises:
        ValueError: there is no norm of this name.
    """
    return norm if isinstance(norm, Ball) else BALLS[checks.one_of('norm', norm, BALLS)]
