"""How much sooner margin ascent is at a normalised margin than the loss-based rate.

    python benchmarks/time_to_margin.py                    (from the checkout, with the environment that run.sh makes)
    python benchmarks/time_to_margin.py --problem mnist-5000 --epochs 150              (the paper's CNN, 5,000 images)
    python benchmarks/time_to_margin.py --alphas 1.0718 1.4142                               (another loss-based rate)

Both train the same network on the same images, taking turns so that whatever else the machine does falls on both.
Compared are epochs, attempts and seconds of process time until the margin that the loss-based rate has at its end, and
twice that; everything counts, the warm-up, rejected attempts, compiling and statistics. Goals, on the digits after
1,000 epochs: 1/20 of the epochs and 1/8 of the time, and 1/3 of the time for twice the margin; on 5,000 images of MNIST
after 150 epochs: 1/5 of both.
"""

from __future__ import annotations

import argparse
import runpy
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import models  # noqa: E402
from core.datasets import get_dataset  # noqa: E402
from core.devices import use_device  # noqa: E402
from core.flags.likes import resolved  # noqa: E402
from models import LossBasedLRv1, MarginAscentLR, NumericalFailure, TrainMode  # noqa: E402

import tensorflow as tf  # noqa: E402  isort: skip

PROBLEMS = {'digits': ('exper-ascent-digits', None), 'mnist-5000': ('exper-ascent-mnist', 5000),
            'mnist': ('exper-ascent-mnist', None)}
LOG_LN_10 = float(np.log(np.log(10)))
"""The frame before the first epoch."""


class Reached(NamedTuple):
    """Where a run is: what it took so far, and the largest margin that it had."""

    epochs: int
    attempts: int
    seconds: float
    margin: float


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('--problem', choices=PROBLEMS, default='digits')
    parser.add_argument('--epochs', type=int, default=1000, help='of the loss-based rate (default: %(default)s)')
    parser.add_argument('--most', type=int, default=150, help='epochs of ascent (default: %(default)s)')
    parser.add_argument('--seeds', type=int, default=3, help='(default: %(default)s)')
    parser.add_argument('--alphas', type=float, nargs=2, default=(2 ** (1 / 5), 2 ** (1 / 10)),
                        help='of the loss-based rate (default: those of the paper)')
    parser.add_argument('--threads', type=int, default=1, help='of an operation (default: %(default)s)')
    return parser.parse_args()


def attempts_of(flags: dict[str, Any], dataset: Any, seed: int, alphas: Any) -> Iterator[Reached]:
    """Trains; yields after every accepted epoch. ``alphas`` None is ascent."""
    (x, y), _ = dataset
    began, attempts, epochs, most, spent = time.process_time(), 0, 0, -np.inf, 0.0
    frame = None if alphas is None else LOG_LN_10
    model = models.build_model(flags['arch'], x.shape[1:], TrainMode.ASCENT if alphas is None else TrainMode.USE_FRAME,
                               seed, **{**flags['model'], 'opt': 'adam' if alphas is None else 'gd'})
    if isinstance(model, models.AscentModel):
        model.ascend(flags['ascent'], x, y)
        scheduler: models.LRScheduler = MarginAscentLR(*flags['lr'][1:])
    else:
        scheduler = LossBasedLRv1(0.1, *alphas)
        scheduler.use_frame(LOG_LN_10)
    model.keep()
    lr = scheduler.get().lr
    while True:
        order = np.random.default_rng([seed, attempts]).permutation(len(x))
        info: Any = {'log_frame': frame, 'stats': None}
        try:
            model.train_epoch(x, y, order, flags['B'], lr, frame, flags['loss_ub'], seed=[seed, attempts])
            info['stats'] = model.get_stats(dataset, frame)[0]
        except NumericalFailure:
            pass
        attempts += 1
        cmd, lr = scheduler.get(info)
        if cmd == 'back':
            model.roll_back()
            continue
        model.keep()
        epochs += 1
        if frame is not None:
            frame += float(np.log(info['stats']['loss']))
        most = max(most, info['stats']['q_bar2_min'])
        spent += time.process_time() - began
        yield Reached(epochs, attempts, spent, most)
        began = time.process_time()  # what the other does meanwhile is not counted


def both(flags: dict[str, Any], dataset: Any, seed: int, given: argparse.Namespace) -> None:
    """Trains both ways, and prints what they took."""
    of_loss, of_ascent = (attempts_of(flags, dataset, seed, alphas) for alphas in (given.alphas, None))
    loss, ascent = [next(of_loss)], [next(of_ascent)]
    while True:
        more_loss = len(loss) < given.epochs
        more_ascent = len(ascent) < given.most and (more_loss or ascent[-1].margin < 2 * loss[-1].margin)
        if not more_loss and not more_ascent:
            break
        if more_loss and (not more_ascent or len(loss) * given.most <= len(ascent) * given.epochs):
            loss.append(next(of_loss))
        else:
            ascent.append(next(of_ascent))
    last = loss[-1]
    print(f'seed {seed}: the loss-based rate has {last.margin:.3e} after {last.epochs} epochs, {last.attempts} '
          f'attempts, {last.seconds:.0f} s')
    for factor in (1, 2):
        there = next((r for r in ascent if r.margin >= factor * last.margin), None)
        if there is None:
            print(f'  {factor} times that: not in {len(ascent)} epochs of ascent, {ascent[-1].seconds:.0f} s '
                  f'({ascent[-1].margin:.3e})', flush=True)
            continue
        print(f'  {factor} times that by ascent after {there.epochs} epochs (1/{last.epochs / there.epochs:.1f}), '
              f'{there.attempts} attempts (1/{last.attempts / there.attempts:.1f}), {there.seconds:.0f} s '
              f'(1/{last.seconds / there.seconds:.1f})', flush=True)


def main() -> None:
    given = options()
    print(f'device: {use_device(None, given.threads).text}')
    name, images = PROBLEMS[given.problem]
    flags = resolved(runpy.run_path(str(ROOT / 'experiments' / f'{name}.py'))['FLAGS'])
    parts = get_dataset(flags['dataset'])
    dataset = tuple(tuple(map(tf.constant, (x[:images], y[:images]))) for x, y in parts)
    for seed in range(1, given.seeds + 1):
        both(flags, dataset, seed, given)


if __name__ == '__main__':
    main()
