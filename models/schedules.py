"""Numbers of an objective that change in the course of training."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from . import checks
from .optimizers import Schedule, schedule_of
from .types import did_you_mean, shown

_KEYS = ('value', 'schedule', 'by')
_UNITS = ('step', 'epoch')


class Control:
    """A number that follows a schedule, by steps or by epochs.

    Args:
        name: what it is called in sentences.
        description: a number; or a dictionary of 'value', the number; 'schedule', what it is multiplied with in the
            course of training, see ``optimizers.schedule_of``; and 'by', whether the schedule counts steps ('step', if
            it says nothing) or epochs ('epoch'), as in ``{'value': 0.3, 'by': 'epoch', 'schedule': {'type': 'cosine',
            'decay_steps': 50}}``.
        low, strict: the number is at least, or with ``strict`` above, this.

    Raises:
        ValueError: a description that is not such.
    """

    def __init__(self, name: str, description: Any, low: float = 0.0, strict: bool = False):
        given = description if isinstance(description, Mapping) else {'value': description}
        for key in given:
            if key not in _KEYS:
                raise ValueError(f'{name} takes no {shown(key)}; {did_you_mean(key, _KEYS)}')
        if 'value' not in given:
            raise ValueError(f"{name} lacks its 'value', the number that the schedule multiplies")
        self.value = checks.number(name, given['value'], low, strict)
        self.by = given.get('by', 'step')
        if self.by not in _UNITS:
            raise ValueError(f"{name}: 'by' must be 'step' or 'epoch', not {shown(self.by)}")
        self.schedule: Schedule | None = schedule_of(given.get('schedule'))

    def __call__(self, steps: np.ndarray, per_epoch: int) -> np.ndarray:
        """The number at each step.

        Args:
            steps: int64 [n], numbers of steps taken before.
            per_epoch: steps in an epoch.

        Returns:
            float64 [n].
        """
        count = steps if self.by == 'step' else steps // per_epoch
        factor = 1.0 if self.schedule is None else self.schedule(count)
        return np.broadcast_to(np.float64(self.value * factor), len(steps))
