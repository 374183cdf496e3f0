"""Numbers that change in the course of training: the learning rate, and numbers of an objective such as a budget."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from . import checks
from .registry import make
from .types import did_you_mean, shown

Schedule = Callable[[np.ndarray], np.ndarray]
"""From points of time, [n], steps or epochs of at least 0, to values, float64 [n]."""

_KEYS = ('value', 'schedule', 'by')
_UNITS = ('step', 'epoch', 'batch')


# ---- factors of a rate ----

def _exponential(decay_steps: int, rate: float, staircase: bool = True) -> Schedule:
    """``rate ** (step / decay_steps)``, the exponent rounded down with ``staircase``."""
    decay_steps = checks.count('decay_steps of exponential', decay_steps)
    rate = checks.number('rate of exponential', rate, high=1)
    checks.flag('staircase of exponential', staircase)
    return lambda step: rate ** (np.floor(step / decay_steps) if staircase else step / decay_steps)


def _piecewise(boundaries: list[int], factors: list[float]) -> Schedule:
    """1 before the first of the ``boundaries`` (steps, ascending), and from each of them on its factor."""
    for name, values in (('boundaries', boundaries), ('factors', factors)):
        if not isinstance(values, (list, tuple)):
            raise ValueError(f'{name} of piecewise must be a list of numbers, not {shown(values)}')
    boundaries = [checks.count('each of the boundaries of piecewise', b, 0) for b in boundaries]
    factors = [checks.number('each of the factors of piecewise', f, strict=False) for f in factors]
    if not len(boundaries) == len(factors) > 0 or sorted(boundaries) != boundaries:
        raise ValueError('piecewise takes ascending boundaries, and as many factors of at least 0')
    return lambda step: np.array([1.0, *factors])[np.searchsorted(boundaries, step, side='right')]


def _cosine(decay_steps: int, end: float = 0.0) -> Schedule:
    """From 1 to ``end`` along half a period of the cosine within ``decay_steps``, and ``end`` after that."""
    decay_steps = checks.count('decay_steps of cosine', decay_steps)
    end = checks.number('end of cosine', end, strict=False, high=1)
    return lambda step: end + (1 - end) * (1 + np.cos(math.pi * np.minimum(step / decay_steps, 1))) / 2


# ---- those of Liu et al., arXiv 2006.08403, under the names and with the arguments of their code ----

def _clipped(name: str, values: Schedule, low: Any, high: Any) -> Schedule:
    """``values`` of at least ``low`` and at most ``high``, which wins; None for any."""
    least, most = -math.inf if low is None else _real(name, 'min', low), \
        math.inf if high is None else _real(name, 'max', high)
    return lambda x: np.minimum(np.maximum(values(np.asarray(x, np.float64)), least), most)


def _real(schedule: str, name: str, value: Any) -> float:
    return checks.number(f'{name} of {schedule}', value, -math.inf)


def _cycles(schedule: str, ckpt_list: Any, from_0: bool = True) -> np.ndarray:
    """The ends of cycles, ascending, the first of them 0 unless it is below."""
    if not isinstance(ckpt_list, (list, tuple)) or not ckpt_list:
        raise ValueError(f'ckpt_list of {schedule} must be a list of the points between cycles, not {shown(ckpt_list)}')
    points = sorted({_real(schedule, 'each of ckpt_list', p) for p in ckpt_list})
    if from_0 and points[0] > 0:
        points.insert(0, 0.0)
    if len(points) < 2:
        raise ValueError(f'ckpt_list of {schedule} must have two points at least, where a cycle begins and where it '
                         f'ends, not {shown(ckpt_list)}')
    return np.array(points)


def _share(x: np.ndarray, points: np.ndarray) -> np.ndarray:
    """How much of its cycle has passed at each point of time: 0 before the first, 1 from the end of the last on; where
    one follows another, 0."""
    i = np.clip(np.searchsorted(points, x, side='right') - 1, 0, len(points) - 2)
    return np.clip((x - points[i]) / (points[i + 1] - points[i]), 0.0, 1.0)


def _constant(start_v: float, min: float | None = None, max: float | None = None) -> Schedule:
    """``start_v``."""
    start_v = _real('constant', 'start_v', start_v)
    return _clipped('constant', lambda x: np.full(np.shape(x), start_v), min, max)


def _linear(start_v: float, slope: float, min: float | None = None, max: float | None = None) -> Schedule:
    """``start_v + slope * x``."""
    start_v, slope = _real('linear', 'start_v', start_v), _real('linear', 'slope', slope)
    return _clipped('linear', lambda x: start_v + x * slope, min, max)


def _cycle_linear(start_v: float, slope: float, ckpt_list: list[float], min: float | None = None,
                  max: float | None = None) -> Schedule:
    """From ``start_v`` to ``start_v + slope`` along a straight line in every cycle."""
    start_v, slope = _real('cycle_linear', 'start_v', start_v), _real('cycle_linear', 'slope', slope)
    points = _cycles('cycle_linear', ckpt_list)
    return _clipped('cycle_linear', lambda x: start_v + _share(x, points) * slope, min, max)


def _exp(start_v: float, power: float, interval: int = 1, min: float | None = None, max: float | None = None
         ) -> Schedule:
    """``start_v * power ** (x / interval)``."""
    start_v, power = _real('exp', 'start_v', start_v), checks.number('power of exp', power)
    interval = checks.count('interval of exp', interval)
    return _clipped('exp', lambda x: start_v * power ** (x / interval), min, max)


def _cycle_exp(start_v: float, power: float, ckpt_list: list[float], min: float | None = None,
               max: float | None = None) -> Schedule:
    """From ``start_v`` to ``start_v * power``, exponentially, in every cycle."""
    start_v, power = _real('cycle_exp', 'start_v', start_v), checks.number('power of cycle_exp', power)
    points = _cycles('cycle_exp', ckpt_list)
    return _clipped('cycle_exp', lambda x: start_v * power ** _share(x, points), min, max)


def _jump(start_v: float, power: float, min_jump_pt: float, jump_freq: float, min: float | None = None,
          max: float | None = None) -> Schedule:
    """``start_v``, times ``power`` at ``min_jump_pt`` and every ``jump_freq`` after it; of both the whole part."""
    start_v, power = _real('jump', 'start_v', start_v), checks.number('power of jump', power)
    first = int(checks.number('min_jump_pt of jump', min_jump_pt, strict=False))
    period = int(checks.number('jump_freq of jump', jump_freq, 1, strict=False))
    return _clipped('jump', lambda x: start_v * power ** (np.maximum(x - first + period, 0) // period), min, max)


def _cycle_jump(start_v: float, power: float, drop_point_list: list[float], ckpt_list: list[float],
                min: float | None = None, max: float | None = None) -> Schedule:
    """``start_v``, times ``power`` at each of some shares of every cycle; outside of the cycles as at their ends."""
    start_v, power = _real('cycle_jump', 'start_v', start_v), checks.number('power of cycle_jump', power)
    points = _cycles('cycle_jump', ckpt_list, from_0=False)
    if not isinstance(drop_point_list, (list, tuple)):
        raise ValueError(f'drop_point_list of cycle_jump must be a list of shares of a cycle, not '
                         f'{shown(drop_point_list)}')
    drops = np.sort([_real('cycle_jump', 'each of drop_point_list', d) for d in drop_point_list])
    return _clipped('cycle_jump', lambda x: start_v * power ** np.searchsorted(
        drops, _share(x, points), side='right').astype(np.float64), min, max)


def _cos_cycle_jump(low_v: float, up_v: float, cycle_freq: float, min_jump_pt: float, min: float | None = None,
                    max: float | None = None) -> Schedule:
    """``up_v`` until ``min_jump_pt``, from where on it falls to ``low_v`` along half a cosine every ``cycle_freq``."""
    low_v, up_v = (_real('cos_cycle_jump', name, v) for name, v in (('low_v', low_v), ('up_v', up_v)))
    period = checks.number('cycle_freq of cos_cycle_jump', cycle_freq)
    first = checks.number('min_jump_pt of cos_cycle_jump', min_jump_pt, strict=False)

    def values(x: np.ndarray) -> np.ndarray:
        share = np.maximum(x - first, 0) % period / period
        return (np.cos(share * np.pi) + 1) * (up_v - low_v) / 2 + low_v
    return _clipped('cos_cycle_jump', values, min, max)


def _cycle_cos(eps_min: float, eps_max: float, ckpt_list: list[float], min: float | None = None,
               max: float | None = None) -> Schedule:
    """From ``eps_min`` to ``eps_max`` along half a cosine in every cycle."""
    low, high = (_real('cycle_cos', name, v) for name, v in (('eps_min', eps_min), ('eps_max', eps_max)))
    points = _cycles('cycle_cos', ckpt_list)
    return _clipped('cycle_cos', lambda x: low + 0.5 * (high - low) * (1 - np.cos(_share(x, points) * np.pi)),
                    min, max)


SCHEDULES: dict[str, Callable[..., Schedule]] = {
    'exponential': _exponential, 'piecewise': _piecewise, 'cosine': _cosine,
    'constant': _constant, 'linear': _linear, 'cycle_linear': _cycle_linear, 'exp': _exp, 'cycle_exp': _cycle_exp,
    'jump': _jump, 'cycle_jump': _cycle_jump, 'cos_cycle_jump': _cos_cycle_jump, 'cycle_cos': _cycle_cos}
"""Names of schedules."""


def schedule_of(description: Any) -> Schedule | None:
    """The schedule that a config file describes.

    Args:
        description: None for a rate that does not change; or a dictionary with a name of ``SCHEDULES`` as 'type' and
            its arguments, such as ``{'type': 'exponential', 'decay_steps': 2000, 'rate': 0.96}``.

    Raises:
        ValueError: no such schedule, or arguments that it does not take.
    """
    return None if description is None else make(SCHEDULES, description, 'schedule')


class Control:
    """A number that follows a schedule, by steps or by epochs.

    Args:
        name: what it is called in sentences.
        description: a number; or a dictionary of 'schedule', see ``schedule_of``, 'value', what the schedule is
            multiplied by, 1 if it says nothing, and 'by', whether the schedule counts steps ('step', if it says
            nothing), epochs ('epoch'), or epochs and the share of their batches that were taken ('batch'), as in
            ``{'value': 0.3, 'by': 'epoch', 'schedule': {'type': 'cosine', 'decay_steps': 50}}``.
        low, strict: the number is at least, or with ``strict`` above, this.

    Raises:
        ValueError: a description that is not such.
    """

    def __init__(self, name: str, description: Any, low: float = 0.0, strict: bool = False):
        given = description if isinstance(description, Mapping) else {'value': description}
        for key in given:
            if key not in _KEYS:
                raise ValueError(f'{name} takes no {shown(key)}; {did_you_mean(key, _KEYS)}')
        if 'value' not in given and given.get('schedule') is None:
            raise ValueError(f"{name} lacks its 'value', the number that the schedule multiplies")
        self.value = checks.number(name, given.get('value', 1.0), low, strict)
        self.by = given.get('by', 'step')
        if self.by not in _UNITS:
            raise ValueError(f"{name}: 'by' must be {', '.join(map(repr, _UNITS[:-1]))} or {_UNITS[-1]!r}, not "
                             f'{shown(self.by)}')
        self.description = given.get('schedule')
        self.schedule: Schedule | None = schedule_of(self.description)

    def time(self, steps: np.ndarray, per_epoch: int) -> np.ndarray:
        """The points of time that the schedule is asked for; see ``__call__`` for the arguments."""
        return {'step': steps, 'epoch': steps // per_epoch, 'batch': steps / per_epoch}[self.by]

    def __call__(self, steps: np.ndarray, per_epoch: int) -> np.ndarray:
        """The number at each step.

        Args:
            steps: int64 [n], numbers of steps taken before.
            per_epoch: steps in an epoch.

        Returns:
            float64 [n].
        """
        factor = 1.0 if self.schedule is None else self.schedule(self.time(steps, per_epoch))
        return np.broadcast_to(np.float64(self.value) * factor, len(steps))


def rate_control(description: Any) -> Control | None:
    """How a learning rate changes, as a factor of it.

    Args:
        description: as for ``schedule_of``, by steps; or with 'by' beside the schedule's own arguments, see
            ``Control``.

    Raises:
        ValueError: as there.
    """
    if description is None:
        return None
    by = {}
    if isinstance(description, Mapping) and 'by' in description:
        description, by = {k: v for k, v in description.items() if k != 'by'}, {'by': description['by']}
    return Control('schedule', {'schedule': description, **by})
