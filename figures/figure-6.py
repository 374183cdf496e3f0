"""The paper's figure 6: training loss and normalised margin of VGG-16 on CIFAR-10, with and without biases, at the
loss-based learning rate.

    ./plot.sh figure-6 logs/exper-final-cifar-vgg-loss-based-lr/* logs/exper-final-cifar-biased-vgg-loss-based-lr/*
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
