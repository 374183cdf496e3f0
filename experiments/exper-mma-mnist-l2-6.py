"""MMA training of LeNet5 on MNIST, L2, hinge 6 (Ding et al., arXiv 1812.02637).

    ./run.sh exper-mma-mnist-l2-6 --gpu 0
"""

import core

FLAGS = {
    'like': 'exper-mma-mnist-inf',
    'objective': {'type': 'mma', 'norm': 'L2', 'hinge': 6.0, 'min_eps': 0.5, 'k': 40},
    'monitors': [('an-pgd', 1, {'options': {
        'norm': 'L2', 'eps': 2.0, 'most': 1.05 * 6.0, 'k': 40, 'a': 1 / 16}})],
}

if __name__ == '__main__':
    core.app_start(FLAGS)
