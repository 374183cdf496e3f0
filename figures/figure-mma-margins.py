"""How margins grow in MMA training: histograms of those of the training images at some epochs (figure 5 of arXiv
1812.02637), and their mean, beside the mean margin of validation images, against epochs.

    ./plot.sh figure-mma-margins logs/RUN [logs/RUN ...]

The first is there of runs by the objective 'mma', the margin of validation of runs with the monitor 'an-pgd', whatever
they were trained to minimise.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

import core
from core.plotting import WIDTH, hues, legend_on_top, styled
from core.plotting.histories import Run, read_runs

PANELS = 5
"""Histograms of a run: of the first epoch, of the last, and of some between, closer together where margins grow faster:
at the start."""
NORMS = {'L2': 'L2', 'Linf': 'L∞'}
PARTS = {'val': 'validation', 'test': 'test', 'train': 'training, by AN-PGD'}
"""What the monitor calls its images, in the order in which they are looked for."""
SIZES, DISTANCES = 'training, as searched', 'training, true distance'
LOOKS: dict[str, dict[str, Any]] = {
    SIZES: {'linewidth': 2.4, 'alpha': 0.4}, DISTANCES: {'linestyle': (0, (1, 1))},
    'validation': {'linestyle': '--'}, 'test': {'linestyle': '-.'},
    'training, by AN-PGD': {'linestyle': (0, (5, 1, 1, 1, 1, 1))}}
"""Of lines. The first two may lie on each other."""


@dataclass
class Margins:
    """The margins that a run has recorded, all in one norm.

    Attributes:
        norm: 'Linf' or 'L2'.
        records: what MMA training says of each epoch, by epoch.
        hinge: of MMA training.
        lines: epochs and mean margins, by what they are the means of.
    """

    norm: str
    records: dict[int, dict[str, Any]] = field(default_factory=dict)
    hinge: float | None = None
    lines: dict[str, tuple[list[int], list[float]]] = field(default_factory=dict)


@styled
def draw(runs: list[core.Workdir]) -> Figure:
    """A row of histograms for each run that has them, and below them the means of all runs.

    Raises:
        core.UserError: a run without margins, or runs whose margins are in different norms.
    """
    read = read_runs(runs)
    norm = next((m.norm for run in read for m in margins(run)), None)
    found = [the_margins(run, norm, read[0]) for run in read]
    rows = [(run, m, look['color']) for (run, look), m in zip(hues(read), found) if m.records]
    figure = Figure(figsize=(1.2 * WIDTH, 1.45 * len(rows) + 2.4), layout='constrained')
    parts = figure.subfigures(len(rows) + 1, 1, height_ratios=[1.45] * len(rows) + [2.4], squeeze=False)[:, 0]
    shown = [chosen(list(m.records)) for _, m, _ in rows]
    most = max((m.records[eids[-1]]['most'] for (_, m, _), eids in zip(rows, shown)), default=1)
    top = max((height(m, eids) for (_, m, _), eids in zip(rows, shown)), default=1)
    for part, (run, m, colour), eids in zip(parts, rows, shown):
        draw_histograms(part, m, eids, colour, 1.2 * top)[0].set_xlim(0, most)
        if len(read) > 1:
            part.suptitle(run.label, fontsize=8)
    draw_means(parts[-1].subplots(), read, found)
    return figure


def margins(run: Run) -> list[Margins]:
    """What a run has recorded, by norm: that of its objective first."""
    flags = run.record['flags']
    by_norm: dict[str, Margins] = {}
    objective = flags.get('objective')
    objective = objective if isinstance(objective, dict) else {}
    names: dict[str, str] = {}
    for description in flags.get('monitors') or []:
        if description[0] == 'an-pgd':
            options = (description[2] if len(description) > 2 else {}).get('options') or {}
            names['an-pgd' + (f'-{len(names) + 1}' if names else '')] = options.get('norm', 'Linf')
    for epoch in run.epochs:
        if (record := epoch.get('objective', {}).get('margins')) and record['images']:
            norm = objective.get('norm', 'Linf')
            m = by_norm.setdefault(norm, Margins(norm, hinge=objective.get('hinge')))
            m.records[epoch['eid']] = record
            add(m, SIZES, epoch, record['mean'])
            add(m, DISTANCES, epoch, record.get('mean_distance'))
    for epoch in run.epochs:
        for name, norm in names.items():
            numbers = epoch.get('monitors', {}).get(name, {})
            for key, label in PARTS.items():
                if f'{key}_margin' in numbers:
                    add(by_norm.setdefault(norm, Margins(norm)), label, epoch, numbers[f'{key}_margin'])
    return list(by_norm.values())


def add(m: Margins, label: str, epoch: dict[str, Any], value: float | None) -> None:
    """Adds a point to a line, the first that comes for an epoch."""
    eids, values = m.lines.setdefault(label, ([], []))
    if value is not None and epoch['eid'] not in eids[-1:]:
        eids.append(epoch['eid'])
        values.append(value)


def the_margins(run: Run, norm: str | None, first: Run) -> Margins:
    """The margins of a run in a norm.

    Raises:
        core.UserError: there are none.
    """
    found = margins(run)
    if not found:
        raise core.NotYet(f"{run.workdir.path} has no margins yet: the objective 'mma' records those of training, and "
                          "monitors=[('an-pgd', 1)] measures those of validation images while a run trains")
    if not (same := [m for m in found if m.norm == norm]):
        raise core.UserError(f'{run.workdir.path} has margins in {NORMS[found[0].norm]}, and {first.workdir.path} in '
                             f'{NORMS[str(norm)]}; draw them apart')
    return same[0]


def chosen(eids: list[int]) -> list[int]:
    """The epochs whose histograms are drawn."""
    if len(eids) <= PANELS:
        return eids
    return [eids[i] for i in sorted({round(k) - 1 for k in np.geomspace(1, len(eids), PANELS)})]


def per_cent(record: dict[str, Any]) -> np.ndarray:
    """How many of the images whose margins are known are in each bin."""
    return 100 * np.array(record['histogram']) / record['images']


def height(m: Margins, eids: list[int]) -> float:
    """Of the bars that are to be seen whole: all in the last histogram, and all but the first in the others, where most
    images are at the start."""
    return max(per_cent(m.records[eids[-1]]).max(), *(per_cent(m.records[eid])[1:].max() for eid in eids))


def draw_histograms(part: SubFigure, m: Margins, eids: list[int], colour: str, top: float) -> list[Axes]:
    """Draws the margins of a run at some epochs, side by side; the heights of bars above ``top`` are written."""
    axes = list(part.subplots(1, PANELS, sharex=True, sharey=True))
    for ax in axes[len(eids):]:
        ax.set_visible(False)
    for ax, eid in zip(axes, eids):
        record = m.records[eid]
        heights = per_cent(record)
        width = record['most'] / len(heights)
        ax.bar(width * np.arange(len(heights)), heights, width, align='edge', color=colour, edgecolor='white',
               linewidth=0.4)
        ax.axvline(record['mean'], color='0.2', linewidth=0.8)
        if m.hinge is not None:
            ax.axvline(m.hinge, color='0.5', linewidth=0.8, linestyle='--')
        for i in np.flatnonzero(heights > top):
            ax.annotate(f'{heights[i]:.0f} %', (width * (i + 1), 1), (2, -1), ('data', 'axes fraction'),
                        'offset points', va='top', fontsize=6, bbox={'color': 'white', 'pad': 0.5})
        ax.set_title(f'epoch {eid}', fontsize=7)
        ax.locator_params(axis='x', nbins=3)
    axes[0].set(ylabel='images (%)', ylim=(0, top))
    part.supxlabel(f'margin of training images ({NORMS[m.norm]}, 0 of wrong ones); line: mean'
                   + ('; dashes: hinge' if m.hinge is not None else ''), fontsize=7)
    return axes


def draw_means(ax: Axes, read: list[Run], found: list[Margins]) -> None:
    """Draws mean margins against epochs: a colour for each run, dashes for what they are the means of."""
    for (_, look), m in zip(hues(read), found):
        for label, (eids, values) in m.lines.items():
            ax.plot(eids, values, color=look['color'], marker='.' if len(eids) == 1 else None, **LOOKS[label])
    kinds = [label for label in LOOKS if any(label in m.lines for m in found)]
    handles = [Line2D([], [], color='0.3', label=label, **LOOKS[label]) for label in kinds]
    if len(read) > 1:
        handles += [Line2D([], [], color=look['color'], linewidth=2.4, label=run.label) for run, look in hues(read)]
    ax.set(xlabel='epoch', ylabel=f'mean margin ({NORMS[found[0].norm]})', ylim=(0, None))
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    legend_on_top(ax, handles=handles, ncols=3)


if __name__ == '__main__':
    core.plot_start(draw)
