"""Measurements that are made while a network is trained. A monitor is a class and a line in MONITORS."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

from models import EpochInfo
from models.checks import count
from models.types import did_you_mean, shown

from ...errors import about
from ...session import Session
from .base import Moment, Monitor
from .kinds import ANPGDMargin, KKTDistance, MarginQuantiles, RobustAccuracy
from .norms import NormMargins
from .pgd import PGDAccuracy

MONITORS: dict[str, type[Monitor]] = {
    'kkt': KKTDistance,
    'margin': MarginQuantiles,
    'norm-margins': NormMargins,
    'robust': RobustAccuracy,
    'an-pgd': ANPGDMargin,
    'pgd': PGDAccuracy,
}
"""Names of monitors, for the flag ``monitors``."""


class Monitors:
    """The monitors of a run. They measure a copy of the network, and draw from draws of their own, so that training is
    the same with and without them.

    Args:
        session: of the run, its network built.
        described: what the flag ``monitors`` says: (name, every so many epochs), or (name, every, options), each.

    Raises:
        UserError: there is no such monitor, or arguments do not fit.
    """

    def __init__(self, session: Session, described: Sequence[Any]):
        self._session = session
        self._monitors: dict[str, tuple[int, Monitor]] = {}
        if described:
            self._model = session.new_model()
        for description in described:
            with about('monitors'):
                name, every, options = _parts(description)
                cls = MONITORS[name]
                known = list(inspect.signature(cls).parameters)[2:]
                if unknown := [option for option in options if option not in known]:
                    raise ValueError(f'{name!r} has no option {shown(unknown[0])}; '
                                     f"{did_you_mean(unknown[0], known) if known else 'it has none'}")
                needed = [p.name for p in inspect.signature(cls).parameters.values() if p.default is p.empty][2:]
                if missing := [option for option in needed if option not in options]:
                    raise ValueError(f'{name!r} needs the option {missing[0]!r}')
                same = sum(key.partition('-')[0] == name for key in self._monitors)
                key = f'{name}-{same + 1}' if same else name
                self._monitors[key] = every, cls(self._model, session, **options)

    def statistics(self) -> list[str]:
        """The numbers of monitors that an archiver can go by."""
        return [name for _, monitor in self._monitors.values() for name in monitor.statistics()]

    def __call__(self, eid: int, records: Mapping[int, EpochInfo]) -> dict[str, Any] | None:
        """Measures the network as it is now by those monitors that are due at an epoch.

        Args:
            eid: the epoch.
            records: of the epochs before it.

        Returns:
            name -> its numbers; of several of one name, the second is 'name-2'. None if none is due.
        """
        due = {key: monitor for key, (every, monitor) in self._monitors.items() if eid % every == 0}
        if not due:
            return None
        self._model.set_weights(self._session.model.weights())
        places = list(self._monitors)
        return {key: monitor.measure(self._session.rng('monitor', eid, places.index(key)),
                                     Moment(eid, _last(key, eid, records))) for key, monitor in due.items()}


def _last(key: str, eid: int, records: Mapping[int, EpochInfo]) -> Mapping[str, Any] | None:
    """What the monitor of this name measured last before an epoch."""
    for before in range(eid - 1, 0, -1):
        if before in records and key in (measured := records[before].get('monitors') or {}):
            return measured[key]
    return None


def _parts(description: Any) -> tuple[str, int, dict[str, Any]]:
    """The name, the period and the options of a monitor."""
    if not isinstance(description, (list, tuple)) or len(description) not in (2, 3):
        raise ValueError("each is (name, every so many epochs), or (name, every, {'option': value}), not "
                         f'{shown(description)}')
    name, every, options = (*description, {})[:3]
    if not isinstance(name, str) or name not in MONITORS:
        raise ValueError(f'there is no monitor {shown(name)}; {did_you_mean(name, MONITORS)}')
    if not isinstance(options, Mapping):
        raise ValueError(f"the options of {name!r} are a dictionary, not {shown(options)}")
    return name, count(f'the period of {name!r}', every, 1), dict(options)
