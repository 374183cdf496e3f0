"""The spectrum of the Hessian and of the Gauss-Newton matrix, in units of the loss: eigenvalues at both ends, density,
and, where several epochs were measured, the largest eigenvalue over epochs.

    ./eval.sh eval-hessian logs/RUN
    ./plot.sh figure-hessian logs/RUN [logs/RUN ...]

Evaluations of several runs, and of one run on clean and on adversarial images, are side by side, each at its last
epoch.
"""

import math

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import NullLocator

import core
from core.plotting import WIDTH, hues, legend_above, styled
from core.plotting.hessians import KINDS, LINES, Spectra, draw_density, draw_eigenvalues, spectra


@styled
def draw(places: list[core.Workdir]) -> Figure:
    """Draws runs, or directories of evaluations.

    Raises:
        core.UserError: the curvature of one has not been measured.
    """
    found = spectra(places)
    several = [of for of in found if len(of.epochs) > 1]
    figure = Figure(figsize=(1.3 * WIDTH, 4.6 if several else 2.8), layout='constrained')
    grid = figure.add_gridspec(2 if several else 1, 2)
    values, density = (figure.add_subplot(grid[0, i]) for i in (0, 1))
    height = math.inf
    for of, look in hues(found):
        values.plot([], [], color=look['color'], label=told(of))
        draw_eigenvalues(values, of, look)
        height = min(height, draw_density(density, of, look))
    draw_axes(values, density, found, height)
    if several:
        draw_epochs(figure.add_subplot(grid[1, :]), several)
    legend_above(figure, values)
    return figure


def told(of: Spectra) -> str:
    """A line of the legend: what the units are, and what the largest eigenvalue is without them."""
    eid, numbers, _ = of.last
    top = max(numbers.get('hessian', {}).get('values') or [0.0])
    largest = [rf'$\lambda_{{\max}}$ = {written(numbers["log_loss"] + math.log(top))}'] if top > 0 else []
    return ', '.join([of.label, f'epoch {eid}', f'loss {written(numbers["log_loss"])}', *largest])


def written(log: float) -> str:
    """A number of which there is the natural logarithm, to three digits."""
    exponent = math.floor(log / math.log(10) + 1e-9)
    if abs(exponent) <= 3:
        return f'{math.exp(log):.3g}'
    return rf'{math.exp(log - exponent * math.log(10)):.2f}$\cdot 10^{{{exponent}}}$'


def draw_axes(values: Axes, density: Axes, found: list[Spectra], height: float) -> None:
    """Scales, labels and the keys of the two panels of spectra."""
    drawn = [v for of in found for kind in KINDS for v in of.last[1].get(kind, {}).get('values', ())]
    most = max(map(abs, drawn), default=1.0) or 1.0
    values.set_yscale('symlog', linthresh=most / 100, linscale=0.5)
    decades = 10.0 ** np.arange(math.ceil(math.log10(most / 50)), math.ceil(math.log10(most)) + 1)
    low, high = values.get_ylim()
    values.set_yticks([0, *(t for t in (*decades, *-decades) if low <= t <= high)])
    values.yaxis.set_minor_locator(NullLocator())
    values.axhline(0, color='0.8', linewidth=0.6, zorder=0)
    values.set(xlabel='largest, then smallest', ylabel=r'eigenvalue / loss, $\lambda / \mathcal{L}$', xticks=[])
    values.legend(handles=[
        Line2D([], [], marker='o', color='0.3', linestyle='', markersize=3.5, label='Hessian, bar: residual'),
        Line2D([], [], marker='o', color='0.3', linestyle='', markersize=3.5, fillstyle='none', label='not resolved'),
        Line2D([], [], marker='x', color='0.3', linestyle='', markersize=5, label='Gauss–Newton')])
    if not density.lines:
        density.text(0.5, 0.5, 'density: not measured\n(options.probes is 0)', transform=density.transAxes, ha='center',
                     va='center', fontsize=7)
        return
    density.set(xlabel=r'eigenvalue / loss, $\lambda / \mathcal{L}$', ylabel='density', yscale='log')
    top = max(float(np.max(line.get_ydata())) for line in density.lines)
    density.set_ylim(height / 3 if math.isfinite(height) else top / 1e8, 3 * top)
    density.legend(handles=[Line2D([], [], color='0.3', label=KINDS[kind], **line) for kind, line in LINES.items()])


def draw_epochs(ax: Axes, several: list[Spectra]) -> None:
    """The largest eigenvalue over the epochs, of both matrices."""
    for of, look in hues(several):
        for (kind, line), marker in zip(LINES.items(), ('o', 'x')):
            eids, largest = of.over_epochs(kind, 'values')
            ax.plot(eids, largest, marker=marker, color=look['color'], markersize=4, **line)
    ax.set(xlabel='epoch', ylabel='largest\n' + r'eigenvalue / loss', yscale='log')


if __name__ == '__main__':
    core.plot_start(draw)
