"""A small homogeneous CNN on scikit-learn's embedded digits: no download, no GPU.

    ./run.sh exper-quickstart-digits

About 95 seconds on 2 CPU cores. With --seed 1: fitted in epoch 10, a loss of 1e-100 in epoch 758, 1e-127 at the end.
"""

import core
from models import BiasMode, TrainMode

FLAGS = {
    'dataset': 'digits',
    'arch': 'simple_sequential',
    'lr': ('loss-based-v1', 0.1, 2 ** (1 / 5), 2 ** (1 / 10)),
    'archive': ('logloss', 10 ** 10),
    'E': 1000,
    'B': 20,
    'train_mode': TrainMode.USE_FRAME,
    'model': {
        'description': [
            ['C', 16, [3, 3]],
            ['P'],
            ['C', 32, [3, 3]],
            ['P'],
            ['F', 64],
            ['F', 10, {'act': False}],
        ],
        'bias_mode': BiasMode.FIRST_LAYER,
        'init': {'weight': 'he_normal'},
        'opt': 'gd',
    },
    'loss_ub': 600.0,
    'print': False,
    'threads': 1,  # for operations as small as these, a second thread costs more than it does
}

if __name__ == '__main__':
    core.app_start(FLAGS)
