"""Adversarial training by PGD (Madry et al., arXiv 1706.06083) of LeNet5 on MNIST, L2, budget 2.

    ./run.sh exper-pgd-mnist-l2 --gpu 0

Other budgets, and ones that grow, are in sweep-mma-mnist-l2.
"""

import core

FLAGS = {
    'like': 'exper-mma-mnist-l2-4',
    'objective': {'type': 'adversarial', 'norm': 'L2', 'eps': 2.0, 'k': 40},
}

if __name__ == '__main__':
    core.app_start(FLAGS)
