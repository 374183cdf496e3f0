"""MMA training of WRN-28-4 on CIFAR-10, L-infinity, hinge 20 / 255 (Ding et al., arXiv 1812.02637).

    ./run.sh exper-mma-cifar-inf-20 --gpu 0
"""

import core

FLAGS = {
    'like': 'exper-mma-cifar-inf-32',
    'objective.hinge': 20 / 255,
    'monitors': [('an-pgd', 1, {'options': {
        'norm': 'Linf', 'eps': 8 / 255, 'most': 1.05 * 20 / 255, 'k': 10, 'a': 1 / 4}})],
}

if __name__ == '__main__':
    core.app_start(FLAGS)
