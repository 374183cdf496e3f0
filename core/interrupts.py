"""Ctrl-C and SIGTERM, held back while a run's state changes."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TypeVar

T = TypeVar('T')

SIGNALS = (signal.SIGINT, signal.SIGTERM)


def interruptible(call: Callable[[], T]) -> T:
    """Calls it in a thread, so that Ctrl-C and SIGTERM raise KeyboardInterrupt at once, and not when TensorFlow returns
    to Python minutes later. The thread is then left to itself; the process should end."""
    if threading.current_thread() is not threading.main_thread():
        return call()
    results: list[T] = []
    failures: list[BaseException] = []

    def run() -> None:
        try:
            results.append(call())
        except BaseException as e:
            failures.append(e)

    thread = threading.Thread(target=run, daemon=True)
    interrupts = Interrupts()
    with interrupts.handled():
        thread.start()
        while thread.is_alive():
            thread.join(0.1)
            interrupts.look()
    if failures:
        raise failures[0]
    return results[0]


class Interrupts:
    """Within ``handled()``, Ctrl-C and SIGTERM raise KeyboardInterrupt, but inside ``held()`` only at its end.

    An interrupt may come while Python calls back what a garbage collection asks for, where it prints an exception and
    goes on; so it is raised once more at the next end of ``held()``, or by ``look``.
    """

    def __init__(self) -> None:
        self._holding = self._pending = False

    @contextmanager
    def handled(self) -> Iterator[None]:
        """Installs the handlers; without effect outside the main thread, where Python allows none."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {s: signal.signal(s, self._receive) for s in SIGNALS}
        try:
            yield
        finally:
            for s, handler in before.items():
                signal.signal(s, handler)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Holds an interrupt back until what is inside is complete."""
        self._holding = True
        try:
            yield
        finally:
            self._holding = False
        self.look()

    def look(self) -> None:
        """Raises KeyboardInterrupt if there was an interrupt, once."""
        if self._pending:
            self._pending = False
            raise KeyboardInterrupt

    def _receive(self, number: int, frame: FrameType | None) -> None:
        self._pending = True
        if not self._holding:
            raise KeyboardInterrupt
