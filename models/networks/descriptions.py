"""Descriptions of networks in plain lists, checked layer by layer."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Integral
from typing import Any

import numpy as np

from ..checks import flag, number
from ..types import BiasMode, did_you_mean, lookup, shown

LAYER_KINDS = {
    'C': "a convolution, ['C', channels, [height, width]]",
    'F': "a dense layer, ['F', units]",
    'OC': "an orthogonal convolution over disjoint patches, ['OC', channels, [height, width]]",
    'OF': "an orthogonal dense layer, ['OF', units]",
    'P': "a 2x2 max pooling, ['P']",
    'A': "a 2x2 average pooling, ['A']",
    'B': "batch normalisation, ['B'], or ['B', {'act': True}]",
    'D': "dropout, ['D', rate]",
}
CONVOLUTIONS, DENSE = ('C', 'OC'), ('F', 'OF')
LAYER_OPTIONS = {'C': ('act', 'bias', 'pad'), 'F': ('act', 'bias'), 'OC': ('act', 'bias'), 'OF': ('act', 'bias'),
                 'B': ('act',)}
LARGEST_KERNEL = 10 ** 9
"""Numbers in the weights of one layer; beyond that it is a slip of the pen."""


@dataclass(frozen=True)
class LayerSpec:
    """One entry of a description, checked; ``size`` is (channels, height, width) of a convolution, (units,) of a dense
    layer."""

    kind: str
    size: tuple[int, ...] = ()
    bias: bool = False
    act: bool = True
    rate: float = 0.0
    pad: bool = True

    @property
    def is_weighted(self) -> bool:
        return self.kind in CONVOLUTIONS + DENSE

    @property
    def is_orthogonal(self) -> bool:
        return self.kind in ('OC', 'OF')


def parse_description(description: Sequence[Any], input_shape: tuple[int, ...], bias_mode: BiasMode,
                      act_type: str = 'relu') -> list[LayerSpec]:
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
            spec = _parse_layer(entry, bias_mode, is_first=not any(s.is_weighted for s in specs))
            if spec.kind in (*CONVOLUTIONS, 'P', 'A') and any(s.kind in DENSE for s in specs):
                raise ValueError('it cannot come after a dense layer, whose output is flat')
            if spec.kind in 'PA':
                if min(height, width) < 2:
                    raise ValueError(f'a 2x2 pooling does not fit an image of {height}x{width}')
                height, width = height // 2, width // 2
            if spec.kind == 'C' and not spec.pad:
                if spec.size[1] > height or spec.size[2] > width:
                    raise ValueError(f'without padding it does not fit an image of {height}x{width}')
                height, width = height - spec.size[1] + 1, width - spec.size[2] + 1
            if spec.kind == 'OC':
                if spec.size[1] > height or spec.size[2] > width:
                    raise ValueError(f'a patch of it does not fit an image of {height}x{width}')
                height, width = height // spec.size[1], width // spec.size[2]
            if spec.is_weighted:
                if act_type == 'maxmin' and spec.act and spec.size[0] % 2:
                    raise ValueError(f'maxmin sorts pairs of channels, and {spec.size[0]} is an odd number of them')
                if spec.kind in DENSE:
                    height, width, channels = 1, 1, height * width * channels
                if math.prod(spec.size) * channels > LARGEST_KERNEL:
                    raise ValueError(f'it would have more than {LARGEST_KERNEL:.0e} weights')
                channels = spec.size[0]
        except ValueError as e:
            raise ValueError(f'layer {i}, {shown(entry)}: {e}') from None
        specs.append(spec)
    if specs[-1].kind not in DENSE or specs[-1].size[0] < 2:
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
    if kind in ('P', 'A', 'B'):
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
    if kind in CONVOLUTIONS and len(args) == 2:
        kernel = [args[1], args[1]] if isinstance(args[1], Integral) else args[1]
        size = (args[0], *kernel) if isinstance(kernel, (list, tuple)) and len(kernel) == 2 else ()
    else:
        size = (args[0],) if kind in DENSE and len(args) == 1 else ()
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
