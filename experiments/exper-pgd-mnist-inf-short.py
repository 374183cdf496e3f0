"""exper-pgd-mnist-inf on 5,000 images for 400 steps with 10 steps of PGD, for a machine without a GPU.

    ./run.sh exper-pgd-mnist-inf-short
"""

import core

FLAGS = {
    'like': 'exper-mma-mnist-inf-short',
    'objective': {'type': 'adversarial', 'norm': 'Linf', 'eps': 0.3, 'k': 10},
}

if __name__ == '__main__':
    core.app_start(FLAGS)
