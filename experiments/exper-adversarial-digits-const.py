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
    'lr': 1e-3,
    'E': 40,
    'B': 50,
    'archive': 10,
}

if __name__ == '__main__':
    core.app_start(FLAGS)
