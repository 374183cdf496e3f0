"""What a person is told."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class UserError(Exception):
    """Something a person can put right: one sentence that says what was wrong and what would be right.

    The command line prints it and exits with status 1; nothing that was written is lost.
    """


class NotYet(UserError):
    """Something is missing that may still come."""


class Interrupted(UserError):
    """A person's wish to stop, obeyed; the sentence says how to go on. Work may still be under way in a thread."""


@contextmanager
def about(subject: str) -> Iterator[None]:
    """Turns a ValueError raised inside into a UserError about ``subject``."""
    try:
        yield
    except ValueError as e:
        raise UserError(f'{subject}: {e}') from None


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turns what the system says of a write into a UserError about ``path``."""
    try:
        yield
    except OSError as e:
        raise UserError(f'cannot write {path}: {e.strerror}; what was written before is complete') from None
