"""sweep-pas-cifar-vgg of ResNet-18 (w = 8).

    ./run.sh  sweep-pas-cifar-resnet --gpu 0

12 runs of 200 epochs.
"""

import core

SWEEP = {
    'like': 'sweep-pas-cifar-vgg',
    'base': {'like': 'exper-adversarial-cifar-resnet-const'},
}

if __name__ == '__main__':
    core.sweep_start(SWEEP)
