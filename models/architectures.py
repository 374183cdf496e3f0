"""Architectures by name, and models of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import keras

from .model import Model
from .networks.by_width import lenet, resnet18, vgg16
from .networks.network import Network
from .networks.residual import residual
from .networks.simple_sequential import simple_sequential
from .networks.wide_residual import wide_residual
from .registry import arguments_of
from .types import BiasMode, TrainMode, lookup

ARCHITECTURES: dict[str, Callable[..., Network | keras.Model]] = {
    'simple_sequential': simple_sequential,
    'residual': residual,
    'wide_residual': wide_residual,
    'lenet': lenet,
    'vgg16': vgg16,
    'resnet18': resnet18,
}
"""Architecture names, for the flag ``arch``. Each is a function of the shape of an image, (height, width, channels), of
the ``seed`` of the initial weights, and of what a config file gives in ``model``, to a ``Network`` or a Keras model."""

_OF_TRAINING = ('weight_decay', 'opt', 'schedule', 'clip_norm')
"""What a config file gives in ``model`` that is not the architecture's but the ``Model``'s."""


def model_keys(arch: str) -> list[str]:
    """What a config file may give in ``model``.

    Raises:
        ValueError: no such architecture.
    """
    make = lookup('architecture', arch, ARCHITECTURES)
    return [*arguments_of(make, ('input_shape', 'seed')), *_OF_TRAINING]


def build_model(arch: str, input_shape: Sequence[int], train_mode: TrainMode = TrainMode.NORMAL,
                seed: int | None = None, name: str = 'model', **description: Any) -> Model:
    """A model of an architecture.

    Args:
        arch: a name of ``ARCHITECTURES``.
        input_shape: (height, width, channels) of an image.
        train_mode: whether training uses a frame.
        seed: of the initial weights; None for fresh ones.
        name: the model's.
        description: the arguments of the architecture, and weight_decay, opt, schedule, clip_norm of ``Model``.

    Raises:
        ValueError: no such architecture, or arguments that it does not take.
    """
    make = lookup('architecture', arch, ARCHITECTURES)
    training = {k: v for k, v in description.items() if k in _OF_TRAINING}
    own = {k: v for k, v in description.items() if k not in _OF_TRAINING}
    seeded = {'seed': seed} if 'seed' in arguments_of(make) else {}
    return Model(make(input_shape, **own, **seeded), train_mode, **training, name=name)


class SimpleSequential(Model):
    """A model of ``networks.simple_sequential``; see there, and ``Model``, for the arguments."""

    def __init__(self, name: str, input_shape: Sequence[int], description: Sequence[Any],
                 bias_mode: BiasMode = BiasMode.FIRST_LAYER, train_mode: TrainMode = TrainMode.USE_FRAME,
                 opt: Any = 'gd', init: dict[str, Any] | None = None, act_type: str = 'relu',
                 weight_decay: float = 0.0, seed: int | None = None, schedule: Any = None,
                 clip_norm: float | None = None):
        network = simple_sequential(input_shape, description, bias_mode, init, act_type, seed)
        super().__init__(network, train_mode, weight_decay, opt, schedule, clip_norm, name)
        self.nL = len(network.layers)


class Residual(Model):
    """A model of ``networks.residual``; see there, and ``Model``, for the arguments."""

    def __init__(self, name: str, input_shape: Sequence[int], widths: Sequence[int] = (16, 32, 64), repeats: int = 3,
                 num_labels: int = 10, bias_mode: BiasMode = BiasMode.FIRST_LAYER,
                 train_mode: TrainMode = TrainMode.NORMAL, init: dict[str, Any] | None = None,
                 weight_decay: float = 0.0, seed: int | None = None, opt: Any = 'gd', schedule: Any = None,
                 clip_norm: float | None = None, batch_norm: bool = False):
        network = residual(input_shape, widths, repeats, num_labels, bias_mode, init, batch_norm, seed)
        super().__init__(network, train_mode, weight_decay, opt, schedule, clip_norm, name)
        self.nL = len(network.layers)
