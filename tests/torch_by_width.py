"""What the released networks of arXiv 2006.08403 are in PyTorch: counts of weights, and logits of given ones.

    python tests/torch_by_width.py util/models.py > tests/reference/by_width.json    (of that code; with PyTorch)

writes what tests/test_by_width.py compares with.
"""

from __future__ import annotations

import importlib.util
import json
import sys

import numpy as np

WIDTHS = (1, 2, 8, 16)
IMAGES = {'MNIST_LeNet': (28, 28, 1), 'CIFAR10_LeNet': (32, 32, 3), 'CIFAR10_VGG': (32, 32, 3),
          'CIFAR10_ResNet': (32, 32, 3)}


def value(name: str, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """Weights in Keras's layout, float32, of a size that keeps that of activations; ``name`` says which."""
    noise = rng.normal(size=shape)
    if len(shape) > 1:
        return (noise * np.sqrt(2 / np.prod(shape[:-1]))).astype(np.float32)
    scaled = {'var': np.exp(noise / 5), 'gamma': 1 + noise / 10}
    return next((v for key, v in scaled.items() if key in name), noise / 10).astype(np.float32)


def images(shape: tuple[int, ...]) -> np.ndarray:
    return np.random.default_rng(1).uniform(size=(2, *shape)).astype(np.float32)


def main(path: str) -> None:
    import torch
    spec = importlib.util.spec_from_file_location('released', path)
    released = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(released)
    sys.stdout, out = sys.stderr, sys.stdout  # the released code prints what it makes
    found: dict[str, dict] = {}
    for name, shape in IMAGES.items():
        make = getattr(released, name)
        counts = {w: sum(p.numel() for p in make(width=w).parameters()) for w in WIDTHS}
        net, rng, channels = make(width=1).eval(), np.random.default_rng(0), 0
        state = {k: v for k, v in net.state_dict().items() if not k.endswith('num_batches_tracked')}
        for key, tensor in state.items():
            axes = {4: (2, 3, 1, 0), 2: (1, 0)}.get(tensor.ndim, (0,))
            is_gamma = tensor.ndim == 1 and key.endswith('weight')
            v = value('gamma' if is_gamma else key, tuple(tensor.permute(axes).shape), rng)
            if tensor.ndim == 2 and channels and v.shape[0] > channels:  # flattened: rows, columns, channels here
                side = round(np.sqrt(v.shape[0] // channels))
                v = v.reshape(side, side, channels, -1).transpose(2, 0, 1, 3).reshape(v.shape)
            channels = tensor.shape[0] if tensor.ndim == 4 else 0 if tensor.ndim == 2 else channels
            tensor.copy_(torch.tensor(v.transpose(np.argsort(axes)).copy()))
        with torch.no_grad():
            logits = net(torch.tensor(images(shape).transpose(0, 3, 1, 2).copy())).numpy()
        found[name] = {'parameters': counts, 'logits': np.round(logits.astype(float), 6).tolist()}
    out.write(json.dumps(found, indent=1) + '\n')


if __name__ == '__main__':
    main(*sys.argv[1:])
