"""As exper-final-mnist-cnn-loss-based-lr, with a model kept every 100 epochs below epoch 1000 and every 1000
from there.

    ./run.sh exper-final-mnist-cnn-loss-based-lr-archive-less --gpu 0
"""

import core
from models import BiasMode, TrainMode

FLAGS = {
    'dataset': 'mnist',
    'arch': 'simple_sequential',
    'lr': ('loss-based-v1', 0.1, 2 ** (1 / 5), 2 ** (1 / 10)),
    'archive': ('two-phase-const-epoch', 100, 1000),
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
