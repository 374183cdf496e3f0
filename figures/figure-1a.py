"""The paper's figure 1a: training loss and normalised margin of the MNIST CNN with and without biases, at a constant
learning rate.

    ./plot.sh figure-1a logs/exper-final-mnist-cnn-const-lr-1/* logs/exper-final-mnist-biased-cnn-const-lr-1/*
"""

import core
from core.plotting import loss_and_margin as draw

if __name__ == '__main__':
    core.plot_start(draw)
