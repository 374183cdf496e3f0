"""Elsayed et al. (arXiv 1803.05598), section 4.1: MNIST with switched training labels, for the cross entropy and for
large margins in the L1, L2 and Linf norms at the images and all hidden layers.

    ./run.sh  sweep-large-margin-mnist-noisy --gpu 0
    ./plot.sh figure-large-margin-noisy logs/sweep-large-margin-mnist-noisy

60 runs of 20 epochs. sweep-large-margin-mnist-noisy-short is a small part of it, for a machine without a GPU.

The three best competitors count ('sum' over 3): where the right class has less than half of the labels of an image, as
with a noise of 0.6, the hinge of the best competitor alone is smallest for a network that tells no classes apart.
"""

import core

MARGIN = {'type': 'large-margin', 'layers': 'all', 'top_k': 3, 'aggregate': 'sum'}

SWEEP = {
    'base': {'like': 'exper-large-margin-mnist', 'archive': 'idle'},
    'axes': {
        'noise': {f'{share:g}': {'label_noise': share} for share in (0.0, 0.2, 0.4, 0.6, 0.8)},
        'loss': {
            'cross entropy': {'objective': 'cross-entropy'},
            'l1 margin': {'objective': {**MARGIN, 'norm': 1, 'gamma': 20.0}},
            'l2 margin': {'objective': {**MARGIN, 'norm': 2, 'gamma': 2.0}},
            'linf margin': {'objective': {**MARGIN, 'norm': 'inf', 'gamma': 0.2}},
        },
    },
    'seeds': [1, 2, 3],
}

if __name__ == '__main__':
    core.sweep_start(SWEEP)
