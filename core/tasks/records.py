"""The records of accepted epochs in little memory: a run has 10,000 of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, cast

from models import EpochInfo

MEASURED = ('monitors', 'objective')
"""What the record of an epoch has beside its statistics, if there is any."""


class Records(Mapping[int, EpochInfo]):
    """Records by epoch, in the order in which they were added; what is read is a new dictionary.

    It is pickled as a plain dictionary, one record at a time.
    """

    def __init__(self) -> None:
        self._names: tuple[str, ...] = ()
        self._rows: dict[int, tuple[Any, ...]] = {}
        self._measured: dict[int, dict[str, Any]] = {}

    def add(self, info: EpochInfo) -> None:
        """Adds the record of an epoch."""
        if tuple(info['stats']) != self._names:
            self._names = tuple(info['stats'])  # one tuple for all records
        self._rows[info['eid']] = (
            self._names, tuple(info['stats'].values()), info['all_rt_loss'], info['lr'], info['log_frame'],
            info['rt_loss'], info['time'])
        if measured := measured_of(info):
            self._measured[info['eid']] = measured

    def __getitem__(self, eid: int) -> EpochInfo:
        names, values, all_rt_loss, lr, log_frame, rt_loss, seconds = self._rows[eid]
        info: EpochInfo = {'eid': eid, 'all_rt_loss': all_rt_loss, 'lr': lr, 'log_frame': log_frame,
                           'stats': dict(zip(names, values)), 'rt_loss': rt_loss, 'time': seconds}
        info.update(cast(EpochInfo, self._measured.get(eid, {})))
        return info

    def __iter__(self) -> Iterator[int]:
        return iter(self._rows)

    def __len__(self) -> int:
        return len(self._rows)

    def __reduce__(self) -> tuple[Any, ...]:
        return dict, (), None, None, iter(self.items())


def measured_of(record: Mapping[str, Any]) -> dict[str, Any]:
    """What a record has beside its statistics."""
    return {key: record[key] for key in MEASURED if key in record}


def info_of(line: Mapping[str, Any]) -> EpochInfo:
    """The record of an accepted epoch, from its line of history.jsonl."""
    info: EpochInfo = {
        'eid': line['eid'], 'all_rt_loss': line.get('all_rt_loss'), 'lr': line['lr'], 'log_frame': line['log_frame'],
        'stats': _numbers(line['stats']), 'rt_loss': line['rt_loss'], 'time': line['time']}
    info.update(cast(EpochInfo, _numbers(measured_of(line))))
    return info


def _numbers(value: Any) -> Any:
    """Numbers that are not finite, which JSON has as strings, as numbers."""
    if isinstance(value, dict):
        return {k: _numbers(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_numbers(v) for v in value]
    return float(value) if isinstance(value, str) else value
