"""What a run keeps in memory does not grow, but for the records that end in res."""

from __future__ import annotations

import ctypes
import gc
import json
import os
import runpy
import statistics
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest

RECORD = 1600
"""Bytes that res keeps of an accepted epoch, with malloc's own; 1,460 were measured."""

EPOCHS = range(60, 201, 20)
"""The accepted epochs after which memory is read."""


class Mallinfo(ctypes.Structure):
    """The system's struct mallinfo2."""

    _fields_ = [(name, ctypes.c_size_t) for name in (
        'arena', 'ordblks', 'smblks', 'hblks', 'hblkhd', 'usmblks', 'fsmblks', 'uordblks', 'fordblks', 'keepcost')]


def live_bytes() -> int:
    """Bytes that malloc has given out and not got back: unlike resident memory, the same in every run."""
    libc = ctypes.CDLL(None)
    libc.mallinfo2.restype = Mallinfo
    gc.collect()
    found = libc.mallinfo2()
    return found.uordblks + found.hblkhd


def resident_bytes() -> int:
    return int(Path('/proc/self/statm').read_text().split()[1]) * os.sysconf('SC_PAGE_SIZE')


def measured_run() -> None:
    """Trains the quickstart's network on 60 images; prints (attempts, live, resident) after each of EPOCHS."""
    import core
    from core.tasks.epochs import Training
    accept, sizes = Training._accept, []

    def measuring(self, info):
        frame = accept(self, info)
        if info['eid'] in EPOCHS:
            sizes.append((self._attempts, live_bytes(), resident_bytes()))
        return frame
    Training._accept = measuring
    config = runpy.run_path(str(Path(__file__).resolve().parents[1] / 'experiments/exper-quickstart-digits.py'))
    core.run({**config['FLAGS'], 'train_N': 60, 'test_N': 20, 'B': 60, 'log_frame0': 2.0, 'E': 200, 'archive': 5,
              'seed': 1, 'gpu': 'cpu', 'print': False, 'log': 'run'})
    print(json.dumps(sizes))


@pytest.mark.long
@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), 'mallinfo2'), reason='only the GNU C library counts its bytes so')
def test_memory_grows_by_no_more_than_the_records_of_the_epochs():
    here = Path(__file__).resolve().parent
    # Python's own objects are counted too, with PYTHONMALLOC; what coverage notes of the lines run, is not.
    env = {name: value for name, value in os.environ.items() if not name.startswith('COVERAGE_')}
    env |= {'PYTHONPATH': f'{here.parent}:{here}', 'PYTHONMALLOC': 'malloc'}
    done = subprocess.run([sys.executable, '-c', 'import test_memory; test_memory.measured_run()'], env=env,
                          capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr
    attempts, live, resident = zip(*json.loads(done.stdout.splitlines()[-1]))
    print(f'{attempts[-1] - attempts[0]} attempts: live {live}, resident {resident} bytes')
    # The median: a cache filled once, or a list that doubles, falls into one of the stretches; a leak, into each.
    assert statistics.median(then - before for before, then in pairwise(live)) < EPOCHS.step * RECORD
    assert resident[-1] / resident[0] < 1.01
