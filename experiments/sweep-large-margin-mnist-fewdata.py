"""Elsayed et al. (arXiv 1803.05598), section 4.2: MNIST with few training images, for the cross entropy and for large
margins (L2) at the images, at the hidden layers, and at all of them.

    ./run.sh  sweep-large-margin-mnist-fewdata --gpu 0
    ./plot.sh figure-large-margin-fewdata logs/sweep-large-margin-mnist-fewdata

From 68 images, 0.125 % of the first 55,000, to all of these, in 96 runs. The fewer the images, the more epochs: over
1,000 steps for each. sweep-large-margin-mnist-fewdata-short is a small part of it, for a machine without a GPU.
"""

import core

MARGIN = {'type': 'large-margin', 'norm': 2, 'gamma': 2.0, 'top_k': 3, 'aggregate': 'sum'}

SWEEP = {
    'base': {'like': 'exper-large-margin-mnist', 'archive': 'idle', 'train_N': 55000},
    'axes': {
        'fraction': {
            '0.00125': {'train_fraction': 0.00125, 'B': 10, 'E': 200},
            '0.005': {'train_fraction': 0.005, 'B': 25, 'E': 120},
            '0.02': {'train_fraction': 0.02, 'B': 50, 'E': 100},
            '0.05': {'train_fraction': 0.05, 'B': 50, 'E': 50},
            '0.1': {'train_fraction': 0.1, 'B': 50, 'E': 30},
            '0.25': {'train_fraction': 0.25, 'B': 50, 'E': 20},
            '0.5': {'train_fraction': 0.5, 'B': 50, 'E': 20},
            '1': {'train_fraction': 1.0, 'B': 50, 'E': 20},
        },
        'loss': {
            'cross entropy': {'objective': 'cross-entropy'},
            'margin, input': {'objective': {**MARGIN, 'layers': ['input']}},
            'margin, hidden': {'objective': {**MARGIN, 'layers': 'hidden'}},
            'margin, all layers': {'objective': {**MARGIN, 'layers': 'all'}},
        },
    },
    'seeds': [1, 2, 3],
}

if __name__ == '__main__':
    core.sweep_start(SWEEP)
