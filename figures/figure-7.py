"""The paper's figure 7: training and test accuracy.

    ./plot.sh figure-7 logs/RUN [logs/RUN ...]
"""

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

import core
from core.plotting import WIDTH, hues, legend_above, read_runs, styled


@styled
def draw(runs: list[core.Workdir]) -> Figure:
    """Accuracies in per cent against epochs. The first epochs may lie below the axis, which shows what comes after.

    Raises:
        core.UserError: a run without a finished epoch.
    """
    figure, axes = plt.subplots(1, 2, figsize=(WIDTH, 2.2), layout='constrained')
    for ax, name, title in zip(axes, ('acc', 'test_acc'), ('training', 'test')):
        bottom = 100.0
        for run, look in hues(read_runs(runs)):
            accuracy = 100 * run[name]
            ax.plot(run['eid'], accuracy, label=run.label, **look)
            bottom = min(bottom, float(np.quantile(accuracy, 0.1)), float(accuracy[-1]))
        top = max(float(line.get_ydata().max()) for line in ax.lines)
        margin = max(0.1 * (top - bottom), 0.05)
        ax.set(xlabel='epoch', ylabel=f'{title} accuracy (%)', ylim=(max(bottom - margin, 0), top + margin))
    legend_above(figure, axes[0])
    return figure


if __name__ == '__main__':
    core.plot_start(draw)
