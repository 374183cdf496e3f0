"""Adversarial training by PGD (Madry et al., arXiv 1706.06083) of LeNet5 on MNIST, L-infinity, budget 0.3.

    ./run.sh exper-pgd-mnist-inf --gpu 0

Other budgets, and ones that grow, are in sweep-mma-mnist-inf.
"""

import core

FLAGS = {
    'like': 'exper-mma-mnist-inf',
    'objective': {'type': 'adversarial', 'norm': 'Linf', 'eps': 0.3, 'k': 40},
}

if __name__ == '__main__':
    core.app_start(FLAGS)
