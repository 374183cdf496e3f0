"""exper-large-margin-mnist on 5,000 images for 5 epochs, for a machine without a GPU.

    ./run.sh exper-large-margin-mnist-short
"""

import core
from models import BiasMode

FLAGS = {
    'dataset': 'mnist',
    'arch': 'simple_sequential',
    'objective': {
        'type': 'large-margin',
        'layers': 'all',
        'norm': 2,
        'gamma': 2.0,
        'top_k': 3,
        'aggregate': 'sum',
    },
    'lr': 1e-3,
    'archive': 5,
    'train_N': 5000,
    'test_N': 2000,
    'E': 5,
    'B': 50,
    'model': {
        'description': [
            ['C', 32, [5, 5]],
            ['P'],
            ['C', 64, [5, 5]],
            ['P'],
            ['F', 512],
            ['F', 512],
            ['F', 10, {'act': False}],
        ],
        'bias_mode': BiasMode.ALL,
        'init': {'weight': 'he_normal'},
        'opt': 'adam',
    },
    'loss_ub': 1e9,
    'print': False,
}

if __name__ == '__main__':
    core.app_start(FLAGS)
