"""Accuracy against the size of adversarial images made on another network, by FGSM and IFGSM, a line for each loss:
the black box experiment of Elsayed et al., arXiv 1803.05598. Error bars are standard deviations over seeds.

    ./plot.sh figure-large-margin-blackbox logs/SWEEP
"""

from matplotlib.figure import Figure

import core
from core.plotting.transfer import accuracy_by_size


def draw(runs: list[core.Workdir]) -> Figure:
    """Draws runs, or all runs below directories.

    Raises:
        core.UserError: none of them has been measured.
    """
    return accuracy_by_size(runs, 'black')


if __name__ == '__main__':
    core.plot_start(draw)
