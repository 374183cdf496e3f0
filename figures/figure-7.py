"""The paper's figure 7: training and test accuracy.

    ./plot.sh figure-7 logs/RUN [logs/RUN ...]
"""

import numpy as np
from matplotlib.figure import Figure

import core
from core.plotting import WIDTH, hues, legend_above, styled
from core.plotting.histories import read_runs


@styled
def draw(runs: list[core.Workdir]) -> Figure:
    """Accuracies in per cent against epochs. The first epochs may lie below the axis, which shows what comes after.

    Raises:
        core.UserError: a run without a finished epoch.
    """
    figure = Figure(figsize=(WIDTH, 2.2), layout='constrained')
    axes, read = figure.subplots(1, 2), read_runs(runs)
    for ax, name, title in zip(axes, ('acc', 'test_acc'), ('training', 'test')):
        low, high = 100.0, 0.0
        for run, look in hues(read):
            accuracy = 100 * run[name]
            ax.plot(run['eid'], accuracy, label=run.label, **look)
            low = min(low, float(np.quantile(accuracy, 0.1)), float(accuracy[-1]))
            high = max(high, float(accuracy.max()))
        margin = max(0.1 * (high - low), 0.05)
        ax.set(xlabel='epoch', ylabel=f'{title} accuracy (%)', ylim=(low - margin, min(high + margin, 100.02)))
        ax.ticklabel_format(axis='y', useOffset=False)
    legend_above(figure, axes[0])
    return figure


if __name__ == '__main__':
    core.plot_start(draw)
