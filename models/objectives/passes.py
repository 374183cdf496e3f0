"""One forward pass of a network, with everything that objectives read from it: logits and chosen activations."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import keras
import tensorflow as tf

from ..types import did_you_mean
from .moments import twice_differentiable_moments

INPUT = 'input'
"""What objectives call the images, among the names of layers."""

_CONTINUE = ('BatchNormalization', 'LayerNormalization', 'GroupNormalization', 'RMSNormalization', 'Normalization',
             'UnitNormalization', 'PReLU')
"""Layers that have weights but belong to the block of the layer before them."""
_LEFT_OFF = ('Flatten', 'Reshape', 'Dropout', 'SpatialDropout1D', 'SpatialDropout2D', 'SpatialDropout3D',
             'GaussianDropout', 'AlphaDropout')
"""Layers that end no block: what goes into them is the representation, and they are cheap to look through."""

_tapped: WeakKeyDictionary[keras.Model, dict[tuple[str, ...], keras.Model]] = WeakKeyDictionary()


class ForwardPass(NamedTuple):
    """What one forward pass gave.

    Attributes:
        net: the network.
        logits: [N, C], in the network's dtype.
        y: labels, integers [N] or [N, 1].
        activations: by layer name ('input' for the images), tensors [N, ...]; those that were asked for.
        tape: a persistent tape from the images through the activations to the logits; None without activations.
    """

    net: keras.Model
    logits: tf.Tensor
    y: tf.Tensor
    activations: dict[str, tf.Tensor]
    tape: tf.GradientTape | None


def forward_pass(net: keras.Model, x: Any, y: Any, training: bool, layers: tuple[str, ...] = (),
                 second_order: bool = False) -> ForwardPass:
    """Runs the network once.

    Args:
        net: from images to logits; with ``layers``, a functional or Sequential model, whose inside can be reached.
        x: images [N, ...]; converted to the dtype of the network's input.
        y: labels, integers [N].
        training: whether batch norm and dropout are as in training.
        layers: names of the activations wanted, 'input' for the images themselves.
        second_order: whether gradients taken on the tape will be differentiated.

    Raises:
        ValueError: the network gives probabilities, has no inside to reach, or no layer of such a name.
    """
    _require_logits(net)
    y = tf.convert_to_tensor(y)
    if not layers:
        return ForwardPass(net, net(x, training=training), y, {}, None)
    hidden = tuple(name for name in layers if name != INPUT)
    tapped = _tapping(net, hidden)
    x = tf.cast(x, tapped.inputs[0].dtype)
    moments = twice_differentiable_moments() if second_order else nullcontext()
    with moments, tf.GradientTape(persistent=True, watch_accessed_variables=False) as tape:
        tape.watch(x)
        logits, *values = keras.tree.flatten(tapped(x, training=training))
    activations = {INPUT: x, **dict(zip(hidden, values))}
    return ForwardPass(net, logits, y, {name: activations[name] for name in layers}, tape)


def layers_of(net: keras.Model, layers: str | tuple[str, ...]) -> tuple[str, ...]:
    """The names that ``layers`` stands for in this network: 'all', 'hidden', or themselves.

    'hidden' is the output of every block but the last, which gives the logits. A block is a layer with weights and what
    follows it up to the next one (activation, pooling, batch norm), without a last Flatten or Dropout.
    'all' is the images and those.

    Raises:
        ValueError: 'all' or 'hidden' of a network that is not a chain of layers, or no such layers; a name that the
            network has not.
    """
    _require_inside(net)
    _require_logits(net)
    if not isinstance(layers, str):
        known = _known(net)
        for name in layers:
            if name not in known:
                raise ValueError(f'the network has no layer {name!r}; {did_you_mean(name, known)}')
        return layers
    blocks = _blocks(net, layers)
    if layers == 'all':
        return (INPUT, *blocks)
    if not blocks:
        raise ValueError("the network has no hidden layers; give layers=['input']")
    return blocks


def _nodes(net: keras.Model) -> list[Any]:
    """The calls of layers that the network consists of, each after those it needs.

    Of a layer, Keras tells only its first call, which may be one in another network.
    """
    graph = getattr(net, '_functional', None) or net  # of a Sequential model, and of a functional one
    by_depth = graph._nodes_by_depth
    return [node for depth in sorted(by_depth, reverse=True) for node in by_depth[depth] if not node.is_input]


def _known(net: keras.Model) -> list[str]:
    return list(dict.fromkeys([INPUT, *(node.operation.name for node in _nodes(net))]))


def _blocks(net: keras.Model, wanted: str) -> tuple[str, ...]:
    """The names of the last layers of all blocks but the last."""
    ends: list[str] = []
    inside, h = False, net.inputs[0]
    for node in _nodes(net):
        layer = node.operation
        if any(t is not h for t in node.input_tensors) or len(node.output_tensors) != 1:
            raise ValueError(f'layers={wanted!r} needs a network whose layers form a chain, and {layer.name!r} does '
                             f'not take what the layer before it gives; name the layers, such as '
                             f'{[INPUT, layer.name]}')
        h = node.output_tensors[0]
        kind = type(layer).__name__
        if getattr(layer, 'weights', None) and kind not in _CONTINUE:
            inside = True
            ends.append(layer.name)
        elif inside and kind not in _LEFT_OFF:
            ends[-1] = layer.name
    return tuple(ends[:-1])


def _tapping(net: keras.Model, names: tuple[str, ...]) -> keras.Model:
    """The model from the images to the logits and the outputs of these layers; made once for each network."""
    kept = _tapped.setdefault(net, {})
    if names not in kept:
        layers_of(net, names)  # asks whether they are there
        kept[names] = keras.Model(net.inputs, [net.outputs[0], *(_output(net, name) for name in names)])
    return kept[names]


def _output(net: keras.Model, name: str) -> Any:
    outputs = [t for node in _nodes(net) if node.operation.name == name for t in node.output_tensors]
    if len(outputs) != 1:
        raise ValueError(f'layer {name!r} is used several times or has several outputs, so its name says no activation')
    return outputs[0]


def _require_inside(net: keras.Model) -> None:
    inputs = getattr(net, 'inputs', None)
    if not inputs or not getattr(net, 'outputs', None) or len(inputs) != 1 or len(net.outputs) != 1:
        raise ValueError('the activations of this network cannot be reached: it must be a functional Keras model, or a '
                         'Sequential one with an Input, of one input and one output; for other networks there are the '
                         'functions that take a tape')


def _require_logits(net: keras.Model) -> None:
    last = net.layers[-1] if net.layers else None
    if isinstance(last, keras.layers.Softmax) or getattr(last, 'activation', None) is keras.activations.softmax:
        raise ValueError('the network gives probabilities; an objective needs one that gives logits, without softmax')
