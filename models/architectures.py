"""Architectures by name, and models of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import numpy as np

from .ascent.model import AscentModel
from .model import Model
from .networks.by_width import lenet, resnet18, vgg16
from .networks.curve import curve_network
from .networks.ensemble import ensemble_network
from .networks.keras_network import network_of
from .networks.network import Network
from .networks.residual import residual
from .networks.simple_sequential import simple_sequential
from .networks.wide_residual import wide_residual
from .registry import arguments_of
from .types import BiasMode, TrainMode, lookup, shown


def ensemble_of(input_shape: Sequence[int], members: Sequence[Mapping[str, Any]], seed: int | None = None) -> Network:
    """An ensemble of architectures; see ``networks.ensemble``.

    Args:
        input_shape: (height, width, channels) of an image.
        members: of each network a dictionary: its 'arch', a name of ``ARCHITECTURES``, and its 'model', what a config
            file gives.
        seed: of the initial weights, which differ from member to member; None for fresh ones.

    Raises:
        ValueError: descriptions that are not such, of no networks, or of networks that make no ensemble.
    """
    if not isinstance(members, (list, tuple)) or not all(
            isinstance(m, Mapping) and isinstance(m.get('model'), Mapping) for m in members):
        raise ValueError("members must be a list of dictionaries such as {'arch': 'lenet', 'model': {'width': 4}}, not "
                         f'{shown(members)}')
    seeds = np.random.SeedSequence(seed).spawn(len(members))
    return ensemble_network([_described(member, input_shape, own) for member, own in zip(members, seeds)])


def curve_of(input_shape: Sequence[int], of: Mapping[str, Any], bends: int = 1, chain: str = 'bezier',
             start: str = 'straight', t: float = 0.5, seed: int | None = None) -> Network:
    """A curve between two networks of an architecture; see ``networks.curve``.

    Args:
        input_shape: (height, width, channels) of an image.
        of: of the networks, a dictionary: their 'arch', a name of ``ARCHITECTURES``, and their 'model', what a config
            file gives.
        bends, chain, start, t: see ``networks.curve.curve_network``.
        seed: of the ends' initial weights, which differ; None for fresh ones.

    Raises:
        ValueError: a description that is not such, or of a network that no curve joins.
    """
    if not isinstance(of, Mapping) or not isinstance(of.get('model'), Mapping):
        raise ValueError("of must be a dictionary such as {'arch': 'lenet', 'model': {'width': 4}}, not " + shown(of))
    ends = [_described(of, input_shape, own) for own in np.random.SeedSequence(seed).spawn(2)]
    return curve_network(ends, bends, chain, start, t)


def _described(of: Mapping[str, Any], input_shape: Sequence[int], seed: np.random.SeedSequence) -> Network:
    """A network within another, of its 'arch' and 'model'."""
    description = dict(of['model'])
    if isinstance(mode := description.get('bias_mode'), str):  # as a record has it
        description['bias_mode'] = lookup('bias_mode', mode, BiasMode.__members__)
    made = _network(of.get('arch'), input_shape, int(seed.generate_state(1)[0]), description)[0]
    return made if isinstance(made, Network) else network_of(made)


ARCHITECTURES: dict[str, Callable[..., Network | keras.Model]] = {
    'simple_sequential': simple_sequential,
    'residual': residual,
    'wide_residual': wide_residual,
    'lenet': lenet,
    'vgg16': vgg16,
    'resnet18': resnet18,
    'ensemble': ensemble_of,
    'curve': curve_of,
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
        train_mode: whether training uses a frame, or is margin ascent.
        seed: of the initial weights; None for fresh ones.
        name: the model's.
        description: the arguments of the architecture, and weight_decay, opt, schedule, clip_norm of ``Model``.

    Raises:
        ValueError: no such architecture, or arguments that it does not take.
    """
    network, training = _network(arch, input_shape, seed, description)
    kind = AscentModel if train_mode is TrainMode.ASCENT else Model
    return kind(network, train_mode, **training, name=name)


def _network(arch: Any, input_shape: Sequence[int], seed: int | None, description: Mapping[str, Any]
             ) -> tuple[Network | keras.Model, dict[str, Any]]:
    """What an architecture makes of a description, and what is left of that for training."""
    make = lookup('architecture', arch, ARCHITECTURES)
    training = {k: v for k, v in description.items() if k in _OF_TRAINING}
    own = {k: v for k, v in description.items() if k not in _OF_TRAINING}
    seeded = {'seed': seed} if 'seed' in arguments_of(make) else {}
    return make(input_shape, **own, **seeded), training


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
