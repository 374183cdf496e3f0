"""An epoch of exper-final-mnist-cnn-loss-based-lr: training and statistics, against this machine's sgemm.

    python benchmarks/epoch.py          (from the checkout, with the environment that run.sh makes)

The images are random: only their number and size matter to the time. sgemm is the better of NumPy's and TensorFlow's
product of two 2048 x 2048 float32 matrices, before and after the rest. A step counts the multiplications and additions
of the forward pass, of the gradients of the weights, and of those of the activations (the images' is not computed).

What was tried, on 2 cores of an AMD EPYC (AVX-512, no GPU) with TensorFlow 2.21, in ms per step:

    as it is: oneDNN, one queue of operations, the loop compiled         28.7
    pooling before ReLU: bit for bit the same weights, no faster         28.8
    two queues of operations (TensorFlow's default here)                 30.9
    the same, every gradient checked for being finite, as the original   36.5
    the same, the first convolution as a matrix product of patches       43.7
    the same, XLA                                                        50.6
    the same, oneDNN off                                                 61.7

(50 to 200 steps each; a whole epoch takes up to 32.5 ms a step.) Evaluation, us per image, by images per batch:
100: 87, 128: 89, 500: 80, 2000: 78.
"""

from __future__ import annotations

import resource
import runpy
import sys
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import models  # noqa: E402
from core.devices import use_device  # noqa: E402

IMAGES, TEST_IMAGES = 60_000, 10_000


def seconds(call, repeat: int = 1) -> float:
    """The least time of ``repeat`` calls."""
    times = []
    for _ in range(repeat):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return min(times)


def sgemm(n: int = 2048) -> float:
    """GFLOP/s of a matrix product in float32."""
    import tensorflow as tf

    a = np.random.default_rng(0).random((n, n), dtype=np.float32)
    b = tf.constant(a)
    best = min(seconds(lambda: a @ a, 8), seconds(lambda: tf.matmul(b, b).numpy(), 8))
    return 2 * n ** 3 / best / 1e9


def forward_flops(model: models.Model) -> list[int]:
    """Per image, of each layer with weights."""
    flops = []
    for name, variables in model.layer_vars.items():
        positions = int(np.prod(model.net.get_layer(name).output.shape[1:-1]))  # 1 for a dense layer
        flops.append(2 * positions * int(np.prod(variables[0].shape)))
    return flops


def main() -> None:
    device = use_device(None).text
    import tensorflow as tf

    flags = runpy.run_path(str(ROOT / 'experiments/exper-final-mnist-cnn-loss-based-lr.py'))['FLAGS']
    rng, batch = np.random.default_rng(0), flags['B']
    train, test = (
        (tf.constant(rng.random((n, 28, 28, 1), dtype=np.float32)), tf.constant(rng.integers(0, 10, n)))
        for n in (IMAGES, TEST_IMAGES))
    model = models.SimpleSequential('model', (28, 28, 1), train_mode=flags['train_mode'], seed=0, **flags['model'])
    order = rng.permutation(IMAGES)
    first, *others = forward_flops(model)
    step_flops = batch * (2 * first + 3 * sum(others))

    def epoch(images: int) -> None:
        model.train_epoch(*train, order[:images], batch, 1e-3, 0.8)

    def statistics(n: int) -> None:
        model.get_stats(((train[0][:n], train[1][:n]), test), 0.8)

    epoch(10 * batch), statistics(IMAGES)  # compiles
    before = sgemm()
    training, measuring = seconds(lambda: epoch(IMAGES)), seconds(lambda: statistics(IMAGES))
    rate, peak = step_flops * (IMAGES // batch) / training / 1e9, max(before, sgemm())
    restoring = seconds(model.roll_back, 5)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2 ** 20

    print(f'device                {device}')
    print(f'step                  {training / (IMAGES // batch) * 1e3:.1f} ms (batch of {batch})')
    print(f'epoch                 {training + measuring:.1f} s: training {training:.1f}, statistics {measuring:.1f}')
    print(f'statistics            {measuring / (training + measuring):.1%} of the epoch')
    print(f'training              {rate:.0f} GFLOP/s, {rate / peak:.2f} of sgemm ({peak:.0f} GFLOP/s)')
    print(f'rolling back          {restoring * 1e3:.1f} ms, without the disk')
    print(f'peak resident memory  {memory:.2f} GiB')


if __name__ == '__main__':
    main()
