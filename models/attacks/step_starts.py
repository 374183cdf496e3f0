"""Balls as the PGD of Liu et al. (arXiv 2006.08403) has them: random starts that are a step away from the clean image.

A start is uniform within a step of the clean image in every pixel, projected onto the ball and then clipped to the box,
as each step is.
"""

from __future__ import annotations

from typing import TypeAlias

import tensorflow as tf

from .. import checks
from . import ops
from .advertorch import BoxFirstL2, StartingLinf, starting_ball
from .balls import L2, Linf

LARGEST_SHIFT = 1e30


class StepLinf(Linf):
    """L-infinity, with starts of at most a step.

    Args:
        a: size of a step, in units of the budget.
    """

    def __init__(self, a: float):
        self.a = checks.number('a', a)

    def start(self, x: tf.Tensor, eps: tf.Tensor, uniform: tf.Tensor) -> tf.Tensor:
        """As of ``advertorch.StartingLinf``."""
        noise = self.project(ops.per_image(self.a * eps) * (2 * uniform - 1), eps)
        return tf.clip_by_value(x + noise, 0.0, 1.0)


class StepL2(L2):
    """L2, with starts within a cube of the half side of a step.

    Args:
        a: as of ``StepLinf``.
        shift: a number that is added to the slope of every pixel and to its norm. The released code adds 1e-8 to those
            of the mean over a batch, which is that times the number of images to those of an image; where there is no
            slope, all pixels then become brighter by a whole step each. 0 for the slope as it is.
    """

    def __init__(self, a: float, shift: float = 0.0):
        self.a = checks.number('a', a)
        self.shift = checks.number('shift', shift, strict=False, high=LARGEST_SHIFT)

    def start(self, x: tf.Tensor, eps: tf.Tensor, uniform: tf.Tensor) -> tf.Tensor:
        """As of ``advertorch.StartingLinf``."""
        noise = self.project(ops.per_image(self.a * eps) * (2 * uniform - 1), eps)
        return tf.clip_by_value(x + noise, 0.0, 1.0)

    def direction(self, gradient):
        if not self.shift:
            return super().direction(gradient)
        return (gradient - self.shift) / ops.per_image(ops.l2_norm(gradient) + self.shift)  # of what is made small


Starting: TypeAlias = StartingLinf | BoxFirstL2 | StepLinf | StepL2

STARTS = ('ball', 'step')
"""Where random starts are from: of ``advertorch``, and of this module."""


def starting_ball_of(norm: str, start: str, a: float, floor: float = 0.0, shift: float = 0.0) -> Starting:
    """The ball of a norm, by its name, with its random starts.

    Args:
        norm: 'Linf' or 'L2'.
        start: one of ``STARTS``.
        a: of those of a step, the size of a step in units of the budget.
        floor, shift: of L2, see ``advertorch.BoxFirstL2`` and ``StepL2``.

    Raises:
        ValueError: a name that there is not, or a number that does not go with the start.
    """
    if checks.one_of('start', start, STARTS) == 'ball':
        if shift:
            raise ValueError("shift is of start='step'; start='ball' has a floor")
        return starting_ball(norm, floor)
    if floor:
        raise ValueError("floor is of start='ball'; start='step' has a shift")
    return StepLinf(a) if checks.one_of('norm', norm, ('Linf', 'L2')) == 'Linf' else StepL2(a, shift)
