"""The archived models of a run."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from ..errors import UserError, writing
from .paths import Paths

_MODEL = re.compile(r'model-(\d+)\.keras')


class Models(Paths):
    """See ``workdir.Workdir``."""

    def write_model(self, eid: int, save: Callable[[Path], None]) -> Path:
        """Archives the model of an epoch, which ``save`` writes to a path; returns that path."""
        path = self.model_path(eid)
        with writing(path):
            save(path)
        return path

    def remove_model(self, eid: int) -> None:
        """Removes the model of an epoch that is archived no longer, if it is here."""
        with writing(self.model_path(eid)), suppress(FileNotFoundError):
            os.unlink(self.model_path(eid))

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
