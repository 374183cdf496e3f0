"""Margin ascent on the network of exper-final-cifar-vgg-loss-based-lr.

    ./run.sh exper-ascent-cifar-vgg --gpu 0
"""

import core
from models import TrainMode

FLAGS = {
    'like': 'exper-final-cifar-vgg-loss-based-lr',
    'train_mode': TrainMode.ASCENT,
    'lr': ('ascent', 3e-3, 1e-3),
    'ascent': {'steps': 200, 'batch': 100, 'active': 1000},
    'model.opt': 'adam',
    'archive': 10,
    'E': 200,
    'print': False,
}

if __name__ == '__main__':
    core.app_start(FLAGS)
