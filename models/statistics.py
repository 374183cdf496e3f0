"""What is measured of a model on samples: loss, accuracy, and the statistics of an epoch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from . import margins
from .chains import all_layers
from .in_graphs import graph_function, loops_in_graph
from .replicas import Replicas
from .types import NumericalFailure

EVAL_BYTES = 2 ** 28
"""Memory for the largest activation of an evaluation batch: enough for full speed, little beside the data set."""


class Statistics:
    """The measurements of a ``model.Model``, whose attributes it uses."""

    further_statistics: tuple[str, ...] = ()
    """Names of what ``_further`` gives."""

    net: keras.Model
    replicas: Replicas
    num_labels: Any
    norms: Callable[[], margins.Norms]
    _require_labels: Callable[[Any, int], None]
    hp_sparse_softmax_cross_entropy_with_logits: Callable[..., tf.Tensor]

    def _prepare_statistics(self) -> None:
        self._evaluate: dict[tuple[Any, ...], Callable[..., Any]] = {}
        sizes = [_floats(t) for layer in all_layers(self.net) for node in layer._inbound_nodes
                 for t in node.output_tensors]
        self.eval_batch = max(1, EVAL_BYTES // (4 * max(sizes, default=_floats(self.net.outputs[0]))))

    def _evaluated(self, x: tf.Tensor, y: tf.Tensor, *numbers: tf.Tensor) -> list[tf.Tensor]:
        """Logits and losses, compiled once for any number of images: training and test set go the same way."""
        kind = x.shape[1:], len(numbers)
        if kind not in self._evaluate:
            signature = [tf.TensorSpec([None, *kind[0]], x.dtype), tf.TensorSpec([None], y.dtype),
                         *(tf.TensorSpec([], n.dtype) for n in numbers)]
            several = self.replicas.count > 1  # their arguments are no tensors
            self._evaluate[kind] = graph_function(self._logits_and_losses, None if several else signature,
                                               reduce_retracing=several)
        return self._evaluate[kind](self.replicas.on_each(x), self.replicas.on_each(y), *numbers)

    def _logits_and_losses(self, x, y, batch_size, log_frame=None):
        return self.replicas.concat(self._logits_and_losses_of_part, x, y, batch_size, log_frame)

    @loops_in_graph
    def _logits_and_losses_of_part(self, x, y, batch_size, log_frame):
        start, stop = self.replicas.part(tf.shape(x)[0])
        count = (stop - start + batch_size - 1) // batch_size
        logits = tf.TensorArray(tf.float32, size=count, infer_shape=False, element_shape=[None, self.num_labels])
        all_loss = tf.TensorArray(tf.float64, size=count, infer_shape=False, element_shape=[None])
        for i in tf.range(count):
            batch = slice(start + i * batch_size, tf.minimum(start + (i + 1) * batch_size, stop))
            part = tf.cast(self.net(x[batch], training=False), tf.float32)
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
        x, y = tensors(x, y)
        frame = [] if log_frame is None else [tf.constant(np.array(log_frame, np.float64))]
        logits, all_loss = (t.numpy()[:len(y)] for t in self._evaluated(
            x, y, tf.constant(B or self.eval_batch), *frame))
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
                *margins.smoothed_margins(0.0, 1, norms), *self.further_statistics]

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
            **self._further(train['y_'], labels, norms, train['loss']),
        }
        return stats, {'q': q}

    def _further(self, logits: np.ndarray, labels: np.ndarray, norms: margins.Norms, loss: float) -> dict[str, float]:
        """Statistics that only some models have, of the logits [N, C] of the training images and their mean loss."""
        return {}


def _floats(t: Any) -> int:
    """Numbers in a symbolic tensor, for each image."""
    return int(np.prod([n or 1 for n in t.shape[1:]]))


def tensors(x, y, *numbers):
    """Images as float32, labels as int64 and numbers as float64 tensors; tensors already so are left where they are."""
    return (tf.convert_to_tensor(x, tf.float32), tf.cast(tf.convert_to_tensor(y), tf.int64),
            *(tf.constant(np.array(v, np.float64)) for v in numbers))
