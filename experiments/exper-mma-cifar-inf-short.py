"""exper-mma-cifar-inf-12 of WRN-10-1 on 1,000 images, for a look in minutes on 2 CPU cores.

    ./run.sh exper-mma-cifar-inf-short
"""

import core

FLAGS = {
    'like': 'exper-mma-cifar-inf-12',
    'train_N': 1200,
    'validation_N': ('first', 200),
    'test_N': 200,
    'augment': None,
    'model.depth': 10,
    'model.widen': 1,
    'model.schedule': None,
    'objective.k': 5,
    'lr': 0.1,
    'steps': 100,
    'B': 50,
    'monitors': [('an-pgd', 5, {'options': {
        'norm': 'Linf', 'eps': 8 / 255, 'most': 1.05 * 12 / 255, 'k': 5, 'a': 0.5}})],
}

if __name__ == '__main__':
    core.app_start(FLAGS)
