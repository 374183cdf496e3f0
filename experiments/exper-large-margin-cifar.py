"""CIFAR-10, a residual network trained with the large margin loss, l2, at the images and the outputs of the three
stages (Elsayed et al., arXiv 1803.05598).

    ./run.sh exper-large-margin-cifar --gpu 0
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
    'objective': {
        'type': 'large-margin',
        'layers': ['input', 'stage1', 'stage2', 'stage3'],
        'norm': 2,
        'gamma': 1.0,
        'top_k': 1,
        'eps': 1e-2,  # a sample whose gradients all but vanish does not outweigh its batch
    },
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
