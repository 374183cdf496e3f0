"""A short run on the digits, shared by tests of whole runs."""

from __future__ import annotations

import core
from core.workdir import Workdir
from models import TrainMode

FLAGS = {
    'dataset': 'digits', 'train_N': 300, 'test_N': 100, 'lr': ('loss-based-v1', 0.3, 2 ** (1 / 5), 2 ** (1 / 10)),
    'E': 12, 'B': 50, 'train_mode': TrainMode.USE_FRAME, 'log_frame0': 1.5, 'loss_ub': 600.0,
    'seed': 1, 'gpu': 'cpu', 'log': 'run',
    'model': {'description': [['C', 4, [3, 3]], ['P'], ['F', 10, {'act': False}]], 'init': {'weight': 'he_normal'}},
}


def train(**changes):
    """Runs FLAGS with changes; returns res, and the attempts of history.jsonl."""
    flags = {**FLAGS, **changes}
    res = core.run(flags)
    return res, list(Workdir(flags['log']).read_history())
