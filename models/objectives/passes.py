"""One forward pass of a network, with everything that objectives read from it: logits and chosen activations."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary, WeakSet

import keras
import tensorflow as tf

from ..batch import Batch
from ..logits import require_logit_shape, require_logit_structure, require_logits_of_noise
from ..types import did_you_mean, shown
from .labels import checked_labels
from .moments import twice_differentiable_moments

INPUT = 'input'
"""What objectives call the images, among the names of layers."""

_CONTINUE = ('BatchNormalization', 'LayerNormalization', 'GroupNormalization', 'RMSNormalization', 'Normalization',
             'UnitNormalization', 'PReLU')
"""Layers that have weights but belong to the block of the layer before them."""
_LEFT_OFF = ('Flatten', 'Reshape', 'Dropout', 'SpatialDropout1D', 'SpatialDropout2D', 'SpatialDropout3D',
             'GaussianDropout', 'AlphaDropout')
"""Layers that end no block: what goes into them is the representation, and they are cheap to look through."""

_NEEDS = 'an objective'
"""What needs the logits, for the sentences of ``logits``."""

_seen_to_give_logits: WeakSet[keras.Model] = WeakSet()
_tapped: WeakKeyDictionary[keras.Model, dict[tuple[str, ...], keras.Model]] = WeakKeyDictionary()


class ForwardPass(NamedTuple):
    """What one forward pass gave.

    Attributes:
        net: the network.
        logits: [N, C], in the network's dtype.
        y: labels, integers [N] or [N, 1].
        activations: by layer name ('input' for the images), tensors [N, ...]; those that were asked for.
        tape: a persistent tape from the images through the activations to the logits; None without activations.
        batch: the batch that an objective was given.
    """

    net: keras.Model
    logits: tf.Tensor
    y: tf.Tensor
    activations: dict[str, tf.Tensor]
    tape: tf.GradientTape | None
    batch: Batch | None = None


def forward_pass(net: keras.Model, x: Any, y: Any, training: bool, layers: tuple[str, ...] = (),
                 second_order: bool = False) -> ForwardPass:
    """Runs the network once.

    Args:
        net: from images to logits; with ``layers``, a functional or Sequential model, whose inside can be reached.
        x: images [N, ...]; converted to the dtype of the network's input.
        y: labels, integers [N] or [N, 1].
        training: whether batch norm and dropout are as in training.
        layers: names of the activations wanted, 'input' for the images themselves.
        second_order: whether gradients taken on the tape will be differentiated.

    Raises:
        ValueError: the network gives probabilities or one logit, has no inside to reach, or no layer of such a name;
            labels that are no classes (of those of a function that is being compiled, only their type and shape are
            known).
    """
    _require_logits(net, x)
    if not layers:
        logits = net(x, training=training)
        _require_shape(logits)
        return ForwardPass(net, logits, checked_labels(y, logits), {}, None)
    hidden = tuple(name for name in layers if name != INPUT)
    tapped = _tapping(net, hidden)
    x = tf.cast(x, tapped.inputs[0].dtype)
    moments = twice_differentiable_moments() if second_order else nullcontext()
    with moments, tf.GradientTape(persistent=True, watch_accessed_variables=False) as tape:
        tape.watch(x)
        logits, *values = keras.tree.flatten(tapped(x, training=training))
    activations = {INPUT: x, **dict(zip(hidden, values))}
    return ForwardPass(net, logits, checked_labels(y, logits), {name: activations[name] for name in layers}, tape)


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
                raise ValueError(f'the network has no layer {shown(name)}; {did_you_mean(name, known)}')
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

    own = next(kind for kind in type(net).__mro__ if 'call' in vars(kind))
    if own.__module__.partition('.')[0] != 'keras':
        raise ValueError(f'{own.__name__} has a call of its own, so its layers do not tell what it computes; an '
                         'objective at layers needs a functional Keras model, or a Sequential one with an Input')


def _require_logits(net: keras.Model, x: Any = None) -> None:
    """Sees that a network gives logits: by its structure, and once for each network by its values on noise.

    Args:
        net: the network.
        x: images, whose shape tells that of the noise where the network does not.
    """
    if isinstance(net, keras.Model) and not net.built and x is not None and tf.executing_eagerly():
        net(tf.convert_to_tensor(x)[:1], training=False)
    require_logit_structure(net, _NEEDS)
    if len(getattr(net, 'inputs', None) or ()) > 1:
        raise ValueError(f'{_NEEDS} needs a model of one input, the images, not of {len(net.inputs)}')
    if net in _seen_to_give_logits:
        return
    images = net.inputs[0] if getattr(net, 'inputs', None) else x
    shape = tuple(getattr(images, 'shape', (None, None))[1:])
    # In a replica, variables are not to be had outside of the function that is being compiled.
    if None in shape or not (tf.executing_eagerly() or not tf.distribute.has_strategy()):
        return
    with tf.init_scope():  # out of a function that is being compiled
        require_logits_of_noise(net, shape, _NEEDS)
    _seen_to_give_logits.add(net)


def _require_shape(logits: Any) -> None:
    if not hasattr(logits, 'shape'):
        raise ValueError(f'{_NEEDS} needs a model that gives logits of shape [N, C], not a {type(logits).__name__}')
    require_logit_shape(() if logits.shape.rank is None else tuple(logits.shape), _NEEDS)
