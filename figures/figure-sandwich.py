"""The margin of each image from both sides: the certified radius below, the distance of the nearest image that the
attack found above, images sorted by that.

    ./eval.sh eval-sandwich logs/RUN --set attack_N=100
    ./plot.sh figure-sandwich logs/RUN [logs/RUN ...]

It ends with an error that names the images, if a certificate exceeds a distance.
"""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import core
from core.plotting import WIDTH, styled
from core.plotting.sandwiches import Between, sandwiches

NORMS = {'L2': r'$L_2$', 'Linf': r'$L_\infty$'}
BELOW, ABOVE = '#0072B2', '#D55E00'


@styled
def draw(places: list[core.Workdir]) -> Figure:
    """Draws runs, or directories of evaluations, side by side.

    Raises:
        core.UserError: the margins of one have not been measured, or contradict each other.
    """
    found = sandwiches(places)
    figure = Figure(figsize=(max(WIDTH, 3.2 * len(found)), 3.2), layout='constrained')
    for ax, between in zip(figure.subplots(1, len(found), squeeze=False, sharey=True)[0], found):
        draw_one(ax, between)
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc='outside upper center', ncols=3)
    return figure


def draw_one(ax: Axes, between: Between) -> None:
    """One evaluation; images without a certificate, or that the attack did not fool, are ticks at the edge."""
    at = np.arange(len(between.images))
    has_both = np.isfinite(between.distances) & (between.radii > 0)
    ax.vlines(at[has_both], between.radii[has_both], between.distances[has_both], color='0.85', linewidth=0.8,
              zorder=0)
    fooled, certified = np.isfinite(between.distances), between.radii > 0
    ax.plot(at[fooled], between.distances[fooled], '.', color=ABOVE, markersize=4, label='attack')
    ax.plot(at[certified], between.radii[certified], '.', color=BELOW, markersize=4, label='certificate')
    ax.set_yscale('log')
    low, high = ax.get_ylim()
    for missing, edge, colour, marker in ((~certified, low, BELOW, 'v'), (~fooled, high, ABOVE, '^')):
        if missing.any():
            ax.plot(at[missing], np.full(missing.sum(), edge), marker, color=colour, markersize=3, clip_on=False,
                    label='none')
    low, high = np.quantile(between.ratios, [0.05, 0.95], method='inverted_cdf')
    ax.set_title(f'{between.label}, epoch {between.eid}\nattack / certificate: median {np.median(between.ratios):.3g}, '
                 f'nine in ten {low:.3g} to {high:.3g}')
    ax.set(xlabel=f'{len(at)} of {between.asked_for} images, rightly classified, by distance\n{between.attack} above, '
                  f'{between.method} below', ylabel=f'distance ({NORMS.get(between.norm, between.norm)})')


if __name__ == '__main__':
    core.plot_start(draw)
