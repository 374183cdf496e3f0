"""Time to margin: the normalised margin against epochs, attempts and seconds, a line a run. Dots mark where one passes
1.8e-4 and 1.2e-3, what a constant rate and the loss-based one have of MNIST after the paper's 10,000 epochs.

    ./plot.sh figure-time-to-margin logs/RUN [logs/RUN ...]

It is the margin over the product of the layers' norms, and so knows no scale of the weights; a loss would, and margin
ascent (docs/ascent.md) has none to speak of.
"""

import numpy as np
from matplotlib.figure import Figure

import core
from core.plotting import WIDTH, hues, legend_above, styled
from core.plotting.histories import Run, read_runs

PAPER = (1.8e-4, 1.2e-3)


def effort(run: Run) -> dict[str, np.ndarray]:
    """What each accepted epoch took, of all attempts up to it: epochs, attempts and seconds."""
    lines = sorted([*run.epochs, *run.rejected], key=lambda line: line['attempt'])
    seconds = dict(zip((line['attempt'] for line in lines), np.cumsum([float(line['time']) for line in lines])))
    attempts = np.array([line['attempt'] for line in run.epochs])
    return {'epochs': run['eid'], 'attempts': attempts + 1, 'seconds': np.array([seconds[k] for k in attempts])}


@styled
def draw(places: list[core.Workdir]) -> Figure:
    """Draws the epochs with a positive margin.

    Raises:
        core.UserError: no run has one.
    """
    runs = read_runs(places)
    if not any((run['q_bar2_min'] > 0).any() for run in runs):
        raise core.UserError(f'no epoch of {places[0].path} has a positive margin yet: some training images are not '
                             'fitted')
    figure = Figure(figsize=(1.3 * WIDTH, 2.6), layout='constrained')
    panels = figure.subplots(1, 3, sharey=True)
    for run, look in hues(runs):
        margin = run['q_bar2_min']
        # What was reached so far; an epoch of ascent may have a smaller margin than the one before.
        passed = [int(np.argmax(margin >= level)) for level in PAPER if (margin >= level).any()]
        for ax, (name, spent) in zip(panels, effort(run).items()):
            ax.plot(spent[margin > 0], margin[margin > 0], label=run.label, **look)
            ax.plot(spent[passed], margin[passed], 'o', color=look['color'], markersize=3.5)
            ax.set_xlabel(name)
    for ax in panels:
        ax.set(xscale='log', yscale='log')
        low, high = ax.get_ylim()
        for level in PAPER:
            if low < level < high:
                ax.axhline(level, color='0.7', linewidth=0.6, linestyle=(0, (4, 2)), zorder=0)
    panels[0].set_ylabel('normalised margin')
    legend_above(figure, panels[0])
    return figure


if __name__ == '__main__':
    core.plot_start(draw)
