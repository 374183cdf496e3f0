"""Keras models that are chains of layers."""

from __future__ import annotations

from typing import NamedTuple

import keras
from keras.src.models.functional import Functional  # what keras.Model(inputs, outputs) makes; it has no public name

_WRAPPED = {'build', 'quantize'}
"""Methods that Keras itself replaces in every layer."""
_IRRELEVANT = {'loss', 'train_step', 'test_step', 'predict_step'}
"""What an instance of a model may hold under a method's name without its call being another."""


class Link(NamedTuple):
    """A layer of a chain, and the shape of what it is given there, without the batch; None is an unknown size."""

    layer: keras.Layer
    shape: tuple[int | None, ...]


def links_of(net: keras.Model) -> list[Link]:
    """The layers from image to logits of a model in which each takes nothing but what the one before it gives.

    The way is the one of the graph that the model runs, whatever else its layers are used for. Layers are not looked
    into: a nested model is one of them.

    Raises:
        ValueError: the model is no such chain, with what stands against it; or its class or the model itself replaces
            a method, so that it may compute anything.
    """
    if type(net) not in (Functional, keras.Sequential) or replaced_methods(net):
        raise ValueError(f'{net.name} is a {type(net).__name__} that may compute what its layers do not say; '
                         'keras.Model(inputs, outputs) or keras.Sequential of the same layers does not')
    inputs, outputs = getattr(net, 'inputs', None) or [], getattr(net, 'outputs', None) or []
    if len(inputs) != 1 or len(outputs) != 1:
        raise ValueError(f'{net.name} has {len(inputs)} inputs and {len(outputs)} outputs that are known')
    links: list[Link] = []
    tensor = outputs[0]
    while tensor is not inputs[0]:
        operation, node_index, _ = tensor._keras_history
        node = operation._inbound_nodes[node_index]
        if not isinstance(operation, keras.Layer):
            raise ValueError(f'{operation.name} is no layer but an operation between layers')
        if len(node.input_tensors) != 1 or len(node.output_tensors) != 1:
            raise ValueError(f'{operation.name} takes {len(node.input_tensors)} and gives {len(node.output_tensors)} '
                             'tensors')
        # training=False is what an evaluation says anyway; with training=True a dropout stays at work.
        if len(node.arguments.args) != 1 or any(v is not None and v is not False
                                                for v in node.arguments.kwargs.values()):
            raise ValueError(f'{operation.name} is called with further arguments')
        if any(link.layer is operation for link in links):
            raise ValueError(f'{operation.name} is used twice')
        tensor = node.input_tensors[0]
        links.append(Link(operation, tuple(tensor.shape[1:])))
    return links[::-1]


def chain_of(net: keras.Model) -> list[keras.Layer] | None:
    """The layers from image to logits if the model is a chain of them, see ``links_of``; else None."""
    try:
        return [layer for layer, _ in links_of(net)]
    except ValueError:
        return None


def is_exactly(layer: keras.Layer, kind: type[keras.Layer]) -> bool:
    """Whether a layer computes what layers of this very class do: a subclass may override anything."""
    return type(layer) is kind and not replaced_methods(layer)


def replaced_methods(layer: keras.Layer) -> list[str]:
    """Methods of its class in whose place a layer or model holds something else, as after ``layer.call = ...``."""
    return [name for name in vars(layer)
            if name not in _WRAPPED | _IRRELEVANT and callable(getattr(type(layer), name, None))]


def differs_in_training(net: keras.Model) -> bool:
    """Whether the network has layers that compute something else in training."""
    return any(isinstance(layer, keras.layers.BatchNormalization) or (
        hasattr(layer, 'seed_generator') and getattr(layer, 'rate', True)) for layer in all_layers(net))


def all_layers(net: keras.Model) -> list[keras.Layer]:
    """The layers of a network and of those in it, and of a network that a layer runs with other weights than its own;
    of the last, Keras does not know."""
    return [layer for own in net._flatten_layers() for layer in (own, *getattr(own, 'inner_layers', list)())]
