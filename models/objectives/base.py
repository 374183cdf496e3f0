"""The contract of an objective: what a training step minimises."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import keras
import tensorflow as tf

from .passes import ForwardPass, forward_pass


class Objective(ABC):
    """Losses of a network on a batch.

    A subclass says which activations it reads (``layers``) and what it makes of a forward pass (``losses_of``); the
    base class runs the network, once, so that several objectives can share a pass.

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

    @abstractmethod
    def losses_of(self, run: ForwardPass) -> tf.Tensor:
        """The losses of the samples, float64 [N], from a forward pass that has the activations of ``layers``."""

    def losses(self, net: keras.Model, x: Any, y: Any, training: bool) -> tf.Tensor:
        """The losses of the samples; a training step minimises their mean.

        To be called under the tape that takes the gradient with respect to the weights; compiled or not.

        Args:
            net: from images to logits [N, C].
            x: images [N, ...].
            y: labels, integers [N] or [N, 1].
            training: whether batch norm and dropout are as in training.

        Returns:
            float64 [N], whatever the dtype of the network.

        Raises:
            ValueError: the network gives probabilities, or has not what the objective asks for; labels that are no
                classes. In a compiled function, which cannot look at them, the loss of such a label is nan.
        """
        return self.losses_of(forward_pass(net, x, y, training, self.layers(net), self.second_order))
