"""One epoch's numbers -> terminal, and the copy of the terminal in the working directory."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TextIO

import numpy as np
from tqdm import tqdm

from models import EpochInfo

from .errors import UserError
from .flags import FLAGS

COLUMNS = 79
"""Of the lines that are kept short."""


class _Tee:
    """Writes to two text streams."""

    def __init__(self, first: TextIO, second: TextIO):
        self._first, self._second = first, second

    def write(self, text: str) -> int:
        self._second.write(text)
        return self._first.write(text)

    def flush(self) -> None:
        self._first.flush()
        self._second.flush()

    def isatty(self) -> bool:
        return self._first.isatty()


@contextmanager
def copy_stdout(path: Path) -> Iterator[None]:
    """Copies what is printed meanwhile to a file, line by line, and with it the sentence that ended a run early."""
    with open(path, 'a', buffering=1) as f:
        kept = sys.stdout
        sys.stdout = _Tee(kept, f)
        try:
            yield
        except (UserError, KeyboardInterrupt) as e:
            f.write(f'error: {e}\n' if isinstance(e, UserError) else 'interrupted\n')
            raise
        finally:
            sys.stdout = kept


def say(text: str) -> None:
    """Prints a line at once, above the bars that are shown.

    Raises:
        UserError: it cannot be written, since the disk with the output is full, say.
    """
    try:
        with tqdm.external_write_mode():
            print(text, flush=True)
    except BrokenPipeError:
        raise
    except OSError as e:
        with suppress(OSError):  # what is left in the buffer cannot be written at the end either
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        raise UserError(f'what is printed cannot be written: {e.strerror}') from None


@contextmanager
def status(text: str) -> Iterator[None]:
    """Shows a line meanwhile, on a terminal, gone when it ends."""
    if not sys.stderr.isatty():
        yield
        return
    print(f'{text} ...', end='', file=sys.stderr, flush=True)
    try:
        yield
    finally:
        print('\r\033[K', end='', file=sys.stderr, flush=True)


def print_flags(flags: Mapping[str, Any]) -> None:
    """Prints every flag, as the original does at the start; with ``print=False`` those that say something, a line of
    a terminal each."""
    lines = [f'    {name}: {value}' for name, value in flags.items()
             if flags.get('print', True) or name not in FLAGS or value != FLAGS[name].default]
    if not flags.get('print', True):
        lines = [line if len(line) <= COLUMNS else f'{line[:COLUMNS - 4]} ...' for line in lines]
    say('\n'.join(['{', *lines, '}']))


def _status(info: EpochInfo) -> str:
    frame = '' if info['log_frame'] is None else f" log_frame={info['log_frame']:.5f}"
    return f"lr={info['lr']:.3e}{frame}"


def print_epoch(info: EpochInfo, block: bool = True) -> None:
    """Prints the line, and the block, of an attempt that has statistics, in the original's format."""
    stats = info['stats']
    say(f"epoch #{info['eid']} ({_status(info)}): rt_loss={info['rt_loss']:.5f} loss={stats['loss']:.5f} "
        f"acc={stats['acc'] * 100:.3f}% test_loss={stats['test_loss']:.5f} test_acc={stats['test_acc'] * 100:.3f}% "
        f"[time={info['time']:.3f}s]")
    if block:
        say('\n'.join(['{', *(_stat(name, stats[name]) for name in sorted(stats)), '}']))


def _stat(name: str, value: float) -> str:
    return f'    {name}: {value}' if isinstance(value, int) else f'    {name}: {value:.8f}    (E: {value:.8E})'


@contextmanager
def image_bar(images: int, describe: Callable[[np.ndarray], str], unit: str = 'image'
              ) -> Iterator[Callable[[int, np.ndarray], None]]:
    """Shows how an evaluation gets on: a bar on a terminal, elsewhere a line every half minute.

    Args:
        images: how many there are.
        describe: puts into words what was found of images, a number each.
        unit: what else than images these are.

    Yields:
        What to call with an epoch and the numbers of the further images done there.
    """
    found: dict[int, list[np.ndarray]] = {}
    done, last = 0, time.monotonic()
    with tqdm(total=images, unit=unit, leave=False, disable=not sys.stderr.isatty(), file=sys.stderr) as bar:
        wait = 30.0 if bar.disable else 0.5  # it is put into words seldom, so that this costs nothing

        def tell(eid: int, numbers: np.ndarray) -> None:
            nonlocal done, last
            found.setdefault(eid, []).append(numbers)
            done += len(numbers)
            bar.update(len(numbers))
            if done < images and time.monotonic() - last > wait:
                last = time.monotonic()
                so_far = describe(np.concatenate(found[eid]))
                bar.set_postfix_str(so_far)
                if bar.disable:
                    say(f'{done} of {images} {unit}s, {so_far}')
        yield tell


@contextmanager
def count_bar(text: str) -> Iterator[Callable[[int], None]]:
    """Shows on a terminal how many of something are done, of which nobody knows how many there will be.

    Yields:
        a function that is called with the number so far.
    """
    with tqdm(desc=text, leave=False, disable=None, bar_format='{desc}: {n_fmt} products [{elapsed}]') as bar:
        yield lambda n: bar.update(n - bar.n) and None


def print_failure(info: EpochInfo, reason: str) -> None:
    """Prints the line of an attempt that failed."""
    say(f"epoch #{info['eid']} ({_status(info)}): {reason} [time={info['time']:.3f}s]")


@contextmanager
def epoch_bar(eid: int, steps: int) -> Iterator[Callable[[int], None] | None]:
    """A progress bar of an epoch that takes over half a second, on a terminal, gone when it ends; None elsewhere."""
    if not sys.stderr.isatty():
        yield None
        return
    with tqdm(total=steps, desc=f'epoch #{eid}', unit='step', leave=False, delay=0.5, file=sys.stderr) as bar:
        yield lambda n: bar.update(n) and None


@contextmanager
def run_bar(epochs: int) -> Iterator[tqdm | None]:
    """A progress bar of a run of so many epochs, on a terminal, gone when it ends; None elsewhere. See ``move``."""
    if not sys.stderr.isatty():
        yield None
        return
    with tqdm(total=epochs, unit='epoch', leave=False, file=sys.stderr, dynamic_ncols=True) as bar:
        yield bar


def move(bar: tqdm, eid: int, text: str) -> None:
    """Moves the bar of a run to an epoch, with a text beside it; a run that is resumed begins where it was."""
    if not bar.n:
        bar.initial = bar.n = eid - 1
    bar.set_postfix_str(text, refresh=False)
    bar.update(eid - bar.n)
