"""MNIST, CNN with a bias in the first layer only, loss-based learning rate: figures 1b and 4 of arXiv
1906.05890.

    ./run.sh exper-final-mnist-cnn-loss-based-lr --gpu 0

A full attempt takes about 25 seconds on 2 CPU cores. With --seed 1: fitted in epoch 15, a loss of 1e-5 in epoch 17
and of 1e-10 in epoch 39, at a normalised margin q_bar2_min of 8.2e-5, after 53 minutes.
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
