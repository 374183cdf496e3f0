"""Training loss, normalised margin and relative learning rate of runs, against epochs.

    ./plot.sh figure-quickstart logs/RUN
"""

import math

import matplotlib.pyplot as plt
from matplotlib.figure import Figure

import core

COLOURS = ['#0072B2', '#D55E00', '#009E73', '#CC79A7', '#E69F00', '#56B4E9']  # Okabe and Ito's, colour-blind-safe


def draw(runs: list[core.Workdir]) -> Figure:
    """Draws accepted epochs: loss (powers of ten, from log_loss), q_bar2_min, and the rate in frame units.

    Raises:
        core.UserError: a run without accepted epochs.
    """
    figure, axes = plt.subplots(3, 1, figsize=(5, 6), sharex=True, layout='constrained')
    for run, colour in zip(runs, COLOURS * len(runs)):
        epochs = [line for line in run.read_history() if line['cmd'] == 'go']
        if not epochs:
            raise core.UserError(f'{run.path} has no finished epoch yet, so there is nothing to draw')
        eid = [e['eid'] for e in epochs]
        label = f'{run.path.resolve().parent.name} {run.path.name}'
        axes[0].plot(eid, [e['stats']['log_loss'] / math.log(10) for e in epochs], color=colour, label=label)
        axes[1].plot(eid, [e['stats']['q_bar2_min'] for e in epochs], color=colour)
        axes[1].plot(eid, [e['stats']['smoothed_margin2'] for e in epochs], color=colour, linestyle=':')
        axes[2].plot(eid, [e['lr'] for e in epochs], color=colour, linewidth=0.8)
    axes[0].yaxis.set_major_formatter(lambda v, _: f'$10^{{{v:g}}}$')
    axes[0].set_ylabel('training loss')
    axes[1].set_ylabel('normalised margin\n(dotted: smoothed)')
    axes[1].axhline(0, color='0.8', linewidth=0.8, zorder=0)
    axes[2].set_yscale('log')
    axes[2].set_ylabel('relative learning rate')
    axes[2].set_xlabel('epoch')
    if len(runs) > 1:
        axes[0].legend(frameon=False, fontsize='small')
    for ax in axes:
        ax.spines[['top', 'right']].set_visible(False)
    figure.align_ylabels(axes)
    return figure


if __name__ == '__main__':
    core.plot_start(draw)
