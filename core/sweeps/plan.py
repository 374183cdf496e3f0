"""What a sweep is to make, and that it fits what it has made before."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras

from ..core import Core
from ..errors import UserError
from ..flags import PLACES, merge
from ..workdir import plain
from .directory import SweepDirectory
from .grid import Grid, run_named_by

_FREE = (*PLACES, 'print', 'tensorboard')
"""Flags that may change while a sweep is under way: none of them changes what a run computes."""


class Plan:
    """The runs and evaluations of a sweep.

    Args:
        grid: what is to be run.
        out: the sweep's directory, new or with a part of the runs.
        name: of the sweep.
        settings: flags that win over the base's. Those with which the sweep was begun need not be given again.

    Raises:
        UserError: flags that cannot be used, or not with the runs that were made before.

    Attributes:
        runs: those that are to be made.
        evaluations: of each of them, by name.
        remembered: settings of earlier that were not given.
        record: what sweep.json is to hold.
    """

    def __init__(self, grid: Grid, out: SweepDirectory, name: str, settings: Mapping[str, Any]):
        self._out = out
        earlier = out.read_sweep() if out.holds_sweep(out.path) else None
        self.remembered = {k: v for k, v in (earlier or {}).get('settings', {}).items() if k not in settings}
        settings = {**self.remembered, **settings}
        self.evaluations = grid.evaluations
        self.runs = grid.runs(settings)
        self.record: dict[str, Any] = {
            'name': name, 'axes': {axis: list(labels) for axis, labels in grid.axes.items()}, 'base': grid.base,
            'settings': settings, 'evaluations': grid.evaluations, 'runs': [vars(run) for run in self.runs],
            'evaluated': [], 'failures': []}
        if earlier is not None:
            self._go_on_from(earlier)

    def _go_on_from(self, earlier: Mapping[str, Any]) -> None:
        """Takes over what was planned and done before.

        Raises:
            UserError: a run or an evaluation of the same name had other flags.
        """
        before = {run['name']: run for run in earlier['runs']}
        for run in self.runs:
            if run.name in before:
                self._compare(plain(merge(before[run.name]['flags'])), plain(merge(run.flags)))
        for name, flags in self.evaluations.items():
            if name in earlier['evaluations']:
                self._compare(earlier['evaluations'][name], plain(flags), f' in {name}')
        own = {run.name for run in self.runs}
        # Runs of other seeds, or of labels that the config file has no longer, stay in the record.
        self.record['runs'] = [*self.record['runs'], *(run for name, run in before.items() if name not in own)]
        self.record['axes'] = {axis: list(dict.fromkeys([*labels, *earlier['axes'].get(axis, ())]))
                               for axis, labels in self.record['axes'].items()}
        self.record['evaluated'], self.record['failures'] = earlier['evaluated'], earlier['failures']

    def _compare(self, was: Mapping[str, Any], now: Mapping[str, Any], where: str = '') -> None:
        for flag in {**was, **now}:
            if flag not in _FREE and was.get(flag) != now.get(flag):
                raise UserError(f'the sweep in {self._out.path} was begun with {flag}={was.get(flag)!r}{where}, so it '
                                f'cannot go on with {flag}={now.get(flag)!r}; name another directory with --log')

    def refuse(self, places: Mapping[str, Any]) -> None:
        """Sees, before anything is written, that the runs to be made can be; those of one seed stand for all.

        Args:
            places: the flags 'gpu' and 'data_dir', where they are given.

        Raises:
            UserError: one cannot.
        """
        todo = [run for run in self.runs if not self._out.of(run).flags_path.exists()]
        for run in [run for run in todo if run.seed == todo[0].seed]:
            # In place of a run that is named stands any: it is to be made yet.
            evaluations = {name: {k: v if run_named_by(v) is None else run.name for k, v in flags.items()}
                           for name, flags in self.evaluations.items()}
            try:
                Core(run.flags, {**places, 'seed': run.seed}, name=self.record['name']).refuse(evaluations)
            except UserError as e:
                raise UserError(f'{run.name}: {e}') from None
            finally:
                keras.backend.clear_session()
