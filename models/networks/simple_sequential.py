"""simple_sequential: convolutions, poolings and dense layers in a row, from a description in plain lists."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Integral
from typing import Any

import keras
import numpy as np

from ..checks import flag, number
from ..types import BiasMode, did_you_mean, lookup, shown
from .initializers import InitPolicy
from .network import CountedLayer, Network, originals_names, variables_of

LAYER_KINDS = {
    'C': "a convolution, ['C', channels, [height, width]]",
    'F': "a dense layer, ['F', units]",
    'P': "a 2x2 max pooling, ['P']",
    'A': "a 2x2 average pooling, ['A']",
    'B': "batch normalisation, ['B'], or ['B', {'act': True}]",
    'D': "dropout, ['D', rate]",
}
ACTIVATIONS = {'relu': 1, 'linear': 1, 'relu2': 2}
"""Activation names, each with its degree: act(c z) = c^degree act(z) for c > 0."""
LAYER_OPTIONS = {'C': ('act', 'bias', 'pad'), 'F': ('act', 'bias'), 'B': ('act',)}
LARGEST_KERNEL = 10 ** 9
"""Numbers in the weights of one layer; beyond that it is a slip of the pen."""
BN_MOMENTUM, BN_EPSILON = 0.9, 1e-5
"""Of batch normalisation, as in the released code of Large Margin Deep Networks."""


@dataclass(frozen=True)
class LayerSpec:
    """One entry of a description, checked; ``size`` is (channels, height, width) of 'C', (units,) of 'F'."""

    kind: str
    size: tuple[int, ...] = ()
    bias: bool = False
    act: bool = True
    rate: float = 0.0
    pad: bool = True


def simple_sequential(input_shape: Sequence[int], description: Sequence[Any],
                      bias_mode: BiasMode = BiasMode.FIRST_LAYER, init: dict[str, Any] | None = None,
                      act_type: str = 'relu', seed: int | None = None) -> Network:
    """A feed-forward network such as the CNN and the VGG of the paper's experiments.

    It is homogeneous if no layer but the first has a bias, and none normalises. If it is not, as in the original, the
    norms count weights and bias of the first layer, and the weights alone of the others. Batch normalisation does not
    count.

    Args:
        input_shape: (height, width, channels) of an image.
        description: a list of layers: ['C', channels, [height, width]], ['F', units], ['P'], ['A'], ['B'],
            ['D', rate]. Convolutions have stride 1 and SAME padding, poolings are 2x2 with stride 2 and drop an odd
            last row and column; the tensor is flattened before the first 'F', the last layer must be an 'F'. An
            activation follows every C and F unless its options, a dictionary at its end, say {'act': False}, and a B
            if its options say {'act': True}; the option 'bias' overrides ``bias_mode``, and {'pad': False} leaves the
            padding of a C out.
        bias_mode: which layers have a bias.
        init: initial weights, see ``InitPolicy``.
        act_type: 'relu', 'linear' (none), or 'relu2' (the square of relu).
        seed: of the initial weights; None for fresh ones.

    Raises:
        ValueError: a description that describes no network, or an unknown name.
    """
    act_degree = lookup('activation', act_type, ACTIVATIONS)
    specs = parse_description(description, tuple(int(n) for n in input_shape), require_bias_mode(bias_mode))
    net, trained = _build(input_shape, specs, act_type)
    _initialise(trained, InitPolicy(init), seed)
    names = [layer.name for layer in net.layers if layer.trainable_variables]
    layer_vars = variables_of(net, names)
    weighted = [spec for spec in specs if spec.kind in 'CF']
    is_homogeneous = not any(spec.kind == 'B' for spec in specs) and not any(spec.bias for spec in weighted[1:])
    layers: list[CountedLayer] = []
    degree = 1
    for i, (layer, spec) in reversed(list(enumerate(zip(trained, weighted)))):
        degree *= act_degree if spec.act else 1
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
        else:
            if len(h.shape) > 2:
                h = keras.layers.Flatten(name='flatten')(h)
            layer = keras.layers.Dense(spec.size[0], name=f'fc{i}', **options)
        h = layer(h)
        trained.append(layer)
        h = _activated(h, act_type, i) if spec.act else h
    return keras.Model(inputs, h, name='net'), trained


def _activated(h: Any, act_type: str, i: int) -> Any:
    if act_type == 'linear':
        return h
    h = keras.layers.ReLU(name=f'relu{i}')(h)
    return keras.layers.Multiply(name=f'square{i}')([h, h]) if act_type == 'relu2' else h


def _initialise(trained: Sequence[keras.Layer], init: InitPolicy, seed: int | None) -> None:
    seeds = [int(s.generate_state(1)[0]) for s in np.random.SeedSequence(seed).spawn(2 * len(trained))]
    for i, layer in enumerate(trained):
        layer.kernel.assign(init.weight_init(seeds[2 * i])(layer.kernel.shape, dtype='float32'))
        if layer.use_bias:
            bias = init.bias_init(seeds[2 * i + 1], layer.kernel.shape)
            layer.bias.assign(bias(layer.bias.shape, dtype='float32'))


def require_bias_mode(value: Any) -> BiasMode:
    """``value``, if it is a bias mode.

    Raises:
        ValueError: it is not.
    """
    if not isinstance(value, BiasMode):
        raise ValueError(f"bias_mode must be BiasMode.{' or BiasMode.'.join(BiasMode.__members__)}, not {shown(value)}")
    return value


def parse_description(description: Sequence[Any], input_shape: tuple[int, ...], bias_mode: BiasMode) -> list[LayerSpec]:
    """Checks a layer description and resolves which layers have a bias.

    Raises:
        ValueError: naming the layer that is impossible, and why.
    """
    if not isinstance(description, (list, tuple)) or not description:
        raise ValueError(f'the description must be a list of layers, not {shown(description)}')
    if len(input_shape) != 3:
        raise ValueError(f'images must have a height, a width and channels, not the shape {input_shape}')
    specs: list[LayerSpec] = []
    height, width, channels = input_shape
    for i, entry in enumerate(description, start=1):
        try:
            spec = _parse_layer(entry, bias_mode, is_first=not any(s.kind in 'CF' for s in specs))
            if spec.kind in 'CPA' and any(s.kind == 'F' for s in specs):
                raise ValueError('it cannot come after a dense layer, whose output is flat')
            if spec.kind in 'PA':
                if min(height, width) < 2:
                    raise ValueError(f'a 2x2 pooling does not fit an image of {height}x{width}')
                height, width = height // 2, width // 2
            if spec.kind == 'C' and not spec.pad:
                if spec.size[1] > height or spec.size[2] > width:
                    raise ValueError(f'without padding it does not fit an image of {height}x{width}')
                height, width = height - spec.size[1] + 1, width - spec.size[2] + 1
            if spec.kind in 'CF':
                if spec.kind == 'F':
                    height, width, channels = 1, 1, height * width * channels
                if math.prod(spec.size) * channels > LARGEST_KERNEL:
                    raise ValueError(f'it would have more than {LARGEST_KERNEL:.0e} weights')
                channels = spec.size[0]
        except ValueError as e:
            raise ValueError(f'layer {i}, {shown(entry)}: {e}') from None
        specs.append(spec)
    if specs[-1].kind != 'F' or specs[-1].size[0] < 2:
        raise ValueError(f"the last layer must be dense with an output for each class, such as ['F', 10], "
                         f'not {shown(description[-1])}')
    return specs


def _parse_layer(entry: Any, bias_mode: BiasMode, is_first: bool) -> LayerSpec:
    parts = list(entry) if isinstance(entry, (list, tuple)) else [entry]
    options = parts.pop() if parts and isinstance(parts[-1], dict) else {}
    if not parts:
        raise ValueError(f"it has no kind; {did_you_mean('', LAYER_KINDS)}")
    kind, args = parts[0], parts[1:]
    form = lookup('layer kind', kind, LAYER_KINDS)
    if kind in 'PAB':
        if args or (options and kind != 'B'):
            raise ValueError(f'{kind} is {form}, without more')
        _check_options(kind, options)
        return LayerSpec(kind, act=options.get('act', False))
    if kind == 'D':
        try:
            (given,) = args
            rate = number('rate', given, strict=False, high=np.nextafter(1, 0))
        except ValueError:
            raise ValueError(f'D is {form}, with a rate from 0 to below 1') from None
        if options:
            raise ValueError(f'D is {form}, without options')
        return LayerSpec(kind, rate=rate)
    if kind == 'C' and len(args) == 2:
        kernel = [args[1], args[1]] if isinstance(args[1], Integral) else args[1]
        size = (args[0], *kernel) if isinstance(kernel, (list, tuple)) and len(kernel) == 2 else ()
    else:
        size = (args[0],) if kind == 'F' and len(args) == 1 else ()
    if not size or not all(isinstance(n, Integral) and not isinstance(n, bool) and int(n) > 0 for n in size):
        raise ValueError(f'{kind} is {form}, with whole numbers above 0')
    _check_options(kind, options)
    bias = bias_mode is BiasMode.ALL or (bias_mode is BiasMode.FIRST_LAYER and is_first)
    return LayerSpec(kind, tuple(int(n) for n in size), options.get('bias', bias), options.get('act', True),
                     pad=options.get('pad', True))


def _check_options(kind: str, options: dict[str, Any]) -> None:
    for key, value in options.items():
        lookup('layer option', key, dict.fromkeys(LAYER_OPTIONS[kind]))
        flag(f'the option {key!r}', value)
