"""Flavours of margin on scikit-learn's digits: steepest descent in several norms, each down to losses of 1e-300.

    ./run.sh  sweep-flavours-digits
    ./plot.sh table-flavours logs/sweep-flavours-digits

The quickstart's network on 100 images, whole batches, a momentum of 0.9, steps of constant size.
"""

import core

SWEEP = {
    'base': {
        'like': 'exper-quickstart-digits',
        'train_N': 100,
        'test_N': 100,
        'B': 100,
        'E': 500,
        'log_frame0': 3.0,
        'archive': ('logloss', 10 ** 50),
        'monitors': [('norm-margins', 5)],
    },
    'axes': {
        'optimizer': {
            'gradient, L2': {
                'model.opt': {'type': 'normalised', 'whole': True, 'momentum': 0.9},
                'lr': ('loss-based-v1', 0.4, 1.0, 2 ** 0.5, 1e6)},
            'gradient, layers': {
                'model.opt': {'type': 'normalised', 'momentum': 0.9},
                'lr': ('loss-based-v1', 0.2, 1.0, 2 ** 0.5, 1e6)},
            'sign': {
                'model.opt': {'type': 'sign', 'momentum': 0.9},
                'lr': ('loss-based-v1', 0.005, 1.0, 2 ** 0.5, 1e6)},
            'Adam': {
                'model.opt': 'scale-free-adam',
                'lr': ('loss-based-v1', 0.012, 1.0, 2 ** 0.5, 1e6)},
            'Muon': {
                'model.opt': {'type': 'muon', 'momentum': 0.9},
                'lr': ('loss-based-v1', 0.02, 1.0, 2 ** 0.5, 1e6)},
        },
    },
    'seeds': [1, 2, 3],
}

if __name__ == '__main__':
    core.sweep_start(SWEEP)
