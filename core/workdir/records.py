"""What a working directory says of a run: its flags, its history, where it is, its results."""

from __future__ import annotations

import io
import json
import os
import pickle
import sys
from collections.abc import Iterator, Mapping
from typing import Any, BinaryIO

import numpy as np

from ..errors import NotYet, UserError, writing
from .files import plain, replace
from .npz import read_npz
from .paths import Paths

_RECORD: dict[str, type] = {'config': dict, 'versions': dict, 'images': dict, 'models': dict, 'command': list,
                            'resumed': list, 'ensemble': dict}
"""What flags.json says beside the flags, and the kind of it."""


class Records(Paths):
    """See ``workdir.Workdir``."""

    # ---- flags.json ----

    def write_flags(self, record: dict[str, Any]) -> None:
        """Writes flags.json."""
        text = json.dumps(plain(record), indent=2) + '\n'
        replace(self.flags_path, text.encode())

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

    def is_ensemble(self) -> bool:
        """Whether this is the directory of an ensemble, which was not trained and has no history."""
        return self.flags_path.exists() and not self.history_path.exists() and 'ensemble' in self.read_flags()

    def _hint(self) -> str:
        """What this path is, where it is no run's: to be added to a sentence."""
        return ''

    # ---- history.jsonl ----

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

    def read_history(self) -> Iterator[dict[str, Any]]:
        """The attempts, in order. A torn last line, left by a kill, is dropped, with a warning.

        Raises:
            UserError: this is not a run's working directory, or a line in the middle is damaged.
        """
        try:
            lines = self.history_path.read_bytes().split(b'\n')
        except OSError:
            if self.is_ensemble():
                raise UserError(f'{self.path} is an ensemble, which was not trained and has no history; name a run that'
                                ' is a member of it') from None
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

    def last_epoch(self) -> int:
        """The last accepted epoch of a run; 0 before the first."""
        if not self.history_path.exists():
            return 0
        return max((line['eid'] for line in self.read_history() if line['cmd'] == 'go'), default=0)

    # ---- state.npz and res ----

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

    def write_res(self, res: Mapping[Any, Any]) -> None:
        """Pickles results of plain Python and NumPy types, so that they load without this project."""
        def write(file: BinaryIO) -> None:
            pickler = pickle.Pickler(file, protocol=4)
            pickler.fast = True  # without a memory of all that was written
            pickler.dump(res)
        replace(self.res_path, write)

    def best_epoch(self) -> int | None:
        """The best epoch, by what the run's archiver has recorded; None if it does not look for one."""
        if not self.state_path.exists():
            return None
        arrays = read_npz(self.state_path, 'the state of the run', ('state',))
        try:
            return json.loads(str(arrays['state']))['archiver'].get('best_eid')
        except (KeyError, ValueError, AttributeError):
            raise UserError(f'{self.state_path} is not the state of a run') from None
