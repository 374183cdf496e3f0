"""Margin ascent on the network and the digits of exper-quickstart-digits.

    ./run.sh exper-ascent-digits --seed 1
    ./plot.sh figure-time-to-margin logs/exper-ascent-digits/DATE

Fitted in 19 epochs of Adam; at epoch 32 past the margin that exper-quickstart-digits has after 1,000, 2.5e-3, and at
6.4e-3 in the end, after 73 attempts.
"""

import core
from models import TrainMode

FLAGS = {
    'like': 'exper-quickstart-digits',
    'train_mode': TrainMode.ASCENT,
    'lr': ('ascent', 0.01, 1e-3),
    'ascent': {'steps': 200, 'batch': 20, 'active': 300},
    'model.opt': 'adam',
    'archive': 10,
    'E': 60,
}

if __name__ == '__main__':
    core.app_start(FLAGS)
