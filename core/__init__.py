"""Orchestration: reads FLAGS, drives a run, owns the working directory.

The names below are imported when they are first used, so that drawing a figure need not wait for TensorFlow.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from . import moved  # noqa: F401

if TYPE_CHECKING:
    from models.attacks import AttackType

    from .cli.app import app_start, run
    from .cli.plot_app import draw, plot_start
    from .core import Core
    from .datasets import get_dataset
    from .errors import NotYet, UserError
    from .sweeps.sweep import sweep_start
    from .workdir import Workdir

_HOMES = {
    'AttackType': 'models.attacks', 'Core': 'core.core', 'NotYet': 'core.errors', 'UserError': 'core.errors',
    'Workdir': 'core.workdir',
    'app_start': 'core.cli.app', 'draw': 'core.cli.plot_app', 'get_dataset': 'core.datasets',
    'plot_start': 'core.cli.plot_app', 'run': 'core.cli.app', 'sweep_start': 'core.sweeps.sweep',
}
_WITHOUT_TENSORFLOW = ('NotYet', 'UserError', 'Workdir', 'draw', 'plot_start')


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
    if name not in _WITHOUT_TENSORFLOW:
        import_module('models')  # imports TensorFlow quietly, so it comes first
    globals()[name] = found = getattr(import_module(_HOMES[name]), name)
    return found


__all__ = [
    'AttackType', 'Core', 'NotYet', 'UserError', 'Workdir', 'app_start', 'draw', 'get_dataset', 'plot_start', 'run',
    'sweep_start',
]
