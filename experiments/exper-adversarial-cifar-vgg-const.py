"""Adversarial training of VGG-16 (w = 8) on CIFAR-10, L-infinity, budget 8 / 255, constant
(Liu et al., arXiv 2006.08403).

    ./run.sh exper-adversarial-cifar-vgg-const --gpu 0

The released models say the weight decay; the rates, and the epochs in which they fall, are those of the released code's
example on CIFAR-10, of a curve between two ResNet-18.
"""

import core
from models import TrainMode

FLAGS = {
    'dataset': 'cifar10',
    'augment': 'crop-flip',
    'arch': 'vgg16',
    'model': {
        'width': 8,
        'opt': {'type': 'torch-sgd', 'momentum': 0.9},
        'schedule': {'type': 'jump', 'start_v': 1.0, 'power': 0.1, 'min_jump_pt': 100, 'jump_freq': 50, 'by': 'epoch'},
        'weight_decay': 1e-3,
    },
    'train_mode': TrainMode.NORMAL,
    'objective': {
        'type': 'adversarial', 'norm': 'Linf', 'eps': 8 / 255, 'k': 10, 'step': 10 * 2 / 8, 'start': 'step'},
    'lr': 0.1,
    'E': 200,
    'B': 128,
    'archive': 50,
    'monitors': [('pgd', 1, {'images': 500})],
    'print': False,
}

if __name__ == '__main__':
    core.app_start(FLAGS)
