"""MMA training on scikit-learn's embedded digits: no download, no GPU.

    ./run.sh exper-mma-digits
"""

import core
from models import BiasMode, TrainMode

FLAGS = {
    'dataset': 'digits',
    'validation_N': ('first', 200),
    'arch': 'simple_sequential',
    'lr': 1e-3,
    'archive': 10,
    'E': 30,
    'B': 50,
    'train_mode': TrainMode.NORMAL,
    'model': {
        'description': [
            ['C', 16, [3, 3]],
            ['P'],
            ['C', 32, [3, 3]],
            ['P'],
            ['F', 64],
            ['F', 10, {'act': False}],
        ],
        'bias_mode': BiasMode.ALL,
        'init': {'weight': 'he_normal'},
        'opt': 'adam',
    },
    'objective': {'type': 'mma', 'norm': 'Linf', 'hinge': 0.3, 'k': 10},
    'print': False,
}

if __name__ == '__main__':
    core.app_start(FLAGS)
