"""A figure of one's own: how long the attempts took.

    ./plot.sh examples/own-figure.py logs/RUN [logs/RUN ...]
"""

from matplotlib.figure import Figure

import core
from core.plotting import WIDTH, styled


@styled
def draw(runs: list[core.Workdir]) -> Figure:
    """Seconds of each attempt, a line for each run."""
    figure = Figure(figsize=(WIDTH, 2.2), layout='constrained')
    axes = figure.subplots()
    for run in runs:
        axes.plot([attempt['time'] for attempt in run.read_history()], label=run.path.name)
    axes.set(xlabel='attempt', ylabel='seconds')
    axes.legend()
    return figure


if __name__ == '__main__':
    core.plot_start(draw)
