"""Initial weights by name, with the variants that rescale them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from ..checks import flag, number
from ..registry import require_known
from ..types import lookup, shown

Initializer = Callable[..., tf.Tensor]
"""Called with a shape (and optionally a dtype), gives a tensor of that shape."""

INITIALIZERS: dict[str, Callable[..., Initializer]] = {
    'glorot_uniform': keras.initializers.GlorotUniform,
    'glorot_normal': keras.initializers.GlorotNormal,
    'he_normal': keras.initializers.HeNormal,
    'he_uniform': keras.initializers.HeUniform,
    # of unit variance, as in TensorFlow 1; Keras's own default is 0.05
    'truncated_normal': partial(keras.initializers.TruncatedNormal, stddev=1.0),
    'random_normal': partial(keras.initializers.RandomNormal, stddev=1.0),
    # normal, of the variance 2 / (kernel's pixels times channels out), as released wide residual networks start
    'he_normal_fan_out': partial(keras.initializers.VarianceScaling, 2.0, 'fan_out', 'untruncated_normal'),
    # uniform within +-1 / sqrt(fan_in), the default of PyTorch's convolutions and dense layers
    'torch': partial(keras.initializers.VarianceScaling, 1 / 3, 'fan_in', 'uniform'),
    'zeros': lambda seed=None: keras.initializers.Zeros(),
}
LARGEST = 1e30
"""Bound of factors of weights, which are float32."""


def rescaling_initializer(lam: float, initializer: Initializer) -> Initializer:
    """``initializer`` with every value multiplied by ``lam``."""
    def init(shape, dtype=None):
        return initializer(shape, dtype=dtype) * lam
    return init


def normalized_initializer(norm: float, initializer: Initializer) -> Initializer:
    """``initializer`` with each tensor rescaled to the Euclidean norm ``norm``.

    Raises:
        ValueError: (when called) the tensor is zero and has no direction to rescale.
    """
    def init(shape, dtype=None):
        v = initializer(shape, dtype=dtype)
        length = float(tf.norm(v))
        if length == 0:
            raise ValueError(f'a tensor of zeros cannot be normalised to the norm {norm:g}')
        return v * (norm / length)
    return init


def torch_bias(kernel: Sequence[int], seed: int | None = None) -> Initializer:
    """The default of PyTorch for the bias of a layer: uniform within +-1 / sqrt(fan_in) of the layer's kernel.

    Args:
        kernel: the shape of that kernel, [inputs, units] or [height, width, channels in, channels out].
        seed: of the values; None for fresh ones.
    """
    limit = float(1 / np.sqrt(np.prod(kernel[:-1])))
    return keras.initializers.RandomUniform(-limit, limit, seed)


def _require_initializer(kind: str, init: Any) -> None:
    if not callable(init):
        lookup('initializer', init, INITIALIZERS)
    elif not isinstance(init, keras.initializers.Initializer):
        try:
            fits = tuple(init((2, 3), dtype='float32').shape) == (2, 3)
        except Exception:  # it may be any function
            fits = False
        if not fits:
            raise ValueError(f'init.{kind} must be a name or a Keras initializer, called with a shape and a dtype, not '
                             f'{shown(init)}')


class InitPolicy:
    """How weights and biases start.

    Args:
        config: any of 'weight', 'bias' (a name from INITIALIZERS or a Keras initializer; glorot_uniform and zeros),
            'weight_rescale', 'bias_rescale' (a factor, 1.0) and 'weight_normalized', 'bias_normalized' (False): with
            the latter each tensor is rescaled to a norm of the factor. 'torch' for both is how PyTorch starts.

    Raises:
        ValueError: an unknown key or name.
    """

    DEFAULTS = {
        'weight': 'glorot_uniform', 'weight_normalized': False, 'weight_rescale': 1.0,
        'bias': 'zeros', 'bias_normalized': False, 'bias_rescale': 1.0,
    }

    def __init__(self, config: Mapping[str, Any] | None = None):
        if not isinstance({} if config is None else config, Mapping):
            raise ValueError(f'init must be a dictionary such as {{"weight": "he_normal"}}, not {shown(config)}')
        config = dict(config or {})
        require_known('init', config, self.DEFAULTS, 'has no key')
        self.config = {**self.DEFAULTS, **config}
        for kind in ('weight', 'bias'):
            _require_initializer(kind, self.config[kind])
            self.config[kind + '_rescale'] = number(f'init.{kind}_rescale', self.config[kind + '_rescale'],
                                                    -LARGEST, high=LARGEST)
            try:
                flag(f'init.{kind}_normalized', self.config[kind + '_normalized'])
            except ValueError as e:
                raise ValueError(f'{e}; the norm is {kind}_rescale') from None

    def weight_init(self, seed: int | None = None) -> Initializer:
        """The initializer of one weight tensor; the same seed and shape give the same values."""
        return self._build('weight', seed)

    def bias_init(self, seed: int | None = None, kernel: Sequence[int] | None = None) -> Initializer:
        """The initializer of one bias vector; the same seed and shape give the same values.

        Args:
            seed: of the values; None for fresh ones.
            kernel: the shape of the kernel of the same layer, which 'torch' takes its range from.

        Raises:
            ValueError: it is 'torch', and there is no kernel.
        """
        if self.config['bias'] == 'torch':
            if kernel is None:
                raise ValueError("init.bias: 'torch' takes its range from the kernel of the layer, so bias_init needs "
                                 "that kernel's shape; 'zeros', say, does not")
            return self._build('bias', seed, torch_bias(kernel, seed))
        return self._build('bias', seed)

    def _build(self, kind: str, seed: int | None, init: Initializer | None = None) -> Initializer:
        init, scale = init or self.config[kind], self.config[kind + '_rescale']
        if isinstance(init, str):
            init = INITIALIZERS[init](seed=seed)
        if self.config[kind + '_normalized']:
            return normalized_initializer(scale, init)
        return rescaling_initializer(scale, init) if scale != 1.0 else init
