"""The directory of a sweep: the only module that knows what is in it, beside the working directories of its runs.

    logs/sweep-NAME/
        sweep.json                  the axes, every run with its flags, and which evaluations are complete
        stdout                      what the sweep printed
        lock                        whose process is at work here
        noise-0.6/l2/seed-1/        the working directory of a run, named by its labels and its seed
            eval-NAME/sweep/        that of an evaluation of it
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..errors import UserError
from ..workdir import Workdir, plain, replace


@dataclass(frozen=True)
class PlannedRun:
    """A run of a sweep, made or not.

    Attributes:
        name: its path in the sweep's directory.
        labels: its label on each axis.
        seed: of the run.
        flags: what the sweep gives the run, but for its seed.
    """

    name: str
    labels: dict[str, str]
    seed: int
    flags: dict[str, Any]


class SweepDirectory(Workdir):
    """A sweep's directory. To figures that watch it, it is what ``Workdir`` is of a run."""

    @classmethod
    def holds_sweep(cls, path: str | os.PathLike) -> bool:
        return cls(path).sweep_path.exists()

    def make(self) -> None:
        """Makes the directory.

        Raises:
            UserError: it cannot be made.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self.stdout_path.touch()
        except OSError as e:
            raise UserError(f'cannot write in the directory {self.path}: {e.strerror}') from None

    @property
    def sweep_path(self):
        return self.path / 'sweep.json'

    def write_sweep(self, record: Mapping[str, Any]) -> None:
        """Writes sweep.json: 'name', 'axes', 'base', 'settings', 'evaluations', 'runs', 'evaluated'."""
        replace(self.sweep_path, (json.dumps(plain(dict(record)), indent=2) + '\n').encode())

    def read_sweep(self) -> dict[str, Any]:
        """What ``write_sweep`` wrote.

        Raises:
            UserError: this is not a sweep's directory, or the file is damaged.
        """
        try:
            record = json.loads(self.sweep_path.read_text())
        except (FileNotFoundError, NotADirectoryError):
            raise UserError(f'{self.path} is not the directory of a sweep: it has no {self.sweep_path.name}') from None
        except (OSError, ValueError) as e:
            raise UserError(f'{self.sweep_path} cannot be read: {e}') from None
        kinds = {'axes': dict, 'base': dict, 'settings': dict, 'evaluations': dict, 'runs': list, 'evaluated': list}
        if not isinstance(record, dict) or not all(isinstance(record.get(k), kind) for k, kind in kinds.items()):
            raise UserError(f"{self.sweep_path} is not a sweep's record")
        return record

    def planned(self) -> list[PlannedRun]:
        """Every run of the sweep, in the order in which they are made."""
        try:
            return [PlannedRun(**run) for run in self.read_sweep()['runs']]
        except TypeError:
            raise UserError(f"{self.sweep_path} is not a sweep's record") from None

    def of(self, run: PlannedRun) -> Workdir:
        """The working directory of a run."""
        return Workdir(self.path / run.name)

    def evaluation_of(self, run: PlannedRun, name: str) -> Workdir:
        """The directory of an evaluation of a run."""
        return Workdir(self.path / run.name / name / 'sweep')

    def is_finished(self, run: PlannedRun) -> bool:
        """Whether a run has all of its epochs, and everything of them is written; what is at work there, or was
        killed, leaves its lock."""
        workdir = self.of(run)
        return workdir.has_ended() and not workdir.lock_path.exists() and (
            workdir.model_path(workdir.last_epoch()).exists())

    def is_evaluated(self, run: PlannedRun, name: str) -> bool:
        """Whether an evaluation of a run is complete."""
        complete = f'{run.name}/{name}' in self.read_sweep()['evaluated']
        return complete and self.evaluation_of(run, name).res_path.exists()

    # ---- for figures that watch ----

    def state(self) -> tuple[Any, ...]:
        runs = self.planned() if self.sweep_path.exists() else []
        return (*(self.is_finished(run) for run in runs), len(runs) and tuple(self.read_sweep()['evaluated']))

    def has_ended(self) -> bool:
        """Whether all runs are finished and evaluated."""
        return self.sweep_path.exists() and all(
            self.is_finished(run) and all(self.is_evaluated(run, e) for e in self.read_sweep()['evaluations'])
            for run in self.planned())
