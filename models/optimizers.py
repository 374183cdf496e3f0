"""Optimizers beside gradient descent, and how the learning rate falls with the steps."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Collection, Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from . import checks
from .types import did_you_mean, lookup, shown

Schedule = Callable[[np.ndarray], np.ndarray]
"""From numbers of steps taken before, int64 [n], to factors of the learning rate, float64 [n]."""

OPTIMIZERS: dict[str, tuple[type[keras.optimizers.Optimizer], tuple[str, ...]] | None] = {
    'gd': None,
    'sgd': (keras.optimizers.SGD, ('momentum', 'nesterov')),
    'adam': (keras.optimizers.Adam, ('beta_1', 'beta_2', 'epsilon', 'amsgrad')),
    'rmsprop': (keras.optimizers.RMSprop, ('rho', 'momentum', 'epsilon', 'centered', 'mean_square0')),
}
"""Optimizer names, Keras's classes, and the arguments that they take here; 'gd' is gradient descent as in the paper."""


class _GivenRate(keras.optimizers.schedules.LearningRateSchedule):
    """The rate of the step that is being taken, a scalar tensor that is set before each."""

    rate: Any = 0.0

    def __call__(self, step: Any) -> tf.Tensor:
        return tf.cast(self.rate, tf.float32)


class Optimizer:
    """A Keras optimizer whose rate is given step by step.

    Args:
        description: a name of ``OPTIMIZERS``, or a dictionary with the name as 'type' and arguments of Keras's class,
            such as ``{'type': 'sgd', 'momentum': 0.9}``. RMSprop's epsilon is inside the root; its running mean of
            squares starts from 'mean_square0': 0, or 1 as in the released code of Large Margin Deep Networks.

    Raises:
        ValueError: no such optimizer, or arguments that it does not take.
    """

    def __init__(self, description: Any):
        name, arguments = _named('optimizer', description)
        kind = lookup('optimizer', name, OPTIMIZERS)
        if kind is None:
            raise ValueError(f'the optimizer {name!r} takes no arguments, and is given by its name alone')
        _require_known(f'the optimizer {name!r}', arguments, kind[1])
        arguments = {key: _argument(f'the optimizer {name!r}: {key}', key, value) for key, value in arguments.items()}
        self._mean_square0 = arguments.pop('mean_square0', 0.0)
        self._rate = _GivenRate()
        try:
            self._keras = kind[0](learning_rate=self._rate, **arguments)
        except (TypeError, ValueError) as e:
            raise ValueError(f'the optimizer {name!r}: {e}') from None

    def build(self, variables: list[keras.Variable]) -> None:
        """Makes the variables of its own that it needs for these."""
        self._variables = variables
        self._keras.build(variables)
        if self._mean_square0:
            for v in self._keras.variables:
                if 'velocity' in v.path:
                    v.assign(keras.ops.full(v.shape, self._mean_square0))

    def apply(self, gradients: list[tf.Tensor], rate: tf.Tensor) -> None:
        """One step; within a replica, Keras sums ``gradients`` over the replicas."""
        self._rate.rate = rate
        self._keras.apply(gradients, self._variables)

    @property
    def state(self) -> dict[str, tf.Variable]:
        """Its variables by name: moments, and the number of steps taken."""
        return {f'{i}.{v.name}': v.value for i, v in enumerate(self._keras.variables)}


_SWITCHES = ('nesterov', 'amsgrad', 'centered')
_LARGEST = {'epsilon': 1e30, 'mean_square0': 1e30}
"""Of the numbers, which go into float32; the others are shares, of at most 1."""


def _argument(what: str, key: str, value: Any) -> float | bool:
    if key in _SWITCHES:
        return checks.flag(what, value)
    return checks.number(what, value, strict=False, high=_LARGEST.get(key, 1.0))


def _exponential(decay_steps: int, rate: float, staircase: bool = True) -> Schedule:
    """``rate ** (step / decay_steps)``, the exponent rounded down with ``staircase``."""
    decay_steps = checks.count('decay_steps of exponential', decay_steps)
    rate = checks.number('rate of exponential', rate, high=1)
    checks.flag('staircase of exponential', staircase)
    return lambda step: rate ** (np.floor(step / decay_steps) if staircase else step / decay_steps)


def _piecewise(boundaries: list[int], factors: list[float]) -> Schedule:
    """1 before the first of the ``boundaries`` (steps, ascending), and from each of them on its factor."""
    for name, values in (('boundaries', boundaries), ('factors', factors)):
        if not isinstance(values, (list, tuple)):
            raise ValueError(f'{name} of piecewise must be a list of numbers, not {shown(values)}')
    boundaries = [checks.count('each of the boundaries of piecewise', b, 0) for b in boundaries]
    factors = [checks.number('each of the factors of piecewise', f, strict=False) for f in factors]
    if not len(boundaries) == len(factors) > 0 or sorted(boundaries) != boundaries:
        raise ValueError('piecewise takes ascending boundaries, and as many factors of at least 0')
    return lambda step: np.array([1.0, *factors])[np.searchsorted(boundaries, step, side='right')]


def _cosine(decay_steps: int, end: float = 0.0) -> Schedule:
    """From 1 to ``end`` along half a period of the cosine within ``decay_steps``, and ``end`` after that."""
    decay_steps = checks.count('decay_steps of cosine', decay_steps)
    end = checks.number('end of cosine', end, strict=False, high=1)
    return lambda step: end + (1 - end) * (1 + np.cos(math.pi * np.minimum(step / decay_steps, 1))) / 2


SCHEDULES: dict[str, Callable[..., Schedule]] = {
    'exponential': _exponential, 'piecewise': _piecewise, 'cosine': _cosine}
"""Names of schedules by step."""


def schedule_of(description: Any) -> Schedule | None:
    """The schedule that a config file describes.

    Args:
        description: None for a rate that does not change with the steps; or a dictionary with a name of ``SCHEDULES``
            as 'type' and its arguments, such as ``{'type': 'exponential', 'decay_steps': 2000, 'rate': 0.96}``.

    Raises:
        ValueError: no such schedule, or arguments that it does not take.
    """
    if description is None:
        return None
    name, arguments = _named('schedule', description)
    make = lookup('schedule', name, SCHEDULES)
    parameters = inspect.signature(make).parameters
    _require_known(f'the schedule {name!r}', arguments, parameters)
    if missing := [k for k, p in parameters.items() if p.default is p.empty and k not in arguments]:
        raise ValueError(f"the schedule {name!r} lacks {' and '.join(missing)}; it takes {', '.join(parameters)}")
    return make(**arguments)


def _named(kind: str, description: Any) -> tuple[str, dict[str, Any]]:
    if isinstance(description, str):
        return description, {}
    if not isinstance(description, Mapping) or 'type' not in description:
        raise ValueError(f"{kind} must be a name, or a dictionary with a 'type' and arguments, not "
                         f'{shown(description)}')
    return description['type'], {k: v for k, v in description.items() if k != 'type'}


def _require_known(what: str, arguments: Mapping[str, Any], known: Collection[str]) -> None:
    for key in arguments:
        if key not in known:
            raise ValueError(f'{what} takes no {shown(key)}; {did_you_mean(key, known)}')
