"""Elsayed et al. (arXiv 1803.05598): MNIST with the cross entropy, and with large margins in the L1, L2 and Linf norms,
at the images, at the hidden layers, and at all of them.

    ./run.sh  sweep-large-margin-mnist --gpu 0

30 runs of 20 epochs. sweep-large-margin-mnist-short is a small part of it, for a machine without a GPU.
"""

import core

MARGIN = {'type': 'large-margin', 'top_k': 3, 'aggregate': 'sum'}
NORMS = {'l1': {'norm': 1, 'gamma': 20.0}, 'l2': {'norm': 2, 'gamma': 2.0}, 'linf': {'norm': 'inf', 'gamma': 0.2}}
LAYERS = {'input': ['input'], 'hidden': 'hidden', 'all layers': 'all'}

SWEEP = {
    'like': 'sweep-large-margin-mnist-noisy',
    'axes': {
        'noise': {'0': {}},
        'loss': {
            'cross entropy': {'objective': 'cross-entropy'},
            **{f'{norm} margin, {where}': {'objective': {**MARGIN, **NORMS[norm], 'layers': layers}}
               for norm in NORMS for where, layers in LAYERS.items()},
        },
    },
}

if __name__ == '__main__':
    core.sweep_start(SWEEP)
