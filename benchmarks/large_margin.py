"""A training step with the large margin loss, against one with the cross entropy: forward pass and weight gradients.

    python benchmarks/large_margin.py                     (from the checkout, with the environment that run.sh makes)
    python benchmarks/large_margin.py --rounds 3                                                       (a quick trial)

The network is of the size of the MNIST networks of arXiv 1803.05598, with four hidden layers: two 5x5 convolutions of
32 and 64 filters, each pooled, and two dense layers of 512. The images are random: only their number and size matter to
the time. Steps are compiled, and take turns to be timed; a ratio is of medians. The norm of distances is 2.

Goal: all layers, one competitor, norm constant: at most 2.5 cross entropy steps.

The backward passes of several competitors one by one, as here, or all at once by tf.vectorized_map, in cross entropy
steps (2 cores of an AMD EPYC, TensorFlow 2.21; all layers):

    competitors                     one by one   at once
    1, norm constant                       1.6       1.6
    1, differentiated                      2.5       2.5
    9, norm constant                       6.4       8.2
    9, differentiated                     14.0      15.6
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import models  # noqa: E402
from core.devices import use_device  # noqa: E402
from models.objectives import CrossEntropy, LargeMargin, Objective, ReleasedLargeMargin, Weighted  # noqa: E402

BATCH = 128
DESCRIPTION = [['C', 32, [5, 5]], ['P'], ['C', 64, [5, 5]], ['P'], ['F', 512], ['F', 512], ['F', 10, {'act': False}]]
GOAL = {'large margin: all layers, top 1, norm constant': 2.5}


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('--rounds', type=int, default=20, help='timed steps of each (default: %(default)s)')
    return parser.parse_args()


def objectives() -> dict[str, Objective]:
    found: dict[str, Objective] = {'cross entropy': CrossEntropy()}
    for where, layers in (('input only', ['input']), ('all layers', 'all')):
        for which, top_k in (('top 1', 1), ('all classes', 'all')):
            for how, second_order in (('constant', False), ('differentiated', True)):
                found[f'large margin: {where}, {which}, norm {how}'] = LargeMargin(
                    layers, top_k=top_k, second_order=second_order)
    found['released: all layers, top 1, norm constant'] = ReleasedLargeMargin('all')
    found['cross entropy and large margin: all layers, top 1, norm constant'] = Weighted(
        [(1, CrossEntropy()), (1, LargeMargin('all', top_k=1))])
    return found


def compiled(net, objective: Objective, x: np.ndarray, y: np.ndarray) -> Callable[[], None]:
    """A call of one step without the update."""
    import tensorflow as tf

    x, y = tf.constant(x), tf.constant(y)

    @tf.function
    def gradients():
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(objective.losses(net, x, y, True))
        return tape.gradient(loss, net.trainable_variables)

    return lambda: gradients()[0].numpy()


def seconds(call: Callable[[], None]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def main() -> None:
    args = options()
    device = use_device(None)
    rng = np.random.default_rng(0)
    x, y = rng.random((BATCH, 28, 28, 1), dtype=np.float32), rng.integers(0, 10, BATCH)
    net = models.SimpleSequential('net', (28, 28, 1), DESCRIPTION, bias_mode=models.BiasMode.ALL, seed=0).net
    steps = {name: compiled(net, objective, x, y) for name, objective in objectives().items()}
    compiling = {name: seconds(step) for name, step in steps.items()}
    times: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(args.rounds):
        for name, step in steps.items():
            times[name].append(seconds(step))

    medians = {name: float(np.median(t)) for name, t in times.items()}
    width = max(map(len, medians))
    print(f'{device}, batch of {BATCH}, {args.rounds} rounds\n')
    print(f'{"a step (without the update)":<{width}}        ms   cross entropies   to reach   compiling')
    for name, median in medians.items():
        goal = f'<= {GOAL[name]}' if name in GOAL else ''
        print(f'{name:<{width}}   {median * 1e3:7.1f}   {median / medians["cross entropy"]:15.2f}   {goal:>8}   '
              f'{compiling[name]:7.1f} s')


if __name__ == '__main__':
    main()
