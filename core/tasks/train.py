"""Trains a network, and records the run in the working directory ``log``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from models import AUGMENTATIONS, Archiver, AscentModel, LRScheduler, MarginAscentLR, TrainMode
from models.objectives import Objective
from models.schedule_ends import note_on_end

from .. import progress
from ..curves import put_ends
from ..errors import UserError, about
from ..flags import archiver_of, objective_from, require_ascent_of_both, scheduler_of
from ..flags.earlier import different_versions
from ..provenance import versions, without_enums
from ..tensorboard import ScalarLog, require_tensorboard
from ..workdir import Workdir, plain
from .base import Task
from .epochs import Permutations, Training, TrainingSettings
from .monitors import Monitors
from .replay import load_initial_weights, permutations_of

STARTS = 64
"""Images on which initial weights are tried."""


class Train(Task):
    """Trains E epochs, or goes on with the run ``resume``.

    ``res`` holds {'flags': every flag, 'raw': {eid: record of the accepted epoch}}.
    """

    def run(self) -> dict[str, Any]:
        session, flags = self.session, self.flags
        scheduler, archiver, permutations, monitors = self.prepare()
        if flags['steps'] is not None:
            flags['E'] = -(-flags['steps'] // session.model.steps_of(len(session.dataset.train[1]), flags['B']))
        settings = TrainingSettings(**{k: flags[k] for k in TrainingSettings.__dataclass_fields__})
        resume = flags['resume'] is not None
        record = {**session.record(), 'config': session.config, **self._ends}
        workdir = session.directory(lambda: Workdir(flags['log']) if resume else Workdir.create(
            flags['log'], Path('logs') / session.name))
        flags['log'] = str(workdir.path)
        record['flags'] = plain(flags)
        if resume:
            record = self._resumed_record(workdir, record)
        with progress.copy_stdout(workdir.stdout_path), workdir.locked(progress.say):
            if not resume:
                session.print_flags()
            earlier = flags['resume'] or flags['like']
            if earlier and (note := different_versions(Workdir(earlier), versions())):
                progress.say(note)
            workdir.write_flags(record)
            on_accepted = None
            if flags['tensorboard'] and session.devices.worker == 0:
                on_accepted = ScalarLog(workdir.tensorboard_path).write
            return Training(session.model, session.dataset, scheduler, archiver, workdir, permutations, settings,
                            on_accepted, without_enums(flags), resume, session.devices.of_first,
                            seed=session.key('steps'), monitors=monitors).run()

    def prepare(self) -> tuple[LRScheduler, Archiver, Permutations, Monitors]:
        """Builds all of a run that can be refused, before anything is written."""
        session, flags = self.session, self.flags
        if flags['tensorboard']:
            require_tensorboard()
        if flags['deterministic']:
            tf.config.experimental.enable_op_determinism()
        frame = flags['log_frame0'] if flags['train_mode'] is TrainMode.USE_FRAME else None
        scheduler, archiver = scheduler_of(flags['lr'], frame), archiver_of(flags['archive'])
        objective = objective_from(flags, scheduler)
        require_ascent_of_both(flags, scheduler)
        session.fetch_dataset()
        session.build_model()
        model = session.model
        model.augment = AUGMENTATIONS[flags['augment']] if flags['augment'] else None
        if objective is not None:
            with about('objective'):
                objective.layers(model.net)  # refuses a network before anything is written
                model.minimise(objective, len(session.dataset.train[1]), flags['B'])
        self._compare_with_schedules(objective)
        self._ends = put_ends(session) if flags['ends'] is not None and not self._has_state() else {}
        if flags['init_weights'] is not None:
            load_initial_weights(model, flags['init_weights'])
        if isinstance(model, AscentModel) and isinstance(scheduler, MarginAscentLR):
            with about('ascent'):
                model.ascend(flags['ascent'], *session.dataset.train)
            scheduler.is_fitted = model.is_fitted
        monitors = Monitors(session, flags['monitors'])
        with about('archive'):
            archiver.check([*model.statistics(len(session.dataset.validation[1]) > 0), 'log_T', 'rt_loss',
                            *monitors.statistics()])
        self._require_finite_start()
        return scheduler, archiver, permutations_of(session), monitors

    def _has_state(self) -> bool:
        """Whether the run is gone on with from weights of its own."""
        return self.flags['resume'] is not None and Workdir(self.flags['resume']).state_path.exists()

    def _compare_with_schedules(self, objective: Objective | None) -> None:
        """Notes which schedules end before the run does, or after it.

        Raises:
            UserError: one says nothing of a part of the run.
        """
        session, rate = self.session, self.session.model.schedule
        per_epoch = session.model.steps_of(len(session.dataset.train[1]), self.flags['B'])
        steps = self.flags['steps'] or self.flags['E'] * per_epoch
        controls = {'model.schedule': rate} if rate is not None else {}
        if objective is not None:
            controls.update({f'objective, {name}': control for name, control in objective.schedules().items()})
        for name, control in controls.items():
            with about(name):
                if (note := note_on_end(control, steps, per_epoch)) is not None:
                    session.notes.append(f'{name}: {note}')
        if objective is not None:
            with about('objective'):
                objective.controls(np.arange(steps), per_epoch)  # refuses what it cannot take at any of them

    def _require_finite_start(self) -> None:
        """Sees that the initial weights give numbers.

        Raises:
            UserError: the logits of some images are not finite.
        """
        if not np.isfinite(self.session.model.predict(self.session.dataset.train[0][:STARTS])).all():
            raise UserError('the initial weights cannot be used: the logits are not finite; smaller ones, by '
                            'model.init.weight or model.init.weight_rescale, keep them so')

    def _resumed_record(self, workdir: Workdir, now: Mapping[str, Any]) -> dict[str, Any]:
        """The run's record, with what it is resumed with now.

        Raises:
            UserError: the data set has another size, or the run is further than E already.
        """
        record = workdir.read_flags()
        done = workdir.last_epoch()
        if done > self.flags['E']:
            raise UserError(f'{workdir.path} has {done} epochs already, so it cannot be resumed with '
                            f'E={self.flags["E"]}')
        if (begun := record.get('images', now['images'])) != now['images']:
            raise UserError(f"{workdir.path} was begun on {begun.get('train')} training and "
                            f"{begun.get('test')} test images, so it cannot be resumed on "
                            f"{now['images']['train']} and {now['images']['test']}")
        resumed = {k: now[k] for k in ('command', 'device', 'versions', 'git_commit', 'started')}
        return {**record, 'flags': now['flags'], 'resumed': [*record.get('resumed', ()), resumed]}
