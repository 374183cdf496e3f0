"""Balls as AdverTorch's PGD has them: its order of clipping, its random starts (Ding et al., arXiv 1902.07623).

MMA training (arXiv 1812.02637) was published with these. What they differ in from ``balls`` is the way within the ball,
not the ball.
"""

from __future__ import annotations

import tensorflow as tf

from .. import checks
from . import ops
from .balls import L2, Linf


class StartingLinf(Linf):
    """L-infinity, whose random starts are made of uniform numbers that are given."""

    def start(self, x: tf.Tensor, eps: tf.Tensor, uniform: tf.Tensor) -> tf.Tensor:
        """Points to start from, within the ball and [0, 1].

        Args:
            x: images, float32 [N, H, W, C] in [0, 1].
            eps: budgets, [N].
            uniform: in [0, 1), of the shape of the images.
        """
        return tf.clip_by_value(x + ops.per_image(eps) * (2 * uniform - 1), 0.0, 1.0)


class BoxFirstL2(L2):
    """L2, whose steps are clipped to the box before they are scaled into the ball, so that what the box takes from a
    step does not count.

    A random start is a uniformly random image of the box, moved towards the clean one into the ball: nearly always on
    the sphere, and not uniform in the ball.

    Args:
        floor: a gradient whose norm is less counts as one of this norm, so that its step is shorter. AdverTorch has
            1e-6, which shortens the steps of the cross entropy where the network is sure; 0 for steps of full length.
    """

    def __init__(self, floor: float = 0.0):
        self.floor = checks.number('floor', floor, strict=False)

    def start(self, x: tf.Tensor, eps: tf.Tensor, uniform: tf.Tensor) -> tf.Tensor:
        """As of ``StartingLinf``."""
        return tf.clip_by_value(x + ops.within_l2(uniform - x, eps), 0.0, 1.0)

    def random(self, like, eps, seed):
        return self.start(like, eps, tf.random.stateless_uniform(tf.shape(like), seed)) - like

    def onto(self, x, clean, eps):
        return super().onto(tf.clip_by_value(x, 0.0, 1.0), clean, eps)

    def direction(self, gradient):
        unit = super().direction(gradient)
        if not self.floor:
            return unit
        return unit * ops.per_image(tf.minimum(ops.l2_norm(gradient) / self.floor, 1.0))


def starting_ball(norm: str, floor: float = 0.0) -> StartingLinf | BoxFirstL2:
    """The ball of a norm, by its name.

    Raises:
        ValueError: there is none of this name.
    """
    return StartingLinf() if checks.one_of('norm', norm, ('Linf', 'L2')) == 'Linf' else BoxFirstL2(floor)
