"""Training a curve between two networks: the loss at a random point of it (Garipov et al., arXiv 1802.10026)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from ..batch import Batch
from ..networks.curve import curve_in
from ..schedules import Control
from .base import Objective, as_batch

STREAM = 1
"""Of the random numbers of a step; others are drawn for its images."""


class Curve(Objective):
    """The mean over t, uniform in [0, 1], of an objective of the network at t: each batch draws one t, at which that
    network is attacked, too, if the objective is adversarial. Between steps the network is at the t that it was made
    with.

    Args:
        of: the objective at a point.
    """

    def __init__(self, of: Objective):
        if not isinstance(of, Objective):
            raise ValueError(f'of must be an objective, not a {type(of).__name__}')
        self.of = of
        for name in ('second_order', 'per_image', 'per_place', 'replays', 'in_the_box'):
            setattr(self, name, getattr(of, name))

    def layers(self, net: keras.Model) -> tuple[str, ...]:
        if curve_in(net) is None:
            raise ValueError("the objective 'curve' trains a curve between the weights of two runs; with arch='curve', "
                             'say, and ends, as in exper-curve-digits')
        return self.of.layers(net)

    def build(self, net: keras.Model, images: int, **more: Any) -> None:
        self.of.build(net, images, **more)

    def variables(self) -> Mapping[str, tf.Variable]:
        return self.of.variables()

    def schedules(self) -> Mapping[str, Control]:
        return self.of.schedules()

    def controls(self, steps: np.ndarray, per_epoch: int) -> Mapping[str, np.ndarray]:
        return self.of.controls(steps, per_epoch)

    def record(self) -> Mapping[str, Any]:
        return self.of.record()

    def metrics(self) -> Mapping[str, tf.Tensor]:
        return self.of.metrics()

    def losses(self, batch: Batch | keras.Model, x: Any = None, y: Any = None, training: bool = True) -> tf.Tensor:
        batch = as_batch(batch, x, y, training)
        self.layers(batch.net)
        layer: Any = curve_in(batch.net)
        before = tf.identity(layer.t.value)
        batch.assign(layer.t.value, tf.cast(batch.common_uniform(STREAM), tf.float64))
        losses = self.of.losses(batch)
        batch.assign(layer.t.value, before)
        return losses
