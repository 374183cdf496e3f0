"""One process at a time in a working directory."""

from __future__ import annotations

import fcntl
import json
import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from ..errors import UserError, writing


@contextmanager
def locked(path: Path, say: Callable[[str], None]) -> Iterator[None]:
    """Holds a lock file, which tells whose it is and is gone afterwards.

    Args:
        path: the file.
        say: is told when the lock of a process that has ended is taken over.

    Raises:
        UserError: another process holds it, or one on another host may do so.
    """
    me = {'pid': os.getpid(), 'host': socket.gethostname(), 'since': time.strftime('%Y-%m-%d %H:%M:%S')}
    with writing(path):
        file = _open_locked(path)
    owner = _owner(path)
    who = f'process {owner.get("pid")} on {owner.get("host")}, since {owner.get("since")}' if owner else 'a process'
    if file is None:
        raise UserError(f'{path.parent} is in use by {who}')
    with file:
        # The system lets go of the lock of a process that has ended; that of another host it may never have known.
        if owner and owner.get('host') != me['host']:
            raise UserError(f'{path.parent} is in use by {who}; if that has ended, delete {path}')
        if owner:
            say(f'taking over from {who}, which has ended')
        with writing(path):
            file.truncate(0)
            file.write(json.dumps(me).encode())
            file.flush()
        try:
            yield
        finally:
            path.unlink(missing_ok=True)


def _open_locked(path: Path) -> BinaryIO | None:
    """The file, locked until it is closed; None if another process has locked it."""
    while True:
        file = open(path, 'a+b')
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if path.exists() and os.path.samestat(os.fstat(file.fileno()), path.stat()):
                return file
        except BlockingIOError:
            file.close()
            return None
        file.close()  # it was deleted by the process that had locked it


def _owner(path: Path) -> dict[str, Any]:
    try:
        owner = json.loads(path.read_text())
        return owner if isinstance(owner, dict) else {}
    except (OSError, ValueError):
        return {}
