"""Test accuracy against the share of switched training labels, a line for each loss of a sweep (Elsayed et al., arXiv
1803.05598, section 4.1).

    ./plot.sh figure-large-margin-noisy logs/SWEEP
"""

from matplotlib.figure import Figure

import core
from core.plotting import WIDTH, draw_curves, legend_above, styled
from core.plotting.histories import only
from core.sweeps.results import curves, flag, last


@styled
def draw(runs: list[core.Workdir]) -> Figure:
    """Accuracies of the finished runs of one sweep.

    Raises:
        core.UserError: not one sweep with an axis 'noise', or none of its runs is finished.
    """
    found = curves(only(runs, 'figure-large-margin-noisy'), 'noise', flag('label_noise'), last('test_acc'))
    figure = Figure(figsize=(WIDTH * 0.8, 3.0), layout='constrained')
    ax = figure.subplots()
    draw_curves(ax, found)
    shares = sorted({x for line in found.lines.values() for x in line.x})
    ax.set_xticks(shares, [f'{100 * share:g}' for share in shares])
    ax.set(xlabel='switched training labels (%)', ylabel='test accuracy (%)')
    figure.supxlabel(found.caption, fontsize=6.5, color='0.3')
    legend_above(figure, ax, columns=4)
    return figure


if __name__ == '__main__':
    core.plot_start(draw)
