"""The names of the files in a working directory."""

from __future__ import annotations

import os
from pathlib import Path


class Paths:
    """See ``workdir.Workdir``."""

    def __init__(self, path: str | os.PathLike):
        self.path = Path(path)

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
    def set_path(self) -> Path:
        return self.path / 'adversarial.npz'

    def spectrum_path(self, eid: int) -> Path:
        return self.path / f'hessian-{eid}.npz'

    def scan_path(self, eid: int) -> Path:
        return self.path / f'scan-{eid}.npz'

    @property
    def entry_path(self) -> Path:
        return self.path / 'robustbench.json'

    @property
    def tensorboard_path(self) -> Path:
        return self.path / 'tensorboard'

    @property
    def parts_path(self) -> Path:
        return self.path / 'parts'

    def model_path(self, eid: int) -> Path:
        return self.path / f'model-{eid}.keras'

    def part_path(self, eid: int, start: int) -> Path:
        return self.parts_path / f'{eid}-{start}.npz'
