"""A network's weights, and all else that training goes on from: by name, in memory and in files."""

from __future__ import annotations

import os
import warnings
import zipfile
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from .flavours import ScaleFree
from .networks.network import Network
from .optimizers import Optimizer

_STEPS = 'steps'
"""The name, in a state, of the number of steps taken."""
_OF_OPTIMIZER = 'optimizer/'


class Stored:
    """What a model keeps; see ``model.Model`` for the attributes."""

    net: keras.Model
    network: Network
    optimizer: Optimizer | ScaleFree | None
    objective: Any
    _steps_taken: int

    def weights(self) -> dict[str, np.ndarray]:
        """All weights, by names such as 'conv1_f' (kernel of a convolution), 'fc5_W' (of a dense layer), 'fc5_b'; of
        batch norm also its moving statistics, 'bn2_moving_mean'. Those of a Keras model of one's own are numbered."""
        return {name: v.numpy() for name, v in self.network.weights.items()}

    def set_weights(self, weights: Mapping[str, np.ndarray]) -> None:
        """Replaces all weights.

        Raises:
            ValueError: a name is missing or unknown, or a shape differs.
        """
        _assign('weights', self.network.weights, weights)

    def state(self) -> dict[str, np.ndarray]:
        """The weights, and all else that training goes on from, by name: also what an optimizer and an
        objective keep."""
        return {**{name: v.numpy() for name, v in self._state_vars().items()}, _STEPS: np.array(self._steps_taken)}

    def restore_state(self, state: Mapping[str, np.ndarray]) -> None:
        """Takes over what ``state`` gave.

        Raises:
            ValueError: it is the state of another network or optimizer.
        """
        rest = {k: v for k, v in state.items() if k != _STEPS}
        # An optimizer's variables are numbered, and called by the names of layers, which Keras may have given anew.
        called = {_number(name): name for name in self._state_vars() if name.startswith(_OF_OPTIMIZER)}
        rest = {called.get(_number(name), name) if name.startswith(_OF_OPTIMIZER) else name: v
                for name, v in rest.items()}
        _assign('state', self._state_vars(), rest)
        self._steps_taken = int(state.get(_STEPS, 0))

    def _state_vars(self) -> dict[str, tf.Variable]:
        kept = {} if self.optimizer is None else self.optimizer.state
        own = {} if self.objective is None else self.objective.variables()
        return {**self.network.weights, **{f'{_OF_OPTIMIZER}{name}': v for name, v in kept.items()},
                **{f'objective/{name}': v for name, v in own.items()}}

    def save(self, path: str | os.PathLike) -> None:
        """Writes ``net`` to a .keras file that Keras loads without this package; it appears whole or not at all."""
        path = os.fspath(path)
        temporary = f'{path[:-len(".keras")]}.tmp.keras' if path.endswith('.keras') else path
        if temporary == path:
            raise ValueError(f'the file of a model must end in .keras, not {os.path.basename(path)!r}')
        try:
            self.net.save(temporary)
            with open(temporary, 'rb') as f:
                os.fsync(f.fileno())
            os.replace(temporary, path)
        finally:
            if os.path.exists(temporary):
                os.remove(temporary)

    def restore(self, path: str | os.PathLike) -> None:
        """Loads the weights of a file written by ``save``; nothing in the file is executed.

        Raises:
            ValueError: it is not such a file, or of another network; the weights may then be neither.
        """
        try:
            with warnings.catch_warnings():
                warnings.simplefilter('error')  # Keras merely warns of layers that it finds no weights for
                self.net.load_weights(os.fspath(path))
        except (OSError, zipfile.BadZipFile) as e:
            raise ValueError(f'{os.path.basename(path)} cannot be read: {" ".join(str(e).split())}') from None
        except (KeyError, ValueError, Warning):  # what Keras says is of layers and their variables, not of networks
            raise ValueError(f'{os.path.basename(path)} does not hold the weights of this network') from None


def _number(name: str) -> str:
    """The number of a variable of an optimizer, by its name in a state."""
    return name.removeprefix(_OF_OPTIMIZER).partition('.')[0]


def _assign(what: str, named: Mapping[str, tf.Variable], values: Mapping[str, np.ndarray]) -> None:
    if missing := [n for n in named if n not in values]:
        raise ValueError(f"the {what} lack {', '.join(missing)}; they have {', '.join(values) or 'nothing'}")
    if extra := [n for n in values if n not in named]:
        raise ValueError(f"the {what} have {', '.join(extra)}, which this network has not")
    for name, v in named.items():
        if tuple(values[name].shape) != tuple(v.shape):
            raise ValueError(f'{name} must have the shape {tuple(v.shape)}, not {tuple(values[name].shape)}')
    for name, v in named.items():
        v.assign(values[name])
