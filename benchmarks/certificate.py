"""Certificates of a briefly trained CNN on the digits: radii and seconds per image of each method, beside auto_LiRPA's
CROWN at the same radii where that is installed.

    python benchmarks/certificate.py                      (from the checkout, with the environment that test.sh makes)
    python benchmarks/certificate.py --epochs 5 --images 16                                            (a quick trial)

auto_LiRPA comes with the extra 'peers' and a checkout of its own, as the version in the registry is for a PyTorch of
2022. It knows no rounding and no box, and leaves a convolution's zero padding out of account in L2: the convolutions
here have none, images are away from the edge of the box, and its bounds are higher by what rounding can move.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import models  # noqa: E402
from core.datasets import get_dataset  # noqa: E402
from core.devices import use_device  # noqa: E402
from models.certificates.certifier import Crown  # noqa: E402
from models.certificates.methods import METHODS, make_method  # noqa: E402

DESCRIPTION = [['C', 8, [3, 3], {'pad': False}], ['C', 16, [3, 3], {'pad': False}], ['F', 32],
               ['F', 10, {'act': False}]]


def trained(epochs: int) -> tuple[models.SimpleSequential, np.ndarray, np.ndarray]:
    """A network, and training images that it classifies rightly, as they are and drawn to the middle of the box."""
    (x, y), _ = (tuple(np.asarray(t) for t in part) for part in get_dataset('digits'))
    x = (0.25 + x / 2).astype(np.float32)
    model = models.SimpleSequential('net', (8, 8, 1), DESCRIPTION, seed=1)
    model.net.compile('adam', models.architectures.keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    model.net.fit(x, y, epochs=epochs, batch_size=50, verbose=0)
    right = model.net.predict(x, verbose=0).argmax(axis=1) == y
    return model, x[right], y[right].astype(np.int64)


def peer_bounds(model: models.SimpleSequential, x: np.ndarray, y: np.ndarray, radius: float, norm: str
                ) -> tuple[np.ndarray, float] | None:
    """auto_LiRPA's lower bounds of the margins, and its seconds per image; None where it is not installed."""
    try:
        import torch
        from auto_LiRPA import BoundedModule, BoundedTensor
        from auto_LiRPA.perturbations import PerturbationLpNorm
    except ImportError as e:
        print(f'auto_LiRPA is not compared with: {e}')
        return None
    torch.set_default_dtype(torch.float64)
    nn, weights = torch.nn, [w.astype(np.float64) for w in model.net.get_weights()]
    conv1, bias1, conv2, dense1, dense2 = weights  # a bias in the first layer alone
    net = nn.Sequential(nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Conv2d(8, 16, 3, bias=False), nn.ReLU(), nn.Flatten(),
                        nn.Linear(256, 32, bias=False), nn.ReLU(), nn.Linear(32, 10, bias=False))
    first = dense1.reshape(4, 4, 16, 32).transpose(3, 2, 0, 1).reshape(32, 256)
    for p, w in zip(net.parameters(), (conv1.transpose(3, 2, 0, 1), bias1, conv2.transpose(3, 2, 0, 1), first,
                                       dense2.T)):
        p.data = torch.tensor(np.ascontiguousarray(w))
    bounded = BoundedModule(net, torch.zeros(1, 1, 8, 8), bound_opts={'relu': 'adaptive', 'conv_mode': 'matrix'})
    images = BoundedTensor(torch.tensor(x.transpose(0, 3, 1, 2).astype(np.float64)),
                           PerturbationLpNorm(norm=np.inf if norm == 'Linf' else 2, eps=radius))
    eye = torch.eye(10)
    rows = eye[torch.tensor(y)][:, None] - eye
    began = time.perf_counter()
    low = bounded.compute_bounds(x=(images,), C=rows, method='backward')[0].detach().numpy()
    return low, (time.perf_counter() - began) / len(x)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--epochs', type=int, default=30)
    parser.add_argument('--images', type=int, default=32)
    args = parser.parse_args()
    use_device('cpu')
    model, x, y = trained(args.epochs)
    x, y = x[:args.images], y[:args.images]
    for name in METHODS:
        method = make_method(name, model)
        method.certify(x[:1], y[:1])  # compiled
        began = time.perf_counter()
        radii = method.certify(x, y).radii
        seconds = (time.perf_counter() - began) / len(x)
        print(f'{name:10} median L2 radius {np.median(radii):.4g}, {seconds:.3g} s/image')
    for norm, radius in (('L2', 0.1), ('Linf', 0.02)):
        crown = Crown(model, norm, images=len(x))
        crown.margins(x, y, np.zeros(len(x)))
        began = time.perf_counter()
        own = crown.margins(x, y, np.full(len(x), radius))
        seconds = (time.perf_counter() - began) / len(x)
        print(f'bounds within {norm} {radius:g}: {seconds:.3g} s/image')
        if (peer := peer_bounds(model, x, y, radius, norm)) is not None:
            others = np.isfinite(own)
            apart = peer[0][others] - own[others]
            print(f'auto_LiRPA: {peer[1]:.3g} s/image; its bounds less ours from {apart.min():.2g} to '
                  f'{apart.max():.2g}, of bounds up to {np.abs(own[others]).max():.3g}')


if __name__ == '__main__':
    main()
