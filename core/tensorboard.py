"""Summaries of a run for TensorBoard."""

from __future__ import annotations

import math
import re
from importlib import import_module
from pathlib import Path

import tensorflow as tf

from models import EpochInfo

from .errors import UserError

GROUPS = {'loss': r'.*loss', 'accuracy': r'.*acc', 'margin': r'q_.*|smoothed_.*', 'norm': r'rho.*|norm_.*',
          'support': r'n_supp_.*', 'rate': r'log_T'}
"""Which statistics TensorBoard shows together."""


def require_tensorboard() -> None:
    """TensorFlow's summaries need it, but TensorFlow does not.

    Raises:
        UserError: it is not installed.
    """
    try:
        import_module('tensorboard.summary')
    except ImportError:
        raise UserError('tensorboard=True needs TensorBoard; pip install tensorboard') from None


class ScalarLog:
    """Writes every statistic of accepted epochs, the relative rate alpha, and the attempts that an epoch took.

    TensorBoard keeps float32: 'loss' is the real loss and becomes 0 where that underflows, 'log_loss' never does.

    Args:
        path: directory of the event files.

    Raises:
        UserError: the directory cannot be written in.
    """

    def __init__(self, path: Path):
        try:
            self._writer = tf.summary.create_file_writer(str(path))
        except (OSError, tf.errors.OpError) as e:
            raise UserError(f'cannot write in the directory {path}: {e}') from None
        self._log_loss: float | None = None

    def write(self, info: EpochInfo, attempts: int) -> None:
        """Writes an accepted epoch; it is on disk when this returns."""
        stats = info['stats']
        values = {f'{_group(name)}/{name}': value for name, value in stats.items()}
        values['loss/loss'] = math.exp(stats['log_loss'])
        values['rate/attempts'] = attempts
        if info['log_frame'] is not None:
            values['rate/alpha'] = info['lr']
        elif self._log_loss is not None:
            values['rate/alpha'] = info['lr'] * math.exp(self._log_loss)
        self._log_loss = stats['log_loss']
        with self._writer.as_default(step=info['eid']):
            for name, value in values.items():
                tf.summary.scalar(name, value)
        self._writer.flush()


def _group(name: str) -> str:
    return next((group for group, pattern in GROUPS.items() if re.fullmatch(pattern, name)), 'other')
