"""The command line of figures and tables."""

from __future__ import annotations

import os
import runpy
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import matplotlib
from absl import app, flags as absl_flags, logging
from matplotlib.figure import Figure

from ..errors import NotYet, UserError
from ..plotting.drawing import STYLE
from ..plotting.tables import KINDS, Table
from ..sweeps.directory import SweepDirectory
from ..workdir import Workdir
from .command_line import parse

FORMATS = ('png', 'pdf', 'svg')
FIGURES = Path(__file__).resolve().parents[2] / 'figures'
Draw = Callable[[list[Workdir]], Figure | Table]


def draw(name: str, *runs: str | os.PathLike) -> Figure | Table:
    """Draws runs with the function of a file in figures/, for use in a notebook.

    Args:
        name: such as 'figure-1b'.
        runs: working directories.

    Raises:
        UserError: there is no such figure, or the runs lack what it draws.
    """
    known = {path.stem: path for path in FIGURES.glob('*.py')}
    if name not in known:
        raise UserError(f'there is no figure {name!r}; there are {", ".join(sorted(known))}')
    return runpy.run_path(str(known[name]))['draw']([opened(run) for run in runs])


def opened(path: str | os.PathLike) -> Workdir:
    """The working directory of a run, or the directory of a sweep."""
    return SweepDirectory(path) if SweepDirectory.holds_sweep(path) else Workdir(path)


def plot_start(draw: Draw, formats: Sequence[str] = ('png',)) -> None:
    """Draws runs from the command line; what a figure's file calls when it is started.

    Args:
        draw: from working directories to a matplotlib figure, or to a table.
        formats: of the files, where the command line does not name any.
    """
    of_main: dict[str, Any] = {'module_name': sys.argv[0]}
    absl_flags.DEFINE_string('out', None, 'directory for the figure (default: that of the first run)', **of_main)
    absl_flags.DEFINE_list('format', ','.join(formats), 'file formats: png, pdf, svg; of tables: md, csv, tex',
                           **of_main)
    absl_flags.DEFINE_float('watch', None, 'draw again every so many seconds, until the runs have ended', **of_main)
    app.run(lambda argv: _main(argv, draw), flags_parser=parse)


def _main(argv: list[str], draw: Draw) -> None:
    logging.set_verbosity(logging.WARNING)  # matplotlib tells of every font
    try:
        if len(argv) < 2 or not all(argv):
            raise UserError('name the working directory of at least one run')
        runs = [opened(path) for path in argv[1:]]
        folder = Path(absl_flags.FLAGS['out'].value or argv[1])
        kinds = [kind.strip().lstrip('.').lower() for kind in absl_flags.FLAGS['format'].value or ()]
        if not any(kinds):
            raise UserError(f"--format takes some of {', '.join(FORMATS)}; of tables, {', '.join(KINDS)}")
        paths = [folder / f'{Path(sys.argv[0]).stem}.{kind}' for kind in kinds]
        seconds = absl_flags.FLAGS['watch'].value
        if seconds is None:
            draw_into(paths, draw, runs)
            print(*paths, sep='\n')
        elif not 0 < seconds < threading.TIMEOUT_MAX:
            raise UserError(f'--watch takes a number of seconds above 0, not {seconds:g}')
        else:
            watch(paths, draw, runs, seconds)
    except UserError as e:
        missing = [path for path in argv[1:] if not Path(path).exists()]
        hint = f'; there is no directory {missing[0]}' if missing and 'no such directory' not in str(e) else ''
        sys.exit(f'error: {e}{hint}')
    except KeyboardInterrupt:
        print()


def draw_into(paths: Sequence[Path], draw: Draw, runs: list[Workdir]) -> None:
    """Draws runs into files, each of which appears whole or not at all.

    Raises:
        UserError: the runs lack what is drawn, a format that there is not, or a file that cannot be written.
    """
    result = draw(runs)
    kinds = KINDS if isinstance(result, Table) else FORMATS
    for path in paths:
        if path.suffix[1:] not in kinds:
            raise UserError(f'--format takes {", ".join(kinds)} for a {type(result).__name__.lower()}, '
                            f'not {path.suffix[1:]!r}')
    for path in paths:
        temporary = path.with_name(f'.{path.name}.{os.getpid()}')
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if isinstance(result, Table):
                temporary.write_text(result.text(path.suffix[1:]))
            else:
                with matplotlib.rc_context(STYLE):
                    result.savefig(temporary, format=path.suffix[1:], dpi=300)
            os.replace(temporary, path)
        except OSError as e:
            raise UserError(f'cannot write {path}: {e.strerror}') from None
        finally:
            with suppress(OSError):
                temporary.unlink()


def watch(paths: Sequence[Path], draw: Draw, runs: list[Workdir], seconds: float) -> None:
    """Draws whenever the runs have changed, until all of them have had their last epoch. What may still come is waited
    for."""
    seen: Any = None
    complaint = None
    ended = False
    begin, end = ('\r', '') if sys.stdout.isatty() else ('', '\n')  # on a terminal, one line that changes
    while True:
        state = [run.state() for run in runs]
        if state != seen:
            seen, ended = state, all(run.has_ended() for run in runs)
            try:
                draw_into(paths, draw, runs)
                print(begin + time.strftime('%H:%M:%S'), *paths, end=end, flush=True)
                complaint = None
            except NotYet as e:
                if ended or not all(run.path.is_dir() for run in runs):
                    raise
                if str(e) != complaint:
                    complaint = str(e)
                    print(f'waiting: {complaint}', flush=True)
        if ended:
            print(end=begin and '\n')
            return
        time.sleep(seconds)
