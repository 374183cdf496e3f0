"""What an evaluation leaves: the results of each batch, and a summary."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import UserError, writing
from .files import plain, replace
from .npz import read_npz
from .paths import Paths

_PART = re.compile(r'(\d+)-(\d+)\.npz')


class Evaluated(Paths):
    """See ``workdir.Workdir``."""

    def write_summary(self, summary: dict[str, Any]) -> None:
        """Writes summary.json."""
        replace(self.summary_path, (json.dumps(plain(summary), indent=2) + '\n').encode())

    def write_entry(self, entry: dict[str, Any]) -> None:
        """Writes robustbench.json."""
        replace(self.entry_path, (json.dumps(entry, indent=2) + '\n').encode())

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

    def write_part(self, eid: int, start: int, arrays: dict[str, Any]) -> None:
        """Writes the results of an evaluation's batch."""
        with writing(self.parts_path):
            self.parts_path.mkdir(exist_ok=True)
        data = io.BytesIO()
        np.savez_compressed(data, **arrays)
        replace(self.part_path(eid, start), data.getvalue())

    def write_set(self, arrays: dict[str, Any]) -> Path:
        """Writes a data set that an evaluation made; returns its path."""
        replace(self.set_path, lambda file: np.savez_compressed(file, **arrays))
        return self.set_path

    def write_spectrum(self, eid: int, arrays: dict[str, Any]) -> None:
        """Writes what the curvature at an epoch is."""
        replace(self.spectrum_path(eid), lambda file: np.savez(file, **arrays))

    def read_spectrum(self, eid: int) -> dict[str, np.ndarray]:
        """The arrays of ``write_spectrum``.

        Raises:
            UserError: the file is missing or damaged.
        """
        return read_npz(self.spectrum_path(eid), 'spectrum')

    @staticmethod
    def read_spectrum_file(path: str | Path) -> dict[str, np.ndarray]:
        """The same, of a file that a person names."""
        return read_npz(path, 'spectrum')

    def write_scan(self, eid: int, arrays: dict[str, Any]) -> None:
        """Writes what was found along directions from the weights of an epoch."""
        replace(self.scan_path(eid), lambda file: np.savez(file, **arrays))

    def read_scan(self, eid: int) -> dict[str, np.ndarray]:
        """The arrays of ``write_scan``.

        Raises:
            UserError: the file is missing or damaged.
        """
        return read_npz(self.scan_path(eid), 'scan')

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
        return read_npz(self.part_path(eid, start), 'evaluation', names)
