"""A run on one sheet: training loss, normalised margin, relative learning rate, and distances if they were measured.

    ./plot.sh figure-quickstart logs/RUN [logs/RUN ...]
"""

from matplotlib.figure import Figure

import core
from core.plotting import WIDTH, caption, draw_robust_accuracy, hues, legend_above, powers_of_ten, scaled, styled
from core.plotting.histories import distances, read_runs


@styled
def draw(runs: list[core.Workdir]) -> Figure:
    """Accepted epochs; and, of the first run, robust accuracy against the size of the perturbation, on its training set
    if that was attacked, else on its test set.

    Raises:
        core.UserError: a run without a finished epoch.
    """
    figure = Figure(figsize=(WIDTH, 4.2), layout='constrained')
    read, measured = read_runs(runs), distances(runs[0])
    (loss, margin), (rate, robust) = figure.subplots(2, 2)
    for run, look in hues(read):
        loss.plot(run['eid'], run.log10_loss, label=run.label, **look)
        margin.plot(run['eid'], run['q_bar2_min'], **look)
        margin.plot(run['eid'], run['smoothed_margin2'], color=look['color'], linestyle=(0, (1, 1)), linewidth=0.8)
        rate.plot(run['eid'], run.relative_rates(run.epochs), linewidth=0.8, **look)
    powers_of_ten(loss)
    loss.set(ylabel='training loss', xlabel='epoch')
    scaled(margin, 'normalised margin,\ndots: smoothed')
    margin.set_xlabel('epoch')
    margin.axhline(0, color='0.8', linewidth=0.6, zorder=0)
    rate.set(ylabel='relative learning rate', xlabel='epoch', yscale='log')
    if measured:
        part, found = next(iter(measured.items()))
        draw_robust_accuracy(robust, found, [m.eid for m in found])
        robust.set(ylabel='robust accuracy (%)', ylim=(0, 101), xlim=(0, None))
        robust.set_title((f'{read[0].label}\n' if len(read) > 1 else '') + caption(found, part), fontsize=7)
        robust.legend()
    else:
        robust.remove()
    legend_above(figure, loss)
    return figure


if __name__ == '__main__':
    core.plot_start(draw)
