"""Scans along directions: lines, and planes as contours and as a surface."""

from __future__ import annotations

import math
import textwrap
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ..errors import NotYet, UserError
from ..workdir import Workdir
from .drawing import COLOURS, STYLE, WIDTH, hues, legend_above, powers_of_ten, styled
from .histories import Run, task_of

COLOURS_OF_LOSS, COLOURS_OF_ACCURACY = 'viridis', 'cividis'
GAP = '0.8'
"""The grey of points without a finite loss."""
LEVELS = 14
"""Of contours, about so many."""
MOST_LINES = 60
"""Of a surface, each way."""


@dataclass(frozen=True)
class Found:
    """A scan from the weights of an epoch.

    Attributes:
        name: of the run; eid: the epoch.
        directions: in words, one or two.
        part, images: of the data set, and how many.
        budgets: within which images were attacked; ``norm``.
        axes: the steps along each direction.
        log10_loss, accuracy: [B, n] or [B, n, m]; nan for gaps. measured: bool, whether a point was reached.
        trajectory: coordinates of epochs, [T, directions]; None without. epochs: these.
    """

    name: str
    eid: int
    directions: list[str]
    part: str
    images: int
    norm: str
    budgets: list[float]
    axes: list[np.ndarray]
    log10_loss: np.ndarray
    accuracy: np.ndarray
    measured: np.ndarray
    trajectory: np.ndarray | None
    epochs: np.ndarray | None

    def budget(self, k: int) -> str:
        """In words."""
        eps = self.budgets[k]
        return 'clean' if eps == 0 else f'{self.norm} {eps:g}'.replace('Linf', r'$L_\infty$').replace('L2', '$L_2$')

    def gaps(self) -> list[str]:
        """What to say of points that are not drawn."""
        away = [('without a finite loss', int((self.measured & np.isnan(self.log10_loss)).sum())),
                ('not measured yet', int((~self.measured).sum()))]
        return [f'{n} of {self.measured.size} points {why} are left out' for why, n in away if n]


def scans_of(place: Workdir) -> list[Found]:
    """The scans of an evaluation, or of the latest one of a run, by epochs.

    Raises:
        NotYet: there is none yet.
        UserError: something that is no run or damaged.
    """
    own = place.read_flags()
    if own.get('evaluation') and own.get('run') and task_of(place) != 'scan':
        raise UserError(f'{place.path} is an evaluation, but no scan; name one of eval-scan, or a run')
    here = [place] if task_of(place) == 'scan' else [e for e in place.evaluations() if task_of(e) == 'scan']
    there = [e for e in here if e.read_summary().get('epochs')]
    if not there:
        raise NotYet(f'{place.path} has no scan yet; ./eval.sh eval-scan {place.path} makes one')
    evaluation = max(there, key=lambda e: e.path.name)
    summary, flags = evaluation.read_summary(), evaluation.read_flags()
    run = Workdir(flags['run']) if task_of(place) == 'scan' else place
    name = Run(run, history=False).label if run.flags_path.exists() else run.path.name
    found = []
    for eid in sorted(map(int, summary['epochs'])):
        a = evaluation.read_scan(eid)
        axes = [a[f'axis-{i}'] for i in (1, 2) if f'axis-{i}' in a]
        found.append(Found(
            name, eid, summary['directions'], flags['flags']['attack_set'], summary['epochs'][str(eid)]['images'],
            summary['norm'] or '', a['budgets'].tolist(), axes, a['log_loss'] / math.log(10), a['accuracy'],
            a['measured'].astype(bool), a.get('trajectory'), a.get('epochs')))
    return found


@styled
def draw_scans(places: Sequence[Workdir]) -> Figure:
    """Scans of runs, or of evaluations: along one direction a line for each epoch and budget; along two, a row for
    each, with contours of the loss and of the accuracy and the loss as a surface. Losses are in powers of ten.

    Raises:
        UserError: no scans, or scans along one direction and along two.
    """
    found = [scan for place in places for scan in scans_of(place)]
    if len({len(scan.axes) for scan in found}) > 1:
        raise UserError('figure-scan draws scans along one direction, or scans along two; name evaluations of one kind')
    return _lines(found) if len(found[0].axes) == 1 else _planes(found)


def _note(figure: Figure, found: Sequence[Found]) -> None:
    about = {f'{scan.images:,} {_PARTS[scan.part]} images' for scan in found}
    notes = [*sorted(about), *dict.fromkeys(note for scan in found for note in scan.gaps())]
    figure.supxlabel('\n'.join(textwrap.wrap('; '.join(notes), 110)), fontsize=STYLE['xtick.labelsize'])


_PARTS = {'train': 'training', 'test': 'test', 'validation': 'validation'}


def _lines(found: Sequence[Found]) -> Figure:
    figure = Figure(figsize=(WIDTH, 2.5), layout='constrained')
    loss, accuracy = figure.subplots(1, 2)
    lines = [(scan, k) for scan in found for k in range(len(scan.budgets))]
    for (scan, k), look in hues(lines):
        loss.plot(scan.axes[0], scan.log10_loss[k], label=_label(scan, k, found), **look)
        accuracy.plot(scan.axes[0], 100 * scan.accuracy[k], **look)
        if scan.trajectory is not None and k == 0:
            for ax in (loss, accuracy):
                ax.plot(scan.trajectory[:, 0], np.zeros(len(scan.trajectory)), '|', color='0.4', clip_on=False,
                        transform=ax.get_xaxis_transform(), label='_')
    along = {scan.directions[0] for scan in found}
    for ax in (loss, accuracy):
        ax.axvline(0, color='0.85', linewidth=0.6, zorder=0)
        ax.set_xlabel(f'step, {_short(along.pop())}' if len(along) == 1 and ax is loss else 'step')
    accuracy.set_xlabel(loss.get_xlabel())
    loss.set_ylabel('loss')
    accuracy.set_ylabel('accuracy (%)')
    powers_of_ten(loss)
    legend_above(figure, loss)
    _note(figure, found)
    return figure


def _label(scan: Found, k: int, found: Sequence[Found]) -> str:
    parts = [scan.name] if len({s.name for s in found}) > 1 or len(scan.budgets) * len(found) == 1 else []
    if len({(s.name, s.eid) for s in found}) > len({s.name for s in found}):
        parts.append(f'epoch {scan.eid}')
    if len({tuple(s.directions) for s in found}) > 1:
        parts.append(_short(scan.directions[0]))
    if len(scan.budgets) > 1 or scan.budgets[k] or not parts:
        parts.append(scan.budget(k))
    return ', '.join(parts)


def _short(direction: str) -> str:
    """A direction in words, a path by its end."""
    kind, _, path = direction.partition(' ')
    return f'{kind} {path[-30:]}' if kind == 'towards' else direction


def _planes(found: Sequence[Found]) -> Figure:
    rows = [(scan, k) for scan in found for k in range(len(scan.budgets))]
    figure = Figure(figsize=(1.4 * WIDTH, 2.5 * len(rows) + 0.3), layout='constrained')
    for i, (scan, k) in enumerate(rows):
        left, middle, right = (figure.add_subplot(len(rows), 3, 3 * i + j, projection='3d' if j == 2 else None)
                               for j in (1, 2, 3))
        left.set_title(f'{scan.name}, epoch {scan.eid}, {scan.budget(k)}: loss', fontsize=7)
        levels = _levels(scan.log10_loss[k])
        _contours(figure, left, scan, scan.log10_loss[k], levels, COLOURS_OF_LOSS, True)
        _surface(middle, scan, scan.log10_loss[k], levels)
        right.set_title('accuracy (%)', fontsize=7)
        _contours(figure, right, scan, 100 * scan.accuracy[k], np.linspace(0, 100, 11), COLOURS_OF_ACCURACY, False)
    _note(figure, found)
    return figure


def _levels(values: np.ndarray) -> np.ndarray:
    """Of contours."""
    there = values[np.isfinite(values)]
    if not len(there):
        return np.array([0.0, 1.0])
    low, high = float(there.min()), float(there.max())
    locator = MaxNLocator(nbins=LEVELS, integer=high - low >= 4, steps=[1, 2, 5, 10])
    levels = np.asarray(locator.tick_values(low, high))
    return levels if len(levels) > 1 else np.array([low - 0.5, low + 0.5])


def _contours(figure: Figure, ax: Axes, scan: Found, values: np.ndarray, levels: np.ndarray, colours: str,
              is_log: bool) -> None:
    ax.set_facecolor(GAP)
    there = np.ma.masked_invalid(values.T)
    if min(values.shape) > 1 and there.count():
        drawn: Any = ax.contourf(*scan.axes, there, levels=levels, cmap=colours)
        ax.contour(*scan.axes, there, levels=levels, colors='white', linewidths=0.3, linestyles='solid')
        figure.colorbar(drawn, ax=ax, shrink=0.9, ticks=levels[::1 + len(levels) // 8],
                        format=(lambda v, _: f'$10^{{{v:g}}}$') if is_log else None)
    if scan.trajectory is not None:
        ax.plot(*scan.trajectory.T, '.-', color=COLOURS[1], linewidth=0.8, markersize=3)
        for row in (0, -1):
            ax.annotate(f'{scan.epochs[row]}' if scan.epochs is not None else '', scan.trajectory[row], fontsize=6,
                        xytext=(3, 3), textcoords='offset points', color=COLOURS[1])
    elif all(axis[0] <= 0 <= axis[-1] for axis in scan.axes):
        ax.plot(0, 0, '+', color='white', markersize=5)
    ax.set_xlabel(_short(scan.directions[0]), fontsize=7)
    ax.set_ylabel(_short(scan.directions[1]), fontsize=7)


def _surface(ax: Any, scan: Found, values: np.ndarray, levels: np.ndarray) -> None:
    if min(values.shape) > 1 and np.isfinite(values).any():
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')  # of gaps
            ax.plot_surface(*np.meshgrid(*scan.axes), values.T, cmap=COLOURS_OF_LOSS, vmin=levels[0], vmax=levels[-1],
                            rcount=MOST_LINES, ccount=MOST_LINES, linewidth=0, antialiased=False)
    ax.zaxis.set_major_locator(MaxNLocator(nbins=5))
    ax.zaxis.set_major_formatter(lambda v, _: f'$10^{{{v:g}}}$')
    ax.view_init(elev=30, azim=-60)
    ax.set_box_aspect(None, zoom=1.2)
    ax.tick_params(labelsize=5, pad=-2)
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_locator(MaxNLocator(nbins=4))


