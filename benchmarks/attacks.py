"""Attacks on a briefly trained CNN: the cost of an iteration, against Foolbox 3, and the time to a tight distance.

    python benchmarks/attacks.py                          (from the checkout, with the environment that test.sh makes)
    python benchmarks/attacks.py --epochs 1 --images 32 --cw_steps 50                                  (a quick trial)

All attacks get the same MNIST training images, which the network classifies correctly. The cost of an iteration is the
difference between a long and a short run, over that of their steps, in settings where no image finishes early: PGD has
too small a budget, DeepFool stops halfway to the boundary (an overshoot of -0.5), Carlini and Wagner's attack (CW) does
not abort. The bare cost is that of the same Keras model, called directly in a tf.function; all take turns to be timed.

Against Foolbox, ours are compiled beforehand, in a run on one image; Foolbox's, which are eager, have taken one step on
all images. An image for which an attack fails counts as infinitely far. CW takes its steps for each of 9 constants. PGD
is L-infinity, within 0.1 and from one random start.

Distances are judged by their median; the best is the least of any run here, Foolbox's included. How soon ours come
within 1 % of it is looked for among a few numbers of steps, and timed thrice (L2Fast, of eight searches, once).
"""

from __future__ import annotations

import argparse
import runpy
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import models  # noqa: E402
from core.datasets import get_dataset  # noqa: E402
from core.devices import use_device  # noqa: E402
from models.attacks import DDN, FMN, PGD, Attack, CarliniL2, L2DeepFool, L2Fast  # noqa: E402

ROUNDS = 3  # of short timings
CANDIDATES = 10  # of DeepFool: gradients per iteration
PGD_EPS = 0.1
LADDER = (10, 15, 20, 30, 40, 60, 100)  # steps
GOALS = {'Foolbox DDN 1000': 10, 'our CW': 90, 'Foolbox CW': 90}  # how many times less time it should take


class Comparison(NamedTuple):
    """Our attack, and the class, steps and settings of Foolbox's."""

    ours: Attack
    theirs: str
    steps: int
    settings: dict[str, Any]


class Run(NamedTuple):
    """A run's time, and what it found: the median distance, and the share of images fooled."""

    seconds: float
    median: float
    share: float


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('--epochs', type=int, default=2, help='of training (default: %(default)s)')
    parser.add_argument('--images', type=int, default=128, help='attacked (default: %(default)s)')
    parser.add_argument('--cw_steps', type=int, default=1000, help='of CW, per constant (default: %(default)s)')
    parser.add_argument('--skip_foolbox', action='store_true', help='run our attacks only')
    return parser.parse_args()


def progress(text: str) -> None:
    print(f'... {text}', file=sys.stderr, flush=True)


def timed(call, *args) -> tuple[float, Any]:
    start = time.perf_counter()
    result = call(*args)
    return time.perf_counter() - start, result


def trained(x: np.ndarray, y: np.ndarray, epochs: int):
    """The paper's CNN, as a Keras model, trained with Adam."""
    import keras

    flags = runpy.run_path(str(ROOT / 'experiments/exper-final-mnist-cnn-loss-based-lr.py'))['FLAGS']
    keras.utils.set_random_seed(0)
    net = models.SimpleSequential('model', (28, 28, 1), train_mode=flags['train_mode'], seed=0, **flags['model']).net
    net.compile(keras.optimizers.Adam(), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    net.fit(x, y, batch_size=flags['B'], epochs=epochs, verbose=0)
    return net


def bare(net, x: np.ndarray):
    """A call of one forward pass and input gradient of the Keras model."""
    import tensorflow as tf

    @tf.function
    def gradient(x):
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(x)
            total = tf.reduce_sum(net(x, training=False))
        return tape.gradient(total, x)

    x = tf.constant(x)
    return lambda: gradient(x).numpy()


def halfway(net, steps: int) -> L2DeepFool:
    """A DeepFool that cannot arrive, which its constructor refuses."""
    attack = L2DeepFool(net, steps=steps, candidates=CANDIDATES)
    attack.overshoot = -0.5
    return attack


def short_and_long(net) -> dict[str, dict[int, Attack]]:
    """Of each attack, a short and a long run without early ends, by their steps."""
    return {
        'CW': {n: CarliniL2(net, max_iterations=n, binary_search_steps=1, abort_early=False) for n in (10, 40)},
        'DDN': {n: DDN(net, steps=n) for n in (10, 40)},
        'FMN': {n: FMN(net, steps=n) for n in (10, 40)},
        'DeepFool': {n: halfway(net, n) for n in (1, 5)},
        'PGD': {n: PGD(net, eps_list=[1e-6], k=n, repeat=1) for n in (10, 40)},
    }


def iteration_costs(net, x: np.ndarray, y: np.ndarray) -> tuple[float, dict[str, float]]:
    """Seconds of a bare forward pass and gradient, and of an iteration of each attack."""
    gradient, attacks, gradients, runs = bare(net, x), short_and_long(net), [], {}
    gradient()
    for pair in attacks.values():
        for attack in pair.values():
            attack.attack(x, y)  # compiles
    for _ in range(ROUNDS):
        gradients += [timed(gradient)[0] for _ in range(20)]
        for name, pair in attacks.items():
            runs.setdefault(name, []).append([timed(attack.attack, x, y)[0] for attack in pair.values()])
    costs = {}
    for name, times in runs.items():
        (n1, n2), (t1, t2) = attacks[name], np.min(times, axis=0)
        costs[name] = (t2 - t1) / (n2 - n1)
    return float(np.median(gradients)), costs


def comparisons(net, cw_steps: int) -> dict[str, Comparison]:
    ddn = {'init_epsilon': 1.0, 'gamma': 0.05}
    cw = {'binary_search_steps': 9, 'stepsize': 1e-2, 'initial_const': 1e-3, 'abort_early': True}
    deepfool = {'candidates': CANDIDATES, 'overshoot': 0.02}
    pgd = PGD(net, eps_list=[PGD_EPS], k=40, a=0.1, repeat=1)
    return {
        f'CW 9 x {cw_steps}': Comparison(
            CarliniL2(net, max_iterations=cw_steps), 'L2CarliniWagnerAttack', cw_steps, cw),
        'DDN 100': Comparison(DDN(net, steps=100, **ddn), 'DDNAttack', 100, ddn),
        'DDN 1000': Comparison(DDN(net, steps=1000, **ddn), 'DDNAttack', 1000, ddn),
        'DeepFool 50': Comparison(L2DeepFool(net, steps=50, **deepfool), 'L2DeepFoolAttack', 50,
                                  {'loss': 'logits', **deepfool}),
        'FMN 100': Comparison(FMN(net, steps=100), 'L2FMNAttack', 100, {}),
        'PGD 40': Comparison(pgd, 'LinfPGD', 40, {'rel_stepsize': 0.1}),
    }


def run_ours(attack: Attack, x: np.ndarray, y: np.ndarray, repeat: int = 1) -> Run:
    attack.attack(x[:1], y[:1])  # compiles
    runs = [timed(attack.attack, x, y, np.random.default_rng(0)) for _ in range(repeat)]
    result = runs[0][1]
    return Run(min(seconds for seconds, _ in runs), float(np.median(result.distances)), float(result.success.mean()))


def run_foolbox(net, c: Comparison, x: np.ndarray, y: np.ndarray) -> Run:
    import foolbox
    import tensorflow as tf

    tf.get_logger().setLevel('ERROR')  # Foolbox calls what TensorFlow deprecates
    model, images, labels = foolbox.TensorFlowModel(net, bounds=(0, 1)), tf.constant(x), tf.constant(y)
    eps = PGD_EPS if c.theirs == 'LinfPGD' else None

    def attack(steps: int):
        return getattr(foolbox.attacks, c.theirs)(steps=steps, **c.settings)(model, images, labels, epsilons=eps)

    attack(1)
    seconds, (_, found, success) = timed(attack, c.steps)
    found = found.numpy().astype(np.float64)
    success = success.numpy() & found.any(axis=(1, 2, 3))  # CW gives a black image where it finds nothing
    distances = np.where(success, np.sqrt(np.square(found - x).sum(axis=(1, 2, 3))), np.inf)
    return Run(seconds, float(np.median(distances)), float(success.mean()))


def require_foolbox() -> None:
    try:
        import foolbox  # noqa: F401
    except ImportError:
        sys.exit('Foolbox 3 is not installed: pip install foolbox, or leave it out with --skip_foolbox')


def climbed(net, x: np.ndarray, y: np.ndarray) -> dict[str, dict[int, Run]]:
    """Our minimum-norm attacks with few and more steps, by their steps."""
    attacks = {
        'DDN, annealed': lambda n: DDN(net, n, gamma=0.2, final_gamma=0.01, init_epsilon=None),
        'FMN': lambda n: FMN(net, n),
        'L2Fast, 2 searches': lambda n: L2Fast(net, n, starts=2),
        'L2Fast': lambda n: L2Fast(net, n),
    }
    return {name: {n: run_ours(attack(n), x, y, 1 if name == 'L2Fast' else ROUNDS) for n in LADDER}
            for name, attack in attacks.items()}


def print_table(*rows: list[str]) -> None:
    widths = [max(map(len, column)) for column in zip(*rows)]
    for first, *others in rows:
        print('   '.join([first.ljust(widths[0]), *(c.rjust(w) for c, w in zip(others, widths[1:]))]).rstrip())
    print()


def print_iterations(gradient: float, costs: dict[str, float]) -> None:
    rows = [['forward pass and input gradient, bare', f'{gradient * 1e3:.2f}', '1.00', '']]
    for name, cost in costs.items():
        goal = '' if name == 'DeepFool' else '<= 1.15'
        rows.append([name, f'{cost * 1e3:.2f}', f'{cost / gradient:.2f}', goal])
    each = costs['DeepFool'] / CANDIDATES
    rows.append(['DeepFool, per gradient', f'{each * 1e3:.2f}', f'{each / gradient:.2f}', '<= 1.15'])
    print_table(['an iteration', 'ms', 'of the bare cost', 'to reach'], *rows)


def print_comparisons(ours: dict[str, Run], theirs: dict[str, Run]) -> None:
    rows = [['at equal steps', 'ours', 'Foolbox', 'times faster', 'median L2: ours', 'Foolbox']]
    for name, run in ours.items():
        other = theirs.get(name)
        found = [f'{r.share:.1%} fooled' if name.startswith('PGD') else f'{r.median:.4f}' for r in (run, other) if r]
        rows.append([name, f'{run.seconds:.2f} s', f'{other.seconds:.2f} s' if other else '-',
                     f'{other.seconds / run.seconds:.1f}' if other else '-', *found, *['-'] * (2 - len(found))])
    print_table(*rows)


def print_tightness(climbs: dict[str, dict[int, Run]], bars: dict[str, Run], best: float) -> None:
    """``bars``: the runs to compare the time with, by their names in GOALS."""
    rows = [['within 1 % of that', 'steps', 'median L2', 'time', *(f'vs {name}' for name in GOALS)]]
    for name, climb in climbs.items():
        steps = next((n for n, run in climb.items() if run.median <= 1.01 * best), None)
        if steps is None:
            rows.append([name, f'> {LADDER[-1]}', f'{climb[LADDER[-1]].median:.4f}', *['-'] * (1 + len(GOALS))])
        else:
            run = climb[steps]
            ratios = [f'{bars[bar].seconds / run.seconds:.1f}' if bar in bars else '-' for bar in GOALS]
            rows.append([name, str(steps), f'{run.median:.4f}', f'{run.seconds:.2f} s', *ratios])
    print_table(*rows, ['to reach', '', '', '', *(f'>= {goal}' for goal in GOALS.values())])


def main() -> None:
    args = options()
    if not args.skip_foolbox:
        require_foolbox()
    device = use_device(None).text
    x, y = get_dataset('mnist').train
    progress('training')
    net = trained(x, y, args.epochs)
    right = np.flatnonzero(net.predict(x, batch_size=500, verbose=0).argmax(axis=1) == y)[:args.images]
    x, y = x[right], y[right]

    progress('iterations')
    gradient, costs = iteration_costs(net, x, y)
    ours, theirs = {}, {}
    for name, comparison in comparisons(net, args.cw_steps).items():
        progress(name)
        ours[name] = run_ours(comparison.ours, x, y)
        if not args.skip_foolbox:
            progress(f'{name}, Foolbox')
            theirs[name] = run_foolbox(net, comparison, x, y)
    progress('tightness')
    climbs = climbed(net, x, y)

    medians = {f'our {name}': run.median for name, run in ours.items() if 'PGD' not in name}
    medians |= {f'Foolbox {name}': run.median for name, run in theirs.items() if 'PGD' not in name}
    medians |= {f'our {name} {n}': run.median for name, climb in climbs.items() for n, run in climb.items()}
    nearest = min(medians, key=medians.get)
    cw = f'CW 9 x {args.cw_steps}'
    bars = {'our CW': ours[cw]}
    if theirs:
        bars |= {'Foolbox DDN 1000': theirs['DDN 1000'], 'Foolbox CW': theirs[cw]}

    print(f'{device}, {len(x)} images, epochs of training: {args.epochs}\n')
    print_iterations(gradient, costs)
    print_comparisons(ours, theirs)
    print(f'best median L2: {medians[nearest]:.4f}, by {nearest}; vs: how many times less time\n')
    print_tightness(climbs, bars, medians[nearest])


if __name__ == '__main__':
    main()
