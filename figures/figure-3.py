"""The paper's figure 3: training loss and the margin normalised as in its theorems, by rho^L.

    ./plot.sh figure-3 logs/RUN [logs/RUN ...]
"""

from matplotlib.figure import Figure

import core
from core.plotting import loss_and_margin


def draw(runs: list[core.Workdir]) -> Figure:
    """Training loss and normalised margin (q_bar_min) against epochs.

    Raises:
        core.UserError: a run without a finished epoch.
    """
    return loss_and_margin(runs, margin='q_bar_min')


if __name__ == '__main__':
    core.plot_start(draw)
