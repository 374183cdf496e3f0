"""What an architecture gives: a Keras model, which of its layers count in norms, and whether it is homogeneous."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf

from ..margins import Norms


class CountedLayer(NamedTuple):
    """A layer whose norm is one of the statistics.

    Attributes:
        name: of the layer.
        variables: those that the norm counts.
        degree: the degree of homogeneity of the logits in them; 0 for a layer that enters no product of norms.
    """

    name: str
    variables: Sequence[tf.Variable]
    degree: int = 1


@dataclass(frozen=True)
class Network:
    """A network, without anything of how it is trained.

    Attributes:
        net: ``keras.Model`` from images, float32 [N, H, W, C] in [0, 1], to logits [N, C].
        layers: the layers that count in norms, from the images to the logits.
        is_homogeneous: whether scaling all parameters by c > 0 scales the logits by a power of c.
        layer_vars: the trainable variables of each layer, by its name.
        weights: all variables of ``net``, those that are not trained too, by names under which they are stored.
        order: degree of homogeneity of the logits in all parameters; None for the sum of the layers' degrees.
    """

    net: keras.Model
    layers: Sequence[CountedLayer]
    is_homogeneous: bool
    layer_vars: Mapping[str, tuple[tf.Variable, ...]]
    weights: Mapping[str, tf.Variable]
    order: int | None = None


def norms_of(layers: Sequence[CountedLayer], order: int | None = None) -> Norms:
    """Norms of layers as they are now, in float64.

    Args:
        layers: from the images to the logits.
        order: degree of homogeneity of the logits in all of them; None for the sum of their degrees.
    """
    squares = [sum(float(np.sum(np.square(v.numpy(), dtype=np.float64))) for v in layer.variables) for layer in layers]
    rhos = [math.sqrt(s) for s in squares]
    counted = [(rho, layer.degree) for rho, layer in zip(rhos, layers) if layer.degree]
    return Norms(math.sqrt(sum(squares)), tuple(rhos), _product(counted),
                 sum(degree for _, degree in counted) if order is None else order)


def _product(factors: Sequence[tuple[float, int]]) -> float:
    """The product of numbers to their powers; inf where that overflows."""
    powers = [power for _, power in factors]
    following = [*powers[1:], 1]
    with np.errstate(over='ignore', invalid='ignore'):
        if any(power % after for power, after in zip(powers, following)):
            return float(np.prod([np.float64(rho) ** power for rho, power in factors]))
        product = np.float64(1.0)  # activation by activation, each of which raises all that is below it to its degree
        for (rho, power), after in zip(factors, following):
            product = (product * rho) ** (power // after)
    return float(product)


_SUFFIXES = {'conv': ('f', 'b'), 'fc': ('W', 'b'), 'bn': ('gamma', 'beta', 'moving_mean', 'moving_variance')}
"""What the original calls the variables of a layer, by the beginning of the layer's name."""


def originals_names(net: keras.Model, layers: Sequence[str]) -> dict[str, tf.Variable]:
    """Weights by the original's names, such as 'conv1_f', of layers that are called 'conv1', 'fc2', 'bn3'."""
    named: dict[str, tf.Variable] = {}
    for name in layers:
        layer = net.get_layer(name)
        variables = [v.value for v in (*layer.trainable_variables, *layer.non_trainable_variables)]
        suffixes = _SUFFIXES[name.rstrip('0123456789')]
        named.update(zip((f'{name}_{suffix}' for suffix in suffixes), variables))
    return named


def variables_of(net: keras.Model, layers: Sequence[str]) -> dict[str, tuple[tf.Variable, ...]]:
    """The trainable variables of layers, by their names."""
    return {name: tuple(v.value for v in net.get_layer(name).trainable_variables) for name in layers}
