"""exper-large-margin-cifar on the first 1,000 images, for a look in minutes on 2 CPU cores.

    ./run.sh exper-large-margin-cifar-short
"""

import core
from models import TrainMode

FLAGS = {
    'dataset': 'cifar10',
    'train_N': 1000,
    'test_N': 1000,
    'arch': 'residual',
    'model': {
        'widths': [16, 32, 64],
        'repeats': 3,
        'batch_norm': True,
        'init': {'weight': 'he_normal'},
        'opt': 'adam',
    },
    'train_mode': TrainMode.NORMAL,
    'objective': {
        'type': 'large-margin',
        'layers': ['input', 'stage1', 'stage2', 'stage3'],
        'norm': 2,
        'gamma': 1.0,
        'top_k': 1,
        'eps': 1e-2,  # a sample whose gradients all but vanish does not outweigh its batch
    },
    'lr': 0.001,
    'archive': 5,
    'E': 10,
    'B': 50,
    'loss_ub': 1e9,
    'print': False,
}

if __name__ == '__main__':
    core.app_start(FLAGS)
