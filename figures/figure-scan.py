"""The loss, in powers of ten, and the accuracy along the directions of eval-scan: a line for each budget along one;
along two, contours of both and the loss as a surface, with the epochs of the run on top where the directions are their
components.

    ./eval.sh eval-scan logs/RUN --set "options.directions=['filter', 'filter']" --set attack_eps_list=[0,0.1]
    ./plot.sh figure-scan logs/RUN
    ./plot.sh figure-scan logs/RUN/eval-scan/DATE logs/OTHER --format pdf,svg

A run's latest scan is drawn, an evaluation's own; several, side by side.
"""

from matplotlib.figure import Figure

import core
from core.plotting.scans import draw_scans


def draw(places: list[core.Workdir]) -> Figure:
    """Lines, or a row for each plane.

    Raises:
        core.UserError: no scans, or scans along one direction and along two.
    """
    return draw_scans(places)


if __name__ == '__main__':
    core.plot_start(draw)
