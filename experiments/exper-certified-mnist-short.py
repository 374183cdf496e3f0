"""Certified training of a small CNN on 5,000 images of MNIST by interval bounds, within an L-infinity budget that grows
from 0 to 0.1, for a machine without a GPU.

    ./run.sh exper-certified-mnist-short
    ./eval.sh eval-certified logs/RUN --set attack_N=100 --set options.method=crown --set norm=Linf
"""

import core

FLAGS = {
    'like': 'exper-certified-digits',
    'dataset': 'mnist',
    'train_N': 5000,
    'test_N': 1000,
    'lr': 1e-3,
    'archive': 5,
    'E': 20,
    'B': 100,
    'model.description': [
        ['C', 8, [4, 4]],
        ['A'],
        ['C', 16, [4, 4]],
        ['A'],
        ['F', 100],
        ['F', 10, {'act': False}],
    ],
    'objective.norm': 'Linf',
    'objective.eps': {'by': 'batch', 'schedule': {
        'type': 'linear', 'start_v': -0.01, 'slope': 0.01, 'min': 0.0, 'max': 0.1}},
    'objective.beta': 0.0,
    'threads': None,
}

if __name__ == '__main__':
    core.app_start(FLAGS)
