"""A chain of Keras layers as one of PyTorch, for benchmarks that compare with what runs there."""

from __future__ import annotations

from typing import Any

import keras


def torch_twin(net: keras.Model) -> Any:
    """The same chain of convolutions, poolings and dense layers in PyTorch, of images NCHW."""
    import torch
    from torch import nn
    layers: list[Any] = []
    shape: tuple[int, ...] = ()
    for layer in net.layers:
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
