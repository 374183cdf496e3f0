"""The paper's learning rate and its statistics as callbacks of ``keras.Model.fit`` (Lyu & Li, arXiv 1906.05890).

Both measure over training samples that they are given, ``x`` and ``y``: from the logits, so that no loss underflows.
``x`` is what ``fit`` takes (an array, a tensor, or a list or dictionary of them), ``y`` integer labels [N] or [N, 1].
On a GPU with TF32, switch that off (``tf.config.experimental.enable_tensor_float_32_execution(False)``): whether a loss
rose needs all digits of float32.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from . import margins
from .homogeneity import degrees_of, split_biases, trained_layers
from .losses import HPSparseSoftmaxCrossEntropy
from .lr_schedulers import LossBasedLRv1
from .types import did_you_mean

LOWEST_LOG_LOSS = -80.0
"""Below this float32 holds neither the rate, about 1 / loss, nor gradients, about as large as the loss."""
BATCH_SIZE = 512
SAMPLES_FOR_DEGREES = 8


_NOT_PROPORTIONAL = ('weight_decay', 'clipnorm', 'clipvalue', 'global_clipnorm')


class LossBasedLR(keras.callbacks.Callback):
    """The paper's loss-based learning rate, alpha / loss, alpha being as large as it may be.

    Every epoch of ``fit`` is an attempt. If the loss over ``x`` and ``y`` did not rise, it is accepted and alpha grows;
    else (or if the loss is not finite) weights, moving statistics and optimizer go back to where they were, and the
    next epoch tries a smaller alpha. Many attempts are meant to fail. After ``fit`` the model has its last accepted
    weights.

    Compile the model with ``HPSparseSoftmaxCrossEntropy(log_frame=0.0)`` and an optimizer such as SGD, whose steps are
    proportional to the gradient: the frame then follows the loss, and training goes on at losses of 1e-300 and below.
    What Keras reports as ``loss`` is then in units of the frame, the loss before the epoch. With any other cross
    entropy of the logits, training stops, with a warning, where float32 ends.

    Adds to the logs of each epoch 'log_loss', the natural logarithm of the loss of the weights kept; 'alpha', of the
    attempt; and 'accepted', 1 or 0. Callbacks that read them, or that save the model, come after this one.

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
        ValueError: numbers out of range, labels that are not integers [N]; in ``fit``, a model whose output is no
            logits [N, C], a loss that is not finite to begin with, or with a frame a model that adds further losses.
    """

    def __init__(self, x, y, lr: float = 0.1, alpha1: float = 2 ** (1 / 5), alpha2: float = 2 ** (1 / 10),
                 eps: float = 0, batch_size: int | None = None):
        super().__init__()
        self._scheduler = lambda: LossBasedLRv1(lr, alpha1, alpha2, eps)
        self._scheduler()  # refuses numbers that are out of range
        self._samples = _Samples(x, y, batch_size)

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        try:
            self.model.optimizer.learning_rate = float(self.model.optimizer.learning_rate)
        except (TypeError, AttributeError):
            raise TypeError("LossBasedLR sets the optimizer's learning rate, so that must be a number, as in "
                            'keras.optimizers.SGD(), not a schedule') from None
        self._loss = next((loss for loss in keras.tree.flatten(self.model.loss)
                           if isinstance(loss, HPSparseSoftmaxCrossEntropy) and loss.log_frame is not None), None)
        if self._loss is not None and self.model.losses:
            raise ValueError('the model adds losses of its own to the cross entropy, such as those of regularizers; '
                             'they are not in units of the frame, so leave them out')
        optimizer = self.model.optimizer
        if self._loss is not None and any(getattr(optimizer, name, None) for name in _NOT_PROPORTIONAL):
            raise ValueError('with a frame, steps must be proportional to the gradient: leave out '
                             f'{", ".join(_NOT_PROPORTIONAL)} of the optimizer')
        self._samples.prepare(self.model)
        self.log_loss = self._samples.log_loss(self._samples.logits())
        if not math.isfinite(self.log_loss):
            raise ValueError('the loss is not finite before the first epoch')
        if self._ends_here():
            raise ValueError(_ENDS_HERE.format(self.log_loss / math.log(10)))
        self._judge = self._scheduler()
        self._judge.use_frame(self.log_loss)
        self.alpha = self._judge.get().lr
        self._keep()
        self._set_rate()

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        log_loss = self._samples.log_loss(self._samples.logits())
        loss = math.exp(min(log_loss - self.log_loss, 700)) if math.isfinite(log_loss) else math.nan
        alpha = self.alpha
        cmd, self.alpha = self._judge.get({'stats': {'loss': loss}, 'log_frame': self.log_loss})
        if cmd == 'go':
            self.log_loss = log_loss
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

    def _keep(self) -> None:
        variables = [v.value for v in (*self.model.weights, *self.model.optimizer.variables)]
        self._kept = [(v, tf.identity(v)) for v in variables]

    def _set_rate(self) -> None:
        if self._loss is None:
            self.model.optimizer.learning_rate = self.alpha * math.exp(-self.log_loss)
        else:
            self._loss.log_frame = self.log_loss
            self.model.optimizer.learning_rate = self.alpha


_ENDS_HERE = ('the loss is 10^{:.1f}, and LossBasedLR stops where float32 cannot hold the learning rate; compile the '
              'model with HPSparseSoftmaxCrossEntropy(log_frame=0.0) to go on')


class MarginMonitor(keras.callbacks.Callback):
    """The statistics of training samples after every epoch, of any Keras classifier that gives logits.

    They are those of ``Model.get_stats``: rho, norm_prod, q_min, q_max, acc, rho_0, ..., rhoL, q_bar_min, q_bar2_min,
    n_supp_1, ..., n_supp_7, log_loss, smoothed_margin, smoothed_margin2; see ``margins``. A layer is a leaf layer with
    trainable variables. norm_prod is the product of the layers' norms, each to its degree of homogeneity. If the
    network is not homogeneous, norms count all variables of the first layer and the kernels alone of the others.

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
        ValueError: labels that are not integers [N]; in ``fit``, a model whose output is no logits [N, C] or that has
            nothing to train, or an unknown name in ``log``.
    """

    def __init__(self, x, y, batch_size: int | None = None,
                 log: Sequence[str] = ('log_loss', 'q_min', 'q_bar_min', 'q_bar2_min')):
        super().__init__()
        self._samples = _Samples(x, y, batch_size)
        self._log = tuple(log)

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        self._samples.prepare(self.model)
        layers = trained_layers(self.model)
        if not layers:
            raise ValueError('the model has no trainable variables, so it has no norm')
        self.layers = tuple(layers)
        self.degrees, self.order, self.is_homogeneous = degrees_of(
            self.model, list(layers.values()), self._samples.part(0, SAMPLES_FOR_DEGREES))
        self._counted = [vs if i == 0 or self.is_homogeneous else split_biases(vs)[0]
                         for i, vs in enumerate(layers.values())]
        self.stats = self._measure()
        for name in self._log:
            if name not in self.stats:
                raise ValueError(f'there is no statistic {name!r}; {did_you_mean(name, self.stats)}')
        self.history: dict[str, list[float]] = {name: [] for name in self.stats}

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self.stats = self._measure()
        for name, value in self.stats.items():
            self.history[name].append(value)
        if logs is not None:
            logs.update({name: self.stats[name] for name in self._log})

    def norms(self) -> margins.Norms:
        """Norms of the parameters as they are now, in float64."""
        squares = [sum(float(np.sum(np.square(v.numpy(), dtype=np.float64))) for v in vs) for vs in self._counted]
        rhos = [math.sqrt(s) for s in squares]
        with np.errstate(over='ignore', divide='ignore'):
            prod = float(np.prod(np.power(rhos, self.degrees, dtype=np.float64)))
        return margins.Norms(math.sqrt(sum(squares)), tuple(rhos), prod, self.order)

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


class _Samples:
    """Training samples, kept as tensors, and a network's logits over them."""

    def __init__(self, x, y, batch_size: int | None):
        if isinstance(x, (tf.data.Dataset, keras.utils.PyDataset)):
            raise TypeError('x must be arrays or tensors, not a dataset')
        self._x = keras.tree.map_structure(_tensor, x)
        labels = np.asarray(y)
        self.labels = labels[:, 0] if labels.ndim == 2 and labels.shape[1] == 1 else labels
        if self.labels.ndim != 1 or not np.issubdtype(self.labels.dtype, np.integer):
            raise ValueError(f'y must be integer labels of shape [N], not {labels.dtype} of shape '
                             f'{list(labels.shape)}; for one-hot labels give y.argmax(axis=1)')
        sizes = {len(t) for t in keras.tree.flatten(self._x)}
        if sizes != {len(self.labels)} or not len(self.labels):
            raise ValueError(f'x has {" and ".join(map(str, sorted(sizes)))} samples, y has {len(self.labels)} labels')
        self._batch_size = batch_size or BATCH_SIZE

    def part(self, start: int, stop: int):
        """Samples from start to stop."""
        return keras.tree.map_structure(lambda t: t[start:stop], self._x)

    def prepare(self, net: keras.Model) -> None:
        """Compiles the network's logits, and checks them.

        Raises:
            ValueError: they are no logits [N, C] for these labels.
        """
        specs = keras.tree.map_structure(lambda t: tf.TensorSpec([None, *t.shape[1:]], t.dtype), self._x)

        def forward(x):
            return net(x, training=False)

        # The batch is unknown to the signature, so that the last, smaller one is not traced by itself.
        self._forward = tf.function(forward, input_signature=[specs], autograph=False)
        output = self._forward(self.part(0, 1))
        if not isinstance(output, tf.Tensor) or len(output.shape) != 2 or output.shape[1] < 2:
            shape = list(output.shape) if isinstance(output, tf.Tensor) else type(output).__name__
            raise ValueError(f'the model must give logits of shape [N, C] with a column for each class, not {shape}')
        if self.labels.min() < 0 or self.labels.max() >= output.shape[1]:
            raise ValueError(f'the labels go from {self.labels.min()} to {self.labels.max()}, but the model has '
                             f'{output.shape[1]} classes, counted from 0')
        logits = self._forward(self.part(0, self._batch_size)).numpy().astype(np.float64)
        if (logits >= 0).all() and np.abs(logits.sum(axis=1) - 1).max() < 1e-3:
            raise ValueError('the model gives probabilities, but margins need logits: leave out its last softmax, and '
                             'tell the loss from_logits=True')

    def logits(self) -> np.ndarray:
        """Logits, float32 [N, C] (float64 if the network's are)."""
        step = self._batch_size
        parts = [self._forward(self.part(i, i + step)) for i in range(0, len(self.labels), step)]
        logits = np.concatenate([p.numpy() for p in parts])
        return logits if logits.dtype == np.float64 else logits.astype(np.float32, copy=False)

    def log_loss(self, logits: np.ndarray) -> float:
        """Natural logarithm of the mean cross entropy; not finite if a logit is not."""
        with np.errstate(all='ignore'):
            return margins.log_mean_exp(margins.log_losses(logits, self.labels))


def _tensor(x) -> tf.Tensor:
    x = tf.convert_to_tensor(x)
    return tf.cast(x, keras.config.floatx()) if x.dtype.is_floating else x
