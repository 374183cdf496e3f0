"""Optimizers that take the steps of PyTorch's, where those of Keras's under the same name are others."""

from __future__ import annotations

import math
from typing import Any

import keras
import tensorflow as tf
from keras import ops


def _cast(variable: keras.Variable, *values: Any) -> list[tf.Tensor]:
    return [ops.cast(value, variable.dtype) for value in values]


class TorchSGD(keras.optimizers.SGD):
    """``v = momentum v + (1 - dampening) g``, ``w -= rate v``; at the first step ``v = g``, whatever the dampening.

    Keras's takes the same steps, without dampening, while the rate stays the same; when it changes, Keras's buffer goes
    on with the rates of the steps before, and this one does not.
    """

    dampening = 0.0

    def update_step(self, gradient: tf.Tensor, variable: keras.Variable, learning_rate: Any) -> None:
        rate, g, first = _cast(variable, learning_rate, gradient, self.iterations == 0)
        if self.momentum:
            v = self.momentums[self._get_variable_index(variable)]
            self.assign(v, self.momentum * v + (1 - (1 - first) * self.dampening) * g)
            g = g + self.momentum * v if self.nesterov else v
        self.assign_sub(variable, rate * g)


class TorchAdam(keras.optimizers.Adam):
    """``w -= rate m' / (sqrt(v') + epsilon)`` with both moments corrected for their start from 0; Keras adds epsilon to
    the root of the moment as it is. With ``amsgrad`` v is the largest so far."""

    def update_step(self, gradient: tf.Tensor, variable: keras.Variable, learning_rate: Any) -> None:
        rate, g, step = _cast(variable, learning_rate, gradient, self.iterations + 1)
        i = self._get_variable_index(variable)
        m, v = self._momentums[i], self._velocities[i]
        self.assign(m, self.beta_1 * m + (1 - self.beta_1) * g)
        self.assign(v, self.beta_2 * v + (1 - self.beta_2) * g * g)
        if self.amsgrad:
            largest = self._velocity_hats[i]
            self.assign(largest, ops.maximum(largest, v))
            v = largest
        root = ops.sqrt(v / _missing(self.beta_2, step)) + self.epsilon
        self.assign_sub(variable, rate / _missing(self.beta_1, step) * m / root)


def _missing(beta: float, step: tf.Tensor) -> tf.Tensor | float:
    """``1 - beta ** step``, which in float32 would keep four digits of beta = 0.999."""
    return -ops.expm1(step * math.log(beta)) if beta else 1.0


class TorchAdagrad(keras.optimizers.Adagrad):
    """``w -= rate / (1 + t lr_decay) g / (sqrt(sum of g ** 2) + epsilon)``, where t steps were taken before; Keras has
    epsilon inside the root."""

    lr_decay = 0.0

    def update_step(self, gradient: tf.Tensor, variable: keras.Variable, learning_rate: Any) -> None:
        rate, g, before = _cast(variable, learning_rate, gradient, self.iterations)
        total = self._accumulators[self._get_variable_index(variable)]
        self.assign_add(total, g * g)
        self.assign_sub(variable, rate / (1 + before * self.lr_decay) * g / (ops.sqrt(total) + self.epsilon))


class TorchRMSprop(keras.optimizers.RMSprop):
    """``w -= rate b``, ``b = momentum b + g / (sqrt(mean of g ** 2) + epsilon)``; Keras has epsilon inside the root,
    and the rate in the buffer. With ``centered`` the square of the mean of g is taken from the mean of its square."""

    def update_step(self, gradient: tf.Tensor, variable: keras.Variable, learning_rate: Any) -> None:
        rate, g = _cast(variable, learning_rate, gradient)
        i = self._get_variable_index(variable)
        square = self._velocities[i]
        self.assign(square, self.rho * square + (1 - self.rho) * g * g)
        variance = square
        if self.centered:
            mean = self._average_gradients[i]
            self.assign(mean, self.rho * mean + (1 - self.rho) * g)
            variance = ops.maximum(square - mean * mean, 0.0)
        step = g / (ops.sqrt(variance) + self.epsilon)
        if self.momentum:
            buffer = self._momentums[i]
            self.assign(buffer, self.momentum * buffer + step)
            step = buffer
        self.assign_sub(variable, rate * step)
