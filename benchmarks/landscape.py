"""What curvature and scans cost: products in gradients, products of a spectrum, points in evaluations, and PyHessian.

    python benchmarks/landscape.py                        (from the checkout, with the environment that run.sh makes)
    python benchmarks/landscape.py --part products --images 60000                          (the whole training set)

The network is the paper's MNIST CNN after an epoch of Adam on 2,000 images, or another width of it. A Hessian-vector
product, over all images, is given in gradients over the same images, in batches of the same size; by count it is 8 / 3
of one where nothing is left out. Goals: at most 2.5 gradients, no tracing, no memory that grows over 1,000 products (of
a small network); the ten largest eigenvalues to a residual of 1e-6 of the largest in at most 60 products; 0.9 of the
points that plain evaluations would be, for a scan.

All take turns to be timed, and ratios are of medians: of what the cores were busy, and (in brackets) by the clock. With
PyTorch and the package 'pyhessian' in the path, that works on the same images and weights.
"""

from __future__ import annotations

import argparse
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import models  # noqa: E402
from core.datasets import get_dataset  # noqa: E402
from core.devices import use_device  # noqa: E402
from models.measures import lanczos  # noqa: E402
from models.measures.curvature import BATCH, Curvature  # noqa: E402
from models.measures.scan import scanned  # noqa: E402
from models.measures.scanner import Scanner  # noqa: E402

import keras  # noqa: E402  isort: skip
import tensorflow as tf  # noqa: E402  isort: skip

TRAINED = 2000
"""Images that the network is trained on."""
MANY = 1000
"""Products over which memory is watched."""
K = 10
"""Eigenvalues."""
PARTS = ('products', 'memory', 'spectrum', 'peer', 'scan')


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('--images', type=int, default=1000, help='of products (default: %(default)s)')
    parser.add_argument('--spectrum-images', type=int, default=200, help='of spectra (default: %(default)s)')
    parser.add_argument('--batch', type=int, default=BATCH, help='images in a batch (default: %(default)s)')
    parser.add_argument('--width', type=float, default=1.0, help="of the paper's layers (default: %(default)s)")
    parser.add_argument('--rounds', type=int, default=5, help='timed turns (default: %(default)s)')
    parser.add_argument('--power', type=int, default=3, help='eigenvalues by power iteration (default: %(default)s)')
    parser.add_argument('--probes', type=int, default=10, help='of the trace (default: %(default)s)')
    parser.add_argument('--threads', type=int, help='of an operation; all cores by default')
    parser.add_argument('--part', choices=PARTS, action='append', help='all by default')
    return parser.parse_args()


def turns(rounds: int, *calls: Callable[[], Any]) -> list[np.ndarray]:
    """Of each call, the medians of the seconds that the cores were busy, and by the clock."""
    took: list[list[tuple[float, float]]] = [[] for _ in calls]
    for call in calls:
        call()  # compiles
    for _ in range(rounds):
        for times, call in zip(took, calls):
            start, busy = time.perf_counter(), time.process_time()
            call()
            times.append((time.process_time() - busy, time.perf_counter() - start))
    return [np.median(times, axis=0) for times in took]


def ratio(one: np.ndarray, other: np.ndarray) -> str:
    return f'{one[0] / other[0]:.2f} ({one[1] / other[1]:.2f})'


def network(width: float, x: np.ndarray, y: np.ndarray) -> keras.Model:
    """The CNN, trained for a little while."""
    first, second, units = (max(1, round(n * width)) for n in (32, 64, 1024))
    model = models.build_model('simple_sequential', x.shape[1:], models.TrainMode.NORMAL, 1, description=[
        ['C', first, [5, 5]], ['P'], ['C', second, [3, 3]], ['P'], ['F', units], ['F', 10, {'act': False}]],
        init={'weight': 'he_normal'}, bias_mode=models.BiasMode.ALL)
    keras.utils.set_random_seed(1)
    model.net.compile(keras.optimizers.Adam(1e-3), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    model.net.fit(x[:TRAINED], y[:TRAINED], batch_size=50, epochs=1, verbose=0)
    return model.net


def measure_products(net: keras.Model, x: np.ndarray, y: np.ndarray, batch: int, rounds: int) -> None:
    hessian, gauss_newton = (Curvature(net, (x, y), kind, batch) for kind in ('hessian', 'gauss-newton'))
    v = np.random.default_rng(0).normal(size=hessian.size)
    gradient, product, other = turns(rounds, hessian.gradient, lambda: hessian(v), lambda: gauss_newton(v))
    print(f'{hessian.size:,} parameters, {len(x):,} images in batches of {batch}: a gradient takes {gradient[0]:.2f} s '
          f'of a core ({gradient[1]:.2f} s by the clock)')
    print(f'  a product with the Hessian takes {ratio(product, gradient)} gradients (goal: at most 2.5), with the '
          f'Gauss-Newton matrix {ratio(other, gradient)}')


class Traced(keras.layers.Layer):
    """Gives its input, and counts how often it is traced."""

    times = 0

    def call(self, x):
        type(self).times += 1
        return x


def measure_memory(x: np.ndarray, y: np.ndarray) -> None:
    net = keras.Sequential([keras.Input(x.shape[1:]), keras.layers.MaxPooling2D(4), Traced(), keras.layers.Flatten(),
                            keras.layers.Dense(10, 'relu'), keras.layers.Dense(10)])
    matrix = Curvature(net, (x[:200], y[:200]), batch=150)  # a whole batch and a partial one
    rng, peaks = np.random.default_rng(0), []
    for n in (100, MANY):
        for _ in range(n):
            matrix(rng.normal(size=matrix.size))
        peaks.append((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, Traced.times))
    print(f'{MANY:,} products more ({matrix.size:,} parameters): {peaks[1][0] - peaks[0][0]:.1f} MiB of memory more, '
          f'{peaks[1][1] - peaks[0][1]} tracings (goal: none)')


def measure_spectrum(net: keras.Model, x: np.ndarray, y: np.ndarray, batch: int, by_power: int) -> None:
    matrix = Curvature(net, (x, y), batch=batch)
    rng, start = np.random.default_rng(0), time.perf_counter()
    found = lanczos.eigenpairs(matrix, matrix.size, K, rng, tol=1e-6)
    print(f'the {K} largest eigenvalues on {len(x):,} images: {found.products} products, {K} of them for residuals '
          f'(goal: at most 60), residuals up to {found.residuals.max() / found.values[0]:.1e} of the largest '
          f'[{time.perf_counter() - start:.0f} s]')
    starts = rng.normal(size=(by_power, matrix.size))
    values, vectors, quotients = lanczos.power_iteration(matrix, starts)
    residuals = [np.linalg.norm(matrix(v) - a * v) for a, v in zip(values, vectors)]
    print(f'  the released power iteration, the {by_power} largest alone: {sum(map(len, quotients))} products, '
          f'residuals up to {max(residuals) / found.values[0]:.1e}')


def measure_peer(net: keras.Model, x: np.ndarray, y: np.ndarray, batch: int, rounds: int, probes: int) -> None:
    try:
        import torch
        from pyhessian import hessian as theirs
        from torch_twin import torch_twin
    except ImportError as e:
        print(f'PyHessian was left out: {e}')
        return
    twin = torch_twin(net)
    loader = [(torch.tensor(x[i:i + batch].transpose(0, 3, 1, 2).copy()), torch.tensor(y[i:i + batch].astype(np.int64)))
              for i in range(0, len(x), batch)]
    with torch.no_grad():
        apart = max(np.abs(twin(images).numpy() - net(x[i:i + batch], training=False).numpy()).max()
                    for i, (images, _) in zip(range(0, len(x), batch), loader))
    import warnings
    warnings.simplefilter('ignore')  # of gradients that keep their graph
    other = theirs(twin, torch.nn.CrossEntropyLoss(), dataloader=loader, cuda=False)
    matrix = Curvature(net, (x, y), batch=batch)
    v = np.random.default_rng(0).normal(size=matrix.size)
    parts = [torch.randn(p.size()) for p in other.params]
    ours, its = turns(rounds, lambda: matrix(v), lambda: other.dataloader_hv_product(parts))
    print(f'PyHessian on equal weights (logits differ by {apart:.1e}), {len(x):,} images in batches of {batch}: our '
          f'product takes {ratio(ours, its)} of its own')
    top = lanczos.eigenpairs(matrix, matrix.size, 1, np.random.default_rng(0), tol=1e-6)
    (value,), _ = other.eigenvalues(maxIter=100, tol=1e-4)
    scale = np.exp(matrix.log_frame)
    print(f'  largest eigenvalue: {top.values[0] * scale:.6g} in {top.products} products; theirs {value:.6g}, '
          f'{abs(value / (top.values[0] * scale) - 1):.1e} apart')
    mean, error = lanczos.trace(matrix, matrix.size, np.random.default_rng(0), probes)
    samples = other.trace(maxIter=probes, tol=0.0)
    print(f'  trace: {mean * scale:.5g} +- {error * scale:.2g}; theirs {np.mean(samples):.5g} +- '
          f'{np.std(samples, ddof=1) / np.sqrt(len(samples)):.2g}, of {probes} probes each')


def measure_scan(net: keras.Model, x: np.ndarray, y: np.ndarray, batch: int, rounds: int) -> None:
    rng = np.random.default_rng(0)
    scanner = Scanner(net, (x, y), batch=batch)
    direction = [1e-3 * rng.normal(size=tuple(v.shape)).astype(np.float32) for v in net.trainable_variables]
    steps, images = np.linspace(-1, 1, 11), [tf.constant(x[i:i + batch]) for i in range(0, len(x), batch)]

    @tf.function(reduce_retracing=True)
    def logits(x):
        return net(x, training=False)

    def evaluate() -> None:
        for _ in steps:
            for batch_of_images in images:
                logits(batch_of_images).numpy()
    plain, scan = turns(rounds, evaluate, lambda: scanned(scanner, [direction], steps))
    print(f'a scan of {len(steps)} points on {len(x):,} images: {len(steps) / scan[0]:.2f} points a second of a core, '
          f'{ratio(plain, scan)} of what plain evaluations are (goal: at least 0.9)')


def main() -> None:
    given = options()
    print(f'device: {use_device(None, given.threads).text}')
    (x, y), _ = get_dataset('mnist')
    parts = given.part or PARTS
    net = network(given.width, x, y)
    few = x[:given.spectrum_images], y[:given.spectrum_images]
    x, y = x[:given.images], y[:given.images]
    if 'products' in parts:
        measure_products(net, x, y, given.batch, given.rounds)
    if 'memory' in parts:
        measure_memory(x, y)
    if 'spectrum' in parts:
        measure_spectrum(net, *few, given.batch, given.power)
    if 'peer' in parts:
        measure_peer(net, *few, given.batch, given.rounds, given.probes)
    if 'scan' in parts:
        measure_scan(net, x, y, given.batch, given.rounds)


if __name__ == '__main__':
    main()
