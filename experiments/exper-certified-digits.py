"""Certified training on scikit-learn's embedded digits, of the quickstart's network with all biases: bounds by
intervals within an L2 budget that grows from 0. No download, no GPU.

    ./run.sh exper-certified-digits
    ./eval.sh eval-sandwich logs/RUN --set attack_N=100
"""

import core
from models import BiasMode, TrainMode

FLAGS = {
    'like': 'exper-quickstart-digits',
    'lr': 1e-3,
    'archive': 20,
    'E': 100,
    'B': 50,
    'train_mode': TrainMode.NORMAL,
    'model.bias_mode': BiasMode.ALL,
    'model.opt': 'adam',
    'objective': {
        'type': 'certified',
        'norm': 'L2',
        'eps': {'by': 'batch', 'schedule': {'type': 'linear', 'start_v': -0.05, 'slope': 0.01, 'min': 0.0, 'max': 0.5}},
        'kappa': {'by': 'batch', 'schedule': {'type': 'linear', 'start_v': 1.05, 'slope': -0.01, 'min': 0.5, 'max': 1.0}},
        'beta': {'by': 'batch', 'schedule': {'type': 'linear', 'start_v': 1.1, 'slope': -0.02, 'min': 0.0, 'max': 1.0}},
    },
    'threads': None,
}

if __name__ == '__main__':
    core.app_start(FLAGS)
