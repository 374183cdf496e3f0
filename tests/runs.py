"""A short run on the digits, shared by tests of whole runs."""

from __future__ import annotations

import os

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


LINEAR = {'train_N': 60, 'test_N': 10, 'B': 20, 'E': 2, 'archive': 1, 'print': False, 'model': {
    'description': [['F', 10, {'act': False}]], 'init': {'weight': 'he_normal'}}}
"""Two epochs of a linear network of 64 x 10 weights and 10 biases."""


def linear_run(folder, **changes) -> Workdir:
    """The directory of a run of LINEAR, made in a folder."""
    train(**{**LINEAR, **changes}, log=str(folder / 'run'))
    return Workdir(folder / 'run')


class Stop(Exception):
    """Stands for a kill: nothing of the run's own tidying up happens after it."""


def die_in(monkeypatch, function: str, number: int, before: bool, of: str = '') -> None:
    """Makes the process 'die' before or after the given call of a system function that the working directory uses;
    counted are calls whose first argument ends in ``of``."""
    original, calls = getattr(os, function), []

    def dying(*args, **kwargs):
        if len(calls) >= number:  # dead: nothing is written any more
            raise Stop
        if of and not str(args[0]).endswith(of):
            return original(*args, **kwargs)
        calls.append(1)
        if len(calls) == number:
            if not before:
                original(*args, **kwargs)
            raise Stop
        return original(*args, **kwargs)
    monkeypatch.setattr(os, function, dying)
