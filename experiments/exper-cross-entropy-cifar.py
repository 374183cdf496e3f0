"""CIFAR-10, a residual network trained with the cross entropy: what exper-large-margin-cifar is compared with, and a
source of adversarial images for it (black box).

    ./run.sh exper-cross-entropy-cifar --gpu 0
"""

import core
from models import TrainMode

FLAGS = {
    'dataset': 'cifar10',
    'arch': 'residual',
    'model': {
        'widths': [16, 32, 64],
        'repeats': 3,
        'batch_norm': True,
        'init': {'weight': 'he_normal'},
        'opt': 'adam',
    },
    'train_mode': TrainMode.NORMAL,
    'augment': 'crop-flip',
    'lr': 0.001,
    'archive': 10,
    'E': 100,
    'B': 128,
    'loss_ub': 1e9,
    'print': False,
}

if __name__ == '__main__':
    core.app_start(FLAGS)
