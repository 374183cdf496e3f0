"""What figures have in common: style, axes, legends, and the panels that several of them have."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ..sweeps.results import Curves
from ..workdir import Workdir
from .histories import Distances, read_runs

T = TypeVar('T')

COLOURS = ('#0072B2', '#D55E00', '#009E73', '#CC79A7', '#E69F00', '#56B4E9')
"""Okabe and Ito's, which people with any colour vision tell apart."""
DASHES = ('-', '--', '-.', ':', (0, (5, 1, 1, 1, 1, 1)))
"""Of another length than the colours, so that a look comes again only after 30 lines."""
STYLE: dict[Any, Any] = {
    'font.size': 8, 'axes.titlesize': 8, 'axes.labelsize': 8, 'xtick.labelsize': 7, 'ytick.labelsize': 7,
    'legend.fontsize': 7, 'legend.frameon': False, 'lines.linewidth': 1.2, 'axes.linewidth': 0.6,
    'xtick.major.width': 0.6, 'ytick.major.width': 0.6, 'axes.spines.top': False, 'axes.spines.right': False,
    'pdf.fonttype': 42, 'svg.fonttype': 'none',  # text stays text
}
WIDTH = 5.5
"""Inches: the text of a one-column conference style, in which letters keep their size of 7 and 8 points."""
LONG_LABEL = 40
"""Characters; of longer labels, a legend has one in a row."""
MANY = 6
"""Epochs; more of them are told apart by a sequence of shades rather than by colours."""
SHOWN = 5
"""Of many epochs, those that the legend names."""


def styled(draw: Callable[..., T]) -> Callable[..., T]:
    """Draws in this project's style, whatever style a notebook has."""
    @functools.wraps(draw)
    def wrapped(*args: Any, **kwargs: Any) -> T:
        with matplotlib.rc_context({**matplotlib.rcParamsDefault, 'backend': matplotlib.rcParams['backend'], **STYLE}):
            return draw(*args, **kwargs)
    return wrapped


def hues(items: Sequence[T]) -> Iterator[tuple[T, dict[str, Any]]]:
    """Each item with the colour and dashes of its line."""
    for i, item in enumerate(items):
        yield item, {'color': COLOURS[i % len(COLOURS)], 'linestyle': DASHES[i % len(DASHES)]}


def shades(eids: Sequence[int]) -> Iterator[tuple[int, dict[str, Any]]]:
    """Each epoch with the look and the label of its line; many epochs go from dark to bright."""
    if len(eids) <= MANY:
        yield from ((eid, {**look, 'label': f'epoch {eid}'}) for eid, look in hues(eids))
        return
    named = {eids[round(i)] for i in np.linspace(0, len(eids) - 1, SHOWN)}
    for eid, colour in zip(eids, matplotlib.colormaps['viridis'](np.linspace(0, 0.9, len(eids)))):
        yield eid, {'color': colour, 'label': f'epoch {eid}' if eid in named else '_'}


def powers_of_ten(ax: Axes, axis: str = 'y') -> None:
    """Labels an axis of common logarithms with powers of ten, however far below float64 they are; with plain numbers
    while it spans less than two powers."""
    which = ax.yaxis if axis == 'y' else ax.xaxis
    low, high = ax.dataLim.intervaly if axis == 'y' else ax.dataLim.intervalx
    if high - low >= 2:
        which.set_major_locator(MaxNLocator(nbins=6, integer=True))
        which.set_major_formatter(lambda v, _: f'$10^{{{v:g}}}$')
    else:
        which.set_major_locator(MaxNLocator(nbins=4))
        which.set_major_formatter(lambda v, _: f'{10 ** v:.3g}')


def scaled(ax: Axes, label: str, values: np.ndarray | None = None) -> None:
    """Labels the vertical axis, with a power of ten in the label for numbers that are far from 1: ``values``, or else
    those of its lines."""
    if values is None:
        values = np.concatenate([np.asarray(line.get_ydata(), float) for line in ax.lines])
    largest = float(np.abs(values[np.isfinite(values)]).max(initial=0))
    exponent = math.floor(math.log10(largest)) if largest > 0 else 0
    if abs(exponent) > 2:
        ax.yaxis.set_major_formatter(lambda v, _: f'{v / 10.0 ** exponent:g}')
        label += f' ($10^{{{exponent}}}$)'
    ax.set_ylabel(label)


def legend_above(figure: Figure, ax: Axes, columns: int = 2) -> None:
    """One legend for all axes, above them."""
    handles, labels = ax.get_legend_handles_labels()
    if len(handles) > 1:
        columns = 1 if max(map(len, labels)) > LONG_LABEL else columns
        figure.legend(handles, labels, loc='outside upper center', ncols=columns)
    elif labels:
        figure.suptitle(labels[0], fontsize=STYLE['legend.fontsize'])


def legend_on_top(ax: Axes, title: str | None = None, **options: Any) -> None:
    """A legend above its axes, where it covers nothing."""
    ax.legend(loc='lower center', bbox_to_anchor=(0.5, 1), title=title, title_fontsize=STYLE['legend.fontsize'],
              **options)


@styled
def loss_and_margin(workdirs: Sequence[Workdir], margin: str = 'q_bar2_min') -> Figure:
    """Training loss, in powers of ten, and a normalised margin, against epochs.

    Args:
        workdirs: of runs.
        margin: 'q_bar2_min', over the product of the layers' norms, or 'q_bar_min', over rho^L.

    Raises:
        UserError: see ``Run``.
    """
    figure = Figure(figsize=(WIDTH, 2.2), layout='constrained')
    left, right = figure.subplots(1, 2)
    for run, look in hues(read_runs(workdirs)):
        left.plot(run['eid'], run.log10_loss, label=run.label, **look)
        right.plot(run['eid'], run[margin], **look)
    powers_of_ten(left)
    left.set(xlabel='epoch', ylabel='training loss')
    scaled(right, 'normalised margin' + ('\n' + r'$q_{\min} / \rho^L$' if margin == 'q_bar_min' else ''))
    right.set_xlabel('epoch')
    right.axhline(0, color='0.8', linewidth=0.6, zorder=0)
    legend_above(figure, left)
    return figure


def draw_robust_accuracy(ax: Axes, measured: Sequence[Distances], eids: Sequence[int]) -> None:
    """Draws robust accuracy, in per cent, against eps; an epoch of ``eids`` has the same look wherever it is drawn."""
    for eid, look in shades(eids):
        for m in measured:
            if m.eid == eid:
                eps, share = m.robust_accuracy()
                ax.step(eps, 100 * share, where='post', **look)
    ax.set_xlabel(r'$\varepsilon$ ($L_\infty$)' if measured[0].norm == 'Linf' else r'$\varepsilon$ ($L_2$)')


def caption(measured: Sequence[Distances], part: str) -> str:
    """What was attacked, how many images, and by what."""
    counts = sorted({len(m.sizes) for m in measured})
    images = ' to '.join(f'{n:,}' for n in (counts if len(counts) == 1 else (counts[0], counts[-1])))
    return f"{ {'train': 'training', 'test': 'test'}[part]} set, {images} images\n{measured[0].evaluation}"


def draw_curves(ax: Axes, curves: Curves) -> None:
    """Draws the lines of a sweep, shares as per cent, with error bars where there are several seeds."""
    markers = 'osD^vP'
    for k, ((name, line), look) in enumerate(hues(list(curves.lines.items()))):
        ax.errorbar(line.x, 100 * line.mean, yerr=100 * np.nan_to_num(line.deviation), label=name, capsize=2.5,
                    elinewidth=0.8, marker=markers[k % len(markers)], markersize=3.5, **look)
    ax.set_ylim(max(0, ax.get_ylim()[0]), min(101, ax.get_ylim()[1]))  # an error bar may go beyond what can be
