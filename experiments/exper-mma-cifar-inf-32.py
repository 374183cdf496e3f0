"""MMA training of WRN-28-4 on CIFAR-10, L-infinity, hinge 32 / 255 (Ding et al., arXiv 1812.02637): 50,000 steps.

    ./run.sh exper-mma-cifar-inf-32 --gpu 0
"""

import core
from models import TrainMode

FLAGS = {
    'dataset': 'cifar10',
    'validation_N': ('first', 5000),
    'augment': 'crop-flip',
    'arch': 'wide_residual',
    'model': {
        'depth': 28,
        'widen': 4,
        'opt': {'type': 'torch-sgd', 'momentum': 0.9},
        'schedule': {'type': 'piecewise', 'boundaries': [20_000, 30_000, 40_000], 'factors': [0.3, 0.1, 0.03]},
        'weight_decay': 2e-4,
    },
    'train_mode': TrainMode.NORMAL,
    'objective': {'type': 'mma', 'norm': 'Linf', 'hinge': 32 / 255, 'min_eps': 0.005, 'k': 10},
    'lr': 0.3,
    'steps': 50_000,
    'B': 128,
    'monitors': [('an-pgd', 1, {'options': {
        'norm': 'Linf', 'eps': 8 / 255, 'most': 1.05 * 32 / 255, 'k': 10, 'a': 1 / 4}})],
    'archive': ('best', 'val_margin'),
    'print': False,
}

if __name__ == '__main__':
    core.app_start(FLAGS)
