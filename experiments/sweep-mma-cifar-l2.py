"""WRN-28-4 on CIFAR-10, L2: the cross entropy, PGD with fixed and with growing budgets, MMA and OMMA, at the
sizes of Ding et al. (arXiv 1812.02637).

    ./run.sh  sweep-mma-cifar-l2 --gpu 0
"""

import core

PGD = {'type': 'adversarial', 'norm': 'L2', 'k': 10}
GROWING = {'type': 'linear', 'start_v': 0.0, 'slope': 1 / 50_000, 'max': 1.0}
MMA = {'type': 'mma', 'norm': 'L2', 'min_eps': 0.5, 'k': 10}
BUDGETS = {'0.5': 0.5, '1.0': 1.0, '1.5': 1.5, '2.0': 2.0, '2.5': 2.5}
HINGES = {'1.0': 1.0, '2.0': 2.0, '3.0': 3.0}

SWEEP = {
    'base': {'like': 'exper-mma-cifar-l2-3'},
    'axes': {
        'model': {
            'cross entropy': {'objective': 'cross-entropy'},
            **{f'PGD-{name}': {'objective': {**PGD, 'eps': eps}} for name, eps in BUDGETS.items()},
            **{f'PGDLS-{name}': {'objective': {**PGD, 'eps': {'value': eps, 'schedule': GROWING}}}
               for name, eps in BUDGETS.items()},
            **{f'{kind}-{name}': {'objective': {**MMA, 'hinge': hinge, 'c': c}}
               for name, hinge in HINGES.items() for kind, c in (('MMA', 1 / 3), ('OMMA', 0.0))},
        },
    },
    'seeds': [0],
}

if __name__ == '__main__':
    core.sweep_start(SWEEP)
