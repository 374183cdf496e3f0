"""The numbers of the finished runs of a sweep, as lines of a figure: means over seeds against what an axis varies."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import NotYet, UserError
from ..plotting.histories import Run
from ..workdir import Workdir
from .directory import SweepDirectory


@dataclass(frozen=True)
class Curve:
    """A line: float64 [points] each, ascending in x.

    Attributes:
        x: where the points are.
        mean, deviation: over the seeds; the sample standard deviation, nan of one seed.
        seeds: how many there are.
    """

    x: np.ndarray
    mean: np.ndarray
    deviation: np.ndarray
    seeds: np.ndarray


@dataclass(frozen=True)
class Curves:
    """What a sweep has so far.

    Attributes:
        lines: by the labels on all axes but that of x, in the sweep's order; those without a finished run are left out.
        finished, planned: how many runs.
    """

    lines: dict[str, Curve]
    finished: int
    planned: int

    @property
    def seeds(self) -> str:
        """How many seeds a point is an average of: '3', or '1 to 3'."""
        counts = np.concatenate([line.seeds for line in self.lines.values()])
        return f'{counts.min()}' if counts.min() == counts.max() else f'{counts.min()} to {counts.max()}'

    @property
    def caption(self) -> str:
        """What the error bars are, and how much of the sweep this is."""
        what = 'one seed' if self.seeds == '1' else f'mean and standard deviation over {self.seeds} seeds'
        return f'last epoch, {what};\n{self.finished} of {self.planned} runs are finished'


def curves(workdir: Workdir, axis: str, x: Callable[[Run], float], y: Callable[[Run], float]) -> Curves:
    """Lines of a sweep.

    Args:
        workdir: the sweep's directory.
        axis: the name of the axis along which the lines go.
        x, y: from a finished run to the coordinates of its point.

    Raises:
        UserError: not a sweep, or one without this axis.
        NotYet: no run is finished.
    """
    sweep = SweepDirectory(workdir.path)
    axes = sweep.read_sweep()['axes']
    if axis not in axes:
        raise UserError(f'the sweep in {sweep.path} has no axis {axis!r}; it has {", ".join(axes)}')
    planned = sweep.planned()
    found: dict[str, dict[float, list[float]]] = {}
    finished = 0
    for run in planned:
        values = found.setdefault(_line(run.labels, axis), {})
        if sweep.is_finished(run):
            finished += 1
            made = Run(sweep.of(run))
            values.setdefault(x(made), []).append(y(made))
    if not finished:
        raise NotYet(f'no run of the sweep in {sweep.path} is finished yet, so there is nothing to draw')
    return Curves({name: _curve(values) for name, values in found.items() if values}, finished, len(planned))


def _line(labels: Mapping[str, str], axis: str) -> str:
    return ', '.join(label for name, label in labels.items() if name != axis)


def _curve(values: Mapping[float, list[float]]) -> Curve:
    xs = sorted(values)
    return Curve(np.array(xs, float), np.array([np.mean(values[x]) for x in xs]),
                 np.array([np.std(values[x], ddof=1) if len(values[x]) > 1 else np.nan for x in xs]),
                 np.array([len(values[x]) for x in xs]))


def flag(name: str) -> Callable[[Run], Any]:
    """A flag of a run."""
    return lambda run: run.record['flags'][name]


def last(statistic: str) -> Callable[[Run], float]:
    """A statistic of a run's last epoch."""
    return lambda run: float(run[statistic][-1])
