"""The cross entropy of LeNet5 on MNIST, beside exper-mma-mnist-inf and exper-pgd-mnist-inf.

    ./run.sh exper-cross-entropy-mnist-lenet --gpu 0
"""

import core

FLAGS = {
    'like': 'exper-mma-mnist-inf',
    'objective': 'cross-entropy',
}

if __name__ == '__main__':
    core.app_start(FLAGS)
