"""MMA training on scikit-learn's embedded digits, of the quickstart's network with all biases: no download, no GPU.

    ./run.sh exper-mma-digits
"""

import core
from models import BiasMode, TrainMode

FLAGS = {
    'like': 'exper-quickstart-digits',
    'validation_N': ('first', 200),
    'lr': 1e-3,
    'archive': 10,
    'E': 30,
    'B': 50,
    'train_mode': TrainMode.NORMAL,
    'model.bias_mode': BiasMode.ALL,
    'model.opt': 'adam',
    'objective': {'type': 'mma', 'norm': 'Linf', 'hinge': 0.3, 'k': 10},
    'threads': None,
}

if __name__ == '__main__':
    core.app_start(FLAGS)
