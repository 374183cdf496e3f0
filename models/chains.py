"""Keras models that are chains of layers."""

from __future__ import annotations

import keras


def chain_of(net: keras.Model) -> list[keras.Layer] | None:
    """The layers from image to logits, if each takes nothing but what the one before it gives; else None."""
    layers = [layer for layer in net.layers if not isinstance(layer, keras.layers.InputLayer)]
    try:
        h = net.inputs[0]
        for layer in layers:
            if layer.input is not h:  # raises if the layer is used twice, or was never called
                return None
            h = layer.output
        return layers if len(net.inputs) == 1 and h is net.outputs[0] else None
    except (AttributeError, ValueError, IndexError, TypeError):
        return None
