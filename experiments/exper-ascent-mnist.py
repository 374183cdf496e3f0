"""Margin ascent on the network of exper-final-mnist-cnn-loss-based-lr, and all of MNIST.

    ./run.sh exper-ascent-mnist --gpu 0
    ./plot.sh figure-time-to-margin logs/exper-ascent-mnist/DATE

Two epochs of Adam, from which ascent brings home the last 445 images. With --seed 1, on 2 CPU cores: past the margin of
a constant rate after the paper's 10,000 epochs, 1.8e-4, in epoch 6, after 10 minutes, and past that of the loss-based
rate, 1.2e-3, in epoch 23, after 31.
"""

import core
from models import TrainMode

FLAGS = {
    'like': 'exper-final-mnist-cnn-loss-based-lr',
    'train_mode': TrainMode.ASCENT,
    'lr': ('ascent', 4e-3, 1e-3, 1.02),
    'ascent': {'steps': 150, 'rounds': 4, 'batch': 50, 'active': 2000, 'fitted': 0.1, 'misfit': 0.01},
    'model.opt': 'adam',
    'archive': 10,
    'E': 200,
    'print': False,
}

if __name__ == '__main__':
    core.app_start(FLAGS)
