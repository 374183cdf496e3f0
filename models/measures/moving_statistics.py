"""The moving statistics of batch normalisation, computed anew, as weights that were not trained to need."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import keras
import numpy as np
import tensorflow as tf


def has_moving_statistics(net: keras.Model) -> bool:
    """Whether a network normalises by statistics of batches in training, and by their mean in inference."""
    return bool(_normalisations(net))


def refresh(net: keras.Model, x: Any, batch: int, unbiased: bool = False) -> None:
    """Gives a network the means of the statistics of all batches of some images, in one pass as in training; no
    weight changes, and nothing of the statistics before is left.

    ``m <- (1 - n / seen) m + (n / seen) m_batch`` after each batch of n images, as Garipov et al. (arXiv 1802.10026)
    and Liu et al. (arXiv 2006.08403) do: the mean of all batches, each weighted by its size.

    Args:
        net: any Keras model; one without batch normalisation stays as it is.
        x: images, float32 [N, ...].
        batch: images per batch; the last may have fewer.
        unbiased: whether variances are n / (n - 1) of Keras's, as PyTorch keeps them.
    """
    layers = _normalisations(net)
    if not layers:
        return
    place = {id(v): i for i, v in enumerate(net.non_trainable_variables)}
    kept = [(place[id(v)], layer if v is layer.moving_variance else None) for layer in layers
            for v in (layer.moving_mean, layer.moving_variance)]
    x = tf.convert_to_tensor(x, tf.float32)
    totals = [np.zeros(net.non_trainable_variables[i].shape) for i, _ in kept]
    with _batches_alone(layers):  # what is then assigned is the batch's own
        @tf.function(reduce_retracing=True)
        def pass_over(part: tf.Tensor) -> list[tf.Tensor]:
            _, after = net.stateless_call([v.value for v in net.trainable_variables],
                                          [v.value for v in net.non_trainable_variables], part, training=True)
            return [after[i] for i, _ in kept]
        for start in range(0, len(x), batch):
            part = x[start:start + batch]
            for j, (found, (_, layer)) in enumerate(zip(pass_over(part), kept)):
                own = found.numpy().astype(np.float64)
                if unbiased and layer is not None:
                    n = len(part) * _values(layer)
                    own *= n / max(n - 1, 1)
                totals[j] += len(part) / len(x) * own
    for total, (i, _) in zip(totals, kept):
        net.non_trainable_variables[i].assign(total)


def _normalisations(net: keras.Model) -> list[keras.layers.BatchNormalization]:
    return [layer for layer in net._flatten_layers() if isinstance(layer, keras.layers.BatchNormalization)]


@contextmanager
def _batches_alone(layers: list[keras.layers.BatchNormalization]) -> Iterator[None]:
    momenta = [layer.momentum for layer in layers]
    for layer in layers:
        layer.momentum = 0.0
    try:
        yield
    finally:
        for layer, momentum in zip(layers, momenta):
            layer.momentum = momentum


def _values(layer: keras.layers.BatchNormalization) -> int:
    """How many values of a channel an image has."""
    shape = layer.input.shape
    return math.prod(n for i, n in enumerate(shape) if i and i != layer.axis % len(shape))
