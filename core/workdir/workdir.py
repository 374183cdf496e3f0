"""The working directory of a run: the only module that knows the names of the files in it.

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
"""

from __future__ import annotations

import io
import itertools
import json
import math
import os
import pickle
import re
import sys
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from enum import Enum
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from ..errors import NotYet, UserError, writing
from .locks import locked
from .npz import read_npz

SHOWN = 5
"""Runs that a sentence names."""
SEARCHED = 2000
"""Directories that are looked through for runs."""
_RECORD: dict[str, type] = {'config': dict, 'versions': dict, 'images': dict, 'models': dict, 'command': list,
                            'resumed': list}
"""What flags.json says beside the flags, and the kind of it."""
_MODEL = re.compile(r'model-(\d+)\.keras')
_PART = re.compile(r'(\d+)-(\d+)\.npz')


class Workdir:
    """A working directory.

    Args:
        path: its path; an existing run is opened with ``Workdir(path)``, a new one made with ``create``.
    """

    def __init__(self, path: str | os.PathLike):
        self.path = Path(path)

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
            self = cls(_new_directory(parent) if path is None else path)
            self.path.mkdir(parents=True, exist_ok=True)
            taken = self.flags_path.exists() or self.history_path.exists() or self.res_path.exists()
            if taken or self.archived_epochs():
                raise UserError(f'{self.path} already holds results; choose another directory, or none for a new one')
            self.stdout_path.touch()
        except OSError as e:
            raise UserError(f'cannot write in the directory {path or parent}: {e.strerror}') from None
        return self

    @property
    def flags_path(self) -> Path:
        return self.path / 'flags.json'

    @property
    def history_path(self) -> Path:
        return self.path / 'history.jsonl'

    @property
    def res_path(self) -> Path:
        return self.path / 'res'

    @property
    def state_path(self) -> Path:
        return self.path / 'state.npz'

    @property
    def lock_path(self) -> Path:
        return self.path / 'lock'

    @property
    def stdout_path(self) -> Path:
        return self.path / 'stdout'

    @property
    def summary_path(self) -> Path:
        return self.path / 'summary.json'

    @property
    def tensorboard_path(self) -> Path:
        return self.path / 'tensorboard'

    @property
    def parts_path(self) -> Path:
        return self.path / 'parts'

    def discard(self) -> None:
        """Removes the directory, if ``create`` made it and nothing has been written since."""
        if [p.name for p in self.path.iterdir()] == [self.stdout_path.name] and not self.stdout_path.stat().st_size:
            self.stdout_path.unlink()
            self.path.rmdir()

    # ---- writing; each file appears whole or not at all ----

    def write_flags(self, record: dict[str, Any]) -> None:
        """Writes flags.json."""
        text = json.dumps(plain(record), indent=2) + '\n'
        replace(self.flags_path, text.encode())

    def append_history(self, line: dict[str, Any]) -> None:
        """Appends one attempt to history.jsonl: as a whole, on disk when this returns, or not at all."""
        data = (json.dumps(plain(line)) + '\n').encode()
        with writing(self.history_path), open(self.history_path, 'ab', buffering=0) as f:
            size = f.tell()
            try:
                written = 0
                while written < len(data):
                    written += f.write(data[written:])
                os.fsync(f.fileno())
            except OSError:
                os.ftruncate(f.fileno(), size)
                raise

    def history_size(self) -> int:
        """Bytes of history.jsonl."""
        return self.history_path.stat().st_size if self.history_path.exists() else 0

    def cut_history(self, size: int) -> None:
        """Takes from history.jsonl what came after its first ``size`` bytes.

        Raises:
            UserError: it is shorter than that.
        """
        if self.history_size() < size:
            raise UserError(f'{self.history_path} has lost lines: {self.history_size()} bytes are left of {size}')
        if self.history_size() > size:
            with writing(self.history_path):
                os.truncate(self.history_path, size)

    def write_state(self, state: dict[str, Any], weights: dict[str, np.ndarray]) -> None:
        """Replaces the state of the run by that of a further epoch, whole or not at all.

        Args:
            state: numbers, booleans, None, strings, and dictionaries of them.
            weights: the model's.
        """
        data = io.BytesIO()
        arrays: dict[str, Any] = {f'weights/{k}': v for k, v in weights.items()}
        np.savez(data, **arrays, state=np.array(json.dumps(state)))
        replace(self.state_path, data.getbuffer())

    def read_state(self) -> tuple[dict[str, Any], dict[str, np.ndarray]] | None:
        """What ``write_state`` wrote; None if the run was killed before it wrote anything.

        Raises:
            UserError: the file is damaged.
        """
        if not self.state_path.exists():
            return None
        arrays = read_npz(self.state_path, 'the state of the run')
        try:
            state = json.loads(str(arrays.pop('state')))
        except (KeyError, ValueError):
            raise UserError(f'{self.state_path} is not the state of a run') from None
        return state, {k.removeprefix('weights/'): v for k, v in arrays.items()}

    def locked(self, say: Callable[[str], None]) -> AbstractContextManager[None]:
        """Keeps other processes from writing here meanwhile; see ``locks.locked``."""
        return locked(self.lock_path, say)

    def write_res(self, res: Mapping[Any, Any]) -> None:
        """Pickles results of plain Python and NumPy types, so that they load without this project."""
        def write(file: BinaryIO) -> None:
            pickler = pickle.Pickler(file, protocol=4)
            pickler.fast = True  # without a memory of all that was written
            pickler.dump(res)
        replace(self.res_path, write)

    def write_summary(self, summary: dict[str, Any]) -> None:
        """Writes summary.json."""
        replace(self.summary_path, (json.dumps(plain(summary), indent=2) + '\n').encode())

    def write_part(self, eid: int, start: int, arrays: dict[str, Any]) -> None:
        """Writes the results of an evaluation's batch."""
        with writing(self.parts_path):
            self.parts_path.mkdir(exist_ok=True)
        data = io.BytesIO()
        np.savez_compressed(data, **arrays)
        replace(self._part_path(eid, start), data.getvalue())

    def _part_path(self, eid: int, start: int) -> Path:
        return self.parts_path / f'{eid}-{start}.npz'

    def model_path(self, eid: int) -> Path:
        return self.path / f'model-{eid}.keras'

    def write_model(self, eid: int, save: Callable[[Path], None]) -> Path:
        """Archives the model of an epoch, which ``save`` writes to a path; returns that path."""
        path = self.model_path(eid)
        with writing(path):
            save(path)
        return path

    # ---- reading ----

    def archived_epochs(self) -> list[int]:
        """Epochs whose models are here, ascending."""
        if not self.path.is_dir():
            return []
        found = (_MODEL.fullmatch(p.name) for p in self.path.iterdir())
        return sorted(int(m.group(1)) for m in found if m)

    def find_model(self, eid: int) -> Path:
        """The archived model of an epoch.

        Raises:
            UserError: that epoch was not archived; names those that were.
        """
        if not self.model_path(eid).exists():
            known = ', '.join(map(str, self.archived_epochs())) or 'none'
            raise UserError(f'epoch {eid} is not archived in {self.path}; archived epochs: {known}')
        return self.model_path(eid)

    def read_flags(self) -> dict[str, Any]:
        """The record written by ``write_flags``.

        Raises:
            UserError: this is not a run's working directory.
        """
        try:
            record = json.loads(self.flags_path.read_text())
        except (FileNotFoundError, NotADirectoryError):
            raise UserError(f'{self.path} is not the working directory of a run: it has no {self.flags_path.name}'
                            f'{self._hint()}') from None
        except OSError as e:
            raise UserError(f'{self.flags_path} cannot be read: {e.strerror}') from None
        except (ValueError, RecursionError) as e:
            raise UserError(f'{self.flags_path} cannot be read, it is not JSON: {e}') from None
        if not isinstance(record, dict) or not isinstance(record.get('flags'), dict):
            raise UserError(f"{self.flags_path} is not a run's record: it has no flags")
        for key, kind in _RECORD.items():
            if not isinstance(record.get(key, kind()), kind):
                raise UserError(f"{self.flags_path} is not a run's record: its {key!r} is {record[key]!r:.50}")
        return record

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

    def read_summary(self) -> dict[str, Any]:
        """The summary of an evaluation; empty while there is none yet.

        Raises:
            UserError: the file is damaged.
        """
        try:
            summary = json.loads(self.summary_path.read_text())
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, RecursionError) as e:
            raise UserError(f'{self.summary_path} cannot be read: {e}') from None
        epochs = summary.get('epochs', {}) if isinstance(summary, dict) else None
        if not isinstance(epochs, dict) or not all(isinstance(numbers, dict) for numbers in epochs.values()):
            raise UserError(f'{self.summary_path} is not the summary of an evaluation')
        return summary

    def parts(self) -> dict[int, list[int]]:
        """The batches whose results are here: their first images, ascending, by epoch."""
        if not self.parts_path.is_dir():
            return {}
        found: dict[int, list[int]] = {}
        for m in filter(None, (_PART.fullmatch(p.name) for p in self.parts_path.iterdir())):
            found.setdefault(int(m.group(1)), []).append(int(m.group(2)))
        return {eid: sorted(starts) for eid, starts in sorted(found.items())}

    def read_part(self, eid: int, start: int, names: Collection[str] | None = None) -> dict[str, np.ndarray]:
        """The arrays of ``write_part``, or those of them that are named.

        Raises:
            UserError: the file is missing or damaged.
        """
        return read_npz(self._part_path(eid, start), 'evaluation', names)

    def evaluations(self) -> list[Workdir]:
        """The evaluations in this run's directory, by name and date; one written elsewhere is not known."""
        return [Workdir(path.parent) for path in sorted(self.path.glob(f'*/*/{self.flags_path.name}'))]

    def runs(self) -> list[Workdir]:
        """This run, or else the runs anywhere below this directory, by path.

        Raises:
            UserError: there are none.
        """
        if self.flags_path.exists() and self.history_path.exists():
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
        """Whether a run has accepted its last epoch."""
        return self.flags_path.exists() and self.last_epoch() >= self.read_flags()['flags']['E']

    def last_epoch(self) -> int:
        """The last accepted epoch of a run; 0 before the first."""
        if not self.history_path.exists():
            return 0
        return max((line['eid'] for line in self.read_history() if line['cmd'] == 'go'), default=0)

    def read_history(self) -> Iterator[dict[str, Any]]:
        """The attempts, in order. A torn last line, left by a kill, is dropped, with a warning.

        Raises:
            UserError: this is not a run's working directory, or a line in the middle is damaged.
        """
        try:
            lines = self.history_path.read_bytes().split(b'\n')
        except OSError:
            raise NotYet(f'{self.path} has no {self.history_path.name}; it is not the working directory of a run'
                         f'{self._hint() if self.path.exists() else ""}') from None
        if lines[-1]:
            print(f'warning: {self.history_path}: the last line is torn, and left out', file=sys.stderr)
        for number, line in enumerate(lines[:-1], start=1):
            try:
                attempt = json.loads(line)
            except (ValueError, RecursionError):
                raise UserError(f'{self.history_path}, line {number}: not a line of JSON') from None
            if not isinstance(attempt, dict) or 'eid' not in attempt or 'cmd' not in attempt or (
                    attempt['cmd'] == 'go' and not isinstance(attempt.get('stats'), dict)):
                raise UserError(f'{self.history_path}, line {number}: not an attempt at an epoch')
            yield attempt


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

    def write_model(self, eid: int, save: Callable[[Path], None]) -> Path:
        return self.model_path(eid)

    def locked(self, say: Callable[[str], None]) -> AbstractContextManager[None]:
        return nullcontext()


def _new_directory(parent: Path) -> Path:
    """Makes ``parent/<date>``, or ``parent/<date>-2`` and so on where another process was faster."""
    stamp = time.strftime('%Y%m%d_%H%M%S')
    for k in itertools.count(1):
        path = parent / (stamp if k == 1 else f'{stamp}-{k}')
        try:
            path.mkdir(parents=True)
            return path
        except FileExistsError:
            if not parent.is_dir():
                raise
    raise AssertionError


def plain(value: Any) -> Any:
    """``value`` in JSON's types: enumerations by name, tuples as lists, numbers that are not finite as strings."""
    if isinstance(value, dict):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple, range)):
        return [plain(v) for v in value]
    if isinstance(value, Enum):
        return value.name
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    return str(value)


def replace(path: Path, data: bytes | memoryview | Callable[[BinaryIO], None]) -> None:
    """Writes a file, of ``data`` or what that writes, that appears whole or not at all, and is then on disk."""
    temporary = path.with_name(path.name + '.tmp')
    with writing(path):
        try:
            with open(temporary, 'wb') as f:
                data(f) if callable(data) else f.write(data)
                f.flush()
                os.fsync(f.fileno())
            os.replace(temporary, path)
        except OSError:
            temporary.unlink(missing_ok=True)
            raise
