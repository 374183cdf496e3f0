"""Layers of norm 1, at which the margin of a network is its normalised margin, and steps that leave them there."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from ..model import Model
from ..replicas import Replicas

BETA_1, BETA_2 = 0.9, 0.999
"""Shares that the moments of Adam keep of themselves."""
SAME = 1e-3
"""Difference of logits, over the largest, up to which they are taken to be the same."""


class Sphere(NamedTuple):
    """A layer, as places in the variables of a model.

    Attributes:
        weights: those that the norm of the layer counts.
        after: biases of this and later layers that no norm counts: the logits follow the layer if these do.
        degree: of homogeneity of the logits in the layer.
    """

    weights: tuple[int, ...]
    after: tuple[int, ...]
    degree: int


def spheres_of(model: Model) -> list[Sphere]:
    """The layers of a network, from the images to the logits.

    Raises:
        ValueError: something is trained that is in no layer that counts.
    """
    place = {id(v): i for i, v in enumerate(model.vars)}
    counted = [tuple(place[id(v)] for v in layer.variables) for layer in model.network.layers]
    inside = {i for weights in counted for i in weights}
    others = [tuple(i for v in model.layer_vars.get(layer.name, ()) if (i := place[id(v)]) not in inside)
              for layer in model.network.layers]
    if len(inside) + sum(map(len, others)) < len(model.vars):
        raise ValueError('margin ascent needs a network all of whose trained variables are in layers that have a norm')
    return [Sphere(weights, tuple(i for later in others[k:] for i in later), layer.degree)
            for k, (weights, layer) in enumerate(zip(counted, model.network.layers))]


def require_layers_that_scale(model: Model, spheres: Sequence[Sphere], x: tf.Tensor) -> None:
    """Sees that the logits follow each layer by itself: doubling it multiplies them by 2 to the power of its degree.

    Args:
        model: whose weights are as they were in the end.
        spheres: its layers.
        x: some images [N, H, W, C].

    Raises:
        ValueError: they do not.
    """
    kept, logits = [v.numpy() for v in model.vars], model.predict(x).numpy()
    for k, sphere in enumerate(spheres):
        for i in (*sphere.weights, *sphere.after):
            model.vars[i].assign(2 * kept[i])
        doubled = model.predict(x).numpy() / 2 ** sphere.degree
        for i in (*sphere.weights, *sphere.after):
            model.vars[i].assign(kept[i])
        if not np.abs(doubled - logits).max() <= SAME * np.abs(logits).max():
            raise ValueError(f'margin ascent holds the norm of each layer, and the logits of this network do not '
                             f'follow that of {model.network.layers[k].name}; it needs one that is homogeneous in each '
                             'layer: layers in a row, with ReLU or no activation, and without normalisation')


def normalise(model: Model, spheres: Sequence[Sphere]) -> None:
    """Scales every layer to norm 1, which divides all logits by the product of the norms to their degrees."""
    for sphere in spheres:
        values = [model.vars[i].numpy().astype(np.float64) for i in sphere.weights]
        norm = math.sqrt(sum(float(np.sum(np.square(v))) for v in values))
        for i, value in zip(sphere.weights, values):
            model.vars[i].assign((value / norm).astype(np.float32))
        for i in sphere.after:
            model.vars[i].assign(model.vars[i].numpy() / np.float32(norm ** sphere.degree))


class Steps:
    """Steps of Adam, each layer's in the tangent of its sphere, and the mean of where they lead.

    The length of a step is ``rate / sqrt(d)`` for each of the d weights of a layer, times what Adam makes of the
    gradient, which is of the order of 1: it turns the layer by an angle of the order of ``rate``. Adam's epsilon is
    relative: ``epsilon`` times the root mean square of the second moment's root in the layer, so that only directions
    count. A bias that no norm counts goes by the same rate relative to its own norm.

    Args:
        variables: of the model, float32.
        spheres: its layers.
        replicas: its copies.
    """

    def __init__(self, variables: Sequence[tf.Variable], spheres: Sequence[Sphere], replicas: Replicas):
        self._vars, self._replicas = variables, replicas
        alone = sorted({i for sphere in spheres for i in sphere.after})
        self._groups = [(sphere.weights, True) for sphere in spheres] + [((i,), False) for i in alone]
        self._first, self._second, self._sum = (
            [tf.Variable(tf.zeros_like(v), trainable=False) for v in variables] for _ in range(3))
        self._taken = tf.Variable(0, dtype=tf.int64, trainable=False)

    def variables(self) -> dict[str, tf.Variable]:
        """What is kept from epoch to epoch, by name."""
        return {'steps': self._taken, **{f'first_{i}': v for i, v in enumerate(self._first)},
                **{f'second_{i}': v for i, v in enumerate(self._second)}}

    def begin(self) -> None:
        """An epoch begins."""
        for v in self._sum:
            v.assign(tf.zeros_like(v))

    def take(self, gradients: Sequence[tf.Tensor], rate: tf.Tensor, epsilon: float) -> None:
        """A step downhill; in every replica alike.

        What is large is gone through as few times as can be: a step's own part is most of it where batches are small.

        Args:
            gradients: of the variables.
            rate: float32 scalar.
            epsilon: see above.
        """
        t = tf.cast(self._taken + 1, tf.float32)
        for places, on_a_sphere in self._groups:
            weights = [self._vars[i].read_value() for i in places]
            size = sum(int(np.prod(w.shape)) for w in weights)
            length = rate / math.sqrt(size) * (1.0 if on_a_sphere else _norm(weights))
            uphill = [gradients[i] for i in places]
            if on_a_sphere:
                along = tf.add_n(list(map(_dot, uphill, weights)))
                uphill = [g - along * w for g, w in zip(uphill, weights)]
            # Of the second moment as the step makes it, and without the correction for its start, which the rate has.
            squares = [BETA_2 * tf.reduce_sum(self._second[i]) + (1 - BETA_2) * 2 * tf.nn.l2_loss(g)
                       for i, g in zip(places, uphill)]
            least = epsilon * tf.sqrt(tf.add_n(squares) / size) + TINY
            for i, g in zip(places, uphill):
                self._replicas.on_each_copy(self._vars[i], _apply_adam, self._first[i], self._second[i], t, length,
                                            least, g)
            weights = [self._vars[i].read_value() for i in places]
            scale = 1 / _norm(weights) if on_a_sphere else 1.0
            for i, w in zip(places, weights):
                self._replicas.assign(self._vars[i], scale * w)
                self._replicas.on_each_copy(self._sum[i], lambda own, value: own.assign_add(value), scale * w)
        self._replicas.assign(self._taken, self._taken + 1)

    def go_to_the_mean(self, steps: int) -> None:
        """Puts the weights where the steps of the epoch, so many, were on average."""
        for v, total in zip(self._vars, self._sum):
            v.assign(total / steps)


TINY = 1e-30
"""Of what is divided by, where a layer has no gradient at all."""


def _apply_adam(variable: tf.Variable, first: tf.Variable, second: tf.Variable, t: tf.Tensor, rate: tf.Tensor,
                epsilon: tf.Tensor, gradient: tf.Tensor) -> tf.Operation:
    """TensorFlow's own step, which goes through all of these at once."""
    return tf.raw_ops.ResourceApplyAdam(
        var=variable.handle, m=first.handle, v=second.handle, beta1_power=BETA_1 ** t, beta2_power=BETA_2 ** t, lr=rate,
        beta1=BETA_1, beta2=BETA_2, epsilon=epsilon, grad=gradient)


def _dot(a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
    return tf.tensordot(tf.reshape(a, [-1]), tf.reshape(b, [-1]), 1)


def _norm(values: Sequence[tf.Tensor]) -> tf.Tensor:
    return tf.sqrt(2 * tf.add_n(list(map(tf.nn.l2_loss, values))))
