"""The paper's figure 1a: training loss and normalised margin of the MNIST CNN with and without biases, at a constant
learning rate.

    ./plot.sh figure-1a logs/exper-final-mnist-cnn-const-lr-1/* logs/exper-final-mnist-biased-cnn-const-lr-1/*
"""

from matplotlib.figure import Figure

import core
from core.plotting import loss_and_margin


def draw(runs: list[core.Workdir]) -> Figure:
    """Training loss and normalised margin (q_bar2_min) against epochs.

    Raises:
        core.UserError: a run without a finished epoch.
    """
    return loss_and_margin(runs)


if __name__ == '__main__':
    core.plot_start(draw)
