"""How a model trains: compiled epochs of gradient descent, what they draw, and taking them back."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from .augmentation import DRAWS, Augmentation
from .batch import Batch
from .flavours import ScaleFree
from .in_graphs import graph_function, loops_in_graph
from .replicas import Replicas
from .schedules import Control
from .statistics import tensors
from .stored import Stored
from .types import NumericalFailure, TrainMode

PROGRESS_SECONDS = 0.5
"""Time between two calls of ``on_steps``."""
OBJECTIVE = 1
"""Folded into the seed of a step for what objectives draw, which is not what the augmentation draws."""


class Steps(Stored):
    """The training of a ``model.Model``, whose attributes it uses."""

    vars: list[tf.Variable]
    replicas: Replicas
    train_mode: TrainMode
    weight_decay: float
    clip_norm: float | None
    schedule: Control | None
    augment: Augmentation | None
    _require_labels: Callable[[Any, int], None]
    hp_sparse_softmax_cross_entropy_with_logits: Callable[..., tf.Tensor]

    def _prepare_steps(self) -> None:
        """Compiles the loops, and makes what ``keep`` needs."""
        self._steps_taken = self._kept_steps = 0
        self._chunk = 10
        self._drawing: list[keras.layers.Layer] = [
            layer for layer in self.net._flatten_layers() if getattr(layer, 'seed_generator', None) is not None]
        self._changing = list(self._state_vars().values())
        self._kept = [tf.Variable(v, trainable=False) for v in self._changing]
        self._train_steps = graph_function(self._take_steps, reduce_retracing=True)
        self._all_finite = graph_function(
            lambda: tf.reduce_all([tf.reduce_all(tf.math.is_finite(v)) for v in self.vars]))

    @loops_in_graph
    def _take_steps(self, x, y, batches, rates, controls, noise, taken, first, n, log_frame, loss_ub):
        """Gradient descent over ``n`` rows of ``batches``, until after a step whose loss is not below ``loss_ub``."""
        batch_losses = tf.TensorArray(tf.float64, size=n)
        done = 0
        for i in tf.range(n):
            k = first + i
            seed, step = tf.stack([noise, k // self.replays]), taken + tf.cast(k, tf.int64)
            controlled = {name: values[k] for name, values in controls.items()}
            loss = self.replicas.sum(self._step, x, y, batches[k], rates[k], controlled, seed, step, log_frame)
            batch_losses = batch_losses.write(i, loss)
            done = i + 1
            if not loss <= loss_ub:
                break
        return batch_losses.stack()[:done]

    def _step(self, x, y, batch, rate, controls, seed, step, log_frame):
        """A replica's part of a step: its share of the batch, and all of the update. Returns its share of the loss."""
        share = self.replicas.share(batch)
        images, labels = tf.gather(x, share), tf.gather(y, share)
        if self.augment is not None:
            draws = tf.random.stateless_uniform([tf.size(batch), DRAWS], seed)
            images = self.augment(images, tf.gather(draws, self.replicas.share(tf.range(tf.size(batch)))))
        tape = tf.GradientTape()
        given = None if self.objective is None else Batch(
            self.net, images, labels, True, share, self.replicas.own_seed(tf.random.fold_in(seed, OBJECTIVE)), step,
            controls, batch, self.replicas, seed, tape)
        with tape:
            loss = self.replicas.mean(self._losses(images, labels, given, log_frame), batch)
            if self.weight_decay:
                loss += self._decay(log_frame) / self.replicas.count
            # The rate multiplies the float64 loss, not the gradient: float32 gradients then already carry it, and
            # neither under- nor overflow when the frame is far from 1.
            scaled, log_loss = rate * loss if self.optimizer is None else loss, None
            if isinstance(self.optimizer, ScaleFree):
                scaled, log_loss = self.optimizer.relative(loss, log_frame, self.replicas)
        watched = [] if given is None else given.watched
        gradients = tape.gradient(scaled, [*self.vars, *watched], unconnected_gradients='zero')
        self._update(gradients[:len(self.vars)], rate, log_loss)
        if given is not None:
            given.tell(gradients[len(self.vars):])
            given.apply_updates()
        return loss

    @property
    def replays(self) -> int:
        """Steps that are taken on each batch, one after the other."""
        return getattr(self.objective, 'replays', 1)

    def steps_of(self, images: int, batch_size: int) -> int:
        """Steps in an epoch of so many images."""
        return images // batch_size * self.replays

    def _losses(self, x, y, batch: Batch | None, log_frame) -> tf.Tensor:
        """Per-sample loss of a training step, float64 [n] in frame units; the batch is what an objective is given."""
        if batch is not None:
            return self.objective.losses(batch)
        logits = tf.cast(self.net(x, training=True), tf.float32)
        return self.hp_sparse_softmax_cross_entropy_with_logits(y, logits, log_frame)

    def _decay(self, log_frame) -> tf.Tensor:
        """The term of weight decay, a float64 scalar in frame units."""
        decay = self.weight_decay * tf.cast(tf.add_n([tf.nn.l2_loss(v) for v in self.vars]), tf.float64)
        return decay if log_frame is None else decay * tf.exp(-log_frame)

    def _update(self, gradients, rate, log_loss):
        """Takes a step along a replica's share of the gradient; without an optimizer, that times the rate."""
        if self.clip_norm is not None or self.optimizer is not None:
            gradients = self.replicas.total_of(gradients)
            if self.clip_norm is not None:
                limit = self.clip_norm * (tf.cast(rate, tf.float32) if self.optimizer is None else 1.0)
                gradients, _ = tf.clip_by_global_norm(gradients, limit)
            if not isinstance(self.optimizer, ScaleFree):
                gradients = [g / self.replicas.count for g in gradients]  # they are summed once more
        if self.optimizer is None:
            self.replicas.subtract(self.vars, gradients)
        elif isinstance(self.optimizer, ScaleFree):
            self.optimizer.apply(self.vars, gradients, rate, log_loss, self.replicas)
        else:
            self.optimizer.apply(gradients, rate)

    def train_epoch(self, x, y, order: np.ndarray, batch_size: int, lr: float, log_frame: float | None = None,
                    loss_ub: float = np.inf, on_steps: Callable[[int], None] | None = None,
                    seed: int | Sequence[int] | None = None) -> np.ndarray:
        """One epoch of mini-batch gradient descent; images beyond the last full batch are left out.

        A step's loss is measured before its update, in the same pass. Weights are updated in place, also when the epoch
        fails: ``keep`` before and ``roll_back`` after. An objective may have each batch replayed: then so many steps
        are taken on it one after the other, each counted, with the same augmentation.

        Args:
            x: images, float32 [N, H, W, C]; pass a tensor to keep the data set on the device.
            y: labels, integers [N].
            order: the permutation of 0..N-1 in which the images are visited.
            batch_size: images per step.
            lr: learning rate, in frame units, before ``schedule``.
            log_frame: natural logarithm of the frame; None without one.
            loss_ub: bound, in frame units, above which a batch loss ends the epoch.
            on_steps: called with a number of further steps done, about every half second; None runs the epoch in one
                call.
            seed: whole numbers of at least 0 that name this epoch, such as the run's seed, the epoch and the retry:
                what dropout, augmentation and objectives draw in a step is a function of them and of the step. None
                for the number of steps taken before.

        Returns:
            float64 [N // batch_size * replays], the loss of each step in frame units.

        Raises:
            NumericalFailure: a batch loss above ``loss_ub`` or not finite, or weights that are not finite. A gradient
                that is not finite shows in the weights, which never become finite again, so one look at the end of the
                epoch stands for one at every gradient.
            ValueError: ``log_frame`` does not fit the model's ``train_mode``, there is not one full batch, or a label
                is no class of the network.
        """
        self._require_labels(y, len(x))
        if (log_frame is not None) != (self.train_mode is TrainMode.USE_FRAME):
            raise ValueError(f'train_mode is {self.train_mode.name}, so log_frame must '
                             f'{"be None" if log_frame is not None else "be given"}')
        count = len(order) // batch_size
        steps = count * self.replays
        if steps == 0:
            raise ValueError(f'a batch of {batch_size} is larger than the training set of {len(order)}')
        rows = np.reshape(order[:count * batch_size], (count, batch_size))
        batches = tf.constant(np.repeat(rows, self.replays, axis=0), tf.int32)
        taken = self._steps_taken + np.arange(steps)
        factors = 1.0 if self.schedule is None else self.schedule(taken, steps)
        controls = {} if self.objective is None else {
            name: tf.constant(values, tf.float64) for name, values in self.objective.controls(taken, steps).items()}
        x, y, rates, loss_ub = tensors(x, y, np.broadcast_to(lr * factors, steps), loss_ub)
        noise = int(np.random.SeedSequence(self._steps_taken if seed is None else seed).generate_state(1)[0]) >> 1
        for i, layer in enumerate(self._drawing):
            layer.seed_generator.state.assign([noise, i])
        x, y = self.replicas.on_each(x), self.replicas.on_each(y)
        # As arrays: TensorFlow keeps for good every Python number that it is given as a constant.
        frame = None if log_frame is None else tf.constant(np.array(log_frame, np.float64))
        batch_losses: list[float] = []
        while len(batch_losses) < steps:
            start, began = len(batch_losses), time.perf_counter()
            whole = on_steps is None or self.replicas.across_workers  # calls that hang on the time must not meet
            n = steps - start if whole else min(steps - start, self._chunk)
            numbers = (tf.constant(np.array(v)) for v in (
                np.int32(noise), np.int64(self._steps_taken), np.int32(start), np.int32(n)))
            batch_losses += self._train_steps(
                x, y, batches, rates, controls, *numbers, frame, loss_ub).numpy().tolist()
            last = batch_losses[-1]
            if not np.isfinite(last):
                raise NumericalFailure('the batch loss is not finite', batch_losses[:-1])
            if last > float(loss_ub):
                raise NumericalFailure(f'loss is too large: {last}', batch_losses)
            if on_steps is not None:
                on_steps(n)
                self._chunk = max(1, int(n * PROGRESS_SECONDS / (time.perf_counter() - began)))
        if not self.is_finite():
            raise NumericalFailure('the weights are not finite', batch_losses)
        self._steps_taken += steps
        return np.array(batch_losses)

    @property
    def steps_taken(self) -> int:
        """Steps to these weights; of epochs that were rolled back none count."""
        return self._steps_taken

    def keep(self) -> None:
        """Remembers the weights, and all else that training changes, on the device."""
        for kept, v in zip(self._kept, self._changing):
            kept.assign(v)
        self._kept_steps = self._steps_taken

    def roll_back(self) -> None:
        """Restores what the last ``keep`` remembered (the start, before the first)."""
        for kept, v in zip(self._kept, self._changing):
            v.assign(kept)
        self._steps_taken = self._kept_steps

    def is_finite(self) -> bool:
        """Whether every weight is a finite number."""
        return bool(self._all_finite())
