"""The paper's figure 4: the relative learning rate alpha(t), with rejected attempts marked, and the training loss.

    ./plot.sh figure-4 logs/RUN [logs/RUN ...]
"""

from matplotlib.figure import Figure

import core
from core.plotting import COLOURS, WIDTH, hues, legend_above, powers_of_ten, styled
from core.plotting.histories import read_runs


@styled
def draw(runs: list[core.Workdir]) -> Figure:
    """alpha(t), the rate times the loss before the epoch, of accepted epochs (lines) and rejected attempts (dots).

    Raises:
        core.UserError: a run without a finished epoch.
    """
    figure = Figure(figsize=(WIDTH, 2.2), layout='constrained')
    left, right = figure.subplots(1, 2)
    for run, look in hues(read_runs(runs)):
        left.plot(run['eid'], run.relative_rates(run.epochs), label=run.label, linewidth=0.8, **look)
        left.plot([line['eid'] for line in run.rejected], run.relative_rates(run.rejected), '.', markersize=4,
                  markeredgewidth=0, color=look['color'] if len(runs) > 1 else COLOURS[1], alpha=0.4, zorder=1.5)
        right.plot(run['eid'], run.log10_loss, **look)
    left.set(xlabel='epoch', ylabel=r'relative learning rate $\alpha(t)$', yscale='log')
    left.set_title('dots: rejected attempts', fontsize=7, loc='right')
    powers_of_ten(right)
    right.set(xlabel='epoch', ylabel='training loss')
    legend_above(figure, left)
    return figure


if __name__ == '__main__':
    core.plot_start(draw)
