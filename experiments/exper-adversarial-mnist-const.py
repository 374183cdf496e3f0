"""Adversarial training of LeNet (w = 16) on MNIST, L-infinity, budget 0.4, constant (Liu et al., arXiv 2006.08403).

    ./run.sh exper-adversarial-mnist-const --gpu 0

With this budget from the start a LeNet may learn nothing for long: the paper's point.
"""

import core
from models import TrainMode

FLAGS = {
    'dataset': 'mnist',
    'arch': 'lenet',
    'model': {
        'width': 16,
        'opt': 'torch-adam',
    },
    'train_mode': TrainMode.NORMAL,
    'objective': {'type': 'adversarial', 'norm': 'Linf', 'eps': 0.4, 'k': 50, 'step': 50 * 0.01 / 0.4, 'start': 'step'},
    'lr': 1e-4,
    'E': 100,
    'B': 128,
    'archive': 25,
    'monitors': [('pgd', 1, {'images': 500})],
    'print': False,
}

if __name__ == '__main__':
    core.app_start(FLAGS)
