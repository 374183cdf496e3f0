"""wide_residual: wide residual networks, as others have released robust ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np
from keras import ops

from ..checks import count, flag
from ..types import shown
from .descriptions import LARGEST_KERNEL
from .initializers import InitPolicy
from .network import CountedLayer, Network, originals_names, variables_of
from .simple_sequential import BN_EPSILON, BN_MOMENTUM

STAGES = 3
FIRST_WIDTH = 16
"""Channels of the first convolution; stage i has ``widen * FIRST_WIDTH * 2 ** (i - 1)``."""
MOST_DEPTH = 1000


def wide_residual(input_shape: Sequence[int], depth: int = 28, widen: int = 4, num_labels: int = 10,
                  standardise: bool = True, init: Mapping[str, Any] | None = None, seed: int | None = None) -> Network:
    """A wide residual network, WRN-depth-widen (Zagoruyko & Komodakis, arXiv 1605.07146), without dropout.

    As released with MMA training (Ding et al., arXiv 1812.02637) and in RobustBench: a 3x3 convolution, three stages of
    ``(depth - 4) / 6`` units, batch normalisation, ReLU, the mean over the pixels, a dense layer with a bias. A unit
    is ``h + conv(relu(bn(conv(relu(bn(h))))))``, of two 3x3 convolutions without bias; the first of a stage changes the
    width, and beyond the first stage halves the image, by stride 2. Its shortcut is a 1x1 convolution of
    ``relu(bn(h))``. Before a stride, as before any 3x3 convolution, the image is padded by a pixel on every side.

    With ``standardise``, images are standardised within the network, each by itself: ``(x - mean) / max(std, n**-0.5)``
    over its n numbers, the standard deviation with the divisor n - 1. Attacks then act on pixels in [0, 1].

    Layers are counted as in ``networks.residual``: 'conv1', 'conv2', ..., a unit's shortcut after its two others; the
    dense layer has the number after theirs; 'bn1', 'bn2', ... are counted by themselves. The units' outputs are
    'unit1_1', ..., 'stage1', 'unit2_1', .... The network is not homogeneous, and norms count as there.

    Batch normalisation is Keras's, whose running variance has the divisor n where PyTorch's has n - 1; n is the batch
    times the pixels, and at a batch of 128 images of 32x32 pixels they differ by 1.2e-4 of the variance at most.

    Args:
        input_shape: (height, width, channels) of an image.
        depth: layers with weights on the longest path, 6 k + 4.
        widen: factor of the channels of the stages, 16, 32 and 64.
        num_labels: classes.
        standardise: whether images are standardised.
        init: initial weights, see ``InitPolicy``; None for those of the released code: 'he_normal_fan_out', and 'torch'
            for the weights of the dense layer; biases zero.
        seed: of the initial weights; None for fresh ones.

    Raises:
        ValueError: numbers that describe no network, or an unknown name.
    """
    shape = _check(input_shape, depth, widen, num_labels)
    flag('standardise', standardise)
    builder = _Builder(widen * FIRST_WIDTH, (depth - 4) // (2 * STAGES))
    net = builder.build(shape, num_labels, standardise)
    builder.initialise(init, seed)
    names = [layer.name for layer in net.layers if layer.trainable_variables]
    layer_vars = variables_of(net, names)
    layers = [CountedLayer(layer.name, layer_vars[layer.name][:1 if i else None], 0 if is_shortcut else 1)
              for i, (layer, is_shortcut) in enumerate(builder.layers)]
    return Network(net, layers, False, layer_vars, originals_names(net, names))


def standardisation(input_shape: Sequence[int]) -> keras.Model:
    """From images [N, H, W, C] to each less its mean, and over its standard deviation (divisor n - 1) or over n**-0.5
    where that is larger, n = H W C.

    It is made of operations, which a saved model is loaded with anywhere; in a model of their own, as they have names
    that Keras counts. A constant image becomes 0, and has a gradient: the larger is taken under the root, which has no
    slope at 0.
    """
    inputs, n = keras.Input(tuple(input_shape)), int(np.prod(input_shape))
    x = ops.subtract(inputs, ops.mean(inputs, axis=(1, 2, 3), keepdims=True))
    variance = ops.divide(ops.sum(ops.square(x), axis=(1, 2, 3), keepdims=True), n - 1)
    return keras.Model(inputs, ops.divide(x, ops.sqrt(ops.maximum(variance, 1 / n))), name='standardised')


def _check(input_shape: Sequence[int], depth: Any, widen: Any, num_labels: Any) -> tuple[int, ...]:
    if count('depth', depth, 10) > MOST_DEPTH or (depth - 4) % (2 * STAGES):
        raise ValueError(f'depth must be 6 k + 4, such as 28, and at most {MOST_DEPTH}, not {shown(depth)}')
    count('widen', widen)
    count('num_labels', num_labels, 2)
    widest = 4 * widen * FIRST_WIDTH
    if 9 * widest ** 2 > LARGEST_KERNEL or widest * num_labels > LARGEST_KERNEL:
        raise ValueError(f'widen and num_labels must give no layer of more than {LARGEST_KERNEL:.0e} weights, as '
                         f'{shown(widen)} and {shown(num_labels)} do')
    if len(input_shape) != 3 or np.prod(input_shape) < 2:
        raise ValueError(f'images must have a height, a width and channels, not the shape {tuple(input_shape)}')
    return tuple(int(n) for n in input_shape)


@dataclass
class _Builder:
    """The network as it grows; ``layers`` are those with kernels, and whether each is a shortcut."""

    width: int
    repeats: int
    layers: list[tuple[keras.Layer, bool]] = field(default_factory=list)
    normalisations: int = 0

    def build(self, input_shape: tuple[int, ...], num_labels: int, standardise: bool) -> keras.Model:
        inputs = keras.Input(input_shape, name='image')
        h = self._convolution(standardisation(input_shape)(inputs) if standardise else inputs, FIRST_WIDTH)
        for stage in range(STAGES):
            for unit in range(self.repeats):
                name = f'stage{stage + 1}' if unit == self.repeats - 1 else f'unit{stage + 1}_{unit + 1}'
                h = self._unit(h, self.width * 2 ** stage, 2 if stage and not unit else 1, name)
        h = keras.layers.GlobalAveragePooling2D(name='mean')(self._activated(h))
        return keras.Model(inputs, self._trained(keras.layers.Dense, h, num_labels), name='net')

    def _unit(self, h: Any, width: int, stride: int, name: str) -> Any:
        """A residual unit, whose last layer has this name."""
        before = self._activated(h)
        inner = self._convolution(before, width, stride)
        inner = self._convolution(self._activated(inner), width)
        if h.shape[-1] != width or stride != 1:
            h = self._trained(keras.layers.Conv2D, before, width, 1, stride, use_bias=False, is_shortcut=True)
        return keras.layers.Add(name=name)([h, inner])

    def _activated(self, h: Any) -> Any:
        self.normalisations += 1
        h = keras.layers.BatchNormalization(momentum=BN_MOMENTUM, epsilon=BN_EPSILON,
                                            name=f'bn{self.normalisations}')(h)
        return keras.layers.ReLU(name=f'relu{self.normalisations}')(h)

    def _convolution(self, h: Any, width: int, stride: int = 1) -> Any:
        padding = 'same'
        if stride != 1:  # where Keras would pad below and to the right alone
            h, padding = keras.layers.ZeroPadding2D(1, name=f'pad{len(self.layers) + 1}')(h), 'valid'
        return self._trained(keras.layers.Conv2D, h, width, 3, stride, padding=padding, use_bias=False)

    def _trained(self, kind: type[keras.Layer], h: Any, *args: Any, is_shortcut: bool = False, **options: Any) -> Any:
        """A layer with weights; they start at zero and are given later: a saved model then needs no initializer."""
        name = f'{"fc" if kind is keras.layers.Dense else "conv"}{len(self.layers) + 1}'
        layer = kind(*args, **options, kernel_initializer='zeros', name=name)
        self.layers.append((layer, is_shortcut))
        return layer(h)

    def initialise(self, init: Mapping[str, Any] | None, seed: int | None) -> None:
        given = InitPolicy(init)
        convolutions, dense = (given, given) if init is not None else (
            InitPolicy({'weight': 'he_normal_fan_out'}), InitPolicy({'weight': 'torch'}))
        seeds = [int(s.generate_state(1)[0]) for s in np.random.SeedSequence(seed).spawn(len(self.layers) + 1)]
        for (layer, _), own in zip(self.layers, seeds):
            policy = dense if layer.use_bias else convolutions
            layer.kernel.assign(policy.weight_init(own)(layer.kernel.shape, dtype='float32'))
        fc = self.layers[-1][0]
        fc.bias.assign(dense.bias_init(seeds[-1], fc.kernel.shape)(fc.bias.shape, dtype='float32'))
