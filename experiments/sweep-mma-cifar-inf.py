"""WRN-28-4 on CIFAR-10, L-infinity: the cross entropy, PGD with fixed and with growing budgets, MMA and OMMA, at the
sizes of Ding et al. (arXiv 1812.02637).

    ./run.sh  sweep-mma-cifar-inf --gpu 0
"""

import core

PGD = {'type': 'adversarial', 'norm': 'Linf', 'k': 10}
GROWING = {'type': 'linear', 'start_v': 0.0, 'slope': 1 / 50_000, 'max': 1.0}
MMA = {'type': 'mma', 'norm': 'Linf', 'min_eps': 0.005, 'k': 10}
BUDGETS = {f'{n}': n / 255 for n in (4, 8, 12, 16, 20, 24, 28, 32)}
HINGES = {f'{n}': n / 255 for n in (12, 20, 32)}

SWEEP = {
    'base': {'like': 'exper-mma-cifar-inf-32'},
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
