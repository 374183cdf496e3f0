"""The moving statistics of batch normalisation, computed anew for weights that were not trained with them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from ..in_graphs import graph_function


class MovingStatistics:
    """Gives a network the means of the statistics of all batches of some images, in one pass as in training; no weight
    changes, and nothing of the statistics before is left.

    ``m <- (1 - n / seen) m + (n / seen) m_batch`` after each batch of n images, as Garipov et al. (arXiv 1802.10026)
    and Liu et al. (arXiv 2006.08403) do: the mean of all batches, each weighted by its size.

    Args:
        net: any Keras model; one without batch normalisation stays as it is.
        unbiased: whether variances are n / (n - 1) of Keras's, as PyTorch keeps them.
    """

    def __init__(self, net: keras.Model, unbiased: bool = False):
        self._net, self._unbiased = net, unbiased
        self._layers = [layer for layer in net._flatten_layers() if isinstance(layer, keras.layers.BatchNormalization)]
        place = {id(v): i for i, v in enumerate(net.non_trainable_variables)}
        self._kept = [(place[id(v)], layer) for layer in self._layers
                      for v in (layer.moving_mean, layer.moving_variance)]
        self._of_batch = graph_function(self._pass, reduce_retracing=True)

    def refresh(self, x: Any, batch: int) -> None:
        """Computes them.

        Args:
            x: images, float32 [N, ...].
            batch: images per batch; the last may have fewer.
        """
        if not self._layers:
            return
        x = tf.convert_to_tensor(x, tf.float32)
        totals = [np.zeros(self._net.non_trainable_variables[i].shape) for i, _ in self._kept]
        with self._batches_alone():
            for start in range(0, len(x), batch):
                part = x[start:start + batch]
                for total, found, (_, layer), is_variance in zip(
                        totals, self._of_batch(part), self._kept, (False, True) * len(self._layers)):
                    n = len(part) * _values(layer)
                    correction = n / max(n - 1, 1) if is_variance and self._unbiased else 1.0
                    total += len(part) / len(x) * correction * found.numpy().astype(np.float64)
        for total, (i, _) in zip(totals, self._kept):
            self._net.non_trainable_variables[i].assign(total)

    def _pass(self, x: tf.Tensor) -> list[tf.Tensor]:
        _, after = self._net.stateless_call([v.value for v in self._net.trainable_variables],
                                            [v.value for v in self._net.non_trainable_variables], x, training=True)
        return [after[i] for i, _ in self._kept]

    @contextmanager
    def _batches_alone(self) -> Iterator[None]:
        """What a pass in training then leaves is the statistics of its batch."""
        momenta = [layer.momentum for layer in self._layers]
        for layer in self._layers:
            layer.momentum = 0.0
        try:
            yield
        finally:
            for layer, momentum in zip(self._layers, momenta):
                layer.momentum = momentum


def _values(layer: keras.layers.BatchNormalization) -> int:
    """How many values of a channel an image has."""
    shape = layer.input.shape
    return math.prod(n for i, n in enumerate(shape) if i and i != layer.axis % len(shape))
