"""Label noise on scikit-learn's digits, with the cross entropy and with the large margin loss: no download, no GPU.

    ./run.sh  sweep-large-margin-digits-noisy
    ./plot.sh figure-large-margin-noisy logs/sweep-large-margin-digits-noisy

The mechanics of sweep-large-margin-mnist-noisy, small.
"""

import core

MARGIN = {'type': 'large-margin', 'layers': 'all', 'top_k': 'all', 'aggregate': 'sum'}

SWEEP = {
    'base': {
        'dataset': 'digits',
        'lr': 1e-3,
        'E': 20,
        'B': 20,
        'loss_ub': 1e9,
        'model': {
            'description': [
                ['C', 16, [3, 3]],
                ['P'],
                ['F', 64],
                ['F', 10, {'act': False}],
            ],
            'init': {'weight': 'he_normal'},
            'opt': 'adam',
            'clip_norm': 5.0,
        },
        'print': False,
        'threads': 1,
    },
    'axes': {
        'noise': {f'{share:g}': {'label_noise': share} for share in (0.0, 0.2, 0.4, 0.6, 0.8)},
        'loss': {
            'cross entropy': {'objective': 'cross-entropy'},
            'l2 margin': {'objective': {**MARGIN, 'norm': 2, 'gamma': 1.0}},
        },
    },
    'seeds': [1, 2],
}

if __name__ == '__main__':
    core.sweep_start(SWEEP)
