"""Test accuracy against the fraction of the training set, a line for each loss of a sweep (Elsayed et al., arXiv
1803.05598, section 4.2).

    ./plot.sh figure-large-margin-fewdata logs/SWEEP
"""

from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

import core
from core.plotting import WIDTH, draw_curves, legend_above, styled
from core.plotting.histories import Run, only
from core.sweeps.results import curves, last


def images(run: Run) -> int:
    """How many images the run was trained on."""
    return run.record['images']['train']


@styled
def draw(runs: list[core.Workdir]) -> Figure:
    """Accuracies of the finished runs of one sweep.

    Raises:
        core.UserError: not one sweep with an axis 'fraction', or none of its runs is finished.
    """
    sweep = only(runs, 'figure-large-margin-fewdata')
    found = curves(sweep, 'fraction', images, last('test_acc'))
    fractions = curves(sweep, 'fraction', images, lambda run: run.record['flags']['train_fraction'])
    share = {x: mean for line in fractions.lines.values() for x, mean in zip(line.x, line.mean)}
    figure = Figure(figsize=(WIDTH, 3.0), layout='constrained')
    ax = figure.subplots()
    draw_curves(ax, found)
    ax.set_xscale('log')
    ax.set_xticks(sorted(share), [f'{x:,.0f}\n{100 * share[x]:g} %' for x in sorted(share)])
    ax.xaxis.set_minor_locator(NullLocator())
    ax.set(xlabel='training images, and their share of the training set', ylabel='test accuracy (%)')
    figure.supxlabel(found.caption, fontsize=6.5, color='0.3')
    legend_above(figure, ax, columns=4)
    return figure


if __name__ == '__main__':
    core.plot_start(draw)
