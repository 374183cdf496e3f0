"""The paper's learning rate and its statistics as callbacks of ``keras.Model.fit`` (Lyu & Li, arXiv 1906.05890).

Both measure over training samples that they are given, ``x`` and ``y``: from the logits, so that no loss underflows.
``x`` is what ``fit`` takes (an array, a tensor, or a list or dictionary of them), ``y`` integer labels [N] or [N, 1].
On a GPU with TF32, switch that off (``tf.config.experimental.enable_tensor_float_32_execution(False)``): whether a loss
rose needs all digits of float32.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from . import margins
from .keras_fit import conflicts, other_losses, surroundings
from .keras_optimizers import averages_weights, move_frame, require_proportional, require_settable_rate, set_rate
from .keras_samples import Samples
from .losses import HPSparseSoftmaxCrossEntropy
from .lr_schedulers import LossBasedLRv1
from .networks.keras_network import SAMPLES_FOR_DEGREES, counted_layers
from .networks.network import norms_of
from .types import did_you_mean

LOWEST_LOG_LOSS = -80.0
"""Below this float32 holds neither the rate, about 1 / loss, nor gradients, about as large as the loss."""
SAMPLES_FOR_LOSSES = 8


class LossBasedLR(keras.callbacks.Callback):
    """The paper's loss-based learning rate, alpha / loss, alpha being as large as it may be.

    Every epoch of ``fit`` is an attempt. If the loss over ``x`` and ``y`` did not rise, it is accepted and alpha grows;
    else (or if the loss is not finite) weights, moving statistics and optimizer go back to where they were, and the
    next epoch tries a smaller alpha. Many attempts are meant to fail. After ``fit`` the model has its last accepted
    weights.

    Compile the model with ``HPSparseSoftmaxCrossEntropy(log_frame=0.0)`` and SGD, with or without momentum, whose steps
    are proportional to the gradient: the frame then follows the loss, and training goes on at losses of 1e-300 and
    below. What Keras reports as ``loss`` and ``val_loss`` is then in units of the frame, the loss before the epoch.
    With any other cross entropy of the logits, any optimizer will do, and training stops, with a warning, where float32
    ends.

    Adds to the logs of each epoch 'log_loss', the natural logarithm of the loss of the weights kept; 'alpha', of the
    attempt; and 'accepted', 1 or 0. Callbacks that read them, or that save the model, come after this one. Keras
    evaluates ``validation_data`` before, so 'val_loss' of a rejected epoch is that of the weights not kept.

    One warning a ``fit`` says when the loss that is minimised is not the one that is judged (another loss, weights of
    samples, regularizers), and which other callbacks set the rate, or would save or restore weights of rejected epochs.

    The last batch of ``fit``, if it is smaller, counts as much as a whole one: a batch size that divides the number of
    samples lets alpha be larger.

    Args:
        x, y: training samples.
        lr: the first alpha.
        alpha1: growth of alpha after an accepted epoch.
        alpha2: what alpha is divided by after a rejected one.
        eps: an epoch is accepted while new loss / old loss <= 1 + eps.
        batch_size: samples per batch of the measurement; it changes nothing but memory and time.

    Attributes:
        alpha: of the next attempt. Every call of ``fit`` starts from ``lr`` again; ``lr=callback.alpha`` goes on.
        log_loss: natural logarithm of the loss of the weights kept.

    Raises:
        TypeError: samples that are a dataset; in ``fit``, an optimizer with a schedule.
        ValueError: numbers out of range, samples that are not finite, labels that are not integers [N]; in ``fit``, a
            model whose output is no logits [N, C] of these classes, an optimizer with ``use_ema``, a loss that is not
            finite to begin with; with a frame, a model that adds further losses, or an optimizer whose steps are not
            proportional to the gradient.
    """

    def __init__(self, x, y, lr: float = 0.1, alpha1: float = 2 ** (1 / 5), alpha2: float = 2 ** (1 / 10),
                 eps: float = 0, batch_size: int | None = None):
        super().__init__()
        self._scheduler = lambda: LossBasedLRv1(lr, alpha1, alpha2, eps)
        self._scheduler()  # refuses numbers that are out of range
        self._samples = Samples(x, y, batch_size, type(self).__name__)
        self.alpha, self.log_loss = float(lr), math.nan

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        self._samples.prepare(self.model)
        optimizer = self.model.optimizer
        require_settable_rate(optimizer, self.model.trainable_variables)
        self._loss = next((loss for loss in keras.tree.flatten(self.model.loss)
                           if isinstance(loss, HPSparseSoftmaxCrossEntropy) and loss.log_frame is not None), None)
        adds_losses = bool(self._samples.adds_losses or self.model.losses)
        if self._loss is not None:
            if adds_losses:
                raise ValueError('the model adds losses of its own to the cross entropy, such as those of '
                                 'regularizers; they are not in units of the frame, so leave them out')
            require_proportional(optimizer)
        self._begin()
        self._has_begun = False
        self._warn(adds_losses)

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        if not self._has_begun and not self._is_as_kept():  # restored by a callback after this one
            self._begin()
        self._has_begun = True

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        log_loss = self._samples.log_loss(self._samples.logits())
        loss = math.exp(min(log_loss - self.log_loss, 700)) if math.isfinite(log_loss) else math.nan
        alpha = self.alpha
        cmd, self.alpha = self._judge.get({'stats': {'loss': loss}, 'log_frame': self.log_loss})
        if cmd == 'go':
            self.log_loss = log_loss
            self._move_frame()
            self._keep()
        else:
            self.roll_back()
        self._set_rate()
        if logs is not None:
            logs.update(log_loss=self.log_loss, alpha=alpha, accepted=int(cmd == 'go'))
        if self._ends_here():
            warnings.warn(_ENDS_HERE.format(self.log_loss / math.log(10)), stacklevel=2)
            self.model.stop_training = True

    def roll_back(self) -> None:
        """Restores the last accepted weights, moving statistics and optimizer; of use after a ``fit`` that was
        interrupted."""
        for v, value in self._kept:
            v.assign(value)

    def _ends_here(self) -> bool:
        return self._loss is None and self.log_loss < LOWEST_LOG_LOSS

    def _begin(self) -> None:
        """Takes the weights as they are for those of an accepted epoch."""
        self.log_loss = self._samples.log_loss(self._samples.logits())
        if not math.isfinite(self.log_loss):
            raise ValueError('the loss is not finite before the first epoch')
        if self._ends_here():
            raise ValueError(_ENDS_HERE.format(self.log_loss / math.log(10)))
        self._judge = self._scheduler()
        self._judge.use_frame(self.log_loss)
        self.alpha = self._judge.get().lr
        self._move_frame()
        self._keep()
        self._set_rate()

    def _keep(self) -> None:
        variables = [v.value for v in (*self.model.weights, *self.model.optimizer.variables)]
        self._kept = [(v, tf.identity(v)) for v in variables]

    def _is_as_kept(self) -> bool:
        kept = self._kept[:len(self.model.weights)]
        return all(np.array_equal(v.numpy(), value.numpy()) for v, value in kept)

    def _move_frame(self) -> None:
        if self._loss is not None and self._loss.log_frame is not None:
            move_frame(self.model.optimizer, self._loss.log_frame, self.log_loss)
            self._loss.log_frame = self.log_loss

    def _set_rate(self) -> None:
        rate = self.alpha if self._loss is not None else self.alpha * math.exp(-self.log_loss)
        set_rate(self.model.optimizer, rate)

    def _warn(self, adds_losses: bool) -> None:
        """Says in one warning what in ``fit`` works against the judgement of epochs."""
        around = surroundings(self.model)
        others = other_losses(self.model, self._samples.logits(SAMPLES_FOR_LOSSES),
                              self._samples.labels[:SAMPLES_FOR_LOSSES])
        others += ['class_weight or sample_weight'] if around.has_weights else []
        others += ['losses that the model adds, such as those of regularizers'] if adds_losses else []
        found = conflicts(self, around.callbacks, MarginMonitor, self._loss is not None)
        if others:
            found.insert(0, _OTHER_LOSS.format(', '.join(others)))
        if found:
            warnings.warn(f'{type(self).__name__}: {"; ".join(found)}', stacklevel=2)


_OTHER_LOSS = ('the loss that fit minimises is not the mean cross entropy of the logits by which epochs are judged '
               '({}): compile the model with HPSparseSoftmaxCrossEntropy(), and leave weights and other losses out')
_ENDS_HERE = ('the loss is 10^{:.1f}, and LossBasedLR stops where float32 cannot hold the learning rate; compile the '
              'model with HPSparseSoftmaxCrossEntropy(log_frame=0.0) to go on')


class MarginMonitor(keras.callbacks.Callback):
    """The statistics of training samples after every epoch, of any Keras classifier that gives logits.

    They are those of ``Model.get_stats``: rho, norm_prod, q_min, q_max, acc, rho_0, ..., rhoL, q_bar_min, q_bar2_min,
    n_supp_1, ..., n_supp_7, log_loss, smoothed_margin, smoothed_margin2; see ``margins``. A layer is a leaf layer with
    trainable kernels, among which are the gammas of normalisations. norm_prod is the product of the layers' norms, each
    to its degree of homogeneity. If the network is not homogeneous, norms count all variables of the first layer and
    the kernels alone of the others. Frozen layers, the slopes of PReLU and layers of biases alone are not counted.

    With ``LossBasedLR``, which may restore weights, list this one after it.

    Args:
        x, y: training samples.
        batch_size: samples per batch of the measurement.
        log: names of the statistics that Keras's own logs get too, and so the progress bar.

    Attributes:
        history: every statistic by its name, a list with an entry for each epoch of the last ``fit``.
        stats: the latest statistics; before the first epoch, those of the weights at the start.
        layers: names of the layers: rho_0 is the norm of the first, and so on.
        degrees: degree of homogeneity of the logits in each layer, as measured when ``fit`` starts.
        order: in all parameters together, the L of rhoL.
        is_homogeneous: whether the logits are homogeneous in the parameters at all.

    Raises:
        TypeError: samples that are a dataset.
        ValueError: samples that are not finite, labels that are not integers [N], a ``log`` that is no list of names;
            in ``fit``, a model whose output is no logits [N, C] of these classes, that has no kernel to train, or that
            is quantised or has LoRA, or an unknown name in ``log``.
    """

    def __init__(self, x, y, batch_size: int | None = None,
                 log: Sequence[str] = ('log_loss', 'q_min', 'q_bar_min', 'q_bar2_min')):
        super().__init__()
        self._samples = Samples(x, y, batch_size, type(self).__name__)
        if isinstance(log, str) or not isinstance(log, Iterable) or not all(isinstance(name, str) for name in log):
            raise ValueError(f"log must be a list of names, such as ['q_min'], not {log!r}")
        self._log = tuple(log)

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        self._samples.prepare(self.model)
        self._counted, self.order, self.is_homogeneous = counted_layers(
            self.model, self._samples.part(0, SAMPLES_FOR_DEGREES), type(self).__name__)
        self.layers = tuple(layer.name for layer in self._counted)
        self.degrees = tuple(layer.degree for layer in self._counted)
        self.stats = self._measure()
        for name in self._log:
            if name not in self.stats:
                raise ValueError(f'there is no statistic {name!r}; {did_you_mean(name, self.stats)}')
        self.history: dict[str, list[float]] = {name: [] for name in self.stats}
        if averages_weights(self.model.optimizer):
            warnings.warn('MarginMonitor: with use_ema, fit ends with averages of the weights, which the statistics of '
                          'its last epoch are not of: leave use_ema out of the optimizer', stacklevel=2)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self.stats = self._measure()
        for name, value in self.stats.items():
            self.history[name].append(value)
        if logs is not None:
            logs.update({name: self.stats[name] for name in self._log})

    def norms(self) -> margins.Norms:
        """Norms of the parameters as they are now, in float64."""
        return norms_of(self._counted, self.order)

    def _measure(self) -> dict[str, float]:
        norms, logits, labels = self.norms(), self._samples.logits(), self._samples.labels
        with np.errstate(all='ignore'):  # a training that diverges gives nan, and goes on
            q = margins.margins(logits, labels)
            log_loss = self._samples.log_loss(logits)
            return {
                'rho': norms.rho, 'norm_prod': norms.prod, 'q_min': float(q.min()), 'q_max': float(q.max()),
                'acc': float((logits.argmax(axis=1) == labels).mean()),
                **{f'rho_{i}': rho for i, rho in enumerate(norms.layers)},
                **margins.normalized_margins(float(q.min()), norms), **margins.support_counts(q),
                'log_loss': log_loss, **margins.smoothed_margins(log_loss, len(q), norms),
            }
