"""Optimizers beside gradient descent."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from . import checks
from .flavours import SCALE_FREE, ScaleFree
from .registry import make, parts
from .schedules import SCHEDULES, Schedule, schedule_of  # noqa: F401  (by their earlier names)
from .torch_optimizers import TorchAdagrad, TorchAdam, TorchRMSprop, TorchSGD
from .types import lookup


class _GivenRate(keras.optimizers.schedules.LearningRateSchedule):
    """The rate of the step that is being taken, a scalar tensor that is set before each."""

    rate: Any = 0.0

    def __call__(self, step: Any) -> tf.Tensor:
        return tf.cast(self.rate, tf.float32)


class Optimizer:
    """A Keras optimizer whose rate is given step by step.

    Args:
        description: a name of ``OPTIMIZERS``, or a dictionary with the name as 'type' and arguments of Keras's class,
            such as ``{'type': 'sgd', 'momentum': 0.9}``. 'rmsprop' has its epsilon inside the root; its running mean of
            squares starts from 'mean_square0': 0, or 1 as in the released code of Large Margin Deep Networks.
            Those that begin with 'torch-' take PyTorch's steps, with its defaults but for the rate, and for momentum,
            0; see ``torch_optimizers``. 'torch-sgd' keeps the rate out of the buffer of its momentum, so that a change
            of the rate takes effect at once.

    Raises:
        ValueError: no such optimizer, or arguments that it does not take.
    """

    def __init__(self, description: Any):
        self._rate = _GivenRate()
        made = make(OPTIMIZERS, description, 'optimizer', learning_rate=self._rate)
        if made is None:
            raise ValueError("the optimizer 'gd' takes no arguments, and is given by its name alone")
        self._keras = made

    def build(self, variables: list[keras.Variable]) -> None:
        """Makes the variables of its own that it needs for these."""
        self._variables = variables
        self._keras.build(variables)

    def apply(self, gradients: list[tf.Tensor], rate: tf.Tensor) -> None:
        """One step; within a replica, Keras sums ``gradients`` over the replicas."""
        self._rate.rate = rate
        self._keras.apply(gradients, self._variables)

    @property
    def state(self) -> dict[str, tf.Variable]:
        """Its variables by name: moments, and the number of steps taken."""
        return {f'{i}.{v.name}': v.value for i, v in enumerate(self._keras.variables)}


class _RMSprop(keras.optimizers.RMSprop):
    """Keras's, whose running mean of squares may start from another number than 0."""

    mean_square0 = 0.0

    def build(self, variables: list[keras.Variable]) -> None:
        super().build(variables)
        if self.mean_square0:
            for v in self.variables:
                if 'velocity' in v.path:
                    v.assign(keras.ops.full(v.shape, self.mean_square0))


def _share(optimizer: str, key: str, value: Any, high: float = 1.0) -> float:
    return checks.number(f'the optimizer {optimizer!r}: {key}', value, strict=False, high=high)


def _switch(optimizer: str, key: str, value: Any) -> bool:
    return checks.flag(f'the optimizer {optimizer!r}: {key}', value)


LARGEST = 1e30
"""Of the numbers that go into float32; the others are shares, of at most 1."""
BELOW_1 = 1 - 1e-7
"""Of the shares that a moment corrected for its start may keep of itself."""


def _gradient_descent(learning_rate: Any) -> None:
    """Needs no optimizer."""


def _sgd(learning_rate: Any, momentum: float = 0.0, nesterov: bool = False) -> keras.optimizers.Optimizer:
    return keras.optimizers.SGD(learning_rate, _share('sgd', 'momentum', momentum),
                                _switch('sgd', 'nesterov', nesterov))


def _torch_sgd(learning_rate: Any, momentum: float = 0.0, nesterov: bool = False, dampening: float = 0.0
               ) -> keras.optimizers.Optimizer:
    made = TorchSGD(learning_rate, _share('torch-sgd', 'momentum', momentum),
                    _switch('torch-sgd', 'nesterov', nesterov))
    made.dampening = _share('torch-sgd', 'dampening', dampening)
    if nesterov and (dampening or not momentum):
        raise ValueError("the optimizer 'torch-sgd': nesterov needs a momentum, and no dampening")
    return made


def _torch_adam(learning_rate: Any, beta_1: float = 0.9, beta_2: float = 0.999, epsilon: float = 1e-8,
                amsgrad: bool = False) -> keras.optimizers.Optimizer:
    betas = (_share('torch-adam', key, value, BELOW_1) for key, value in (('beta_1', beta_1), ('beta_2', beta_2)))
    return TorchAdam(learning_rate, *betas, _share('torch-adam', 'epsilon', epsilon, LARGEST),
                     _switch('torch-adam', 'amsgrad', amsgrad))


def _torch_adagrad(learning_rate: Any, epsilon: float = 1e-10, lr_decay: float = 0.0) -> keras.optimizers.Optimizer:
    made = TorchAdagrad(learning_rate, 0.0, _share('torch-adagrad', 'epsilon', epsilon, LARGEST))
    made.lr_decay = _share('torch-adagrad', 'lr_decay', lr_decay, LARGEST)
    return made


def _torch_adadelta(learning_rate: Any, rho: float = 0.9, epsilon: float = 1e-6) -> keras.optimizers.Optimizer:
    return keras.optimizers.Adadelta(learning_rate, _share('torch-adadelta', 'rho', rho),
                                     _share('torch-adadelta', 'epsilon', epsilon, LARGEST))


def _torch_rmsprop(learning_rate: Any, alpha: float = 0.99, momentum: float = 0.0, epsilon: float = 1e-8,
                   centered: bool = False) -> keras.optimizers.Optimizer:
    return TorchRMSprop(learning_rate, _share('torch-rmsprop', 'alpha', alpha),
                        _share('torch-rmsprop', 'momentum', momentum),
                        _share('torch-rmsprop', 'epsilon', epsilon, LARGEST),
                        _switch('torch-rmsprop', 'centered', centered))


def _adam(learning_rate: Any, beta_1: float = 0.9, beta_2: float = 0.999, epsilon: float = 1e-7, amsgrad: bool = False
          ) -> keras.optimizers.Optimizer:
    betas = _share('adam', 'beta_1', beta_1), _share('adam', 'beta_2', beta_2)
    return keras.optimizers.Adam(learning_rate, *betas, _share('adam', 'epsilon', epsilon, LARGEST),
                                 _switch('adam', 'amsgrad', amsgrad))


def _rmsprop(learning_rate: Any, rho: float = 0.9, momentum: float = 0.0, epsilon: float = 1e-7,
             centered: bool = False, mean_square0: float = 0.0) -> keras.optimizers.Optimizer:
    made = _RMSprop(learning_rate, _share('rmsprop', 'rho', rho), _share('rmsprop', 'momentum', momentum),
                    _share('rmsprop', 'epsilon', epsilon, LARGEST), _switch('rmsprop', 'centered', centered))
    made.mean_square0 = _share('rmsprop', 'mean_square0', mean_square0, LARGEST)
    return made


OPTIMIZERS: dict[str, Callable[..., keras.optimizers.Optimizer | None]] = {
    'gd': _gradient_descent, 'sgd': _sgd, 'adam': _adam, 'rmsprop': _rmsprop,
    'torch-sgd': _torch_sgd, 'torch-adam': _torch_adam, 'torch-adagrad': _torch_adagrad,
    'torch-adadelta': _torch_adadelta, 'torch-rmsprop': _torch_rmsprop}
"""From names to functions of a learning rate, and of arguments, to a Keras optimizer; 'gd' is gradient descent as in
the paper, which needs none."""


def optimizer_of(description: Any) -> Optimizer | ScaleFree:
    """An optimizer by its name: one of ``OPTIMIZERS``, or one of ``flavours.SCALE_FREE``, which goes with a frame, too.

    Raises:
        ValueError: no such optimizer, or arguments that it does not take.
    """
    name = parts(description, 'optimizer')[0]
    lookup('optimizer', name, {**OPTIMIZERS, **SCALE_FREE})
    if not is_scale_free(description):
        return Optimizer(description)
    try:
        return make(SCALE_FREE, description, 'optimizer')
    except ValueError as e:
        raise ValueError(str(e) if name in str(e) else f'the optimizer {name!r}: {e}') from None


def is_scale_free(description: Any) -> bool:
    """Whether a description is of an optimizer whose steps do not depend on the scale of the loss.

    Raises:
        ValueError: it is no description.
    """
    name = parts(description, 'optimizer')[0]
    return name in SCALE_FREE and name not in OPTIMIZERS
