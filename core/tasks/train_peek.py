"""Trains on from archived epochs of a run, and records every training sample's margin."""

from __future__ import annotations

import time
from typing import Any

from models import EpochInfo, NumericalFailure, TrainMode
from models.types import shown

from .. import progress
from ..errors import UserError, about
from ..flags.earlier import archived_epochs
from ..workdir import Workdir
from .base import Task
from .replay import permutations_of


class TrainPeek(Task):
    """Trains on from archived epochs ``eid`` of the run ``log``, E epochs at the constant rate ``lr`` in a fixed frame,
    without rollback.

    The frame is ``log_frame0`` if the flags give it, else the real loss of the archived epoch.

    ``res``, in ``eval_log``, holds eid -> [(statistics, extra) of the archived model, then (record, extra) of each
    epoch].
    """

    def run(self) -> dict[int, list[Any]]:
        """See ``Task.run``.

        Raises:
            UserError: an epoch that was not archived, a rate that is not constant, or a step that failed.
        """
        session, flags = self.session, self.flags
        if not isinstance(flags['lr'], float):
            raise UserError(f'lr must be a float for train_peek, not {shown(flags["lr"])}')
        run = Workdir(flags['log'])
        eids = archived_epochs(run, flags['eid'])
        with session.of_the_run():
            session.fetch_dataset()
            session.build_model()
            with about(f'epoch {eids[0]}'):
                session.model.restore(run.find_model(eids[0]))
        self._permutations = permutations_of(session)
        out = session.directory(lambda: Workdir.create(flags['eval_log'], parent=run.path / session.name))
        res: dict[int, list[Any]] = {}
        try:
            for eid in eids:
                self._peek(run, eid, res)
                out.write_res(res)
        except NumericalFailure as e:
            out.discard()
            raise UserError(f'training on from epoch {eid} failed: {e}; choose a smaller lr') from None
        progress.say(f'{out.res_path} written')
        return res

    def _peek(self, run: Workdir, eid: int, res: dict[int, list[Any]]) -> None:
        """Trains on from an epoch, and adds what comes of it."""
        model, dataset, flags = self.session.model, self.session.dataset, self.flags
        with about(f'epoch {eid}'):
            model.restore(run.find_model(eid))
        frame = self._frame()
        res[eid] = [model.get_stats(dataset, frame)]
        for k in range(flags['E']):
            start = time.perf_counter()
            losses = model.train_epoch(
                *dataset.train, self._permutations(eid + 1 + k, 0, k), flags['B'], flags['lr'], frame,
                flags['loss_ub'], seed=[*self.session.key('steps'), eid + 1 + k, 0])
            stats, extra = model.get_stats(dataset, frame)
            info: EpochInfo = {
                'eid': eid + 1 + k, 'all_rt_loss': losses.tolist(), 'lr': flags['lr'], 'log_frame': frame,
                'rt_loss': float(losses.mean()), 'stats': stats, 'time': time.perf_counter() - start}
            progress.print_epoch(info, flags['print'])
            res[eid].append((info, extra))

    def _frame(self) -> float | None:
        if self.flags['train_mode'] is not TrainMode.USE_FRAME:
            return None
        if self.session.log_frame0_given:
            return self.flags['log_frame0']
        return self.session.model.get_stats(self.session.dataset, 0.0)[0]['log_loss']
