"""lenet, vgg16, resnet18: the networks of Liu et al. (arXiv 2006.08403), whose channels are multiples of a width.

As released, weights and biases start as PyTorch's layers do (``init``), images are taken as they are, in [0, 1], and
batch normalisation is as in ``networks.wide_residual``. None is homogeneous.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..checks import count, flag
from ..types import BiasMode, shown
from .initializers import InitPolicy
from .network import Network
from .residual import ResidualBuilder, require_residual
from .simple_sequential import simple_sequential

TORCH = {'weight': 'torch', 'bias': 'torch'}
VGG_WIDTHS = ((4, 4), (8, 8), (16, 16, 16), (32, 32, 32), (32, 32, 32))
"""Convolutions between two poolings, in units of the width; those of VGG-16 at a width of 16."""
RESNET_WIDTHS = (4, 8, 16, 32)
"""Stages of ResNet-18, likewise."""


def lenet(input_shape: Sequence[int], width: int = 16, num_labels: int = 10, bias: bool = True,
          init: Mapping[str, Any] | None = None, seed: int | None = None) -> Network:
    """A LeNet, of grey images that of MNIST, of others that of CIFAR-10.

    Two 5x5 convolutions, each pooled, then dense layers, of ``width`` times: 2 and 4 channels and 64 units, with
    padding; or 6 and 16 channels and 120 and 84 units, without.

    Args:
        input_shape: (height, width, channels) of an image.
        width: factor of channels and units.
        num_labels: classes.
        bias: whether all layers have a bias; without, the last has one all the same.
        init: initial weights, see ``InitPolicy``; None for PyTorch's.
        seed: of the initial weights; None for fresh ones.

    Raises:
        ValueError: numbers that describe no network, or an unknown name.
    """
    w = count('width', width)
    count('num_labels', num_labels, 2)
    is_grey = _image(input_shape)[2] == 1
    channels, units = ((2, 4), (64,)) if is_grey else ((6, 16), (120, 84))
    description: list[Any] = []
    for n in channels:
        description += [['C', n * w, 5, {'pad': is_grey}], ['P']]
    description += [['F', n * w] for n in units]
    return _sequential(input_shape, description, num_labels, bias, init, seed)


def vgg16(input_shape: Sequence[int], width: int = 8, num_labels: int = 10, bias: bool = True,
          init: Mapping[str, Any] | None = None, seed: int | None = None) -> Network:
    """VGG-16 with batch normalisation between each convolution and its ReLU, and one dense layer, for images of 32x32.

    Args:
        input_shape, num_labels, bias, init, seed: as of ``lenet``.
        width: factor of the channels, see ``VGG_WIDTHS``.

    Raises:
        ValueError: as there.
    """
    w = count('width', width)
    count('num_labels', num_labels, 2)
    height, wide, _ = _image(input_shape)
    if min(height, wide) < 2 ** len(VGG_WIDTHS):
        raise ValueError(f'vgg16 halves the image {len(VGG_WIDTHS)} times, so it takes images of '
                         f'{2 ** len(VGG_WIDTHS)}x{2 ** len(VGG_WIDTHS)} pixels at least, not {height}x{wide}')
    description: list[Any] = []
    for block in VGG_WIDTHS:
        for n in block:
            description += [['C', n * w, 3, {'act': False}], ['B', {'act': True}]]
        description.append(['P'])
    return _sequential(input_shape, description, num_labels, bias, init, seed)


def resnet18(input_shape: Sequence[int], width: int = 8, num_labels: int = 10, init: Mapping[str, Any] | None = None,
             seed: int | None = None) -> Network:
    """ResNet-18 for small images: that of ``networks.residual`` with batch normalisation, of four stages of two units.

    Only the dense layer has a bias. Before a stride the image is padded by a pixel on every side. Layers are counted,
    and named, as there.

    Args:
        input_shape, num_labels, init, seed: as of ``lenet``.
        width: factor of the channels, see ``RESNET_WIDTHS``.

    Raises:
        ValueError: as there.
    """
    w = count('width', width)
    widths = tuple(n * w for n in RESNET_WIDTHS)
    require_residual(input_shape, widths, 2, num_labels)
    builder = ResidualBuilder(_image(input_shape), widths, 2, BiasMode.NONE, batch_norm=True, symmetric=True,
                              dense_bias=True)
    return builder.network(num_labels, InitPolicy(TORCH if init is None else init), seed)


def _image(input_shape: Sequence[int]) -> tuple[int, int, int]:
    if len(input_shape) != 3:
        raise ValueError(f'images must have a height, a width and channels, not the shape {shown(tuple(input_shape))}')
    height, width, channels = (int(n) for n in input_shape)
    return height, width, channels


def _sequential(input_shape: Sequence[int], description: list[Any], num_labels: int, bias: bool,
                init: Mapping[str, Any] | None, seed: int | None) -> Network:
    last = ['F', num_labels, {'act': False, 'bias': True}]
    bias_mode = BiasMode.ALL if flag('bias', bias) else BiasMode.NONE
    return simple_sequential(input_shape, [*description, last], bias_mode, dict(TORCH if init is None else init),
                             seed=seed)
