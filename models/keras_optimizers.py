"""What a loss-based rate asks of a Keras optimizer, wrapped or not."""

from __future__ import annotations

import math
from typing import Any

import keras
from keras.optimizers import Optimizer

_NOT_PROPORTIONAL = ('weight_decay', 'clipnorm', 'clipvalue', 'global_clipnorm')


def parts_of(optimizer: Optimizer) -> list[Optimizer]:
    """The optimizers that take the steps: what wrappers such as ``LossScaleOptimizer``, which ``compile`` itself puts
    around an optimizer of a mixed_float16 model, and ``MultiOptimizer`` hold; else the optimizer itself."""
    if isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
        return parts_of(optimizer.inner_optimizer)
    if isinstance(optimizer, keras.optimizers.MultiOptimizer):
        return [part for inner in optimizer.optimizers for part in parts_of(inner)]
    return [optimizer]


def averages_weights(optimizer: Optimizer) -> bool:
    """Whether ``fit`` ends by putting moving averages in the place of the weights."""
    return any(getattr(part, 'use_ema', False) for part in parts_of(optimizer))


def require_settable_rate(optimizer: Any, variables: list[keras.Variable]) -> None:
    """Builds an optimizer for these variables, unless it is, so that it has all variables that a step changes, and
    sees that its learning rate can be set and that the weights of the last step stay.

    Raises:
        TypeError: the rate is a schedule, or there is no optimizer.
        ValueError: ``use_ema``.
    """
    if not isinstance(optimizer, Optimizer):
        raise TypeError(f'LossBasedLR needs a model that is compiled with an optimizer, not {optimizer!r}')
    if not optimizer.built:  # before that, a MultiOptimizer may not even know its optimizers
        optimizer.build(variables)
    for part in parts_of(optimizer):
        try:
            part.learning_rate = float(part.learning_rate) + 0.0  # another object: the same one Keras does not assign
        except (TypeError, AttributeError):
            raise TypeError("LossBasedLR sets the optimizer's learning rate, so that must be a number, as in "
                            'keras.optimizers.SGD(), not a schedule') from None
    if averages_weights(optimizer):
        raise ValueError('with use_ema, fit ends with averages of the weights instead of those of the last accepted '
                         'epoch, so leave use_ema out of the optimizer')


def require_proportional(optimizer: Optimizer) -> None:
    """Sees that steps are proportional to the gradient, so that a loss in units of a frame takes the step of the loss.

    Momentum is: Keras's SGD keeps it in units of the weights. Scaling the loss, by ``loss_scale_factor`` or a
    ``LossScaleOptimizer``, cancels out.

    Raises:
        ValueError: they are not.
    """
    for part in parts_of(optimizer):
        sgd = keras.optimizers.SGD
        if not isinstance(part, sgd) or type(part).update_step is not sgd.update_step:
            raise ValueError('with a frame, steps must be proportional to the gradient, as are those of '
                             f'keras.optimizers.SGD, with or without momentum, but not of {type(part).__name__}; use '
                             'SGD, or a loss without a frame')
        if any(getattr(part, name, None) for name in _NOT_PROPORTIONAL):
            raise ValueError('with a frame, steps must be proportional to the gradient: leave out '
                             f'{", ".join(_NOT_PROPORTIONAL)} of the optimizer')


def set_rate(optimizer: Optimizer, rate: float) -> None:
    """Sets the learning rate of every optimizer that takes steps."""
    for part in parts_of(optimizer):
        part.learning_rate = rate


def move_frame(optimizer: Optimizer, old: float, new: float) -> None:
    """Brings accumulated gradients of ``gradient_accumulation_steps`` from units of exp(old) to those of exp(new)."""
    factor = math.exp(min(old - new, 80))  # float32 holds no more, and the next epoch would be taken back anyway
    for part in parts_of(optimizer):
        for accumulated in getattr(part, '_accumulated_gradients', ()):
            if accumulated is not None:
                accumulated.assign(accumulated * factor)
