"""simple_sequential: convolutions, poolings and dense layers in a row, from a description in plain lists."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from ..types import BiasMode, lookup, shown
from .descriptions import LayerSpec, parse_description
from .initializers import InitPolicy
from .network import CountedLayer, Network, originals_names, variables_of
from .orthogonal import MaxMin, OrthogonalConv2D, OrthogonalDense

ACTIVATIONS = {'relu': 1, 'linear': 1, 'relu2': 2, 'maxmin': 1}
"""Activation names, each with its degree: act(c z) = c^degree act(z) for c > 0."""
BN_MOMENTUM, BN_EPSILON = 0.9, 1e-5
"""Of batch normalisation, as in the released code of Large Margin Deep Networks."""


def simple_sequential(input_shape: Sequence[int], description: Sequence[Any],
                      bias_mode: BiasMode = BiasMode.FIRST_LAYER, init: dict[str, Any] | None = None,
                      act_type: str = 'relu', seed: int | None = None) -> Network:
    """A feed-forward network such as the CNN and the VGG of the paper's experiments.

    It is homogeneous if no layer but the first has a bias, and none normalises or is orthogonal. If it is not, as in
    the original, the norms count weights and bias of the first layer, and the weights alone of the others. Batch
    normalisation does not count, nor do orthogonal layers, whose norm is 1 whatever their weights: margins are over the
    norms of the other layers, and of a network without such they are those of the logits.

    Args:
        input_shape: (height, width, channels) of an image.
        description: a list of layers: ['C', channels, [height, width]], ['F', units], ['P'], ['A'], ['B'],
            ['D', rate], ['OC', channels, [height, width]], ['OF', units]. Convolutions have stride 1 and SAME padding,
            poolings are 2x2 with stride 2 and drop an odd last row and column; the tensor is flattened before the first
            dense layer, and the last layer must be one. An activation follows every convolution and dense layer unless
            its options, a dictionary at its end, say {'act': False}, and a B if its options say {'act': True}; the
            option 'bias' overrides ``bias_mode``, and {'pad': False} leaves the padding of a C out. 'OC', over disjoint
            patches, and 'OF' are 1-Lipschitz, see ``orthogonal``.
        bias_mode: which layers have a bias.
        init: initial weights, see ``InitPolicy``.
        act_type: 'relu', 'linear' (none), 'relu2' (the square of relu), or 'maxmin' (pairs of channels sorted).
        seed: of the initial weights; None for fresh ones.

    Raises:
        ValueError: a description that describes no network, or an unknown name.
    """
    act_degree = lookup('activation', act_type, ACTIVATIONS)
    specs = parse_description(description, tuple(int(n) for n in input_shape), require_bias_mode(bias_mode),
                              act_type)
    net, trained = _build(input_shape, specs, act_type)
    _initialise(trained, InitPolicy(init), seed)
    names = [layer.name for layer in net.layers if layer.trainable_variables]
    layer_vars = variables_of(net, names)
    weighted = [spec for spec in specs if spec.is_weighted]
    is_homogeneous = not any(spec.kind == 'B' or spec.is_orthogonal for spec in specs) and not any(
        spec.bias for spec in weighted[1:])
    layers: list[CountedLayer] = []
    degree = 1
    for i, (layer, spec) in reversed(list(enumerate(zip(trained, weighted)))):
        degree *= act_degree if spec.act else 1
        if spec.is_orthogonal:
            continue
        variables = layer_vars[layer.name]
        layers.insert(0, CountedLayer(layer.name, variables if i == 0 or is_homogeneous else variables[:1], degree))
    return Network(net, layers, is_homogeneous, layer_vars, originals_names(net, names))


def _build(input_shape: Sequence[int], specs: Sequence[LayerSpec], act_type: str
           ) -> tuple[keras.Model, list[keras.Layer]]:
    """The network, and its convolutions and dense layers."""
    h = inputs = keras.Input(tuple(int(n) for n in input_shape), name='image')
    trained = []
    for i, spec in enumerate(specs, start=1):
        if spec.kind in 'PA':
            pool = keras.layers.MaxPooling2D if spec.kind == 'P' else keras.layers.AveragePooling2D
            h = pool(2, 2, 'valid', name=f'pool{i}')(h)
            continue
        if spec.kind == 'D':
            h = keras.layers.Dropout(spec.rate, name=f'drop{i}')(h)
            continue
        if spec.kind == 'B':
            h = keras.layers.BatchNormalization(momentum=BN_MOMENTUM, epsilon=BN_EPSILON, name=f'bn{i}')(h)
            h = _activated(h, act_type, i) if spec.act else h
            continue
        # The layers start at zero and are given their weights below: a saved model then needs no initializer.
        options = {'use_bias': spec.bias, 'kernel_initializer': 'zeros'}
        if spec.kind == 'C':
            padding = 'same' if spec.pad else 'valid'
            layer = keras.layers.Conv2D(spec.size[0], spec.size[1:], padding=padding, name=f'conv{i}', **options)
        elif spec.kind == 'OC':
            layer = OrthogonalConv2D(spec.size[0], spec.size[1:], name=f'conv{i}', **options)
        else:
            if len(h.shape) > 2:
                h = keras.layers.Flatten(name='flatten')(h)
            dense = OrthogonalDense if spec.is_orthogonal else keras.layers.Dense
            layer = dense(spec.size[0], name=f'fc{i}', **options)
        h = layer(h)
        trained.append(layer)
        h = _activated(h, act_type, i) if spec.act else h
    return keras.Model(inputs, h, name='net'), trained


def _activated(h: Any, act_type: str, i: int) -> Any:
    if act_type == 'linear':
        return h
    if act_type == 'maxmin':
        return MaxMin(name=f'maxmin{i}')(h)
    h = keras.layers.ReLU(name=f'relu{i}')(h)
    return keras.layers.Multiply(name=f'square{i}')([h, h]) if act_type == 'relu2' else h


def _initialise(trained: Sequence[keras.Layer], init: InitPolicy, seed: int | None) -> None:
    seeds = [int(s.generate_state(1)[0]) for s in np.random.SeedSequence(seed).spawn(2 * len(trained))]
    for i, layer in enumerate(trained):
        own = getattr(layer, 'weights_of_kernel', layer.kernel)
        own.assign(init.weight_init(seeds[2 * i])(own.shape, dtype='float32'))
        if layer.use_bias:
            bias = init.bias_init(seeds[2 * i + 1], own.shape)
            layer.bias.assign(bias(layer.bias.shape, dtype='float32'))


def require_bias_mode(value: Any) -> BiasMode:
    """``value``, if it is a bias mode.

    Raises:
        ValueError: it is not.
    """
    if not isinstance(value, BiasMode):
        raise ValueError(f"bias_mode must be BiasMode.{' or BiasMode.'.join(BiasMode.__members__)}, not {shown(value)}")
    return value
