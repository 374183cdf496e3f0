"""MMA training of WRN-28-4 on CIFAR-10, L2, hinge 1 (Ding et al., arXiv 1812.02637).

    ./run.sh exper-mma-cifar-l2-1 --gpu 0
"""

import core

FLAGS = {
    'like': 'exper-mma-cifar-inf-32',
    'objective': {'type': 'mma', 'norm': 'L2', 'hinge': 1.0, 'min_eps': 0.5, 'k': 10},
    'monitors': [('an-pgd', 1, {'options': {
        'norm': 'L2', 'eps': 1.0, 'most': 1.05 * 1.0, 'k': 10, 'a': 1 / 4}})],
}

if __name__ == '__main__':
    core.app_start(FLAGS)
