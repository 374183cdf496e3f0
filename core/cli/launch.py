"""Runs a config file as Python would, and says in one sentence what is wrong: python -m core.cli.launch FILE ..."""

from __future__ import annotations

import os
import runpy
import sys
import traceback


def launch(path: str) -> None:
    """Runs a file as the main module.

    Raises:
        SystemExit: with a sentence, if the file is not Python, or a line of its own fails before it starts anything.
            What fails elsewhere keeps its traceback.
    """
    name = os.path.join(*os.path.abspath(path).split(os.sep)[-2:])
    try:
        runpy.run_path(path, run_name='__main__')
    except SyntaxError as e:
        if e.filename not in (path, None):
            raise
        sys.exit(f'error: {name}, {f"line {e.lineno}: " if e.lineno else ""}{e.msg}')
    except Exception as e:
        frames = traceback.extract_tb(e.__traceback__)
        own = [frame for frame in frames if frame.filename == path]
        started = any(frame.name in ('app_start', 'plot_start', 'sweep_start') for frame in frames)
        # A name that 'core', or an enumeration, does not have fails inside of those.
        if started or not own or not (own[-1] is frames[-1] or isinstance(e, AttributeError)):
            raise
        sys.exit(f'error: {name}, line {own[-1].lineno}: {type(e).__name__}: {e}')


if __name__ == '__main__':
    sys.argv = sys.argv[1:]
    launch(sys.argv[0])
