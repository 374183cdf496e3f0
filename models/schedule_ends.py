"""Where a schedule ends, beside where a run does."""

from __future__ import annotations

from typing import Any

import numpy as np

from .registry import arguments_of, parts
from .schedules import SCHEDULES, Control

UNDEFINED = ('cycle_jump',)
"""Schedules that are of no use outside of their cycles; others stay as they are at their end."""


def ends(description: Any) -> tuple[float, float] | None:
    """The points of time where a schedule begins and ends; None of one that has no end.

    Args:
        description: as for ``schedules.schedule_of``.
    """
    if description is None:
        return None
    name, positional, named = parts(description, 'schedule')
    given = {**dict(zip(arguments_of(SCHEDULES[name]), positional)), **named}
    if name == 'cosine':
        return 0.0, float(given['decay_steps'])
    points = given.get('ckpt_list')
    return None if points is None else (float(min(points)), float(max(points)))


def note_on_end(control: Control, steps: int, per_epoch: int) -> str | None:
    """What a person should know of a schedule that ends before or after the run; None for nothing.

    Args:
        control: what follows the schedule.
        steps: of the run.
        per_epoch: steps in an epoch.

    Raises:
        ValueError: the run leaves the cycles of a schedule that says nothing of what is outside of them, at which the
            released code of arXiv 2006.08403 stops.
    """
    points = ends(control.description)
    if points is None:
        return None
    first, end = points
    name, unit = parts(control.description, 'schedule')[0], 'step' if control.by == 'step' else 'epoch'
    length = steps if unit == 'step' else steps / per_epoch
    last = control.time(np.array([steps - 1]), per_epoch)[0]
    if name in UNDEFINED and (last >= end or first > 0):
        raise ValueError(f'the cycles of the schedule {name} go from {unit} {first:g} to {end:g}, and the run from 0 '
                         f'to {length:g}; give it a ckpt_list that holds the run, or a shorter run')
    at_end = control.value * float(control.schedule(np.array([end]))[0]) if control.schedule else control.value
    if length > end:
        return (f'the schedule {name} ends at {unit} {end:g}, and the run at {length:g}: from there on it stays at '
                f'{at_end:g}')
    at_last = float(control(np.array([steps - 1]), per_epoch)[0])
    if length < end and not np.isclose(at_last, at_end):
        return (f'the run ends at {unit} {length:g}, before the schedule {name} does, at {end:g}: the last value is '
                f'{at_last:g}, not {at_end:g}')
    return None
