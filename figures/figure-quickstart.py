"""A run on one sheet: training loss, normalised margin, relative learning rate, and distances if they were measured.

    ./plot.sh figure-quickstart logs/RUN [logs/RUN ...]
"""

import matplotlib.pyplot as plt
from matplotlib.figure import Figure

import core
from core.plotting import (
    WIDTH,
    distances,
    draw_robust_accuracy,
    hues,
    legend_above,
    powers_of_ten,
    read_runs,
    styled,
)


@styled
def draw(runs: list[core.Workdir]) -> Figure:
    """Accepted epochs; and, of the first run, robust accuracy against the size of the perturbation on its training set.

    Raises:
        core.UserError: a run without a finished epoch.
    """
    measured = distances(runs[0]).get('train') if runs else None
    figure, axes = plt.subplots(2, 2, figsize=(WIDTH, 4), layout='constrained')
    loss, margin, rate, robust = axes.flat
    for run, look in hues(read_runs(runs)):
        loss.plot(run['eid'], run.log10_loss, label=run.label, **look)
        margin.plot(run['eid'], run['q_bar2_min'], **look)
        margin.plot(run['eid'], run['smoothed_margin2'], color=look['color'], linestyle=(0, (1, 1)), linewidth=0.8)
        rate.plot(run['eid'], run.relative_rates(run.epochs), linewidth=0.8, **look)
    powers_of_ten(loss)
    loss.set(ylabel='training loss', xlabel='epoch')
    margin.set(ylabel='normalised margin\n(thin dots: smoothed)', xlabel='epoch')
    margin.ticklabel_format(axis='y', style='sci', scilimits=(-3, 3), useMathText=True)
    margin.axhline(0, color='0.8', linewidth=0.6, zorder=0)
    rate.set(ylabel='relative learning rate', xlabel='epoch', yscale='log')
    if measured:
        draw_robust_accuracy(robust, measured, [m.eid for m in measured])
        robust.set(ylabel='robust accuracy (%)', ylim=(0, 101), xlim=(0, None))
        robust.legend()
    else:
        robust.remove()
    legend_above(figure, loss)
    return figure


if __name__ == '__main__':
    core.plot_start(draw)
