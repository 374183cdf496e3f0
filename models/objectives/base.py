"""The contract of an objective: what a training step minimises."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from ..batch import Batch
from ..schedules import Control
from .passes import ForwardPass, forward_pass


class Objective:
    """Losses of a network on a batch.

    A subclass says which activations it reads (``layers``) and what it makes of a forward pass (``losses_of``); the
    base class runs the network, once, so that several objectives can share a pass. One that runs the network in its own
    way, on other images say, overrides ``losses`` instead.

    It may have state, which training keeps, rolls back, saves and resumes with the weights: ``build`` makes it,
    ``variables`` names it, and ``Batch.update`` changes it. And it may have numbers that follow schedules:
    ``schedules``.

    Keras saves it by its arguments, which are remembered; a class of one's own is to be registered with
    ``keras.saving.register_keras_serializable``.

    Attributes:
        second_order: whether the losses differentiate through a gradient of the network.
        per_image: whether it keeps something of each image of the training set, by the image's number.
        per_place: whether it keeps something of each place in a batch; ``build`` is then told ``batch``, how many
            images that has at most.
        replays: how many steps are taken on each batch, one after the other; each is one step to whatever counts them.
        in_the_box: whether it needs images in [0, 1].
    """

    second_order: bool = False
    per_image: bool = False
    per_place: bool = False
    replays: int = 1
    in_the_box: bool = False
    _arguments: dict[str, Any] | None = None

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if '__init__' in vars(cls):
            cls.__init__ = _remembering(cls.__init__)  # type: ignore[method-assign]

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

    def schedules(self) -> Mapping[str, Control]:
        """The numbers that may follow schedules, by name; none unless overridden."""
        return {}

    def controls(self, steps: np.ndarray, per_epoch: int) -> Mapping[str, np.ndarray]:
        """Numbers that change in the course of training, for ``Batch.controls``: those of ``schedules``, unless
        overridden.

        Args:
            steps: int64 [n], how many steps were taken before each of those that are coming.
            per_epoch: steps in an epoch.

        Returns:
            float64 [n] by name; see ``schedules.Control``.
        """
        return {name: control(steps, per_epoch) for name, control in self.schedules().items()}

    def record(self) -> Mapping[str, Any]:
        """What history says of the state after an epoch: numbers, lists and dictionaries of them; nothing unless
        overridden."""
        return {}

    def metrics(self) -> Mapping[str, tf.Tensor]:
        """Scalars of the state, by name, for the progress bar and the history of ``fit``; none unless overridden.
        Called in a training step."""
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

    def get_config(self) -> dict[str, Any]:
        """The arguments that it was made with, by name, as Keras writes them down."""
        return {k: keras.saving.serialize_keras_object(v) for k, v in (self._arguments or {}).items()}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Objective:
        """One of these arguments."""
        return cls(**{k: keras.saving.deserialize_keras_object(v) for k, v in config.items()})

    def pass_over(self, batch: Batch) -> ForwardPass:
        """The forward pass that ``losses_of`` reads."""
        run = forward_pass(batch.net, batch.x, batch.y, batch.training, self.layers(batch.net), self.second_order)
        return run._replace(batch=batch)


def as_batch(batch: Batch | keras.Model, x: Any, y: Any, training: bool) -> Batch:
    """What ``Objective.losses`` is given, as a batch."""
    return batch if isinstance(batch, Batch) else Batch(batch, x, y, training)


def _remembering(init: Callable[..., None]) -> Callable[..., None]:
    """A constructor that keeps its arguments by name; of the constructors of a class and its bases, the first does."""
    @functools.wraps(init)
    def remembering(self: Objective, *args: Any, **kwargs: Any) -> None:
        if self._arguments is None:
            try:
                self._arguments = dict(list(inspect.signature(init).bind(self, *args, **kwargs).arguments.items())[1:])
            except TypeError:
                pass  # the constructor says it better
        init(self, *args, **kwargs)
    return remembering
