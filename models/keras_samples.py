"""Training samples that callbacks of ``keras.Model.fit`` measure over."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from . import margins
from .checks import count
from .logits import class_labels, require_logit_structure, require_logit_values

BATCH_SIZE = 512


class Samples:
    """Training samples, kept as tensors, and a network's logits over them.

    Args:
        x: what ``fit`` takes: an array, a tensor, or a list or dictionary of them.
        y: integer labels [N] or [N, 1].
        batch_size: samples per batch of a measurement; None for 512.
        what: whose they are, the subject of sentences.

    Attributes:
        labels: int64 [N].
        adds_losses: whether the network that they were prepared for adds losses to the one it is compiled with.

    Raises:
        TypeError: samples that are a dataset, a generator or the like.
        ValueError: values that are not finite, labels that are not classes, different numbers of both, or none.
    """

    def __init__(self, x: Any, y: Any, batch_size: int | None, what: str):
        self._what = what
        self._batch_size = BATCH_SIZE if batch_size is None else count('batch_size', batch_size)
        self._x = keras.tree.map_structure(_tensor, x)
        self.labels = _labels(y)
        sizes = {t.shape[0] if t.shape.rank else 1 for t in keras.tree.flatten(self._x)}
        if sizes != {len(self.labels)}:
            raise ValueError(f'x has {" and ".join(map(str, sorted(sizes)))} samples, y has {len(self.labels)} labels')
        if not len(self.labels):
            raise ValueError('x and y have no samples')
        self.adds_losses = False

    def part(self, start: int, stop: int) -> Any:
        """Samples from start to stop."""
        return keras.tree.map_structure(lambda t: t[start:stop], self._x)

    def prepare(self, net: keras.Model) -> None:
        """Builds the network, if that is still to be done, compiles its logits and checks them.

        Raises:
            ValueError: they are no logits [N, C] for these labels.
        """
        if not net.built:
            net(self.part(0, 1), training=False)
        require_logit_structure(net, self._what)
        try:  # with the operations one by one: XLA compiles anew for each size of a batch
            self._compile(net, jit_compile=False)
            logits = self._forward(self.part(0, self._batch_size))
        except tf.errors.UnimplementedError:
            if not net.jit_compile:
                raise ValueError('TensorFlow does not run this model here; on a CPU, convolutions need the data format '
                                 'channels_last, or jit_compile=True') from None
            self._compile(net, jit_compile=True)
            logits = self._forward(self.part(0, self._batch_size))
        require_logit_values(logits, self._what)
        class_labels(self.labels, logits.shape[1])

    def _compile(self, net: keras.Model, jit_compile: bool) -> None:
        specs = keras.tree.map_structure(lambda t: tf.TensorSpec([None, *t.shape[1:]], t.dtype), self._x)

        def forward(x):
            logits = net(x, training=False)
            self.adds_losses = bool(net.losses)
            return logits

        # The batch is unknown to the signature, so that the last, smaller one is not traced by itself.
        self._forward = tf.function(forward, input_signature=[specs], autograph=False, jit_compile=jit_compile)

    def logits(self, n: int | None = None) -> np.ndarray:
        """Logits of all samples, or of the first n; float32 [N, C] (float64 if the network's are)."""
        step, stop = self._batch_size, len(self.labels) if n is None else min(n, len(self.labels))
        parts = [self._forward(self.part(i, min(i + step, stop))) for i in range(0, stop, step)]
        logits = np.concatenate([p.numpy() for p in parts])
        return logits if logits.dtype == np.float64 else logits.astype(np.float32, copy=False)

    def log_loss(self, logits: np.ndarray) -> float:
        """Natural logarithm of the mean cross entropy; not finite if a logit is not."""
        with np.errstate(all='ignore'):
            return margins.log_mean_exp(margins.log_losses(logits, self.labels))


def _tensor(x: Any) -> tf.Tensor:
    try:
        x = tf.convert_to_tensor(x)
    except (TypeError, ValueError):
        kind = 'a dataset' if isinstance(x, (tf.data.Dataset, keras.utils.PyDataset)) else f'a {type(x).__name__}'
        raise TypeError(f'x must be arrays or tensors, not {kind}') from None
    if not x.dtype.is_floating:
        return x
    x = tf.cast(x, keras.config.floatx())  # as fit does
    if not bool(tf.reduce_all(tf.math.is_finite(x))):
        raise ValueError('x must be finite; it holds nan or infinite values')
    return x


def _labels(y: Any) -> np.ndarray:
    """Labels as int64 [N]; how many classes there are shows later."""
    try:
        y = np.asarray(y)
    except (TypeError, ValueError):
        raise ValueError('labels must be integers of shape [N]') from None
    some = np.issubdtype(y.dtype, np.integer) and y.size
    return class_labels(y, max(2, int(y.max()) + 1) if some else 2)
