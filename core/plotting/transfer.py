"""Accuracy on adversarial images of given sizes, of runs that differ in their losses and seeds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..errors import NotYet, UserError
from ..workdir import Workdir
from .drawing import WIDTH, hues, legend_above, styled
from .labels import by_settings

ATTACKS = ('FGSM', 'IFGSM')


@dataclass(frozen=True)
class Measured:
    """One evaluation of a run's last epoch that was measured: accuracies, 0 to 1, at sizes, 0 for the clean images."""

    eid: int
    accuracy: dict[float, float]
    images: int
    part: str
    source: str | None
    steps: int


def measured(run: Workdir, box: str, attack: str) -> Measured | None:
    """Of a run's evaluations by an attack in a box, 'white' or 'black', the one with more images, then of the later
    epoch, then the latest; None if there is none. A black box that the run itself made is none.

    Raises:
        UserError: an evaluation whose files are damaged.
    """
    found: list[tuple[Any, Measured]] = []
    for place in run.evaluations():
        summary = place.read_summary()
        if (summary.get('box'), summary.get('attack')) != (box, attack) or not summary['epochs']:
            continue
        source = (summary['source'] or {}).get('run')
        if source is not None and Workdir(source).path.resolve() == run.path.resolve():
            continue
        eid = max(map(int, summary['epochs']))
        epoch = summary['epochs'][str(eid)]
        shares = [epoch['accuracy'], *(epoch['accuracy_under_attack'][f'{eps:g}'] for eps in summary['eps'])]
        found.append(((epoch['images'], eid, place.path.name), Measured(
            eid, dict(zip([0.0, *summary['eps']], shares)), epoch['images'], summary['settings']['attack_set'], source,
            summary['steps'])))
    return max(found, key=lambda entry: entry[0])[1] if found else None


@styled
def accuracy_by_size(workdirs: Sequence[Workdir], box: str) -> Figure:
    """Accuracy against the size of adversarial images, a panel for each attack and a line for each loss: the mean over
    seeds, with their standard deviation.

    Args:
        workdirs: of runs, or directories with runs anywhere below.
        box: 'white' or 'black'.

    Raises:
        UserError: there are no such runs, or sizes that no two of them have in common.
        NotYet: none of them has been measured.
    """
    groups = by_settings([run for folder in workdirs for run in folder.runs()])
    panels: dict[str, dict[str, list[Measured]]] = {}
    for attack in ATTACKS:
        for label, runs in groups.items():
            if found := [m for run in runs if (m := measured(run, box, attack))]:
                panels.setdefault(attack, {})[label] = found
    if not panels:
        raise NotYet(f'{workdirs[0].path} has no run that was measured in a {box} box yet; ./eval.sh '
                     f'eval-{box}box-fgsm and eval-{box}box-ifgsm do so')
    figure = Figure(figsize=(WIDTH * (0.25 + 0.375 * len(panels)), 2.7), layout='constrained')
    axes = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    looks = dict(hues(list(groups)))
    for ax, (attack, lines) in zip(axes, panels.items()):
        for label, several in lines.items():
            draw_line(ax, several, label, looks[label])
        ax.set_title(caption(attack, [m for several in lines.values() for m in several]), fontsize=7)
        ax.set(xlabel=r'$\varepsilon$ ($L_\infty$)', ylim=(-1.5, 101.5))
    axes[0].set_ylabel('accuracy (%)')
    legend_above(figure, max(axes, key=lambda ax: len(ax.get_legend_handles_labels()[1])))
    return figure


def draw_line(ax: Axes, several: Sequence[Measured], label: str, look: dict[str, Any]) -> None:
    """Draws the mean over seeds with their standard deviation, at the sizes that all of them have.

    Raises:
        UserError: there are none but 0.
    """
    eps = sorted(set.intersection(*(set(m.accuracy) for m in several)))
    if len(eps) < 2:
        raise UserError(f'the evaluations of {label} have no size of perturbation in common; give them the same '
                        'attack_eps_list')
    percent = 100 * np.array([[m.accuracy[e] for e in eps] for m in several])
    # Of few seeds: an unbiased variance, and none of one.
    spread = percent.std(axis=0, ddof=1) if len(several) > 1 else None
    seeds = f'{len(several)} seeds' if len(several) > 1 else '1 seed'
    ax.errorbar(eps, percent.mean(axis=0), spread, label=f'{label} ({seeds})', marker='o', markersize=2.2, capsize=1.8,
                elinewidth=0.7, capthick=0.7, **look)


def caption(attack: str, found: Sequence[Measured]) -> str:
    """The attack, what was attacked, and how many images."""
    steps = sorted({m.steps for m in found})
    name = attack if steps == [1] else f'{attack}, {" to ".join(map(str, dict.fromkeys((steps[0], steps[-1]))))} steps'
    counts = sorted({m.images for m in found})
    images = ' to '.join(f'{n:,}' for n in dict.fromkeys((counts[0], counts[-1])))
    parts = ' and '.join(sorted({{'train': 'training', 'test': 'test'}[m.part] for m in found}))
    sources = {m.source for m in found if m.source}
    made = {0: '', 1: '\nmade on another network'}.get(len(sources), f'\nmade on {len(sources)} other networks')
    return f'{name}\n{parts} set, {images} images{made}'
