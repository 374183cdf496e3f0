"""What figures have in common: the numbers of a run by name, labels, style; reads working directories only."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from .errors import UserError
from .workdir import Workdir

T = TypeVar('T')

COLOURS = ('#0072B2', '#D55E00', '#009E73', '#CC79A7', '#E69F00', '#56B4E9')
"""Okabe and Ito's, which people with any colour vision tell apart."""
DASHES = ('-', '--', '-.', ':')
STYLE = {
    'font.size': 8, 'axes.titlesize': 8, 'axes.labelsize': 8, 'xtick.labelsize': 7, 'ytick.labelsize': 7,
    'legend.fontsize': 7, 'legend.frameon': False, 'lines.linewidth': 1.2, 'axes.linewidth': 0.6,
    'xtick.major.width': 0.6, 'ytick.major.width': 0.6, 'axes.spines.top': False, 'axes.spines.right': False,
    'pdf.fonttype': 42, 'svg.fonttype': 'none',  # text stays text
}
WIDTH = 5.5
"""Inches: a text column of the usual conference styles. At half of it the smallest letters are still over 3 points."""


class Run:
    """A run's history, by the names of its statistics.

    Args:
        workdir: its working directory; it may still be training.

    Attributes:
        name: of its experiment.
        flags: its flags; empty if they are not recorded.
        epochs: the lines of history.jsonl of accepted epochs.
        rejected: those of rejected attempts.

    Raises:
        UserError: not a run, or one without a finished epoch.
    """

    def __init__(self, workdir: Workdir):
        self.workdir = workdir
        lines = list(workdir.read_history())
        self.epochs = [line for line in lines if line['cmd'] == 'go']
        self.rejected = [line for line in lines if line['cmd'] != 'go']
        if not self.epochs:
            raise UserError(f'{workdir.path} has no finished epoch yet, so there is nothing to draw')
        self.record = workdir.read_flags()
        self.flags = self.record['flags']
        self.name = self.record.get('name') or workdir.path.resolve().parent.name
        self.label = self.name

    def __getitem__(self, name: str) -> np.ndarray:
        """A statistic, or 'eid', 'lr', 'log_frame', of every accepted epoch, float64.

        Raises:
            UserError: the run did not record it.
        """
        source = self.epochs if name in self.epochs[-1] else [e['stats'] for e in self.epochs]
        try:
            values = [e[name] for e in source]
        except KeyError:
            raise UserError(f'{self.workdir.path} did not record {name}: it was trained by an earlier '
                            'version') from None
        return np.array([math.nan if v is None else float(v) for v in values])

    @property
    def log10_loss(self) -> np.ndarray:
        """From log_loss, which does not underflow."""
        return self['log_loss'] / math.log(10)

    def relative_rates(self, lines: Sequence[dict[str, Any]]) -> np.ndarray:
        """alpha(t) of some attempts: the real rate times the real loss before the attempt.

        With a frame that is the rate in frame units. Without one it is nan in the first epoch, whose loss before is not
        recorded.
        """
        before = {int(e['eid']) + 1: math.exp(float(e['stats']['log_loss'])) for e in self.epochs}
        return np.array([float(e['lr']) if e['log_frame'] is not None else
                         float(e['lr']) * before.get(e['eid'], math.nan) for e in lines])


def read_runs(workdirs: Sequence[Workdir]) -> list[Run]:
    """Runs, labelled by their experiments' names, and by their directories' too where those are the same.

    Raises:
        UserError: see ``Run``.
    """
    runs = [Run(w) for w in workdirs]
    names = [run.name for run in runs]
    for run in runs:
        if names.count(run.name) > 1:
            run.label = f'{run.name} {run.workdir.path.name}'
    return runs


def only(workdirs: Sequence[Workdir], figure: str) -> Workdir:
    """The one run of a figure that draws one.

    Raises:
        UserError: there are several.
    """
    if len(workdirs) != 1:
        raise UserError(f'{figure} draws one run at a time, not {len(workdirs)}')
    return workdirs[0]


# ---- drawing ----

def styled(draw: Callable[..., T]) -> Callable[..., T]:
    """Draws in this project's style, whatever style a notebook has, and leaves no unfinished figure behind."""
    @functools.wraps(draw)
    def wrapped(*args: Any, **kwargs: Any) -> T:
        before = set(plt.get_fignums())
        with plt.rc_context({**plt.rcParamsDefault, 'backend': plt.rcParams['backend'], **STYLE}):
            try:
                return draw(*args, **kwargs)
            except BaseException:
                for number in set(plt.get_fignums()) - before:
                    plt.close(number)
                raise
    return wrapped


def hues(items: Sequence[T]) -> Iterator[tuple[T, dict[str, Any]]]:
    """Each item with the colour and dashes of its line."""
    for i, item in enumerate(items):
        yield item, {'color': COLOURS[i % len(COLOURS)], 'linestyle': DASHES[i % len(DASHES)]}


def powers_of_ten(ax: Axes, axis: str = 'y') -> None:
    """Labels an axis of common logarithms with powers of ten, however far below float64 they are."""
    which = ax.yaxis if axis == 'y' else ax.xaxis
    which.set_major_locator(MaxNLocator(nbins=6, integer=True))
    which.set_major_formatter(lambda v, _: f'$10^{{{v:g}}}$')


def legend_above(figure: Figure, ax: Axes, columns: int | None = None) -> None:
    """One legend for all axes, above them."""
    handles, labels = ax.get_legend_handles_labels()
    if len(handles) > 1:
        figure.legend(handles, labels, loc='outside upper center', ncols=columns or (2 if len(handles) > 1 else 1))
    elif labels:
        figure.suptitle(labels[0], fontsize=STYLE['legend.fontsize'])


@styled
def loss_and_margin(workdirs: Sequence[Workdir], margin: str = 'q_bar2_min') -> Figure:
    """Training loss, in powers of ten, and a normalised margin, against epochs.

    Args:
        workdirs: of runs.
        margin: 'q_bar2_min', over the product of the layers' norms, or 'q_bar_min', over rho^L.

    Raises:
        UserError: see ``Run``.
    """
    figure, (left, right) = plt.subplots(1, 2, figsize=(WIDTH, 2.2), layout='constrained')
    for run, look in hues(read_runs(workdirs)):
        left.plot(run['eid'], run.log10_loss, label=run.label, **look)
        right.plot(run['eid'], run[margin], **look)
    powers_of_ten(left)
    left.set(xlabel='epoch', ylabel='training loss')
    right.set(xlabel='epoch', ylabel='normalised margin' + (r', $q_{\min} / \rho^L$' if margin == 'q_bar_min' else ''))
    right.axhline(0, color='0.8', linewidth=0.6, zorder=0)
    right.ticklabel_format(axis='y', style='sci', scilimits=(-3, 3), useMathText=True)
    legend_above(figure, left)
    return figure


# ---- distances ----

@dataclass(frozen=True)
class Distances:
    """Sizes of the smallest perturbations found of each image: 0 for misclassified ones, inf where none was found."""

    eid: int
    sizes: np.ndarray
    evaluation: str
    norm: str

    def robust_accuracy(self) -> tuple[np.ndarray, np.ndarray]:
        """The curve of the share of images with a size above eps, as corners of steps: (eps, share)."""
        eps, counts = np.unique(self.sizes[np.isfinite(self.sizes)], return_counts=True)
        share = 1 - np.cumsum(counts) / len(self.sizes)
        if not len(eps) or eps[0] > 0:
            eps, share = np.concatenate([[0], eps]), np.concatenate([[1], share])
        return eps, share


def distances(run: Workdir) -> dict[str, list[Distances]]:
    """What the evaluations in a run's directory found, ascending in epochs: {'train': [...], 'test': [...]}.

    Where several evaluations attacked the same epoch and set, the one with more images counts, then the later one; L2
    is preferred to Linf, and the two are never mixed.
    """
    found: dict[str, dict[str, dict[int, tuple[Any, Distances]]]] = {}
    for place in run.evaluations():
        flags, norm = place.read_flags()['flags'], place.read_summary().get('norm')
        for eid, starts in place.parts().items() if norm else ():
            parts = [place.read_part(eid, start, ('eps', 'distances')) for start in starts]
            sizes = np.concatenate([p.get('eps', p['distances']) for p in parts])
            entry = (len(sizes), place.path.name), Distances(eid, sizes, place.path.parent.name, norm)
            best = found.setdefault(norm, {}).setdefault(flags['attack_set'], {})
            best[eid] = max(best.get(eid, entry), entry, key=lambda e: e[0])
    chosen = found.get('L2') or next(iter(found.values()), {})
    return {part: [best[eid][1] for eid in sorted(best)] for part, best in sorted(chosen.items(), reverse=True)}


def draw_robust_accuracy(ax: Axes, measured: Sequence[Distances], eids: Sequence[int]) -> None:
    """Draws robust accuracy, in per cent, against eps; an epoch has the same colour wherever it is drawn."""
    for eid, look in hues(list(eids)):
        for m in measured:
            if m.eid == eid:
                eps, share = m.robust_accuracy()
                ax.step(eps, 100 * share, where='post', label=f'epoch {eid}', **look)
    norm = r'L_\infty' if measured[0].norm == 'Linf' else 'L_2'
    ax.set_xlabel(rf'$\varepsilon$ (${norm}$)')
