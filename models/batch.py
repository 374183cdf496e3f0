"""What a training step hands to the objective that it minimises."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import keras
import tensorflow as tf

from .replicas import Replicas


@dataclass(frozen=True)
class Batch:
    """A batch of a training step, or a device's share of one.

    Attributes:
        net: from images to logits.
        x: images, float32 [n, H, W, C], augmented already.
        y: labels, int64 [n].
        training: whether batch norm and dropout are as in training.
        index: int32 [n], each image's number in the training set; None outside of a training step, as all that follows.
        seed: int32 [2], of this step's random numbers for TensorFlow's stateless functions; another one on each device.
            For numbers that do not depend on how many devices there are, see ``uniform``.
        step: int64, how many steps the model has taken before.
        controls: float64 scalars by name, what ``Objective.controls`` said of this step.
        whole: int32 [N], the numbers of all images of the batch, over all devices; in a training step.
        replicas: of the network; in a training step.
    """

    net: keras.Model
    x: Any
    y: Any
    training: bool = True
    index: tf.Tensor | None = None
    seed: tf.Tensor | None = None
    step: tf.Tensor | None = None
    controls: Mapping[str, tf.Tensor] = field(default_factory=dict)
    whole: tf.Tensor | None = None
    replicas: Replicas | None = None
    _common_seed: tf.Tensor | None = None
    _tape: tf.GradientTape | None = None
    _watched: list[tuple[tf.Tensor, Callable[[tf.Tensor], None]]] = field(default_factory=list)
    _updates: list[tuple[tf.Variable, tf.Tensor, tf.Tensor | None]] = field(default_factory=list)

    def uniform(self, shape: Sequence[int] = (), stream: int = 0) -> tf.Tensor:
        """Random numbers for each image, uniform in [0, 1), float32 [n, *shape]: the same on one device as on several.

        Args:
            shape: of what an image gets.
            stream: another one gives other numbers.

        Raises:
            ValueError: outside of a training step, which has the seed.
        """
        replicas, whole = self._in_a_step()
        n = tf.size(whole)
        draws = tf.random.stateless_uniform([n, *shape], tf.random.fold_in(self._common_seed, stream))
        return draws if replicas.count == 1 else tf.gather(draws, replicas.share(tf.range(n)))

    def uniform_like(self, x: tf.Tensor) -> tf.Tensor:
        """Random numbers for each pixel of images, uniform in [0, 1), float32: those of ``uniform`` in a training step;
        outside of one, fresh ones."""
        return tf.random.uniform(tf.shape(x)) if self.whole is None else self.uniform(x.shape[1:])

    def common_uniform(self, stream: int = 0) -> tf.Tensor:
        """A random number, uniform in [0, 1), float32: one for the whole batch, on one device as on several; outside of
        a training step a fresh one."""
        if self._common_seed is None:
            return tf.random.uniform([])
        return tf.random.stateless_uniform([], tf.random.fold_in(self._common_seed, stream))

    def assign(self, variable: tf.Variable, value: tf.Tensor) -> None:
        """Gives a variable a value, which is the same on every device, now."""
        if self.replicas is None:
            variable.assign(value)
        else:
            self.replicas.assign(variable, value)

    def mean(self, values: tf.Tensor) -> tf.Tensor:
        """The mean of values [n], one for each image, over the whole batch; the same on every device."""
        replicas, whole = self._in_a_step()
        return replicas.total_of([replicas.mean(values, whole)])[0]

    def update(self, variable: tf.Variable, value: tf.Tensor) -> None:
        """Gives a variable of the objective a value once the step is taken.

        Args:
            variable: one of ``Objective.variables``.
            value: like the variable, and the same on every device; see ``mean``.
        """
        self._in_a_step()
        self._updates.append((variable, tf.stop_gradient(value), None))

    def update_rows(self, variable: tf.Variable, values: tf.Tensor, rows: tf.Tensor | None = None) -> None:
        """Gives rows of a variable their values [n, ...] once the step is taken; on every device those of all of them.

        Args:
            variable: one of ``Objective.variables``.
            values: of the images of this batch, float or integer [n, ...].
            rows: int32 [n]; None for ``index``, where the variable has a row for each image of the training set.
                ``places`` is for one that has a row for each place in a batch.
        """
        self._in_a_step()
        self._updates.append((variable, tf.stop_gradient(values), self.index if rows is None else rows))

    @property
    def places(self) -> tf.Tensor:
        """Each image's place in the whole batch, int32 [n], from 0 on."""
        replicas, whole = self._in_a_step()
        return replicas.share(tf.range(tf.size(whole)))

    def watch(self, x: tf.Tensor, then: Callable[[tf.Tensor], None]) -> tf.Tensor:
        """Has the backward pass of the step, which is one, take the gradient with respect to ``x`` too.

        Args:
            x: what the losses are then computed from.
            then: is given the gradient of what is minimised, of the shape of ``x``, and may ``update``.

        Returns:
            ``x``, to be used in its place.
        """
        self._in_a_step()
        if self._tape is None:
            raise ValueError('what is watched needs a step that takes gradients of it, as in a run; fit does not')
        x = tf.identity(tf.stop_gradient(x))
        self._tape.watch(x)
        self._watched.append((x, then))
        return x

    @property
    def watched(self) -> list[tf.Tensor]:
        """What ``watch`` was told of; read by the step."""
        return [x for x, _ in self._watched]

    def tell(self, gradients: Sequence[tf.Tensor]) -> None:
        """Hands on the gradients of ``watched``; called by the step."""
        for (_, then), gradient in zip(self._watched, gradients):
            then(gradient)

    def apply_updates(self) -> None:
        """Does what ``update`` and ``update_rows`` were told; called by the step."""
        replicas, whole = self._in_a_step()
        for variable, value, rows in self._updates:
            if rows is not None:
                replicas.assign_rows(variable, rows, value, whole)
            else:
                replicas.assign(variable, value)

    def _in_a_step(self) -> tuple[Replicas, tf.Tensor]:
        if self.replicas is None or self.whole is None:
            raise ValueError('only the batch of a training step has random numbers, and can update variables')
        return self.replicas, self.whole
