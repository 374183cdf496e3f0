"""exper-mma-mnist-l2-4 on 5,000 images for 400 steps with 10 steps of PGD, for a machine without a GPU.

    ./run.sh exper-mma-mnist-l2-short
"""

import core

FLAGS = {
    'like': 'exper-mma-mnist-inf-short',
    'objective': {'type': 'mma', 'norm': 'L2', 'hinge': 4.0, 'min_eps': 0.5, 'k': 10},
    'monitors': [('an-pgd', 2, {'images': 200, 'options': {
        'norm': 'L2', 'eps': 2.0, 'most': 1.05 * 4.0, 'k': 10, 'a': 0.25}})],
}

if __name__ == '__main__':
    core.app_start(FLAGS)
