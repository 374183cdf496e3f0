"""LeNet5 on MNIST, L-infinity: the cross entropy, PGD with fixed and with growing budgets, MMA and OMMA, at the
sizes of Ding et al. (arXiv 1812.02637).

    ./run.sh  sweep-mma-mnist-inf --gpu 0
"""

import core

PGD = {'type': 'adversarial', 'norm': 'Linf', 'k': 40}
GROWING = {'type': 'linear', 'start_v': 0.0, 'slope': 1 / 100_000, 'max': 1.0}
MMA = {'type': 'mma', 'norm': 'Linf', 'min_eps': 0.1, 'k': 40}
BUDGETS = {'0.1': 0.1, '0.2': 0.2, '0.3': 0.3, '0.4': 0.4, '0.45': 0.45}
HINGES = {'0.45': 0.45}

SWEEP = {
    'base': {'like': 'exper-mma-mnist-inf'},
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
