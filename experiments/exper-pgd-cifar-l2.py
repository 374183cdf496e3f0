"""Adversarial training by PGD (Madry et al., arXiv 1706.06083) of WRN-28-4 on CIFAR-10, L2, budget 1.

    ./run.sh exper-pgd-cifar-l2 --gpu 0

Other budgets, and ones that grow, are in sweep-mma-cifar-l2.
"""

import core

FLAGS = {
    'like': 'exper-mma-cifar-l2-3',
    'objective': {'type': 'adversarial', 'norm': 'L2', 'eps': 1.0, 'k': 10},
}

if __name__ == '__main__':
    core.app_start(FLAGS)
