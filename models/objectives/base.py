"""The contract of an objective: what a training step minimises."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from ..batch import Batch
from .passes import ForwardPass, forward_pass


class Objective:
    """Losses of a network on a batch.

    A subclass says which activations it reads (``layers``) and what it makes of a forward pass (``losses_of``); the
    base class runs the network, once, so that several objectives can share a pass. One that runs the network in its own
    way, on other images say, overrides ``losses`` instead.

    It may have state, which training keeps, rolls back, saves and resumes with the weights: ``build`` makes it,
    ``variables`` names it, and ``Batch.update`` changes it. And it may have numbers that follow schedules:
    ``controls``.

    Attributes:
        second_order: whether the losses differentiate through a gradient of the network.
    """

    second_order: bool = False

    def layers(self, net: keras.Model) -> tuple[str, ...]:
        """The names of the activations that ``losses_of`` reads, 'input' for the images; none unless overridden.

        Raises:
            ValueError: the network has no such layers, or not what else the objective asks of it.
        """
        return ()

    def build(self, net: keras.Model, images: int) -> None:
        """Makes the variables; called once, before training, within the strategy's scope.

        Args:
            net: the network.
            images: how many there are in the training set.
        """

    def variables(self) -> Mapping[str, tf.Variable]:
        """The state that training changes, by names without a '/'; none unless overridden."""
        return {}

    def controls(self, steps: np.ndarray, per_epoch: int) -> Mapping[str, np.ndarray]:
        """Numbers that change in the course of training, for ``Batch.controls``; none unless overridden.

        Args:
            steps: int64 [n], how many steps were taken before each of those that are coming.
            per_epoch: steps in an epoch.

        Returns:
            float64 [n] by name; see ``schedules.Control``.
        """
        return {}

    def record(self) -> Mapping[str, Any]:
        """What history says of the state after an epoch: numbers, lists and dictionaries of them; nothing unless
        overridden."""
        return {}

    def losses_of(self, run: ForwardPass) -> tf.Tensor:
        """The losses of the samples, float64 [N], from a forward pass that has the activations of ``layers``."""
        raise NotImplementedError(f'{type(self).__name__} must define losses_of, or losses')

    def losses(self, batch: Batch | keras.Model, x: Any = None, y: Any = None, training: bool = True) -> tf.Tensor:
        """The losses of the samples; a training step minimises their mean.

        To be called under the tape that takes the gradient with respect to the weights; compiled or not.

        Args:
            batch: the batch of a training step. In one's own loop a network, from images to logits [N, C], with
                x: images [N, ...],
                y: labels, integers [N] or [N, 1],
                training: whether batch norm and dropout are as in training.

        Returns:
            float64 [N], whatever the dtype of the network.

        Raises:
            ValueError: the network gives probabilities, or has not what the objective asks for; labels that are no
                classes. In a compiled function, which cannot look at them, the loss of such a label is nan.
        """
        return self.losses_of(self.pass_over(as_batch(batch, x, y, training)))

    def pass_over(self, batch: Batch) -> ForwardPass:
        """The forward pass that ``losses_of`` reads."""
        run = forward_pass(batch.net, batch.x, batch.y, batch.training, self.layers(batch.net), self.second_order)
        return run._replace(batch=batch)


def as_batch(batch: Batch | keras.Model, x: Any, y: Any, training: bool) -> Batch:
    """What ``Objective.losses`` is given, as a batch."""
    return batch if isinstance(batch, Batch) else Batch(batch, x, y, training)
