"""Orchestration: reads FLAGS, drives a run, owns the working directory."""

import models  # noqa: F401  (imports TensorFlow quietly, so it comes first)
from models.attacks import AttackType

from .app import app_start, plot_start, run
from .core import Core
from .datasets import get_dataset
from .errors import UserError
from .workdir import Workdir

__all__ = ['AttackType', 'Core', 'UserError', 'Workdir', 'app_start', 'get_dataset', 'plot_start', 'run']
