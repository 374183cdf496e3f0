"""Runs that something else is made of, an ensemble or a curve, by what their records say of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from . import datasets
from .flags import merge
from .flags.earlier import evaluated_flags, measured_epochs
from .tasks.begun import digests
from .workdir import Workdir

LETTERS = 12
"""Of a digest, in the name of a directory."""


class Member(NamedTuple):
    """A run at an epoch: its directory, the epoch, the SHA-256 of that model, all flags that an evaluation has of it,
    and its record."""

    run: Workdir
    eid: int
    digest: str
    flags: dict[str, Any]
    record: dict[str, Any]

    @property
    def data(self) -> str:
        """What identifies its data set."""
        return datasets.identity(self.flags['dataset'])


def members_of(log: str, eid: Any) -> tuple[list[Member], str | None]:
    """A run at each epoch that the flag ``eid`` means.

    Returns:
        these; a sentence where the last epoch stands for the best, else None.

    Raises:
        UserError: it is no run, or has not archived such an epoch.
    """
    flags, run = merge({'task': 'certify', **evaluated_flags(log)}), Workdir(log)
    eids, note = measured_epochs(run, eid)
    digest, record = digests(run, eids), run.read_flags()
    return [Member(run, one, digest[str(one)], flags, record) for one in eids], note


def folder_of(path: Path) -> Path:
    """The folder that a directory is in."""
    return path.parent if path.name not in ('', '..') else path.resolve().parent
