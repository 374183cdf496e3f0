"""Many command lines for one import of TensorFlow: each runs in a fork of a process that has computed nothing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import traceback
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = {'run.sh': 'experiments', 'eval.sh': 'evals', 'plot.sh': 'figures'}


def serve() -> None:
    """Answers each line of stdin, [folder, arguments of core.cli.launch], with [status, stderr] in a line of stdout."""
    import models  # noqa: F401, I001  (imports TensorFlow quietly, before anything else does)
    import core.cli.app
    import core.cli.plot_app
    import core.sweeps.sweep  # noqa: F401
    for line in sys.stdin:
        folder, argv = json.loads(line)
        error = Path(f'{folder}.stderr')
        if not (child := os.fork()):
            os._exit(_launched(folder, argv, error))
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        print(json.dumps([status, error.read_text()]), flush=True)


def _launched(folder: str, argv: list[str], error: Path) -> int:
    """Launches a config file in this process; returns the status with which Python would end."""
    from core.cli.launch import launch
    os.chdir(folder)
    os.dup2(os.open(error, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 2)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    sys.argv = argv
    try:
        launch(argv[0])
        code = 0
    except SystemExit as e:
        if isinstance(e.code, str):
            print(e.code, file=sys.stderr)
        code = e.code if isinstance(e.code, int) else int(e.code is not None)
    except BaseException:
        traceback.print_exc()
        code = 1
    sys.stdout.flush(), sys.stderr.flush()
    return code


class Server:
    """A process that serves; ``call`` is what run.sh, eval.sh and plot.sh do once they have found Python and file."""

    def __init__(self) -> None:
        env = {k: v for k, v in os.environ.items() if k != 'TF_CPP_MIN_LOG_LEVEL'}
        env['PYTHONPATH'] = f'{ROOT}:{Path(__file__).parent}'
        self._process = subprocess.Popen([sys.executable, '-c', 'import forked; forked.serve()'], env=env, text=True,
                                         stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def call(self, script: str, name: str, *args: str) -> subprocess.CompletedProcess:
        if script == 'eval.sh':
            args = ('--log', *args)
        argv = [str(ROOT / FOLDERS[script] / f'{name}.py'), *args]
        print(json.dumps([os.getcwd(), argv]), file=self._process.stdin, flush=True)
        status, error = json.loads(self._process.stdout.readline())
        return subprocess.CompletedProcess(argv, status, stderr=error)

    def close(self) -> None:
        self._process.communicate()  # closes stdin, at whose end it ends, and stdout
