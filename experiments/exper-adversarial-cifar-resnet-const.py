"""exper-adversarial-cifar-vgg-const of ResNet-18 (w = 8).

    ./run.sh exper-adversarial-cifar-resnet-const --gpu 0
"""

import core

FLAGS = {
    'like': 'exper-adversarial-cifar-vgg-const',
    'arch': 'resnet18',
}

if __name__ == '__main__':
    core.app_start(FLAGS)
