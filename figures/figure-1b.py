"""The paper's figure 1b: training loss and normalised margin of the MNIST CNN with and without biases, at the
loss-based learning rate.

    ./plot.sh figure-1b logs/exper-final-mnist-cnn-loss-based-lr/* logs/exper-final-mnist-biased-cnn-loss-based-lr/*
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
