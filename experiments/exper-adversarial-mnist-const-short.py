"""exper-adversarial-mnist-const of 5,000 images, w = 4, with 10 steps of PGD within 0.3, for a machine without a GPU.

    ./run.sh exper-adversarial-mnist-const-short
"""

import core

FLAGS = {
    'like': 'exper-adversarial-mnist-const',
    'train_N': 5000,
    'test_N': 1000,
    'model.width': 4,
    'objective.k': 10,
    'objective.step': 2.5,
    'lr': 1e-3,
    'E': 12,
    'B': 50,
    'archive': 'idle',
    'objective.eps': 0.3,
    'monitors': [('pgd', 1)],
}

if __name__ == '__main__':
    core.app_start(FLAGS)
