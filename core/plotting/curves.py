"""What was measured along curves between two runs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from ..errors import UserError
from ..workdir import Workdir
from .drawing import COLOURS
from .histories import task_of

LOOKS: dict[str, dict[str, Any]] = {
    'curve': {'color': COLOURS[0], 'label': 'curve'},
    'straight': {'color': COLOURS[1], 'linestyle': '--', 'label': 'straight line'},
}
"""Of the ways between the ends."""


@dataclass(frozen=True)
class Along:
    """What an evaluation found of a curve at an epoch.

    Attributes:
        t: where on the curve its points are, float64 [n].
        ways: by 'curve' and 'straight', what was measured, by name: float64 [n], nan for what is not finite.
        budgets: within which the robust accuracy was measured, if it was.
    """

    t: np.ndarray
    ways: dict[str, dict[str, np.ndarray]]
    budgets: list[float]


def along(curve: Workdir) -> Along:
    """The newest finished evaluation along a curve, at the last epoch that it measured.

    Raises:
        UserError: there is none.
    """
    for place in reversed([p for p in curve.evaluations() if task_of(p) == 'curve']):
        summary = place.read_summary()
        if not summary.get('epochs'):
            continue
        numbers = summary['epochs'][max(summary['epochs'], key=int)]
        n = len(numbers['t'])
        ways = {way: {name: _numbers(values) for name, values in numbers[way].items() if isinstance(values, list)}
                for way in LOOKS if way in numbers}
        if all(len(values) == n for found in ways.values() for values in found.values()):
            return Along(np.array(numbers['t']), ways, numbers.get('budgets', []))
    if curve.read_flags()['flags'].get('arch') != 'curve':
        raise UserError(f'{curve.path} is no curve; ./run.sh exper-curve-digits --ends logs/A --ends logs/B trains one '
                        'between two runs')
    raise UserError(f'{curve.path} was not measured along the curve yet: ./eval.sh eval-curve {curve.path} does that')


def _numbers(values: Sequence[Any]) -> np.ndarray:
    return np.array([[math.nan if v is None else v for v in row] if isinstance(row, list) else
                     math.nan if row is None else row for row in values], np.float64)


def draw_ways(ax: Axes, found: Along, name: str, column: int | None = None, factor: float = 1.0) -> None:
    """Draws a number along the ways, with a gap where it is not finite, and marks both ends."""
    for way, measured in found.ways.items():
        values = measured[name] if column is None else measured[name][:, column]
        ax.plot(found.t, factor * values, **LOOKS[way])
    values = next(iter(found.ways.values()))[name]
    values = values if column is None else values[:, column]
    ends = np.isin(found.t, (0, 1))
    ax.plot(found.t[ends], factor * values[ends], 'o', color='black', markersize=4, label='end runs')
    ax.set_xlabel('$t$')
