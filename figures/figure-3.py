"""The paper's figure 3: training loss and the margin normalised as in its theorems, by rho^L.

    ./plot.sh figure-3 logs/RUN [logs/RUN ...]
"""

from functools import partial

import core
from core.plotting import loss_and_margin

draw = partial(loss_and_margin, margin='q_bar_min')

if __name__ == '__main__':
    core.plot_start(draw)
