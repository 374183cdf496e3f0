"""Adversarial training of a LeNet (w = 4) on scikit-learn's embedded digits, L-infinity, budget 0.15: no
download, no GPU.

    ./run.sh exper-adversarial-digits-const
"""

import core

FLAGS = {
    'like': 'exper-adversarial-mnist-const',
    'dataset': 'digits',
    'model.width': 4,
    'objective.eps': 0.15,
    'objective.k': 10,
    'objective.step': 2.5,
    'lr': 2e-3,
    'E': 24,
    'B': 50,
    'archive': 6,
    'threads': 1,
    'monitors': [('pgd', 1, {'images': 100})],
}

if __name__ == '__main__':
    core.app_start(FLAGS)
