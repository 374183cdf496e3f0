"""A chain of Keras layers as one of PyTorch, for benchmarks that compare with what runs there."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np


def refuse_what_is_left_out(layer: keras.Layer) -> None:
    """Sees that a layer has nothing that ``torch_twin`` would leave out.

    Raises:
        TypeError: it has.
    """
    config = layer.get_config()
    if {*np.ravel(config.get('dilation_rate', 1)), config.get('groups', 1)} != {1} or not config.get('use_bias', True) \
            or config.get('activation', 'linear') not in ('linear', 'relu') \
            or (isinstance(layer, keras.layers.Conv2D) and {*np.ravel(config['strides'])} != {1}) \
            or (isinstance(layer, keras.layers.MaxPooling2D) and config['padding'] != 'valid') \
            or (isinstance(layer, keras.layers.Activation) and config['activation'] != 'relu'):
        raise TypeError(f'there is no twin of {layer.name} as it is set up')


def torch_twin(net: keras.Model) -> Any:
    """The same chain of convolutions, poolings and dense layers in PyTorch, of images NCHW."""
    import torch
    from torch import nn
    layers: list[Any] = []
    shape: tuple[int, ...] = ()
    for layer in net.layers:
        refuse_what_is_left_out(layer)
        weights = [torch.tensor(w) for w in layer.get_weights()]
        if isinstance(layer, keras.layers.Conv2D):
            ours = nn.Conv2d(*layer.kernel.shape[2:], layer.kernel.shape[:2], padding=layer.padding)
            weights[0] = weights[0].permute(3, 2, 0, 1)
        elif isinstance(layer, keras.layers.Dense):
            ours = nn.Linear(*layer.kernel.shape)
            weights[0] = weights[0].T
            if shape:  # what follows a Flatten is in the order of NHWC
                weights[0] = weights[0].reshape(-1, *shape).permute(0, 3, 1, 2).reshape(len(weights[0]), -1)
            shape = ()
        elif isinstance(layer, keras.layers.MaxPooling2D):
            ours = nn.MaxPool2d(layer.pool_size, layer.strides)
        elif isinstance(layer, keras.layers.Flatten):
            ours, shape = nn.Flatten(), layer.input.shape[1:]
        elif isinstance(layer, (keras.layers.ReLU, keras.layers.Activation)):
            ours = nn.ReLU()
        elif isinstance(layer, keras.layers.InputLayer):
            continue
        else:
            raise TypeError(f'there is no twin of {type(layer).__name__}')
        for own, w in zip(ours.parameters(), weights):
            own.data.copy_(w)
        layers.append(ours)
        if getattr(layer, 'activation', keras.activations.linear) is keras.activations.relu and weights:
            layers.append(nn.ReLU())
    return nn.Sequential(*layers).eval()
