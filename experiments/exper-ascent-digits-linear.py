"""The largest margin of a linear classifier of the digits, that of Crammer and Singer's SVM, by momentum in the dual.

    ./run.sh exper-ascent-digits-linear

Half a minute on 2 CPU cores, for 5,000 gradients: 99.92 % of the largest margin, 0.058593.
"""

import core
from models import BiasMode

FLAGS = {
    'like': 'exper-ascent-digits',
    'ascent': {'steps': 500},
    'model': {'description': [['F', 10, {'act': False}]], 'bias_mode': BiasMode.NONE},
    'E': 10,
}

if __name__ == '__main__':
    core.app_start(FLAGS)
