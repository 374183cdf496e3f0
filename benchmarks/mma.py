"""A step of MMA training against plain steps, on LeNet5 for MNIST (40 steps of PGD) and the quickstart's network (10).

    python benchmarks/mma.py                              (from the checkout, with the environment that run.sh makes)
    python benchmarks/mma.py --network digits --rounds 3                                           (a quick trial)

The images are random, and labelled as the network has them, so that all are right; the hinge is so large that all are
trained on. With K steps of PGD, a search of 10 and a clean loss, such a step is 2 K + 10 + 6 passes: forward and, for
gradients of images, backward; two more, forward and twice backward, for the gradients of weights. A plain step is 3, so
the least it can take is (2 K + 16) / 3 plain steps. Goal: at most 1.15 times that. Wrong images are to cost nothing but
their share of two passes: the last line has a batch that is all wrong, for which 2 plain steps are the limit.

Steps are compiled, and take turns to be timed; a ratio is of medians. With PyTorch installed, the same passes as the
released code makes them (2 K + 17: one of the search is not used) are timed there, too.
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
from models.objectives import MMA, CrossEntropy, Objective  # noqa: E402

BATCH = 50
GOAL = 1.15
NETWORKS = {
    'mnist': ((28, 28, 1), [['C', 32, [5, 5]], ['P'], ['C', 64, [5, 5]], ['P'], ['F', 1024], ['F', 10, {'act': False}]],
              40),
    'digits': ((8, 8, 1), [['C', 16, [3, 3]], ['P'], ['C', 32, [3, 3]], ['P'], ['F', 64], ['F', 10, {'act': False}]],
               10)}


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('--rounds', type=int, default=10, help='timed turns (default: %(default)s)')
    parser.add_argument('--network', choices=NETWORKS, help='one of them alone')
    parser.add_argument('--threads', type=int, help='of an operation; all cores by default')
    return parser.parse_args()


def model_of(shape: tuple[int, ...], description: list) -> models.Model:
    init = {'weight': 'torch', 'bias': 'torch'}
    return models.SimpleSequential('model', shape, description, models.BiasMode.ALL, init=init,
                                   train_mode=models.TrainMode.NORMAL, seed=1)


def step_of(model: models.Model, objective: Objective, x: np.ndarray, y: np.ndarray, steps: int) -> Callable[[], None]:
    """Some steps, which leave the weights all but as they are."""
    model.minimise(objective, len(x))
    order = np.tile(np.arange(len(x)), steps)
    return lambda: model.train_epoch(x, y, order, len(x), 1e-12)


def torch_step(description: list, shape: tuple[int, ...], x: np.ndarray, k: int) -> Callable[[], None] | None:
    """The passes of a released step in PyTorch, on the same layers; None where there is none."""
    try:
        import torch
    except ImportError:
        return None
    from torch import nn
    layers, (size, _, channels) = [], shape
    for kind, *rest in description:
        if kind == 'C':
            layers += [nn.Conv2d(channels, rest[0], rest[1], padding='same'), nn.ReLU()]
            channels = rest[0]
        elif kind == 'P':
            layers.append(nn.MaxPool2d(2))
            size //= 2
        else:
            if not any(isinstance(layer, nn.Flatten) for layer in layers):
                layers.append(nn.Flatten())
                channels *= size ** 2
            layers += [nn.Linear(channels, rest[0]), nn.ReLU()]
            channels = rest[0]
    net = nn.Sequential(*layers[:-1])
    images = torch.tensor(x.transpose(0, 3, 1, 2).copy())
    labels = net(images).argmax(1)
    entropy = nn.CrossEntropyLoss(reduction='sum')

    def train_pass(at):
        net.zero_grad()
        entropy(net(at), labels).backward()

    def step():
        train_pass(images)
        for p in net.parameters():
            p.requires_grad_(False)
        at = images.clone()
        for _ in range(k):
            at.requires_grad_(True)
            (gradient,) = torch.autograd.grad(entropy(net(at), labels), at)
            at = (at.detach() + 1e-3 * gradient.sign()).clamp(0, 1)
        for p in net.parameters():
            p.requires_grad_(True)
        for _ in range(11):  # with what gradients need, as released
            net(at)
        train_pass(at)
    return step


def seconds(step: Callable[[], None]) -> float:
    start = time.perf_counter()
    step()
    return time.perf_counter() - start


def measure(name: str, rounds: int) -> None:
    shape, description, k = NETWORKS[name]
    x = np.random.default_rng(0).random((BATCH, *shape), dtype=np.float32)
    y = model_of(shape, description).net(x).numpy().argmax(axis=1)
    limit, plain_steps = (2 * k + 16) / 3, 2 * k
    mma = {'k': k, 'min_eps': 1e-3, 'correct': 'argmax'}
    kinds = {
        'plain': step_of(model_of(shape, description), CrossEntropy(), x, y, plain_steps),
        'mma': step_of(model_of(shape, description), MMA(0.9, **mma), x, y, 1),
        'wrong': step_of(model_of(shape, description), MMA(0.9, **mma), x, (y + 1) % 10, k)}
    if (released := torch_step(description, shape, x, k)) is not None:
        kinds['torch'] = released
    for step in kinds.values():
        step()  # compiles
    times: dict[str, list[float]] = {kind: [] for kind in kinds}
    for _ in range(rounds):
        for kind, step in kinds.items():
            times[kind].append(seconds(step))
    took = {kind: float(np.median(t)) for kind, t in times.items()}
    plain, wrong = took['plain'] / plain_steps, took['wrong'] / k
    ratio = took['mma'] / plain
    print(f'{name}, K = {k}, batches of {BATCH}')
    print(f'  plain step           {plain * 1e3:8.2f} ms')
    print(f'  MMA step             {took["mma"] * 1e3:8.2f} ms: {ratio:.2f} plain steps, {ratio / limit:.3f} of the '
          f'limit {limit:.2f} (goal: at most {GOAL})')
    print(f'  all images wrong     {wrong * 1e3:8.2f} ms: {wrong / plain:.2f} plain steps (limit: 2)')
    if 'torch' in took:
        print(f'  the same in PyTorch  {took["torch"] * 1e3:8.2f} ms: {took["torch"] / took["mma"]:.2f} times as long')


def main() -> None:
    given = options()
    print(f'device: {use_device(None, given.threads).text}')
    for name in [given.network] if given.network else NETWORKS:
        measure(name, given.rounds)


if __name__ == '__main__':
    main()
