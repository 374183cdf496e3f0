"""Model: a Keras network with the training loop, the statistics and the loss of the paper."""

from __future__ import annotations

import time
import zlib
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from . import checks, losses, margins
from .augmentation import DRAWS, Augmentation
from .logits import class_labels
from .optimizers import Optimizer, schedule_of
from .replicas import Replicas
from .stored import Stored
from .types import NumericalFailure, TrainMode, shown

EVAL_BYTES = 2 ** 28
"""Memory for the largest activation of an evaluation batch: enough for full speed, little beside the data set."""
LARGEST_NORM = 1e30
"""Bound of ``clip_norm``, which is taken times gradients in float32."""
PROGRESS_SECONDS = 0.5
"""Time between two calls of ``on_steps``."""


class Model(Stored, ABC):
    """A classifier and how it is trained by gradient descent.

    A subclass builds ``net`` and ``layer_vars``, calls ``_ready``, and tells its ``norms``. Training and evaluation are
    compiled as a whole: one call runs an epoch, with the data set on the device.

    Units: with a frame (``log_frame`` not None) losses are ``real loss * exp(-log_frame)`` and rates
    ``real rate * exp(log_frame)``.

    Attributes:
        name: the network's name.
        train_mode: whether training uses a frame.
        weight_decay: lambda of the term lambda / 2 * ||theta||^2 added to the real loss in training, not in statistics.
        augment: changes training images; see ``augmentation``. None leaves them as they are.
        net: ``keras.Model`` from images, float32 [N, H, W, C] in [0, 1], to logits, float32 [N, num_labels].
        eval_batch: images per batch when evaluating.
        layer_vars: the trainable variables of each layer, (kernel,) or (kernel, bias), by layer name.
    """

    def __init__(self, name: str, train_mode: TrainMode = TrainMode.NORMAL, weight_decay: float = 0.0,
                 opt: Any = 'gd', schedule: Any = None, clip_norm: float | None = None):
        """
        Args:
            name, train_mode, weight_decay: see the attributes.
            opt: 'gd', gradient descent as in the paper, or another optimizer; see ``optimizers.Optimizer``.
            schedule: how the rate changes with the steps; see ``optimizers.schedule_of``.
            clip_norm: the largest norm of all gradients together, above which they are scaled down to it; None for any.

        Raises:
            ValueError: a value that is not such, or one that does not go with a frame.
        """
        self.name = name
        self.train_mode = train_mode
        if not isinstance(train_mode, TrainMode):
            raise ValueError(f'train_mode must be TrainMode.NORMAL or TrainMode.USE_FRAME, not {shown(train_mode)}')
        self.weight_decay = checks.number('weight_decay', weight_decay, strict=False)
        self.clip_norm = None if clip_norm is None else checks.number('clip_norm', clip_norm, high=LARGEST_NORM)
        self.schedule = schedule_of(schedule)
        self.optimizer = None if isinstance(opt, str) and opt == 'gd' else Optimizer(opt)
        self.augment: Augmentation | None = None
        for option, given in (('opt', self.optimizer), ('schedule', self.schedule), ('clip_norm', clip_norm)):
            if given is not None and train_mode is TrainMode.USE_FRAME:
                raise ValueError(f"{option} belongs to train_mode=NORMAL; with a frame, training is gradient descent "
                                 "at the scheduler's rate")
        self._steps_taken = self._kept_steps = 0
        self._chunk = 10
        self._objective: Callable[..., tf.Tensor] | None = None

    def minimise(self, losses: Callable[[keras.Model, tf.Tensor, tf.Tensor, bool], tf.Tensor]) -> None:
        """Makes training minimise another objective than the cross entropy; to be called before training.

        Args:
            losses: from ``net``, images [N, H, W, C], labels [N] and whether it trains (True), to the losses of the
                samples, float64 [N]; the method ``losses`` of an ``objectives.Objective``, say.

        Raises:
            ValueError: the model has a frame, which is one of the cross entropy.
        """
        if self.train_mode is TrainMode.USE_FRAME:
            raise ValueError('the frame of train_mode=USE_FRAME is one of the cross entropy; another objective trains '
                             'with train_mode=NORMAL')
        self._objective = losses

    def _ready(self) -> None:
        """Compiles the loops; to be called once ``net`` and ``layer_vars`` are built."""
        self.vars = [v for vs in self.layer_vars.values() for v in vs]
        if self.optimizer is not None:
            by_id = {id(v.value): v for v in self.net.trainable_variables}
            self.optimizer.build([by_id[id(v)] for v in self.vars])
        self._dropouts = [layer for layer in self.net.layers if isinstance(layer, keras.layers.Dropout) and layer.rate]
        self._changing = list(self._state_vars().values())
        self._kept = [tf.Variable(v, trainable=False) for v in self._changing]
        self.replicas = Replicas()
        self._train_steps = tf.function(self._take_steps, reduce_retracing=True)
        self._evaluate = tf.function(self._logits_and_losses, reduce_retracing=True)
        floats = max(int(np.prod(layer.output.shape[1:])) for layer in self.net.layers)
        self.eval_batch = max(1, EVAL_BYTES // (4 * floats))
        self._all_finite = tf.function(
            lambda: tf.reduce_all([tf.reduce_all(tf.math.is_finite(v)) for v in self.vars]))

    # ---- network ----

    @property
    def num_labels(self) -> int:
        return int(self.net.output_shape[-1])

    @property
    @abstractmethod
    def is_homogeneous(self) -> bool:
        """Whether scaling all parameters by c > 0 scales the logits by a power of c."""

    @abstractmethod
    def norms(self) -> margins.Norms:
        """Norms of the parameters as they are now."""

    def predict(self, x) -> tf.Tensor:
        """Logits, float32 [N, num_labels], of images [N, H, W, C] in [0, 1]."""
        return self.net(x, training=False)

    def _require_labels(self, y, n: int) -> None:
        if n == 0:
            raise ValueError('there must be an image at least')
        class_labels(y, self.num_labels, n)

    # ---- loss ----

    def hp_sparse_softmax_cross_entropy_with_logits_v2(self, y, y_, log_frame) -> tf.Tensor:
        """Per-sample cross entropy in units of exp(log_frame); see ``losses``."""
        return losses.hp_sparse_softmax_cross_entropy_with_logits_v2(y, y_, log_frame)

    def hp_sparse_softmax_cross_entropy_with_logits(self, y, y_, log_frame=None) -> tf.Tensor:
        """Per-sample cross entropy, float64 [N]: v2 in the given frame, v1 without one."""
        if log_frame is None:
            return losses.hp_sparse_softmax_cross_entropy_with_logits_v1(y, y_)
        return self.hp_sparse_softmax_cross_entropy_with_logits_v2(y, y_, log_frame)

    def _losses(self, x, y, log_frame) -> tf.Tensor:
        """Per-sample loss of a training step, float64 [N] in frame units."""
        if self._objective is not None:
            return self._objective(self.net, x, y, True)
        return self.hp_sparse_softmax_cross_entropy_with_logits(y, self.net(x, training=True), log_frame)

    def _decay(self, log_frame) -> tf.Tensor:
        """The term of weight decay, a float64 scalar in frame units."""
        decay = self.weight_decay * tf.cast(tf.add_n([tf.nn.l2_loss(v) for v in self.vars]), tf.float64)
        return decay if log_frame is None else decay * tf.exp(-log_frame)

    # ---- training ----

    def _take_steps(self, x, y, batches, rates, noise, first, n, log_frame, loss_ub):
        """Gradient descent over ``n`` rows of ``batches``, until after a step whose loss is not below ``loss_ub``."""
        batch_losses = tf.TensorArray(tf.float64, size=n)
        done = 0
        for i in tf.range(n):
            seed = tf.stack([noise, first + i])
            loss = self.replicas.sum(self._step, x, y, batches[first + i], rates[first + i], seed, log_frame)
            batch_losses = batch_losses.write(i, loss)
            done = i + 1
            if not loss <= loss_ub:
                break
        return batch_losses.stack()[:done]

    def _step(self, x, y, batch, rate, seed, log_frame):
        """A replica's part of a step: its share of the batch, and all of the update. Returns its share of the loss."""
        share = self.replicas.share(batch)
        images = tf.gather(x, share)
        if self.augment is not None:
            draws = tf.random.stateless_uniform([tf.size(batch), DRAWS], seed)
            images = self.augment(images, tf.gather(draws, self.replicas.share(tf.range(tf.size(batch)))))
        with tf.GradientTape() as tape:
            loss = self.replicas.mean(self._losses(images, tf.gather(y, share), log_frame), batch)
            if self.weight_decay:
                loss += self._decay(log_frame) / self.replicas.count
            # The rate multiplies the float64 loss, not the gradient: float32 gradients then already carry it, and
            # neither under- nor overflow when the frame is far from 1.
            scaled = rate * loss if self.optimizer is None else loss
        self._update(tape.gradient(scaled, self.vars, unconnected_gradients='zero'), rate)
        return loss

    def _update(self, gradients, rate):
        """Takes a step along a replica's share of the gradient; without an optimizer, that times the rate."""
        if self.clip_norm is not None or self.optimizer is not None:
            gradients = self.replicas.total_of(gradients)
            if self.clip_norm is not None:
                limit = self.clip_norm * (tf.cast(rate, tf.float32) if self.optimizer is None else 1.0)
                gradients, _ = tf.clip_by_global_norm(gradients, limit)
            gradients = [g / self.replicas.count for g in gradients]  # they are summed once more
        if self.optimizer is None:
            self.replicas.subtract(self.vars, gradients)
        else:
            self.optimizer.apply(gradients, rate)

    def train_epoch(self, x, y, order: np.ndarray, batch_size: int, lr: float, log_frame: float | None = None,
                    loss_ub: float = np.inf, on_steps: Callable[[int], None] | None = None) -> np.ndarray:
        """One epoch of mini-batch gradient descent; images beyond the last full batch are left out.

        A step's loss is measured before its update, in the same pass. Weights are updated in place, also when the epoch
        fails: ``keep`` before and ``roll_back`` after.

        Args:
            x: images, float32 [N, H, W, C]; pass a tensor to keep the data set on the device.
            y: labels, integers [N].
            order: the permutation of 0..N-1 in which the images are visited. Dropout and augmentation draw what they
                draw from it, so that an epoch that is repeated in its order is the same epoch.
            batch_size: images per step.
            lr: learning rate, in frame units, before ``schedule``.
            log_frame: natural logarithm of the frame; None without one.
            loss_ub: bound, in frame units, above which a batch loss ends the epoch.
            on_steps: called with a number of further steps done, about every half second; None runs the epoch in one
                call.

        Returns:
            float64 [N // batch_size], the loss of each batch in frame units.

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
        steps = len(order) // batch_size
        if steps == 0:
            raise ValueError(f'a batch of {batch_size} is larger than the training set of {len(order)}')
        batches = tf.constant(np.reshape(order[:steps * batch_size], (steps, batch_size)), tf.int32)
        factors = 1.0 if self.schedule is None else self.schedule(self._steps_taken + np.arange(steps))
        x, y, rates, loss_ub = _tensors(x, y, np.broadcast_to(lr * factors, steps), loss_ub)
        noise = zlib.crc32(np.asarray(order, np.int64).tobytes()) >> 1
        for i, layer in enumerate(self._dropouts):
            layer.seed_generator.state.assign([noise, i])
        x, y = self.replicas.on_each(x), self.replicas.on_each(y)
        frame = None if log_frame is None else tf.constant(log_frame, tf.float64)
        batch_losses: list[float] = []
        while len(batch_losses) < steps:
            start, began = len(batch_losses), time.perf_counter()
            whole = on_steps is None or self.replicas.across_workers  # calls that hang on the time must not meet
            n = steps - start if whole else min(steps - start, self._chunk)
            batch_losses += self._train_steps(
                x, y, batches, rates, tf.constant(noise), tf.constant(start), tf.constant(n), frame,
                loss_ub).numpy().tolist()
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

    # ---- evaluation ----

    def _logits_and_losses(self, x, y, batch_size, log_frame):
        return self.replicas.concat(self._logits_and_losses_of_part, x, y, batch_size, log_frame)

    def _logits_and_losses_of_part(self, x, y, batch_size, log_frame):
        start, stop = self.replicas.part(tf.shape(x)[0])
        count = (stop - start + batch_size - 1) // batch_size
        logits = tf.TensorArray(tf.float32, size=count, infer_shape=False, element_shape=[None, self.num_labels])
        all_loss = tf.TensorArray(tf.float64, size=count, infer_shape=False, element_shape=[None])
        for i in tf.range(count):
            batch = slice(start + i * batch_size, tf.minimum(start + (i + 1) * batch_size, stop))
            part = self.net(x[batch], training=False)
            loss = self.hp_sparse_softmax_cross_entropy_with_logits(y[batch], part, log_frame)
            logits = logits.write(i, part)
            all_loss = all_loss.write(i, loss)
        return logits.concat(), all_loss.concat()

    def test(self, x, y, B: int | None = None, log_frame: float | None = None) -> dict[str, Any]:
        """Evaluates the network.

        Args:
            x: images [N, H, W, C].
            y: labels, integers [N].
            B: images per batch; None for as many as fit in EVAL_BYTES. (The batch decides only which samples share
                v2's choice of formula, which changes the loss by a relative 1e-13.)
            log_frame: natural logarithm of the frame of 'loss'; None for the real loss.

        Returns:
            'loss' (mean, in frame units), 'acc' (0 to 1; a tie counts for the lowest class), 'y_' (logits, float32
            [N, num_labels]).

        Raises:
            NumericalFailure: a loss that is not finite.
            ValueError: no images, or a label that is no class of the network.
        """
        self._require_labels(y, len(x))
        x, y = _tensors(x, y)
        frame = None if log_frame is None else tf.constant(log_frame, tf.float64)
        logits, all_loss = (t.numpy()[:len(y)] for t in self._evaluate(
            self.replicas.on_each(x), self.replicas.on_each(y), tf.constant(B or self.eval_batch), frame))
        if not np.isfinite(all_loss).all():
            raise NumericalFailure('the loss is not finite')
        return {'loss': float(all_loss.mean()), 'acc': float((logits.argmax(axis=1) == y.numpy()).mean()), 'y_': logits}

    def statistics(self, validation: bool = False) -> list[str]:
        """The names of the statistics of an epoch, in their order.

        Args:
            validation: whether there are validation images.
        """
        norms = self.norms()
        return ['rho', 'norm_prod', 'q_min', 'q_max', 'loss', 'acc', 'test_loss', 'test_acc',
                *(('val_loss', 'val_acc') if validation else ()), *(f'rho_{i}' for i in range(len(norms.layers))),
                *margins.normalized_margins(0.0, norms), *margins.support_counts(np.zeros(1)), 'log_loss',
                *margins.smoothed_margins(0.0, 1, norms)]

    def get_stats(self, dataset, log_frame: float | None = None) -> tuple[dict[str, float], dict[str, np.ndarray]]:
        """The statistics of an epoch, with the original's names.

        Args:
            dataset: ((x_train, y_train), (x_test, y_test)), arrays or tensors; validation images and labels may stand
                between them, and count if there are any.
            log_frame: natural logarithm of the frame of 'loss'; None for the real loss.

        Returns:
            The statistics, and ``{'q': margins of the training samples, float32 [N]}``. 'loss' is in frame units,
            'test_loss' and 'log_loss' are real, and so is 'val_loss', where there are validation images. rho: norm of
            all parameters; rho_i: of layer i; q_min, q_max: extreme margins; rhoL, q_bar_min, q_bar2_min, n_supp_k,
            smoothed_margin, smoothed_margin2: see ``margins``.

        Raises:
            NumericalFailure: a loss that is not finite.
        """
        (x, y), *validation, (x_test, y_test) = dataset
        norms = self.norms()
        train = self.test(x, y, log_frame=log_frame)
        test = self.test(x_test, y_test, log_frame=None if log_frame is None else 0.0)
        labels = np.asarray(y)
        of_validation = [self.test(x_val, y_val, log_frame=None if log_frame is None else 0.0)
                         for x_val, y_val in validation if len(y_val)]
        q = margins.margins(train['y_'], labels)
        q_min = float(q.min())
        # From the logits rather than from the loss, so that it is there even where the loss underflows.
        log_loss = margins.log_mean_exp(margins.log_losses(train['y_'], labels))
        stats = {
            'rho': norms.rho, 'norm_prod': norms.prod,
            'q_min': q_min, 'q_max': float(q.max()),
            'loss': train['loss'], 'acc': train['acc'],
            'test_loss': test['loss'], 'test_acc': test['acc'],
            **{f'val_{name}': part[name] for part in of_validation for name in ('loss', 'acc')},
            **{f'rho_{i}': rho for i, rho in enumerate(norms.layers)},
            **margins.normalized_margins(q_min, norms),
            **margins.support_counts(q),
            'log_loss': log_loss,
            **margins.smoothed_margins(log_loss, len(q), norms),
        }
        return stats, {'q': q}


def _tensors(x, y, *numbers):
    """Images as float32, labels as int64 and numbers as float64 tensors; tensors already so are left where they are."""
    return (tf.convert_to_tensor(x, tf.float32), tf.cast(tf.convert_to_tensor(y), tf.int64),
            *(tf.constant(v, tf.float64) for v in numbers))
