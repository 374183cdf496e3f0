"""What objectives that look at chosen layers have in common."""

from __future__ import annotations

from collections.abc import Sequence

import keras
import tensorflow as tf

from .. import checks
from .base import Objective
from .passes import ForwardPass, layers_of


class AtLayers(Objective):
    """An objective at layers given by name, with a positive number for each of them.

    Args:
        layers: 'all', 'hidden', or names; see ``layers_of``.
        layer_weights: in the order of ``layers``; None for what the subclass makes of it.
        second_order: whether the norms of gradients are differentiated through.

    Raises:
        ValueError: an argument that is not such; a network without these layers, or with fewer classes than the
            competitors asked for, when called.
    """

    def __init__(self, layers: str | Sequence[str], layer_weights: Sequence[float] | None,
                 second_order: bool):
        self.second_order = checks.flag('second_order', second_order)
        self.wanted = checks.layer_names(layers)
        self.layer_weights = checks.layer_weights(layer_weights, None if isinstance(self.wanted, str) else self.wanted)

    def layers(self, net: keras.Model) -> tuple[str, ...]:
        layers = layers_of(net, self.wanted)
        checks.layer_weights(self.layer_weights, layers)
        return layers

    def activations(self, run: ForwardPass) -> list[tf.Tensor]:
        """The activations of the layers, in their order."""
        return [run.activations[name] for name in self.layers(run.net)]
