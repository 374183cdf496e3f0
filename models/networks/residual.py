"""residual: a residual network for small images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np

from ..checks import count, flag
from ..types import BiasMode, shown
from .descriptions import LARGEST_KERNEL
from .initializers import InitPolicy
from .network import CountedLayer, Network, originals_names, variables_of
from .simple_sequential import BN_EPSILON, BN_MOMENTUM, require_bias_mode

MOST_UNITS = 1000


def residual(input_shape: Sequence[int], widths: Sequence[int] = (16, 32, 64), repeats: int = 3, num_labels: int = 10,
             bias_mode: BiasMode = BiasMode.FIRST_LAYER, init: dict[str, Any] | None = None, batch_norm: bool = False,
             seed: int | None = None) -> Network:
    """A residual network for small images, such as those of CIFAR-10 (He et al., arXiv 1512.03385, section 4.2).

    A 3x3 convolution of the first width, a stage for every width, the mean over the pixels, a dense layer. A stage is
    ``repeats`` units ``relu(shortcut(h) + conv(relu(conv(h))))`` of two 3x3 convolutions. The first unit of a stage
    beyond the first halves the image, by stride 2; there, and where the width changes, the shortcut is a 1x1
    convolution. With three widths and three repeats that is three blocks of two convolutions repeated three times, the
    network that Elsayed et al. (arXiv 1803.05598) train on CIFAR-10; their widths and shortcuts are not published.

    The outputs of the stages are the layers 'stage1', 'stage2', ...: an objective at hidden layers names these, since
    the network is no chain of layers. Convolutions are counted in the order of the units, a unit's shortcut last:
    'conv1', 'conv2', ...; the dense layer has the number after theirs.

    Without batch normalisation the second convolution of a unit starts from its initial weights over the root of the
    number of units, so that the size of activations does not grow with it. With it, each convolution, those of
    shortcuts too, is followed by a batch normalisation of its number, 'bn1', 'bn2', ...

    It is not homogeneous, whatever the biases: along a shortcut the parameters enter with another degree than along the
    convolutions beside it. As for other such networks, norms count weights and bias of the first layer, and the weights
    alone of the others; batch normalisation does not count. The order is the number of layers on the longest path,
    which has no shortcut, and the product of the norms is over these. The logits are a sum of terms of this and of
    smaller degrees in the parameters: normalised margins compare epochs, and runs of one such network, but are not
    those of the theory.

    Args:
        input_shape: (height, width, channels) of an image.
        widths: channels of each stage.
        repeats: units in a stage.
        num_labels: classes.
        bias_mode: which layers have a bias.
        init: initial weights, see ``InitPolicy``.
        batch_norm: whether activations are normalised.
        seed: of the initial weights; None for fresh ones.

    Raises:
        ValueError: numbers that describe no network, or an unknown name.
    """
    require_residual(input_shape, widths, repeats, num_labels)
    flag('batch_norm', batch_norm)
    builder = ResidualBuilder(tuple(int(n) for n in input_shape), tuple(widths), repeats,
                              require_bias_mode(bias_mode), batch_norm)
    return builder.network(num_labels, InitPolicy(init), seed)


def require_residual(input_shape: Sequence[int], widths: Any, repeats: Any, num_labels: Any) -> None:
    """Sees that these describe a residual network.

    Raises:
        ValueError: they do not.
    """
    if not isinstance(widths, (list, tuple)) or not widths:
        raise ValueError('widths must be a list of numbers of channels, one for each stage, not ' + shown(widths))
    for width in widths:
        count('each of widths', width)
    count('repeats', repeats)
    if repeats * len(widths) > MOST_UNITS:
        raise ValueError(f'a network of {shown(repeats * len(widths))} units is more than can be built; at most, '
                         f'there are {MOST_UNITS}')
    count('num_labels', num_labels, 2)
    if 9 * max(widths) ** 2 > LARGEST_KERNEL or max(widths) * num_labels > LARGEST_KERNEL:
        raise ValueError(f'widths and num_labels must give no layer of more than {LARGEST_KERNEL:.0e} weights, as '
                         f'{shown(widths)} and {shown(num_labels)} do')
    if len(input_shape) != 3:
        raise ValueError(f'images must have a height, a width and channels, not the shape {tuple(input_shape)}')


@dataclass
class ResidualBuilder:
    """The network as it grows.

    Attributes:
        symmetric: whether the image is padded by a pixel on every side before a stride, as PyTorch does; else, as Keras
            does, at most below and to the right.
        dense_bias: whether the dense layer has a bias, whatever the ``bias_mode``.
        layers: those with weights, the factor of these, and whether it is a shortcut.
    """

    input_shape: tuple[int, ...]
    widths: tuple[int, ...]
    repeats: int
    bias_mode: BiasMode
    batch_norm: bool
    symmetric: bool = False
    dense_bias: bool = False
    layers: list[tuple[keras.Layer, float, bool]] = field(default_factory=list)

    def network(self, num_labels: int, init: InitPolicy, seed: int | None) -> Network:
        """The whole network, with its initial weights."""
        net = self.build(num_labels)
        self.initialise(init, seed)
        names = []
        for i, (trained, _, _) in enumerate(self.layers, start=1):
            names += [trained.name, *([f'bn{i}'] if self.batch_norm and trained.name.startswith('conv') else [])]
        layer_vars = variables_of(net, names)
        layers = [CountedLayer(layer.name, layer_vars[layer.name][:1 if i else None], 0 if is_shortcut else 1)
                  for i, (layer, _, is_shortcut) in enumerate(self.layers)]
        return Network(net, layers, False, layer_vars, originals_names(net, names))

    def build(self, num_labels: int) -> keras.Model:
        inputs = keras.Input(self.input_shape, name='image')
        h = keras.layers.ReLU(name='relu1')(self._convolution(inputs, self.widths[0]))
        for stage, width in enumerate(self.widths, start=1):
            for unit in range(self.repeats):
                stride = 2 if stage > 1 and unit == 0 else 1
                is_last = unit == self.repeats - 1
                h = self._unit(h, width, stride, f'stage{stage}' if is_last else f'unit{stage}_{unit + 1}')
        h = keras.layers.GlobalAveragePooling2D(name='mean')(h)
        return keras.Model(inputs, self._trained(keras.layers.Dense, h, num_labels), name='net')

    def _unit(self, h: Any, width: int, stride: int, name: str) -> Any:
        """A residual unit, whose last layer has this name."""
        inner = self._convolution(h, width, stride)
        inner = keras.layers.ReLU(name=f'relu{len(self.layers)}')(inner)
        units = 1 if self.batch_norm else len(self.widths) * self.repeats
        inner = self._convolution(inner, width, factor=units ** -0.5)
        if stride != 1 or h.shape[-1] != width:
            h = self._convolution(h, width, stride, size=1, is_shortcut=True)
        return keras.layers.ReLU(name=name)(keras.layers.Add(name=f'{name}_sum')([h, inner]))

    def _convolution(self, h: Any, width: int, stride: int = 1, size: int = 3, **more: Any) -> Any:
        padding = 'same'
        if self.symmetric and stride != 1 and size != 1:
            h, padding = keras.layers.ZeroPadding2D(size // 2, name=f'pad{len(self.layers) + 1}')(h), 'valid'
        h = self._trained(keras.layers.Conv2D, h, width, size, stride, **more, padding=padding)
        if self.batch_norm:
            h = keras.layers.BatchNormalization(momentum=BN_MOMENTUM, epsilon=BN_EPSILON,
                                                name=f'bn{len(self.layers)}')(h)
        return h

    def _trained(self, kind: type[keras.Layer], h: Any, *args: Any, factor: float = 1.0, is_shortcut: bool = False,
                 **options: Any) -> Any:
        """A layer with weights; they start at zero and are given later: a saved model then needs no initializer."""
        bias = self.bias_mode is BiasMode.ALL or (self.bias_mode is BiasMode.FIRST_LAYER and not self.layers)
        bias |= self.dense_bias and kind is keras.layers.Dense
        name = f'{"fc" if kind is keras.layers.Dense else "conv"}{len(self.layers) + 1}'
        layer = kind(*args, **options, use_bias=bias, kernel_initializer='zeros', name=name)
        self.layers.append((layer, factor, is_shortcut))
        return layer(h)

    def initialise(self, init: InitPolicy, seed: int | None) -> None:
        seeds = [int(s.generate_state(1)[0]) for s in np.random.SeedSequence(seed).spawn(2 * len(self.layers))]
        for i, (layer, factor, _) in enumerate(self.layers):
            layer.kernel.assign(factor * init.weight_init(seeds[2 * i])(layer.kernel.shape, dtype='float32'))
            if layer.use_bias:
                bias = init.bias_init(seeds[2 * i + 1], layer.kernel.shape)
                layer.bias.assign(bias(layer.bias.shape, dtype='float32'))
