"""Many config files for one import of TensorFlow: each runs in a fork of a process that has computed nothing."""

from __future__ import annotations

import gc
import json
import os
import signal
import subprocess
import sys
import time
import traceback
import typing
from functools import cache
from itertools import count
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = {'run.sh': 'experiments', 'eval.sh': 'evals', 'plot.sh': 'figures'}
POLL = 0.01
"""Seconds between two looks at whether a process has ended."""


def remember_protocols() -> None:
    """Has Python before 3.12 look up once what a protocol asks for, as later ones do: TensorFlow asks it of every
    operand of every operation."""
    if sys.version_info < (3, 12):
        typing._get_protocol_attrs = cache(typing._get_protocol_attrs)


def serve() -> None:
    """Answers each line of stdin in a line of stdout: {'argv', 'folder', 'env', 'files'} starts ``core.cli.launch`` and
    is answered with a process id, which is answered with its status, or null while it runs."""
    import models  # noqa: F401, I001  (imports TensorFlow quietly, before anything else does)
    import core.cli.app
    import core.cli.plot_app
    import core.sweeps.sweep  # noqa: F401
    import core.tasks.health
    from models.in_graphs import _rewritten
    from models.statistics import Statistics
    from models.steps import Steps
    core.tasks.health.IMAGES = 0  # as in conftest.py
    gc.freeze()
    gc.set_threshold(100_000, 10, 10)
    remember_protocols()
    for loop in Steps._take_steps, Statistics._logits_and_losses_of_part:
        _rewritten(loop.__wrapped__)  # what every run would begin with
    for line in sys.stdin:
        asked = json.loads(line)
        if isinstance(asked, int):
            pid, status = os.waitpid(asked, os.WNOHANG)
            answer = os.waitstatus_to_exitcode(status) if pid else None
        elif not (answer := os.fork()):
            os._exit(_launched(**asked))
        print(json.dumps(answer), flush=True)


def _launched(argv: list[str], folder: str, env: dict[str, str], files: list[str]) -> int:
    """Launches a config file in this process; returns the status with which Python would end."""
    from core.cli.launch import launch
    os.chdir(folder)
    for fd, file in enumerate([os.devnull, *files]):
        os.dup2(os.open(file, os.O_RDWR | os.O_CREAT), fd)
    os.environ.update(env)
    measured = _measured()
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
    if measured:
        measured.stop(), measured.save()
    return code


def _measured() -> Any:
    """Measures coverage, if the test that asks is measured itself; see conftest.py."""
    if not any(name.startswith('COVERAGE_') for name in os.environ):
        return None
    import coverage
    return coverage.process_startup()


class Process:
    """A config file that was started; what it prints is in files, which can be read while it runs."""

    def __init__(self, server: Server, pid: int, argv: list[str], files: list[Path]):
        self.pid, self.args, self._server, self._files = pid, argv, server, files
        self.returncode: int | None = None

    @property
    def stdout(self) -> str:
        return self._files[0].read_text()

    @property
    def stderr(self) -> str:
        return self._files[1].read_text()

    def poll(self) -> int | None:
        if self.returncode is None:
            self.returncode = self._server.ask(self.pid)
        return self.returncode

    def wait(self, timeout: float = 400) -> int:
        deadline = time.monotonic() + timeout
        while self.poll() is None:
            if time.monotonic() > deadline:
                raise subprocess.TimeoutExpired(self.args, timeout)
            time.sleep(POLL)
        return self.returncode

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


class Server:
    """A process that serves: ``start`` is what run.sh, eval.sh and plot.sh do once they have found Python and file,
    and ``call`` waits for the end. What it serves does not outlive it."""

    def __init__(self) -> None:
        left_out = 'TF_CPP_MIN_LOG_LEVEL', 'TF_CONFIG'
        env = {k: v for k, v in os.environ.items() if k not in left_out and not k.startswith('COVERAGE_')}
        env['PYTHONPATH'] = f'{ROOT}:{Path(__file__).parent}'
        self._process = subprocess.Popen([sys.executable, '-c', 'import forked; forked.serve()'], env=env, text=True,
                                         stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self._started: list[Process] = []
        self._numbers = count()

    def ask(self, request: Any) -> Any:
        print(json.dumps(request), file=self._process.stdin, flush=True)
        return json.loads(self._process.stdout.readline())

    def start(self, file: str, *args: str, measured: bool = False, **env: str) -> Process:
        """Starts a config file, with arguments and additions to the environment, in the folder of the test.

        Args:
            measured: whether its coverage counts, if that of the test does: what it runs is run nowhere else.
        """
        measuring = {name: value for name, value in os.environ.items() if measured and name.startswith('COVERAGE_')}
        number = next(self._numbers)
        files = [Path(f'{os.getcwd()}-{number}.{name}') for name in ('stdout', 'stderr')]
        for path in files:
            path.touch()  # they may be read before the process opens them
        argv = [file, *args]
        pid = self.ask({'argv': argv, 'folder': os.getcwd(), 'env': {**measuring, **env}, 'files': [*map(str, files)]})
        process = Process(self, pid, argv, files)
        self._started.append(process)
        return process

    def call(self, script: str, name: str, *args: str) -> Process:
        if script == 'eval.sh':
            args = ('--log', *args)
        process = self.start(str(ROOT / FOLDERS[script] / f'{name}.py'), *args)
        process.wait()
        return process

    def close(self) -> None:
        for process in self._started:
            process.kill()
        self._process.communicate()  # closes stdin, at whose end it ends, and stdout
