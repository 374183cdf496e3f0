"""A step of adversarial training against plain steps, and AutoAttack against its own passes and its authors' code.

    python benchmarks/adversarial.py                      (from the checkout, with the environment that run.sh makes)
    python benchmarks/adversarial.py --part steps --rounds 3                                       (a quick trial)

The network is the LeNet of Liu et al. for MNIST. A step with K steps of PGD is 2 K + 3 passes: forward and, for
gradients of images, backward; then forward and twice backward, for those of weights. A plain step is 3, so the least it
can take is (2 K + 3) / 3 plain steps. Goal: at most 1.15 times that.

AutoAttack, the standard version, attacks images that it does not break, on a network that was trained adversarially
for a little while. A network that counts tells how often it asks for logits, with and without gradients; what as
many calls of the bare compiled network take, with a batch of that size, is the least it can take. Goal: at most 1.15
times that.

All take turns to be timed, and ratios are of medians: by the clock, and (in brackets) of what the cores were busy,
which other processes disturb less. With PyTorch and the authors' package 'autoattack' in the path (it is in no
registry: github.com/fra31/auto-attack), that attacks the same images on the same weights. Goals: at least 99.5 % of the
images with the same end, in half the time.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import models  # noqa: E402
from core.datasets import get_dataset  # noqa: E402
from core.devices import use_device  # noqa: E402
from models.attacks import AutoAttack  # noqa: E402
from models.attacks.quick_gradient import quick_to_differentiate  # noqa: E402
from models.objectives import Adversarial, CrossEntropy  # noqa: E402

import keras  # noqa: E402  isort: skip
import tensorflow as tf  # noqa: E402  isort: skip

BATCH, GOAL = 50, 1.15
STEPS = (10, 50)
TRAINED = 5000
"""Images that the network is trained on."""


class Took(NamedTuple):
    """Seconds by the clock, and of all cores together."""

    wall: float
    busy: float

    def over(self, other: Took) -> str:
        return f'{self.wall / other.wall:.3f} ({self.busy / other.busy:.3f})'

    def times(self, n: float) -> Took:
        return Took(self.wall * n, self.busy * n)


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('--width', type=int, default=4, help='of the network (default: %(default)s; the paper has 16)')
    parser.add_argument('--images', type=int, default=50, help='attacked (default: %(default)s)')
    parser.add_argument('--eps', type=float, default=0.1, help='L-infinity budget (default: %(default)s)')
    parser.add_argument('--epochs', type=int, default=3, help='of training (default: %(default)s)')
    parser.add_argument('--rounds', type=int, default=5, help='timed turns of steps (default: %(default)s)')
    parser.add_argument('--turns', type=int, default=1, help='timed turns of AutoAttack (default: %(default)s)')
    parser.add_argument('--threads', type=int, help='of an operation; all cores by default')
    parser.add_argument('--part', choices=['steps', 'attacks', 'peer'], action='append', help='all by default')
    return parser.parse_args()


def timed(call: Callable[[], Any]) -> tuple[Took, Any]:
    start, busy = time.perf_counter(), time.process_time()
    result = call()
    return Took(time.perf_counter() - start, time.process_time() - busy), result


def median(several: Iterable[Took]) -> Took:
    return Took(*np.median(list(several), axis=0).tolist())


def new_model(width: int) -> models.Model:
    return models.build_model('lenet', (28, 28, 1), models.TrainMode.NORMAL, width=width, seed=1)


# ---- a step of training ----

def step_of(width: int, objective: Any, x: np.ndarray, y: np.ndarray, steps: int) -> Callable[[], None]:
    """Some steps, which leave the weights all but as they are."""
    model = new_model(width)
    model.minimise(objective, len(x))
    order = np.tile(np.arange(len(x)), steps)
    return lambda: model.train_epoch(x, y, order, len(x), 1e-12)


def measure_steps(width: int, x: np.ndarray, y: np.ndarray, rounds: int) -> None:
    plain_steps = 2 * STEPS[0]
    kinds: dict[int, Callable[[], None]] = {0: step_of(width, CrossEntropy(), x, y, plain_steps)}
    kinds |= {k: step_of(width, Adversarial(0.1, k=k), x, y, 1) for k in STEPS}
    for step in kinds.values():
        step()  # compiles
    took: dict[int, list[Took]] = {k: [] for k in kinds}
    for _ in range(rounds):
        for k, step in kinds.items():
            took[k].append(timed(step)[0])
    plain = median(took[0]).times(1 / plain_steps)
    print(f'a plain step of {len(x)} images takes {plain.wall * 1e3:.2f} ms')
    for k in STEPS:
        limit = (2 * k + 3) / 3
        print(f'  with {k} steps of PGD it takes {median(took[k]).over(plain)} plain steps: '
              f'{median(took[k]).over(plain.times(limit))} of the limit {limit:.2f} (goal: at most {GOAL})')


# ---- AutoAttack and its own passes ----

class Counting(keras.layers.Layer):
    """Gives its input, and counts the images that pass it, forwards and backwards."""

    def __init__(self) -> None:
        super().__init__()
        self.forward, self.backward = (tf.Variable(0, dtype=tf.int64, trainable=False) for _ in range(2))

    def call(self, x):
        @tf.custom_gradient
        def counted(x):
            self.forward.assign_add(tf.shape(x, tf.int64)[0])

            def grad(up):
                self.backward.assign_add(tf.shape(up, tf.int64)[0])
                return up
            return tf.identity(x), grad
        return counted(x)


def passes(net: keras.Model, eps: float, x: np.ndarray, y: np.ndarray) -> dict[str, tuple[float, float]]:
    """How often each of AutoAttack's attacks asks for the logits of an image, without and with a gradient."""
    counting = Counting()
    wrapped = keras.Sequential([keras.Input(x.shape[1:]), counting, net])
    found: dict[str, tuple[float, float]] = {}
    for name, attack in AutoAttack(wrapped, 'Linf', eps).members.items():
        if attack.has_budgets:
            attack.eps_list = [eps]
        counting.forward.assign(0)
        counting.backward.assign(0)
        attack.attack(x, y, 1)
        forward, backward = (int(n.numpy()) / len(x) for n in (counting.forward, counting.backward))
        found[name] = forward - backward, backward
    return found


def bare_calls(net: keras.Model, x: np.ndarray) -> tuple[Callable[[], None], Callable[[], None]]:
    """A call of the compiled network, and one with a gradient."""
    quick, images = quick_to_differentiate(net), tf.constant(x)

    @tf.function
    def logits(x):
        return net(x, training=False)

    @tf.function
    def gradient(x):
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(x)
            total = tf.reduce_sum(quick(x))
        return tape.gradient(total, x)
    return lambda: logits(images).numpy(), lambda: gradient(images).numpy()


def measure_passes(net: keras.Model, eps: float, x: np.ndarray, y: np.ndarray, turns: int) -> None:
    counts = passes(net, eps, x, y)
    attack, calls = AutoAttack(net, 'Linf', eps), bare_calls(net, x)
    for call in (lambda: attack.attack(x[:2], y[:2], 1), *calls):
        call()  # compiles
    took: dict[str, list[Took]] = {name: [] for name in counts}
    bare: list[list[Took]] = [[], []]
    for _ in range(turns):
        for name, member in attack.members.items():
            if member.has_budgets:
                member.eps_list = [eps]
            for times, call in zip(bare, calls):
                times += [timed(call)[0] for _ in range(30)]
            took[name].append(timed(lambda member=member: member.attack(x, y, 1))[0])
    logits, gradient = map(median, bare)
    print(f'of {len(x)} images that stand: logits {logits.wall * 1e3:.2f} ms, with gradients '
          f'{gradient.wall * 1e3:.2f} ms')
    total, least = [], []
    for name, (forward, backward) in counts.items():
        total.append(median(took[name]))
        least.append(Took(*(forward * f + backward * g for f, g in zip(logits, gradient))))
        print(f'  {name:9} {forward:6.0f} without, {backward:5.0f} with gradient: {total[-1].wall:7.1f} s, '
              f'{total[-1].over(least[-1])} times what these take alone')
    together, alone = (Took(*np.sum(several, axis=0).tolist()) for several in (total, least))
    print(f'  together {together.wall / len(x):.3f} s an image, {together.over(alone)} times (goal: at most {GOAL})')


# ---- AutoAttack and its authors' ----

def measure_peer(net: keras.Model, eps: float, x: np.ndarray, y: np.ndarray, turns: int) -> None:
    try:
        import torch
        from autoattack import AutoAttack as Theirs
        from torch_twin import torch_twin
    except ImportError as e:
        print(f'the attack of its authors was left out: {e}')
        return
    twin = torch_twin(net)
    images, labels = torch.tensor(x.transpose(0, 3, 1, 2).copy()), torch.tensor(y.astype(np.int64))
    with torch.no_grad():
        apart = np.abs(twin(images).numpy() - net(x, training=False).numpy()).max()
    ours, theirs = AutoAttack(net, 'Linf', eps), Theirs(twin, 'Linf', eps, seed=1, verbose=False, device='cpu')
    ours.eps_list = [1e-6]  # within which images stand, so that this compiles all attacks
    ours.attack(x[:8], y[:8], 1)
    ours.eps_list = [eps]
    took: list[list[Took]] = [[], []]
    for _ in range(turns):
        for times, call in zip(took, (lambda: ours.attack(x, y, 1).success, lambda: theirs.run_standard_evaluation(
                images, labels, bs=len(x), return_labels=True)[1].numpy() != y)):
            seconds, broken = timed(call)
            times.append(seconds)
            if times is took[0]:
                by_ours = broken
    same = (by_ours == broken).mean()
    print(f'{len(x)} images on equal weights (logits differ by {apart:.1e}): ours breaks {by_ours.sum()}, theirs '
          f'{broken.sum()}; {same:.2%} have the same end (goal: 99.5 %)')
    print(f'  ours takes {median(took[0]).wall:.1f} s, theirs {median(took[1]).wall:.1f} s: '
          f'{median(took[0]).over(median(took[1]))} (goal: at most 0.5)')


def trained(width: int, eps: float, epochs: int, x: np.ndarray, y: np.ndarray) -> keras.Model:
    """A network that was trained by PGD of five steps."""
    model = new_model(width)
    keras.utils.set_random_seed(1)
    training = models.ObjectiveModel(model.net, Adversarial(eps, k=5))
    training.compile(keras.optimizers.Adam(1e-3))
    training.fit(x, y, batch_size=BATCH, epochs=epochs, verbose=0)
    return model.net


def main() -> None:
    given = options()
    print(f'device: {use_device(None, given.threads).text}')
    (x, y), (x_test, y_test) = get_dataset('mnist')
    parts = given.part or ['steps', 'attacks', 'peer']
    if 'steps' in parts:
        measure_steps(given.width, x[:BATCH], y[:BATCH], given.rounds)
    if {'attacks', 'peer'} & set(parts):
        net = trained(given.width, given.eps, given.epochs, x[:TRAINED], y[:TRAINED])
        x, y = x_test[:2 * given.images], y_test[:2 * given.images]
        if 'attacks' in parts:
            quick = AutoAttack(net, 'Linf', given.eps, 'custom', ['apgd-ce', 'apgd-t']).attack(x, y, 1)
            stand = np.flatnonzero(~quick.success)[:given.images]
            measure_passes(net, given.eps, x[stand], y[stand], given.turns)
        if 'peer' in parts:
            measure_peer(net, given.eps, x[:given.images], y[:given.images], given.turns)


if __name__ == '__main__':
    main()
