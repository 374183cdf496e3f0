"""Certified training on scikit-learn's embedded digits: the loss of the worst logits that CROWN-IBP allows within an L2
budget, which grows from 0 to 0.4. No download, no GPU.

    ./run.sh exper-certified-digits
    ./eval.sh eval-sandwich logs/RUN --set attack_N=100
"""

import core
from models import BiasMode, TrainMode

FLAGS = {
    'like': 'exper-quickstart-digits',
    'lr': 2e-3,
    'archive': 10,
    'E': 40,
    'B': 50,
    'train_mode': TrainMode.NORMAL,
    'model.description': [
        ['C', 16, [3, 3]],
        ['A'],
        ['F', 64],
        ['F', 10, {'act': False}],
    ],
    'model.bias_mode': BiasMode.ALL,
    'model.opt': 'adam',
    'objective': {
        'type': 'certified',
        'norm': 'L2',
        'eps': {'by': 'batch', 'schedule': {
            'type': 'linear', 'start_v': -0.04, 'slope': 0.02, 'min': 0.0, 'max': 0.4}},
        'kappa': 0.5,
        'beta': 1.0,
    },
}

if __name__ == '__main__':
    core.app_start(FLAGS)
