"""Ctrl-C and SIGTERM: raised at once, held back, and never lost."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from core.interrupts import Interrupts, interruptible

ROOT = Path(__file__).resolve().parents[1]


def terminate() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


class Terminating:
    """Gets a SIGTERM while Python throws it away, where an exception is printed and forgotten."""

    def __del__(self):
        terminate()
        for _ in range(100):  # Python looks for signals between operations
            pass


def test_an_interrupt_is_raised_at_once_or_at_the_end_of_what_holds_it():
    interrupts, done = Interrupts(), []
    with pytest.raises(KeyboardInterrupt), interrupts.handled():
        terminate()
        done.append('after')
    interrupts = Interrupts()
    with pytest.raises(KeyboardInterrupt), interrupts.handled():
        with interrupts.held():
            terminate()
            done.append('held')
    assert done == ['held']


@pytest.mark.filterwarnings('ignore::pytest.PytestUnraisableExceptionWarning')
def test_an_interrupt_that_python_forgets_is_raised_later():
    interrupts, done = Interrupts(), []
    with interrupts.handled():
        Terminating()
        done.append('forgotten')
        with pytest.raises(KeyboardInterrupt):
            with interrupts.held():
                done.append('held')
        with interrupts.held():
            done.append('once')
    assert done == ['forgotten', 'held', 'once']


def test_a_call_in_a_thread_is_left_at_once():
    with pytest.raises(KeyboardInterrupt):
        interruptible(lambda: (terminate(), time.sleep(30)))


@pytest.mark.long
@pytest.mark.skipif(not Path('/dev/full').exists(), reason='there is no /dev/full')
def test_output_that_cannot_be_written_ends_in_one_sentence():
    code = 'from core import progress\nfrom core.errors import UserError\nimport sys\ntry:\n    progress.say("a")\n' \
           'except UserError as e:\n    sys.exit(f"error: {e}")'
    with open('/dev/full', 'w') as full:
        done = subprocess.run([sys.executable, '-c', code], stdout=full, stderr=subprocess.PIPE, text=True, cwd=ROOT)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == 'error: what is printed cannot be written: No space left on device'
    assert 'Traceback' not in done.stderr and 'Exception ignored' not in done.stderr
