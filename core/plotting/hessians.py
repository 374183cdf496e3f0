"""The curvature that evaluations of runs found, and how it is drawn: spectra, densities, what becomes of them over
epochs. Everything is in units of the loss."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from ..errors import UserError
from ..workdir import Workdir
from .histories import Run, read_runs, task_of

KINDS = {'hessian': 'Hessian', 'gauss-newton': 'Gauss–Newton'}
LINES: dict[str, dict[str, Any]] = {'hessian': {'linewidth': 0.8},
                                    'gauss-newton': {'linewidth': 2, 'alpha': 0.5, 'linestyle': (0, (1.5, 1))}}
"""How lines of each are drawn: where they are the same, both can be seen."""
RESOLVED = 1e-3
"""Residual, over the largest magnitude of an eigenvalue, above which an eigenvalue is drawn hollow."""
SMOOTHED = 1 / 200
"""Standard deviation of the Gaussians of a density, over the range of its nodes."""


@dataclass
class Spectra:
    """What was found of one run, on the same images.

    Attributes:
        run: the run.
        label: what to call it.
        epochs: of each epoch, ascending, what the summary says of it, and where that is.
    """

    run: Run
    label: str
    epochs: dict[int, tuple[dict[str, Any], Workdir]] = field(default_factory=dict)

    def over_epochs(self, *names: str) -> tuple[np.ndarray, np.ndarray]:
        """Epochs, and a number of each, nan where there is none; ``names`` lead to it, of a list to its largest."""
        values = []
        for numbers, _ in self.epochs.values():
            found: Any = numbers
            for name in names:
                found = (found or {}).get(name)
            found = max(found) if isinstance(found, list) and found else found
            values.append(math.nan if found is None or found == [] else float(found))
        return np.array(list(self.epochs), float), np.array(values)

    @property
    def last(self) -> tuple[int, dict[str, Any], dict[str, np.ndarray]]:
        """The last epoch: its number, what the summary says of it, its arrays."""
        eid = max(self.epochs)
        numbers, place = self.epochs[eid]
        return eid, numbers, place.read_spectrum(eid)


def spectra(places: Sequence[Workdir]) -> list[Spectra]:
    """The evaluations by ``eval-hessian`` of runs, or those that are named themselves: for each run one on the images
    as they are, and one for every attack on them. Of several with one attack those of the same images count that
    measured the most epochs, then the most images; of those of one epoch, the later.

    Raises:
        UserError: one has none.
    """
    evaluated = [[place] if _is_one(place) else [e for e in place.evaluations() if _is_one(e)] for place in places]
    for place, found in zip(places, evaluated):
        if not any(e.read_summary().get('epochs') for e in found):
            place.read_flags()  # which says what it is instead, where it is no run
            raise UserError(f'the curvature of {place.path} has not been measured yet: ./eval.sh eval-hessian '
                            f'{place.path} does that')
    runs = read_runs([Workdir(place.read_flags().get('run', place.path)) if _is_one(place) else place
                      for place in places], history=False)
    all_of_them = []
    for run, evaluations in zip(runs, evaluated):
        chosen = _chosen(evaluations)
        tell = len(chosen) > 1 or any(chosen)
        for attack, epochs in chosen.items():
            all_of_them.append(Spectra(run, f'{run.label}, {attack or "clean"}' if tell else run.label, epochs))
    return all_of_them


def _is_one(place: Workdir) -> bool:
    return place.flags_path.exists() and not place.history_path.exists() and task_of(place) == 'hessian'


def _chosen(evaluations: Sequence[Workdir]) -> dict[str, dict[int, tuple[dict[str, Any], Workdir]]]:
    """Epochs by attack, '' for none."""
    groups: dict[str, dict[Any, dict[int, tuple[dict[str, Any], Workdir]]]] = {}
    for place in sorted(evaluations, key=lambda e: e.path.name):
        summary = place.read_summary()
        attacked = summary.get('attacked')
        name = f"{attacked['type']} within {attacked['norm']} {attacked['eps']:g}" if attacked else ''
        for eid, numbers in summary.get('epochs', {}).items():
            images = numbers['images'], summary.get('settings', {}).get('attack_set')
            groups.setdefault(name, {}).setdefault(images, {})[int(eid)] = numbers, place
    return {name: dict(sorted(max(by_images.items(), key=lambda g: (len(g[1]), g[0][0]))[1].items()))
            for name, by_images in sorted(groups.items())}


def draw_eigenvalues(ax: Axes, of: Spectra, look: dict[str, Any]) -> None:
    """The largest eigenvalues at the left, the smallest at the right, with bars of their residuals, hollow where those
    are large; those of the Gauss-Newton matrix as crosses."""
    eid, numbers, _ = of.last
    of_either_end = of.epochs[eid][1].read_summary()['settings']['k']
    for kind in KINDS:
        values, residuals = (np.array(numbers.get(kind, {}).get(name, ())) for name in ('values', 'residuals'))
        if not len(values):
            continue
        k = min(of_either_end, len(values))
        order = np.r_[:k, np.arange(k, len(values))[::-1]]
        at = np.r_[1:k + 1, np.arange(k, len(values)) + 2]
        values, residuals = values[order], residuals[order]
        resolved = residuals <= RESOLVED * np.abs(values).max()
        if kind == 'gauss-newton':
            ax.plot(at, values, 'x', color=look['color'], markersize=5)
            continue
        ax.errorbar(at, values, residuals, fmt='none', color=look['color'], elinewidth=0.8, capsize=2)
        ax.plot(at[resolved], values[resolved], 'o', color=look['color'], markersize=3.5)
        ax.plot(at[~resolved], values[~resolved], 'o', color=look['color'], markersize=3.5, fillstyle='none')


def draw_density(ax: Axes, of: Spectra, look: dict[str, Any]) -> float:
    """The density of the quadrature, smoothed by Gaussians, of both matrices. Returns the height
    at which a single eigenvalue is, inf where no density was measured."""
    _, _, arrays = of.last
    parameters = (of.run.record.get('network') or {}).get('parameters', math.nan)
    height = math.inf
    for kind, line in LINES.items():
        if f'{kind}/nodes' not in arrays:
            continue
        nodes, weights = arrays[f'{kind}/nodes'], arrays[f'{kind}/weights']
        low, high = float(nodes.min()), float(nodes.max())
        width = (high - low or 1.0) * SMOOTHED
        at = np.linspace(low - 4 * width, high + 4 * width, 1500)
        bumps = np.exp(-((at[:, None, None] - nodes) / width) ** 2 / 2) / (width * math.sqrt(2 * math.pi))
        ax.plot(at, (weights * bumps).sum(axis=2).mean(axis=1), color=look['color'], **line)
        height = min(height, 1 / (parameters * width * math.sqrt(2 * math.pi)))
    return height
