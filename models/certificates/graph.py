"""A Keras model as a graph of rules, from the image to the logits."""

from __future__ import annotations

from typing import Any, NamedTuple

import keras
from keras.src.models.functional import Functional

from ..chains import replaced_methods
from ..logits import require_logit_structure
from .layers import rules_of
from .rounding import UNITS
from .rules import Rule


class Node(NamedTuple):
    """A step of the graph.

    Attributes:
        rule: what it computes; None of the image.
        inputs: the numbers of the nodes that it takes.
        shape: of what it gives, without the batch.
        name: of the layer that it belongs to.
    """

    rule: Rule | None
    inputs: tuple[int, ...]
    shape: tuple[int, ...]
    name: str


def nodes_of(net: keras.Model) -> list[Node]:
    """The steps of a network, each after those that it takes; the first is the image, the last gives the logits.

    Layers may be joined by sums, and used several times. Nested models are not looked into.

    Raises:
        ValueError: a layer that has no rule, or a model that may compute what its layers do not say, in a sentence that
            names it.
    """
    require_logit_structure(net, 'a certificate')
    if type(net) not in (Functional, keras.Sequential) or replaced_methods(net):
        raise ValueError(f'{net.name} is a {type(net).__name__} that may compute what its layers do not say; '
                         'keras.Model(inputs, outputs) or keras.Sequential of the same layers does not')
    if len(net.inputs) != 1 or len(net.outputs) != 1:
        raise ValueError(f'a certificate needs a network of one input and one output, not of {len(net.inputs)} and '
                         f'{len(net.outputs)}')
    image, shape = net.inputs[0], tuple(net.inputs[0].shape[1:])
    if image.dtype not in UNITS:
        raise ValueError(f'a certificate needs a network that takes images as they are; {net.name} rounds them to '
                         f'{image.dtype}')
    if None in shape:
        raise ValueError('a certificate needs images of a known size, and this network is given '
                         f'{" x ".join(str(n or "any") for n in shape)}')
    nodes = [Node(None, (), shape, image.name)]
    found = {id(image): 0}
    # Depth first, without recursion: networks may be deep.
    waiting: list[Any] = [net.outputs[0]]
    while waiting:
        tensor = waiting[-1]
        if id(tensor) in found:
            waiting.pop()
            continue
        operation, given = _operation_of(tensor)
        if missing := [t for t in given if id(t) not in found]:
            waiting += missing
            continue
        waiting.pop()
        inputs = tuple(found[id(t)] for t in given)
        found[id(tensor)] = _append(nodes, operation, inputs)
    return nodes


def _operation_of(tensor: Any) -> tuple[keras.Layer, list[Any]]:
    """The layer that gives a tensor, and what it takes."""
    operation, node_index, _ = tensor._keras_history
    node = operation._inbound_nodes[node_index]
    if not isinstance(operation, keras.Layer):
        raise ValueError(f'{operation.name} is no layer but an operation between layers')
    if len(node.output_tensors) != 1 or not node.input_tensors:
        raise ValueError(f'{operation.name} takes {len(node.input_tensors)} and gives {len(node.output_tensors)} '
                         'tensors')
    # training=False is what an evaluation says anyway; with training=True a dropout stays at work.
    if len(node.arguments.args) != 1 or any(v is not None and v is not False for v in node.arguments.kwargs.values()):
        raise ValueError(f'{operation.name} is called with further arguments')
    return operation, list(node.input_tensors)


def _append(nodes: list[Node], layer: keras.Layer, inputs: tuple[int, ...]) -> int:
    """Appends the rules of a layer; the number of the node that gives its output."""
    shapes = [nodes[i].shape for i in inputs]
    rules = rules_of(layer, shapes, len(inputs) > 1 and len(set(inputs)) == 1)
    for rule in rules:
        nodes.append(Node(rule, inputs[:len(rule.inputs)], rule.shape, layer.name))
        inputs = (len(nodes) - 1,)
    return inputs[0]
