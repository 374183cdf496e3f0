"""MNIST, CNN with a bias in the first layer only, loss-based learning rate: figures 1b and 4 of arXiv
1906.05890.

    ./run.sh exper-final-mnist-cnn-loss-based-lr --gpu 0
"""

import core
from models import BiasMode, TrainMode

FLAGS = {
    'dataset': 'mnist',
    'arch': 'simple_sequential',
    'lr': ('loss-based-v1', 0.1, 2 ** (1 / 5), 2 ** (1 / 10)),
    'archive': ('logloss', 10 ** 5),
    'E': 10000,
    'B': 100,
    'train_mode': TrainMode.USE_FRAME,
    'model': {
        'description': [
            ['C', 32, [5, 5]],
            ['P'],
            ['C', 64, [3, 3]],
            ['P'],
            ['F', 1024],
            ['F', 10, {'act': False}],
        ],
        'bias_mode': BiasMode.FIRST_LAYER,
        'init': {'weight': 'he_normal'},
        'opt': 'gd',
    },
    'loss_ub': 600.0,
    'print': True,
}

if __name__ == '__main__':
    core.app_start(FLAGS)
