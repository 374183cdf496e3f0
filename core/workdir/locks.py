"""One process at a time in a directory: a file that the system locks for a process, and that says whose it is.

The system lets go of the lock of a process that ends, however it ends, and so does a file server of one on another
host, where it knows of locks at all. As it need not (NFS mounted with ``nolock``, say), a lock is besides a file that
only one process can have created, on any file system, and whose time its process renews: where that is of another host,
it counts as left behind only after long silence.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from ..errors import UserError, writing

BEAT = 20.0
"""Seconds between two signs of life of a process that holds a lock."""
SILENCE = 180.0
"""Seconds without one after which a process on another host counts as dead; clients of a file server may see the time
of a file a minute late."""
_NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS)
_claimed: set[str] = set()
"""The locks that ``claimed`` holds, in which this process may work."""


class InUse(UserError):
    """Another process holds a lock, or one on another host may do so."""

    def __init__(self, path: Path, owner: dict[str, Any], elsewhere: bool):
        hint = f'; if that has ended, delete {path}' if elsewhere else ''
        super().__init__(f'{path.parent} is in use by {called(owner)}{hint}')


@dataclass(frozen=True)
class Claim:
    """A lock that this process has taken.

    Attributes:
        former: the record of the process that left it behind; empty if that left none.
        left_behind: whether it was left behind, rather than free.
    """

    former: dict[str, Any]
    left_behind: bool


@dataclass(frozen=True)
class Holder:
    """Whose a lock is.

    Attributes:
        who: its process, in words.
        at_work: whether it is; None of a process on another host, of which the system does not know.
        silent: seconds since the last sign of life, by this host's clock.
    """

    who: str
    at_work: bool | None
    silent: float


class Watch:
    """Tells whether processes on other hosts are silent, by watching the files of their locks: by this host's clock, so
    that the clocks need not agree."""

    def __init__(self) -> None:
        self._seen: dict[Path, tuple[int, float]] = {}

    def is_silent(self, path: Path, owner: dict[str, Any]) -> bool:
        """Whether the lock's process has given no sign of life for ``SILENCE`` seconds of watching."""
        if 'beat' not in owner:  # an earlier version gave none
            return False
        with suppress(FileNotFoundError):
            beat = path.stat().st_mtime_ns
            if path not in self._seen or self._seen[path][0] != beat:
                self._seen[path] = beat, time.monotonic()
            return time.monotonic() - self._seen[path][1] >= SILENCE
        return False


def called(owner: dict[str, Any]) -> str:
    """The process of a lock's record, in words."""
    if not owner:
        return 'a process'
    device = f" ({owner['device']})" if owner.get('device') else ''
    return f"process {owner.get('pid')} on {owner.get('host')}{device}, since {owner.get('since')}"


@contextmanager
def locked(path: Path, say: Callable[[str], None]) -> Iterator[None]:
    """Holds a lock file, which tells whose it is and is gone afterwards; one that this process has claimed it works in.

    Args:
        path: the file.
        say: is told when the lock of a process that has ended is taken over.

    Raises:
        InUse: another process holds it, or one on another host may do so.
        UserError: the file cannot be written, or the file system has no locks.
    """
    if str(path.absolute()) in _claimed:
        yield
        return
    file, claim = _take(path, {}, lambda *of: False)
    with _held(path, file):
        if claim.former:
            say(f'taking over from {called(claim.former)}, which has ended')
        yield


@contextmanager
def claimed(path: Path, watch: Watch, **about: Any) -> Iterator[Claim | None]:
    """Holds a lock file, in a directory that is made if need be; ``locked`` lets this process in meanwhile.

    Args:
        path: the file.
        watch: judges the locks of other hosts.
        about: more of this process, for its record: 'device', in words.

    Yields:
        The claim; None if another process holds the lock.

    Raises:
        UserError: the file cannot be written, or the file system has no locks.
    """
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    try:
        file, claim = _take(path, about, watch.is_silent)
    except InUse:
        yield None
        return
    key = str(path.absolute())
    with _held(path, file):
        _claimed.add(key)
        try:
            yield claim
        finally:
            _claimed.discard(key)


def holder(path: Path) -> Holder | None:
    """Whose a lock is, whether or not that is still at work; None if there is none."""
    try:
        with open(path, 'rb') as file:
            owner, silent = _owner(file), time.time() - os.fstat(file.fileno()).st_mtime
            if not _try_flock(file, path, fcntl.LOCK_SH):
                return Holder(called(owner), True, silent)
    except FileNotFoundError:
        return None
    return Holder(called(owner), None if _is_elsewhere(owner) else False, silent)


def _is_elsewhere(owner: dict[str, Any]) -> bool:
    return bool(owner) and owner.get('host') != socket.gethostname()


def _take(path: Path, about: dict[str, Any], is_silent: Callable[[Path, dict[str, Any]], bool]
          ) -> tuple[BinaryIO, Claim]:
    """The file, locked until it is closed, with this process's record."""
    me = {'pid': os.getpid(), 'host': socket.gethostname(), 'since': time.strftime('%Y-%m-%d %H:%M:%S'), 'beat': BEAT,
          **about}
    record, claim = json.dumps(me).encode(), Claim({}, False)
    with writing(path):
        while True:
            try:
                file: BinaryIO = open(path, 'r+b')
            except FileNotFoundError:
                if (created := _create(path, record)) is not None:
                    return created, claim
                continue  # another process was faster
            if not _try_flock(file, path):
                with file:
                    raise InUse(path, _owner(file), False)
            if not _is_at(path, file):  # it was deleted by the process that had locked it
                file.close()
                continue
            owner = _owner(file)
            if not _is_elsewhere(owner):
                file.seek(0)
                file.truncate()
                file.write(record)
                file.flush()
                return file, Claim(owner, True)
            with file:
                if not is_silent(path, owner):
                    raise InUse(path, owner, True)
                if _is_at(path, file):
                    path.unlink(missing_ok=True)  # whichever of several hosts creates the next one has it
            claim = Claim(owner, True)


def _create(path: Path, record: bytes) -> BinaryIO | None:
    """A lock file that appears with its record in it, locked; None if another process was faster."""
    temporary = path.with_name(f'{path.name}-{socket.gethostname()}-{os.getpid()}-{threading.get_ident()}')
    temporary.unlink(missing_ok=True)  # of a process of this number that was killed here; the lock may be the same file
    file: BinaryIO = open(temporary, 'w+b')
    try:
        _try_flock(file, temporary)
        file.write(record)
        file.flush()
        os.link(temporary, path)
        temporary.unlink()
        return file
    except BaseException as e:
        file.close()
        temporary.unlink(missing_ok=True)
        if isinstance(e, FileExistsError):
            return None
        if isinstance(e, OSError) and e.errno in _NO_LINKS:
            return _create_without_links(path, record)
        raise


def _create_without_links(path: Path, record: bytes) -> BinaryIO | None:
    """As ``_create``, but that the file appears empty, and another process may lock it before this one does."""
    try:
        file: BinaryIO = open(path, 'x+b')
    except FileExistsError:
        return None
    if _try_flock(file, path) and _is_at(path, file):
        file.write(record)
        file.flush()
        return file
    file.close()
    return None


def _try_flock(file: BinaryIO, path: Path, how: int = fcntl.LOCK_EX) -> bool:
    """Whether the file could be locked.

    Raises:
        UserError: the file system has no locks.
    """
    try:
        fcntl.flock(file, how | fcntl.LOCK_NB)
        return True
    except BlockingIOError:
        return False
    except OSError as e:
        raise UserError(f'{path.parent} is on a file system without locks ({e.strerror}), where two processes could do '
                        'the same work; choose a directory on another one, or have this one mounted with locks'
                        ) from None


def _is_at(path: Path, file: BinaryIO) -> bool:
    with suppress(FileNotFoundError):
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    return False


@contextmanager
def _held(path: Path, file: BinaryIO) -> Iterator[None]:
    """Gives signs of life meanwhile, and lets go of the lock at the end."""
    ended = threading.Event()

    def beat() -> None:
        while not ended.wait(BEAT):
            with suppress(OSError):
                os.utime(file.fileno())

    beating = threading.Thread(target=beat, daemon=True)
    beating.start()
    try:
        yield
    finally:
        ended.set()
        beating.join()
        with file:
            if _is_at(path, file):
                path.unlink(missing_ok=True)


def _owner(file: BinaryIO) -> dict[str, Any]:
    """The record in a lock file; empty if that is not readable, or not written yet."""
    try:
        owner = json.loads(file.read())
        return owner if isinstance(owner, dict) else {}
    except (OSError, ValueError):
        return {}
