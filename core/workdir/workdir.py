"""The working directory of a run: only the modules of this package know the names of the files in it.

    logs/<experiment>/<date>/
        stdout              what the run printed
        flags.json          every flag, and what else is needed to repeat the run
        history.jsonl       a line for every attempt at an epoch, retries included
        res                 a pickle in the original's layout
        state.npz           where the run is: everything that resuming it needs
        lock                whose process is at work here
        tensorboard/        summaries, if they were asked for
        model-<eid>.keras   archived models

An evaluation's, logs/<experiment>/<date>/<evaluation>/<date>/, has besides stdout, flags.json and res:

        parts/<eid>-<n>.npz the results of the batch that begins at image n
        summary.json        medians, means, quantiles, accuracies under attack
        adversarial.npz     a data set, if it made one
        hessian-<epoch>.npz the curvature, if it measured that
        scan-<epoch>.npz    loss and accuracy along directions, if it measured those
        robustbench.json    of AutoAttack, an entry of RobustBench's leaderboards
"""

from __future__ import annotations

import itertools
import os
import shutil
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import UserError, writing
from .evaluations import Evaluated
from .files import new_directory
from .locks import locked
from .models import Models
from .records import Records

SHOWN = 5
"""Runs that a sentence names."""
SEARCHED = 2000
"""Directories that are looked through for runs."""


class Workdir(Records, Models, Evaluated):
    """A working directory.

    Args:
        path: its path; an existing run is opened with ``Workdir(path)``, a new one made with ``create``.
    """

    @classmethod
    def create(cls, path: str | os.PathLike | None, parent: Path) -> Workdir:
        """Makes a directory for new results.

        Args:
            path: where; None for a new directory in ``parent``, named by the date and time.
            parent: used without ``path`` only.

        Raises:
            UserError: ``path`` already holds results, or the directory cannot be made.
        """
        if path is not None and Path(path).is_file():
            raise UserError(f'cannot write in the directory {path}: it is a file')
        try:
            self = cls(new_directory(parent) if path is None else path)
            self.path.mkdir(parents=True, exist_ok=True)
            taken = self.flags_path.exists() or self.history_path.exists() or self.res_path.exists()
            if taken or self.archived_epochs():
                raise UserError(f'{self.path} already holds results; choose another directory, or none for a new one')
            self.stdout_path.touch()
        except OSError as e:
            raise UserError(f'cannot write in the directory {path or parent}: {e.strerror}') from None
        return self

    @classmethod
    @contextmanager
    def whole(cls, path: Path) -> Iterator[Workdir]:
        """A directory to fill, which appears at ``path`` whole or not at all; if another process was faster, that one's
        stays.

        Raises:
            UserError: the directory cannot be made, or there is something else.
        """
        self = cls(path.with_name(f'.{path.name}-{socket.gethostname()}-{os.getpid()}'))
        with writing(path):
            self.path.mkdir(parents=True)
        try:
            yield self
            try:
                with writing(path):
                    os.rename(self.path, path)
            except UserError:
                if not cls(path).flags_path.exists():
                    raise
        finally:
            shutil.rmtree(self.path, ignore_errors=True)

    def discard(self) -> None:
        """Removes the directory, if ``create`` made it and nothing has been written since."""
        if [p.name for p in self.path.iterdir()] == [self.stdout_path.name] and not self.stdout_path.stat().st_size:
            self.stdout_path.unlink()
            self.path.rmdir()

    def locked(self, say: Callable[[str], None]) -> AbstractContextManager[None]:
        """Keeps other processes from writing here meanwhile; see ``locks.locked``."""
        return locked(self.lock_path, say)

    def _hint(self) -> str:
        """What this path is, where it is no run's: to be added to a sentence."""
        if self.path.is_file():
            of_run = type(self)(self.path.parent).flags_path.exists()
            return f'; it is a file of {self.path.parent}: name that' if of_run else '; it is a file'
        if not self.path.is_dir():
            return '; there is no such directory'
        found = [str(run.path) for run in self._runs_below()]
        more = ' ...' if len(found) > SHOWN else ''
        return f"; there are runs below it: {', '.join(found[:SHOWN])}{more}" if found else ''

    def _runs_below(self) -> list[Workdir]:
        """Some runs below this directory: as many as are found without a long search."""
        found = []
        for folder, _, files in itertools.islice(os.walk(self.path), SEARCHED):
            if self.flags_path.name in files and self.history_path.name in files:
                found.append(Workdir(folder))
        return sorted(found, key=lambda run: run.path)

    def evaluations(self) -> list[Workdir]:
        """The evaluations in this run's directory, by name and date; one written elsewhere is not known."""
        return [Workdir(path.parent) for path in sorted(self.path.glob(f'*/*/{self.flags_path.name}'))]

    def runs(self) -> list[Workdir]:
        """This run or ensemble, or else the runs anywhere below this directory, by path.

        Raises:
            UserError: there are none.
        """
        if (self.flags_path.exists() and self.history_path.exists()) or self.is_ensemble():
            return [self]
        found = [Workdir(path.parent) for path in sorted(self.path.rglob(self.flags_path.name))]
        runs = [run for run in found if run.history_path.exists()]
        if not runs:
            raise UserError(f'{self.path} is not the working directory of a run, and has none below it')
        return runs

    def state(self) -> tuple[Any, ...]:
        """Something that differs once anything that figures draw has changed."""
        paths = [self.history_path]
        for evaluation in [self, *self.evaluations()]:
            paths += [evaluation.summary_path, evaluation.parts_path]
        return (self.archived_epochs(),
                *((str(p), s.st_mtime_ns, s.st_size) for p in paths if p.exists() for s in [p.stat()]))

    def has_ended(self) -> bool:
        """Whether a run has accepted its last epoch; an ensemble has none."""
        return self.is_ensemble() or (
            self.flags_path.exists() and self.last_epoch() >= self.read_flags()['flags']['E'])


class Onlooker(Workdir):
    """The directory of a run in which another worker does the writing: only the batches of an evaluation come from
    here too."""

    @property
    def stdout_path(self) -> Path:
        return Path(os.devnull)

    def write_flags(self, record: dict[str, Any]) -> None:
        pass

    def append_history(self, line: dict[str, Any]) -> None:
        pass

    def cut_history(self, size: int) -> None:
        pass

    def write_state(self, state: dict[str, Any], weights: dict[str, np.ndarray]) -> None:
        pass

    def write_res(self, res: Mapping[Any, Any]) -> None:
        pass

    def write_summary(self, summary: dict[str, Any]) -> None:
        pass

    def write_scan(self, eid: int, arrays: dict[str, Any]) -> None:
        pass

    def write_set(self, arrays: dict[str, Any]) -> Path:
        return self.set_path

    def write_entry(self, entry: dict[str, Any]) -> None:
        pass

    def write_model(self, eid: int, save: Callable[[Path], None]) -> Path:
        return self.model_path(eid)

    def remove_model(self, eid: int) -> None:
        pass

    def locked(self, say: Callable[[str], None]) -> AbstractContextManager[None]:
        return nullcontext()
