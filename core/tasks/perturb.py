"""A run whose weights are moved along directions, as a run of its own."""

from __future__ import annotations

import math
from collections.abc import Mapping
from numbers import Real
from pathlib import Path
from typing import Any

import numpy as np

from models import checks
from models.measures.directions import moved, variables_of
from models.types import shown

from .. import progress
from ..derived import measured, write_derived
from ..errors import UserError, about, writing
from ..flags import RECORDED_FLAGS, merge
from ..session import Session
from ..workdir import Workdir, plain
from ..workdir.files import new_directory
from .base import Evaluation, refuse_results
from .begun import digests
from .directions import Directions


class Perturb(Evaluation):
    """Moves the weights of an epoch along one or two directions, and writes the network as a run, which every task
    takes: a working directory with that one epoch, ``eval_log``, or a new ``eval-perturb/<date>`` beside the run's.

    The same descriptions and the same seed are the directions of ``scan``. Moved by 0 it is the same network, bit for
    bit.

    Args:
        directions, normalise, scale: see ``scan.Scanning``.
        step: how far, in units of the direction; a list of two for two directions.

    Returns of ``run``: eid -> {'log_loss', 'acc', 'test_acc', 'distance'}, the distance that the weights were moved.
    """

    subject = 'the network'

    def __init__(self, session: Session, directions: Any = 'filter', step: Any = 0.1, normalise: bool = False,
                 scale: float = 1.0):
        super().__init__(session)
        with about('options'):
            self.directions = Directions(session, directions, normalise, scale)
            self.step = _steps(step, len(self.directions.described))

    def load(self) -> None:
        super().load()
        self.eids = self.directions.find(self.eids)
        if len(self.eids) != 1:
            raise UserError(f"one epoch is moved, not {len(self.eids)}; eid is one epoch, 'last' or 'best'")

    def choose(self) -> None:
        pass  # no image is chosen

    def run(self) -> dict[int, Any]:
        self.check()
        self.load()
        (eid,), model = self.eids, self.session.model
        self.directions.prepare(self.run_dir, self.eids)
        with about(f'epoch {eid}'):
            model.restore(self.run_dir.find_model(eid))
        with about('directions'):
            directions = self.directions.at(eid, model)
        variables = variables_of(model.net)[:max(map(len, directions))]
        before = [v.numpy() for v in variables]
        after = moved(before, directions, self.step)
        for v, value in zip(variables, after):
            v.assign(value)
        apart = math.sqrt(sum(float(np.square(b.astype(np.float64) - a).sum()) for a, b in zip(before, after)))
        stats = measured(self.session)
        found = {'log_loss': stats['log_loss'], 'acc': stats['acc'], 'test_acc': stats['test_acc'], 'distance': apart}
        if self.session.devices.worker == 0:
            self._write(eid, stats, apart)
        self.session.devices.everyone(None)
        return {eid: found}

    def _write(self, eid: int, stats: Mapping[str, Any], apart: float) -> None:
        place = self._place()
        seed = self.run_dir.read_flags()['flags'].get('seed') or 0  # of which its training set was drawn
        flags = merge({'lr': 1.0, 'E': max(eid, 1), 'B': 1, **{k: self.flags[k] for k in RECORDED_FLAGS}})
        flags.update(seed=seed, log=str(place))
        says = {'perturbed': {
            'run': str(self.run_dir.path), 'eid': eid, 'sha256': digests(self.run_dir, [eid])[str(eid)],
            'directions': [d.label for d in self.directions.described], 'options': plain(self.flags['options']),
            'seed': self.flags['seed'], 'step': self.step, 'distance': apart}}
        with Workdir.whole(place) as out, progress.copy_stdout(out.stdout_path):
            for note in self.session.notes:
                progress.say(note)
            write_derived(self.session.with_flags(flags), out, eid, stats, says)
            where = ' and '.join(f'{a:g} along {d.label}' for a, d in zip(self.step, self.directions.described))
            progress.say(f'epoch #{eid} moved by {where}, a distance of {apart:.4g}: loss=1e'
                         f"{stats['log_loss'] / math.log(10):.2f} acc={100 * stats['acc']:.3f}% "
                         f"test_acc={100 * stats['test_acc']:.3f}%")
        progress.say(f'{place} written: ./eval.sh eval-... {place} measures it')

    def _place(self) -> Path:
        refuse_results(self.flags['eval_log'])
        if self.flags['eval_log']:
            return Path(self.flags['eval_log'])
        parent = self.run_dir.path.resolve().parent / self.session.name
        with writing(parent):
            return new_directory(parent)

    def measure(self, eid: int) -> tuple[Any, dict[str, Any]]:
        raise NotImplementedError('a network that is moved is not measured')

    def line(self, eid: int, numbers: Mapping[str, Any]) -> str:
        raise NotImplementedError('a network that is moved is not measured')


def _steps(value: Any, k: int) -> list[float]:
    values = list(value) if isinstance(value, (list, tuple)) else [value]
    if len(values) != k or not all(isinstance(v, Real) and not isinstance(v, bool) for v in values):
        raise ValueError(f'step must be a number, of two directions a list of two, not {shown(value)}')
    return [checks.number('step', v, -1e300, strict=False) for v in values]
