"""The cross entropy of WRN-28-4 on CIFAR-10, beside exper-mma-cifar-inf-32 and exper-pgd-cifar-inf.

    ./run.sh exper-cross-entropy-cifar-wrn --gpu 0
"""

import core

FLAGS = {
    'like': 'exper-mma-cifar-inf-32',
    'objective': 'cross-entropy',
}

if __name__ == '__main__':
    core.app_start(FLAGS)
