"""The epoch loop: attempt, judge, roll back or keep, record. Receives built objects, never FLAGS."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from models import (
    Archiver,
    EpochInfo,
    LRScheduler,
    LRSchedulerWithFrame,
    MarginAscentLR,
    Model,
    NumericalFailure,
)

from .. import progress
from ..errors import UserError, about
from ..interrupts import Interrupts
from ..workdir import Workdir
from .records import Records, info_of, measured_of
from .telling import teller

Permutations = Callable[[int, int, int], np.ndarray]
"""(eid, retry of that epoch, attempt of the run), all but eid counted from 0, -> a permutation of the training set."""

RES_EVERY = 10
"""Accepted epochs between two writes of ``res``, as in the original."""
STUCK = 50
"""Rejections in a row after which the run says what could be changed."""


@dataclass
class TrainingSettings:
    """Numbers that steer the loop; the names are those of the flags."""

    E: int
    B: int
    steps: int | None = None
    lr_lb: float = 1e-50
    loss_ub: float = 100.0
    print: bool = True
    include_all_rt_loss_in_res: bool = False


@dataclass
class Training:
    """One run of training.

    Args:
        model: the network, at its initial weights.
        dataset: ((x_train, y_train), (x_test, y_test)), as tensors, or with the validation set between them.
        scheduler: decides on every attempt; with a frame, ``use_frame`` has been called.
        archiver: decides on every accepted epoch.
        workdir: where everything is written.
        permutations: the order of the training set in each attempt.
        settings: numbers that steer the loop.
        on_accepted: called with the record of each accepted epoch and the attempts that it took.
        flags: what ``res`` says of flags.
        resume: whether to go on with the run in ``workdir``, if it got far enough to be gone on with.
        agree: what all workers of the run are to go by, of what each calls this with.
        seed: whole numbers that, with an epoch and a retry, are the seed of what its steps draw.
        monitors: called with each epoch that is accepted, and the records of those before it; what to record of the
            network as it is then, None for nothing.
    """

    model: Model
    dataset: Any
    scheduler: LRScheduler
    archiver: Archiver
    workdir: Workdir
    permutations: Permutations
    settings: TrainingSettings
    on_accepted: Callable[[EpochInfo, int], None] | None = None
    flags: dict[str, Any] = field(default_factory=dict)
    resume: bool = False
    agree: Callable[[Any], Any] = lambda value: value
    seed: Sequence[int] = (0,)
    monitors: Callable[[int, Records], dict[str, Any] | None] = lambda eid, records: None

    def __post_init__(self) -> None:
        self.records = Records()
        self._interrupts = Interrupts()
        self._tell = teller(self.settings.print)
        self._attempts = 0
        self._log_T = -math.inf
        self._eid = self._archived = self._saved = 0

    def run(self) -> dict[str, Any]:
        """Trains all epochs.

        Returns:
            Results in the original's layout: 'flags', and 'raw', the records of accepted epochs by eid.

        Raises:
            UserError: the rate fell below ``lr_lb``, a constant rate diverged, or a loss became exactly 0; everything
                up to the last accepted epoch is saved.
        """
        with self._interrupts.handled():
            try:
                state = self._last_state() if self.resume else None
                log_frame, lr = self._start() if state is None else self._go_on(*state)
                with self._tell.following(self.settings.E):
                    for eid in range(self._eid + 1, self.settings.E + 1):
                        log_frame, lr = self._epoch(eid, lr, log_frame)
            except BaseException:  # whatever ends the run, a full disk or a bug: what was accepted is kept
                with self._interrupts.held():
                    self.model.roll_back()
                    self._save()
                raise
            with self._interrupts.held():
                self._save()
        self._tell.ended(self.workdir, self.records[self._eid], self._attempts, str(self.flags.get('dataset')),
                         len(self.dataset[0][0]), self.flags.get('arch') == 'curve')
        return {'flags': self.flags, 'raw': dict(self.records)}

    def _last_state(self) -> tuple[dict[str, Any], dict[str, np.ndarray]] | None:
        state = self.workdir.read_state()
        own = state and state[0]['eid']
        if (first := self.agree(own)) != own:  # no worker goes on, and writes, before all of them have read
            raise UserError(f'the workers do not see the same {self.workdir.path}: the state is of epoch {first} for '
                            f'worker 0, and of {own} here; it must be on a file system that all of them share')
        return state

    def _start(self) -> tuple[float | None, float]:
        self.model.keep()
        log_frame = None
        if isinstance(self.scheduler, LRSchedulerWithFrame) and self.scheduler.frame_enabled:
            log_frame = self.scheduler.log_frame_0
            if self.scheduler.bounded_by_frame:
                self._compare_with_frame(log_frame)
        lr = self.scheduler.get().lr
        self.workdir.cut_history(0)  # of a run that was killed before it had a state
        self._commit(log_frame, lr)
        return log_frame, lr

    def _commit(self, log_frame: float | None, lr: float) -> None:
        """Writes down where the run is: from here it goes on if it is killed before the next epoch is accepted."""
        self.workdir.write_state({
            'eid': self._eid, 'attempts': self._attempts, 'log_frame': log_frame, 'lr': lr, 'log_T': self._log_T,
            'archived': self._archived, 'history': self.workdir.history_size(), 'scheduler': self.scheduler.state(),
            'archiver': self.archiver.state()}, self.model.state())

    def _go_on(self, state: dict[str, Any], weights: dict[str, np.ndarray]) -> tuple[float | None, float]:
        """Takes over the state of the run; returns the next epoch's frame and rate."""
        with about(f'{self.workdir.state_path}'):
            self.model.restore_state(weights)
            self.scheduler.restore(state['scheduler'])
            self.archiver.restore(state['archiver'])
        self.model.keep()
        if self.workdir.history_size() > state['history']:
            progress.say(f"what was begun after epoch {state['eid']} is taken back, and done again")
        self.workdir.cut_history(state['history'])
        for line in self.workdir.read_history() if state['history'] else ():
            if line['cmd'] == 'go':
                self.records.add(info_of(line))
        self._eid, self._attempts, self._log_T = state['eid'], state['attempts'], state['log_T']
        self._archived = state['archived']  # whereas res may be that of an earlier epoch
        self._remove_superseded()
        if self._eid >= self.settings.E:
            progress.say(f'the run has all of its {self.settings.E} epochs; --set E=... with more of them extends it')
        else:
            progress.say(f'resuming after epoch {self._eid}')
            self._check_rate(state['lr'])
        return state['log_frame'], state['lr']

    def _check_rate(self, lr: float) -> None:
        if not math.isfinite(lr):  # it would stay so, however often an epoch is taken back
            raise UserError(f'the next learning rate is {lr}; let lr grow more slowly (a smaller alpha1); the run '
                            f'ended after epoch {self._eid}')
        if lr < self.settings.lr_lb:
            raise UserError(f'the next learning rate, {lr:.3e}, is below lr_lb = {self.settings.lr_lb:.3e}; '
                            f'the run ended after epoch {self._eid}')

    def _compare_with_frame(self, log_frame: float) -> None:
        """Says so when the initial loss is above the frame: the loss-based rule may then reject every attempt."""
        try:
            x, y = self.dataset[0]
            loss = self.model.test(x, y, log_frame=0.0)['loss']
        except NumericalFailure as e:
            raise UserError(f'the initial weights cannot be used: {e}') from None
        if math.log(loss) > log_frame:
            progress.say(f'The initial loss, {loss:.4f}, is above the frame exp(log_frame0) = '
                         f'{math.exp(log_frame):.4f}: the first epoch is accepted once it brings the loss below that.')

    def _epoch(self, eid: int, lr: float, log_frame: float | None) -> tuple[float | None, float]:
        """Attempts one epoch until it is accepted; returns the next epoch's frame and rate."""
        retry = 0
        while True:
            info, failure = self._attempt(eid, retry, lr, log_frame)
            try:
                cmd, next_lr = self.scheduler.get(info)
            except NumericalFailure as e:
                self._record(info, failure, 'stop', None)
                raise UserError(f'epoch {eid}: {f"{failure}; " if failure else ""}{e}') from None
            accepted = cmd == 'go'
            if accepted and (measured := self.monitors(eid, self.records)) is not None:
                info['monitors'] = self.agree(measured)
            if accepted and (recorded := self.model.objective_record()):
                info['objective'] = recorded
            with self._interrupts.held():
                self._record(info, failure, cmd, next_lr)
                if accepted:
                    log_frame = self._accept(info)
                    self._commit(log_frame, next_lr)
                    self._tell.accepted(info)
                    self._tell.alarms(info)
                    self._remove_superseded()
                    if self.on_accepted is not None:
                        self.on_accepted(info, retry + 1)
            if not (accepted and eid == self.settings.E):
                self._check_rate(next_lr)
            lr = next_lr
            if accepted:
                return log_frame, lr
            self.model.roll_back()
            self._tell.rejected()
            retry += 1
            if retry == STUCK:
                self._say_stuck(eid, info)

    def _attempt(self, eid: int, retry: int, lr: float, log_frame: float | None) -> tuple[EpochInfo, str | None]:
        """Trains one epoch and measures it; a numerical failure, and only that, is an attempt without statistics."""
        start = time.perf_counter()
        order = self.permutations(eid, retry, self._attempts)
        if self.settings.steps is not None:
            left = self.settings.steps - self.model.steps_taken
            order = order[:-(-left // self.model.replays) * self.settings.B]
        self._attempts += 1
        steps = self.model.steps_of(len(order), self.settings.B)
        info: EpochInfo = {'eid': eid, 'all_rt_loss': None, 'lr': lr, 'log_frame': log_frame, 'stats': None}
        failure = None
        x, y = self.dataset[0]
        batch_losses: list[float] = []
        try:
            with progress.epoch_bar(eid, steps) as on_steps:
                batch_losses = self.model.train_epoch(
                    x, y, order, self.settings.B, lr, log_frame, self.settings.loss_ub, on_steps,
                    [*self.seed, eid, retry]).tolist()
            info['stats'] = self.agree(self.model.get_stats(self.dataset, log_frame)[0])
            info['stats']['log_T'] = self._log_T_after(steps, lr, log_frame)
            info['rt_loss'] = float(np.mean(batch_losses))
        except NumericalFailure as e:
            failure, batch_losses = str(e), batch_losses or e.batch_losses
        if self.settings.include_all_rt_loss_in_res:
            info['all_rt_loss'] = batch_losses
        info['time'] = time.perf_counter() - start
        self._tell.attempt(info, failure)
        return info, failure

    def _log_T_after(self, steps: int, lr: float, log_frame: float | None) -> float:
        """Natural logarithm of T, the paper's time: the sum of the real rates of all steps to these weights."""
        with np.errstate(divide='ignore'):
            return float(np.logaddexp(self._log_T, np.log(steps * lr) - (log_frame or 0.0)))

    def _accept(self, info: EpochInfo) -> float | None:
        """Keeps an attempt; returns the frame of the next epoch, the real loss."""
        self.model.keep()
        self._eid, self._log_T = info['eid'], info['stats']['log_T']
        self.records.add(info)
        loss, log_frame = info['stats']['loss'], info['log_frame']
        if log_frame is None and loss == 0:
            raise UserError(f'epoch {self._eid}: the training loss underflowed to 0; use train_mode=USE_FRAME, which '
                            f'follows it further down')
        if self.archiver.should_archive(info):
            self._archive()
        if self._eid % RES_EVERY == 0:
            self._save_res()
        if log_frame is None:
            return None
        # The loss relative to the frame can only be 0 if it fell by a factor of 1e300 in one epoch.
        return log_frame + math.log(loss) if loss > 0 else info['stats']['log_loss']

    def _record(self, info: EpochInfo, failure: str | None, cmd: str, next_lr: float | None) -> None:
        losses = {'all_rt_loss': info['all_rt_loss']} if self.settings.include_all_rt_loss_in_res else {}
        self.workdir.append_history({
            'attempt': self._attempts - 1, 'eid': info['eid'], 'cmd': cmd, 'lr': info['lr'],
            'log_frame': info['log_frame'], 'next_lr': next_lr, 'rt_loss': info.get('rt_loss'), 'failure': failure,
            'time': info['time'], 'stats': info['stats'], **losses,
            **measured_of(info)})

    def _archive(self) -> None:
        path = self.workdir.write_model(self._eid, self.model.save)
        self._archived = self._eid
        self._tell.written(path, 'archived')

    def _remove_superseded(self) -> None:
        """Removes models that are kept no longer; to be called when a state is written that does not name them, so that
        whenever the run is killed, the best epoch of its state is there."""
        for eid in self.archiver.superseded():
            self.workdir.remove_model(eid)

    def _save_res(self) -> None:
        self.workdir.write_res({'flags': self.flags, 'raw': self.records})
        self._saved = self._eid
        self._tell.written(self.workdir.res_path, 'updated')

    def _save(self) -> None:
        """Writes what is not yet written of the last accepted epoch: the model, which is always archived, and res."""
        try:
            if self._saved != self._eid:
                self._save_res()
        finally:  # what stops one, a closed terminal say, need not stop the other
            if self._archived != self._eid:
                self._archive()

    def _say_stuck(self, eid: int, info: EpochInfo) -> None:
        if isinstance(self.scheduler, MarginAscentLR):
            advice = 'either the margin rises no further, or more images should be active: ascent.active, ascent.span'
        elif info['stats'] is None:
            advice = 'the rate is far too large: start with a smaller lr, or let lr shrink faster (a larger alpha2)'
        elif eid == 1 and info['log_frame'] is not None:
            frame = math.exp(info['log_frame'])
            loss = frame * info['stats']['loss']
            advice = (f'its loss, {loss:.4f}, stays above the frame exp(log_frame0) = {frame:.4f}: '
                      f'set log_frame0 to {math.log(loss) + 0.1:.2f} or more')
        elif eid == 1:
            advice = (f"its loss, {info['stats']['loss']:.4f}, stays above the one that lr starts from: give lr a "
                      f"larger loss0, or use train_mode=USE_FRAME")
        else:
            advice = 'its loss stays above that of the epoch before: allow for a little with eps of lr, or a larger B'
        progress.say(f'epoch #{eid} was rejected {STUCK} times in a row; {advice}')
