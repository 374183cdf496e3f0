"""The records of accepted epochs in little memory: a run has 10,000 of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from models import EpochInfo


class Records(Mapping[int, EpochInfo]):
    """Records by epoch, in the order in which they were added; what is read is a new dictionary.

    It is pickled as a plain dictionary, one record at a time.
    """

    def __init__(self) -> None:
        self._names: tuple[str, ...] = ()
        self._rows: dict[int, tuple[Any, ...]] = {}

    def add(self, info: EpochInfo) -> None:
        """Adds the record of an epoch."""
        if tuple(info['stats']) != self._names:
            self._names = tuple(info['stats'])  # one tuple for all records
        self._rows[info['eid']] = (
            self._names, tuple(info['stats'].values()), info['all_rt_loss'], info['lr'], info['log_frame'],
            info['rt_loss'], info['time'])

    def __getitem__(self, eid: int) -> EpochInfo:
        names, values, all_rt_loss, lr, log_frame, rt_loss, seconds = self._rows[eid]
        return {'eid': eid, 'all_rt_loss': all_rt_loss, 'lr': lr, 'log_frame': log_frame,
                'stats': dict(zip(names, values)), 'rt_loss': rt_loss, 'time': seconds}

    def __iter__(self) -> Iterator[int]:
        return iter(self._rows)

    def __len__(self) -> int:
        return len(self._rows)

    def __reduce__(self) -> tuple[Any, ...]:
        return dict, (), None, None, iter(self.items())
