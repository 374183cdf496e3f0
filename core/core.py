"""Core: the tasks that FLAGS describe."""

from __future__ import annotations

import os
import secrets
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from models import EpochInfo, Model, NumericalFailure, TrainMode
from models.attacks import ATTACKS
from models.margins import margins
from models.measures.certificate import certified_radii, lipschitz
from models.types import shown

from . import progress
from .building import PURPOSES, Building
from .devices import use_device
from .errors import UserError, about
from .flags import EVALUATIONS, PLACES, apply_setting, checked, merge
from .flags.earlier import (
    archived_epochs,
    different_versions,
    differing_flags,
    evaluated_flags,
    repeated_flags,
    resumed_flags,
    source_flags,
)
from .provenance import versions, without_enums
from .tasks.attack import GRIDS, Attacking, distribution
from .tasks.epochs import Training, TrainingSettings
from .tasks.evaluation import (
    MAKERS,
    attack_arguments,
    chosen_indices,
    digests,
    earlier_flags,
    open_evaluation,
    portable_flags,
    refuse_attack_flags,
    transfer_arguments,
)
from .tasks.kkt import watch_kkt
from .tasks.transfer import EPS, Transfer
from .tensorboard import ScalarLog
from .workdir import Onlooker, Workdir, plain


class Core(Building):
    """One run of a task.

    Args:
        flags: the config file's FLAGS.
        overrides: flags that win over the config file's.
        settings: (key, value) pairs that win over both; dotted keys reach into dictionaries.
        name: the experiment's, under which a run is filed when the flags give no ``log``.

    Raises:
        UserError: flags that cannot be used.

    Attributes:
        flags: every flag, defaults included.
        devices, dataset, model: what the task works on, once it runs.
    """

    def __init__(self, flags: Mapping[str, Any], overrides: Mapping[str, Any] | None = None,
                 settings: Sequence[tuple[str, Any]] = (), name: str = 'temp'):
        if not isinstance(flags, Mapping):
            raise UserError(f"FLAGS must be a dictionary such as {{'dataset': 'digits', ...}}, not {shown(flags)}")
        given = {**flags, **(overrides or {})}
        asked = {**given, **dict(settings)}
        asked.update({name: checked(name, asked[name]) for name in ('task', 'log', 'eval_log', 'resume', 'like')
                      if asked.get(name) is not None})
        recorded = {}
        if asked.get('task') in ('train_peek', *EVALUATIONS):
            recorded = evaluated_flags(asked.get('log'))
            given = {**recorded, **given}
        if asked.get('task') in EVALUATIONS:
            earlier = earlier_flags(asked.get('eval_log'), name, flags, {**(overrides or {}), **dict(settings)})
            given, settings = ({**given, **earlier}, ()) if earlier else (given, settings)
        if asked.get('like'):
            given = {**given, **repeated_flags(asked['like']), **(overrides or {})}
        if asked.get('resume'):
            given, settings = resumed_flags(asked['resume'], flags, overrides or {}, settings), ()
        for key, value in settings:
            apply_setting(given, key, value)
        try:
            self.flags = merge(given)
        except UserError as e:
            arch, its = given.get('arch'), recorded.get('arch')
            hint = f'; the run was trained with arch={its!r}' if its and isinstance(arch, str) and arch != its else ''
            raise UserError(f'{e}{hint}') from None
        self._given = plain({k: v for k, v in self.flags.items() if k not in PLACES})
        if self.flags['seed'] is None:
            self.flags['seed'] = secrets.randbits(32)
        self.name = name
        self._config = plain(portable_flags(flags))
        self._log_frame0_given = 'log_frame0' in given

    def run(self) -> dict[Any, Any]:
        """Runs the task; returns its results, which are also in the working directory."""
        tasks: dict[str, Callable[[], dict[Any, Any]]] = {
            'train': self.train, 'train_peek': self.train_peek, 'attack': self.attack, 'certify': self.certify,
            'kkt': self.kkt, 'transfer': self.transfer}
        self.devices = use_device(self.flags['gpu'], self.flags['threads'])
        with self.devices.joined(self._again):
            self._agree()
            # What the run prints, worker 0 prints.
            with open(os.devnull, 'w') as null, redirect_stdout(null if self.devices.worker else sys.stdout):
                return tasks[self.flags['task']]()

    def _again(self) -> str:
        place = 'log' if self.flags['task'] == 'train' else 'eval_log'
        return f", with --{'resume' if place == 'log' else place} {self.flags[place]}" if self.flags[place] else ''

    def _agree(self) -> None:
        """Sees that all workers have the same flags, and gives them the same seed.

        Raises:
            UserError: a flag differs.
        """
        first, *others = self.devices.everyone(self._given)
        for worker, given in enumerate(others, start=1):
            if differ := [k for k in first if given.get(k) != first[k]]:
                raise UserError(f'worker {worker} was started with {differ[0]}={given.get(differ[0])!r}, worker 0 with '
                                f'{first[differ[0]]!r}; all workers take the same command')
        self.flags['seed'] = self.devices.of_first(self.flags['seed'])

    def _directory(self, open_it: Callable[[], Workdir]) -> Workdir:
        """A directory to write in: worker 0 opens it, and the others look on."""
        opened = open_it() if self.devices.worker == 0 else None
        path = self.devices.of_first(opened and str(opened.path))
        return opened or Onlooker(path)

    # ---- tasks ----

    def train(self) -> dict[str, Any]:
        """Trains, and records the run in the working directory ``log``.

        Returns:
            {'flags': every flag, 'raw': {eid: record of the accepted epoch}}.
        """
        scheduler, archiver, permutations = self._prepare()
        settings = TrainingSettings(**{k: self.flags[k] for k in TrainingSettings.__dataclass_fields__})
        resume = self.flags['resume'] is not None
        record = {**self._record(), 'config': self._config}
        workdir = self._directory(lambda: Workdir(self.flags['log']) if resume else Workdir.create(
            self.flags['log'], Path('logs') / self.name))
        self.flags['log'] = str(workdir.path)
        record['flags'] = plain(self.flags)
        if resume:
            record = self._resumed_record(workdir, record)
        with progress.copy_stdout(workdir.stdout_path), workdir.locked(progress.say):
            if not resume:
                self._print_flags()
            earlier = self.flags['resume'] or self.flags['like']
            if earlier and (note := different_versions(Workdir(earlier), versions())):
                progress.say(note)
            workdir.write_flags(record)
            on_accepted = None
            if self.flags['tensorboard'] and self.devices.worker == 0:
                on_accepted = ScalarLog(workdir.tensorboard_path).write
            return Training(self.model, self.dataset, scheduler, archiver, workdir, permutations, settings,
                            on_accepted, without_enums(self.flags), resume, self.devices.of_first,
                            [self.flags['seed'], PURPOSES['steps']]).run()

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

    def train_peek(self) -> dict[int, list[Any]]:
        """Trains on from archived epochs ``eid`` of the run ``log``, E epochs at the constant rate ``lr`` in a fixed
        frame, without rollback, and records every training sample's margin.

        The frame is ``log_frame0`` if the flags give it, else the real loss of the archived epoch.

        Returns:
            eid -> [(statistics, extra) of the archived model, then (record, extra) of each epoch]; written to ``res``
            in ``eval_log``.

        Raises:
            UserError: an epoch that was not archived, a rate that is not constant, or a step that failed.
        """
        lr = self.flags['lr']
        if not isinstance(lr, float):
            raise UserError(f'lr must be a float for train_peek, not {shown(lr)}')
        workdir = Workdir(self.flags['log'])
        eids = archived_epochs(workdir, self.flags['eid'])
        with self._of_the_run():
            self._fetch_dataset()
            self._build_model()
            with about(f'epoch {eids[0]}'):
                self.model.restore(workdir.find_model(eids[0]))
        permutations = self._permutations()
        out = self._directory(lambda: Workdir.create(self.flags['eval_log'], parent=workdir.path / self.name))
        res: dict[int, list[Any]] = {}
        try:
            for eid in eids:
                with about(f'epoch {eid}'):
                    self.model.restore(workdir.find_model(eid))
                frame = self._peek_frame()
                res[eid] = [self.model.get_stats(self.dataset, frame)]
                for k in range(self.flags['E']):
                    start = time.perf_counter()
                    losses = self.model.train_epoch(
                        *self.dataset.train, permutations(eid + 1 + k, 0, k), self.flags['B'], lr, frame,
                        self.flags['loss_ub'], seed=[self.flags['seed'], PURPOSES['steps'], eid + 1 + k, 0])
                    stats, extra = self.model.get_stats(self.dataset, frame)
                    info: EpochInfo = {
                        'eid': eid + 1 + k, 'all_rt_loss': losses.tolist(), 'lr': lr, 'log_frame': frame,
                        'rt_loss': float(losses.mean()), 'stats': stats, 'time': time.perf_counter() - start}
                    progress.print_epoch(info, self.flags['print'])
                    res[eid].append((info, extra))
                out.write_res(res)
        except NumericalFailure as e:
            out.discard()
            raise UserError(f'training on from epoch {eid} failed: {e}; choose a smaller lr') from None
        progress.say(f'{out.res_path} written')
        return res

    def attack(self) -> dict[int, dict[str, np.ndarray]]:
        """Attacks the archived models ``eid`` of the run ``log``, and records what was found in ``eval_log``.

        Returns:
            eid -> {'images', 'errors'}, see ``Attacking.run``; also in ``res``.

        Raises:
            UserError: flags that do not fit, an epoch that was not archived.
            Interrupted: Ctrl-C or SIGTERM.
        """
        name, arguments = self.flags['attack_type'].name, attack_arguments(self.flags)
        run, eids, (x, y), indices = self._to_measure()
        attacks = {}
        with about(f'the attack {name}'):
            for device in self.devices.local:
                with tf.device(device):  # several have a network each
                    model = self.model if device is None else self._new_model()
                    attacks[device] = model, ATTACKS[name](model, **arguments)
        out = self._evaluation(run, eids, ATTACKS[name].norm)
        with progress.copy_stdout(out.stdout_path), out.locked(progress.say):
            self._print_flags()
            return Attacking(attacks, x, y, indices, self.flags['attack_B'], run, out,
                             [self.flags['seed'], PURPOSES['attack']], self.flags['attack_eps_list'],
                             self._about_evaluation(), self.devices).run(eids)

    def certify(self) -> dict[int, dict[str, Any]]:
        """Certifies, for the archived models ``eid`` of the run ``log``, the L2 radius within which each image keeps
        its class, and records it in ``eval_log``.

        Returns:
            eid -> {'radii': float64 [N], 'q': margins, float32 [N], 'lipschitz': constant of each layer below the
            last}, see ``models.certificate``; also in ``res``.

        Raises:
            UserError: a network without a certificate, or an epoch that was not archived.
        """
        run, eids, (x, y), _ = self._to_measure()
        grid = self.flags['attack_eps_list'] or GRIDS['L2']
        with about('certificate'):
            lipschitz(self.model)  # refuses a network before anything is written
        out = self._evaluation(run, eids)
        res: dict[int, dict[str, Any]] = {}
        summary = {**self._about_evaluation(), 'norm': 'L2', 'epochs': {}}
        with progress.copy_stdout(out.stdout_path), out.locked(progress.say):
            self._print_flags()
            for eid in eids:
                start = time.perf_counter()
                with about(f'epoch {eid}'):
                    self.model.restore(run.find_model(eid))
                    last, constants = lipschitz(self.model)
                    logits = self._finite_logits(x, y)
                    radii = certified_radii(logits, y, last, float(np.prod(list(constants.values()))))
                res[eid] = {'radii': radii, 'q': margins(logits, y), 'lipschitz': constants}
                summary['epochs'][eid] = {
                    'images': len(radii), 'accuracy': float((logits.argmax(axis=1) == y).mean()),
                    **distribution(radii),
                    'certified_accuracy': {f'{eps:g}': float((radii > eps).mean()) for eps in grid},
                    'lipschitz': constants, 'seconds': time.perf_counter() - start}
                progress.print_certificate(eid, summary['epochs'][eid])
            out.write_res(res)
            out.write_summary(summary)
            progress.say(f'{out.res_path} written')
        return res

    def _finite_logits(self, x, y) -> np.ndarray:
        try:
            return self.model.test(x, y)['y_']
        except NumericalFailure as e:
            raise ValueError(str(e)) from None

    def kkt(self) -> dict[int, dict[str, Any]]:
        """Measures how near the archived models ``eid`` of the run ``log`` are to a KKT point of the max-margin problem
        on its training set, and records it in ``eval_log``.

        Returns:
            eid -> the fields of ``models.kkt.KKTPoint``; also in ``res``.

        Raises:
            UserError: flags that choose images, or an epoch that was not archived.
        """
        refuse_attack_flags(self.flags)
        if self.flags['eval_log'] and Workdir(self.flags['eval_log']).flags_path.exists():
            raise UserError(f"{self.flags['eval_log']} already holds results; choose another directory, or none for a "
                            'new one')
        run, eids, _, _ = self._to_measure()
        out = self._evaluation(run, eids)
        with progress.copy_stdout(out.stdout_path), out.locked(progress.say):
            self._print_flags()
            x, y = self.dataset.train
            return watch_kkt(self.model, (x, np.asarray(y)), run, eids, out,
                             {**self._about_evaluation(), 'settings': {'eid': self.flags['eid']}})

    def transfer(self) -> dict[int, dict[str, Any]]:
        """Makes adversarial images of given sizes on the network of the run ``source`` (each on itself, without one),
        measures the accuracy of the archived models ``eid`` of the run ``log`` on them, and records it in ``eval_log``.

        Returns:
            eid -> {'eps', 'accuracy', ...}, see ``Transfer.run``; also in ``res``.

        Raises:
            UserError: flags that do not fit, a source for other data, an epoch that was not archived.
            Interrupted: Ctrl-C or SIGTERM.
        """
        arguments = transfer_arguments(self.flags)
        make = MAKERS[self.flags['attack_type'].name]
        source, theirs = None, {}
        if self.flags['source'] is not None:
            source, theirs = Workdir(self.flags['source']), source_flags(self.flags['source'], self.flags)
            (self.flags['source_eid'],) = archived_epochs(source, self.flags['source_eid'])
        run, eids, (x, y), indices = self._to_measure()
        networks = {}
        for device in self.devices.local:
            with tf.device(device), about(f"the attack {self.flags['attack_type'].name}"):
                model = self.model if device is None else self._new_model()
                target = make(model, **arguments)
                networks[device] = model, target, make(self._source(source, theirs), **arguments) if source else target
        about_it = {**self._about_evaluation(), 'attack': type(target).__name__, 'steps': target.k,
                    'step_size': target.a, 'box': 'black' if source else 'white',
                    'source': {'run': self.flags['source'], 'eid': self.flags['source_eid']} if source else None}
        out = self._evaluation(run, eids, source_model=digests(source, [self.flags['source_eid']]) if source else None)
        called = f"epoch {self.flags['source_eid']} of {source.path}" if source else 'itself'
        with progress.copy_stdout(out.stdout_path), out.locked(progress.say):
            self._print_flags()
            return Transfer(networks, x, y, indices, self.flags['attack_B'], run, out,
                            self.flags['attack_eps_list'] or EPS, about_it, called, self.devices).run(eids)

    def _source(self, source: Workdir, theirs: Mapping[str, Any]) -> Model:
        """The network of the source, whose flags are these."""
        with about('source'):
            model = self._new_model(theirs)
            if model.num_labels != self.model.num_labels:
                raise ValueError(f"the network of {source.path} has {model.num_labels} outputs, and that of "
                                 f"{self.flags['log']} has {self.model.num_labels}")
            model.restore(source.find_model(self.flags['source_eid']))
        return model

    def _to_measure(self) -> tuple[Workdir, list[int], tuple[np.ndarray, np.ndarray], np.ndarray]:
        """What all evaluations need: the run, its epochs, images and labels, their indices."""
        run = Workdir(self.flags['log'])
        eids = archived_epochs(run, self.flags['eid'])
        with self._of_the_run():
            self._fetch_dataset()
            self._build_model()
        if differ := differing_flags(self.flags['log'], self.flags):  # as may be meant, of another data set
            self._notes.append(f'note: {differ}')
        x, y = (t.numpy() for t in getattr(self.dataset, self.flags['attack_set']))
        indices = chosen_indices(self.flags, len(x))
        with self._of_the_run(), about(f'epoch {eids[0]}'):
            self.model.restore(run.find_model(eids[0]))
        return run, eids, (x[indices], y[indices]), indices

    @contextmanager
    def _of_the_run(self) -> Iterator[None]:
        """Adds to an error about the network how its flags differ from those of the run."""
        try:
            yield
        except UserError as e:
            differ = differing_flags(self.flags['log'], self.flags)
            raise UserError(f'{e}; {differ}' if differ else str(e)) from None

    def _evaluation(self, run: Workdir, eids: list[int], norm: str | None = None, **more: Any) -> Workdir:
        record = {**self._record(), 'evaluation': self.name, 'norm': norm, 'config': self._config,
                  'run': str(run.path), 'models': digests(run, eids), **more}
        out = self._directory(lambda: open_evaluation(self.flags['eval_log'], run.path / self.name, record))
        self.flags['eval_log'] = str(out.path)
        return out

    def _about_evaluation(self) -> dict[str, Any]:
        kinds = ('attack', 'eid', 'seed', 'source')
        settings = {k: plain(v) for k, v in self.flags.items() if k == 'lr' or k.startswith(kinds)}
        return {'evaluation': self.name, 'run': self.flags['log'], 'settings': settings,
                'device': self.devices.text}

    def _print_flags(self) -> None:
        progress.print_flags(self.flags)
        for note in self._notes:
            progress.say(note)

    def _peek_frame(self) -> float | None:
        if self.flags['train_mode'] is TrainMode.NORMAL:
            return None
        if self._log_frame0_given:
            return self.flags['log_frame0']
        return self.model.get_stats(self.dataset, 0.0)[0]['log_loss']
