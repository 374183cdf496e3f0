"""The paper's figure 1b: training loss and normalised margin of the MNIST CNN with and without biases, at the
loss-based learning rate.

    ./plot.sh figure-1b logs/exper-final-mnist-cnn-loss-based-lr/* logs/exper-final-mnist-biased-cnn-loss-based-lr/*
"""

import core
from core.plotting import loss_and_margin as draw

if __name__ == '__main__':
    core.plot_start(draw)
