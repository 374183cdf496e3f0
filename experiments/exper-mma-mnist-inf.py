"""MMA training of LeNet5 on MNIST, L-infinity, hinge 0.45 (Ding et al., arXiv 1812.02637): 100,000 steps.

    ./run.sh exper-mma-mnist-inf --gpu 0
"""

import core
from models import BiasMode, TrainMode

FLAGS = {
    'dataset': 'mnist',
    'validation_N': ('first', 5000),
    'arch': 'simple_sequential',
    'model': {
        'description': [['C', 32, [5, 5]], ['P'], ['C', 64, [5, 5]], ['P'], ['F', 1024], ['F', 10, {'act': False}]],
        'bias_mode': BiasMode.ALL,
        'init': {'weight': 'torch', 'bias': 'torch'},
        'opt': {'type': 'adam', 'epsilon': 1e-8},
    },
    'train_mode': TrainMode.NORMAL,
    'objective': {'type': 'mma', 'norm': 'Linf', 'hinge': 0.45, 'min_eps': 0.1, 'k': 40},
    'lr': 1e-4,
    'steps': 100_000,
    'B': 50,
    'monitors': [('an-pgd', 1, {'options': {
        'norm': 'Linf', 'eps': 0.3, 'most': 1.05 * 0.45, 'k': 40, 'a': 1 / 30}})],
    'archive': ('best', 'val_margin'),
    'print': False,
}

if __name__ == '__main__':
    core.app_start(FLAGS)
