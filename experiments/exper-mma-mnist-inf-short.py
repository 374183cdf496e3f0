"""exper-mma-mnist-inf on 5,000 images for 400 steps with 10 steps of PGD, for a machine without a GPU.

    ./run.sh exper-mma-mnist-inf-short
"""

import core

FLAGS = {
    'like': 'exper-mma-mnist-inf',
    'train_N': 6000,
    'validation_N': ('first', 1000),
    'test_N': 1000,
    'steps': 400,
    'lr': 5e-4,
    'objective.k': 10,
    'monitors': [('an-pgd', 2, {'images': 200, 'options': {
        'norm': 'Linf', 'eps': 0.3, 'most': 1.05 * 0.45, 'k': 10, 'a': 0.25}})],
}

if __name__ == '__main__':
    core.app_start(FLAGS)
