"""Adversarial training by PGD (Madry et al., arXiv 1706.06083) of WRN-28-4 on CIFAR-10, L-infinity, budget 8 / 255.

    ./run.sh exper-pgd-cifar-inf --gpu 0

Other budgets, and ones that grow, are in sweep-mma-cifar-inf.
"""

import core

FLAGS = {
    'like': 'exper-mma-cifar-inf-32',
    'objective': {'type': 'adversarial', 'norm': 'Linf', 'eps': 8 / 255, 'k': 10},
}

if __name__ == '__main__':
    core.app_start(FLAGS)
