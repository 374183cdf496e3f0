"""Core: the tasks that FLAGS describe."""

from __future__ import annotations

import inspect
import os
import secrets
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, redirect_stdout
from copy import copy
from pathlib import Path
from typing import Any

from models.types import did_you_mean, shown

from .curves import joins_runs, with_ends
from .datasets import remembered
from .devices import use_device
from .ensembles import Ensemble
from .errors import UserError
from .flags import EVALUATIONS, PLACES, RECORDED_FLAGS, apply_setting, checked, merge
from .flags.earlier import evaluated_flags, repeated_flags, resumed_flags
from .flags.likes import resolved
from .points import Point, points_of
from .session import Session
from .tasks import task_class
from .tasks.base import Evaluation, Task
from .tasks.begun import earlier_flags, portable_flags
from .tasks.train import Train
from .workdir import plain


class Core(Session):
    """One run of a task; or, where ``log`` names several runs to measure, one of it for each.

    Each of several runs is measured as if it were named alone: with the data set and the network of its record, in a
    directory of its own, ``<run>/<config>/<date>``. With ``eval_log`` these directories are ``<eval_log>/<run>``, where
    the run is called by as much of the end of its path as tells it from the others, so that the same command goes on
    with what it began. With ``ensemble`` they are measured as one network, which has a directory of its own, see
    ``ensembles``; and a task that compares runs takes all of them. Of a curve a point is measured, ``t``, which has a
    directory of its own, too, see ``points``. A network is trained in one directory.

    Args:
        flags: the config file's FLAGS.
        overrides: flags that win over the config file's.
        settings: (key, value) pairs that win over both; dotted keys reach into dictionaries.
        name: the experiment's, under which a run is filed when the flags give no ``log``.

    Raises:
        UserError: flags that cannot be used.

    Attributes:
        runs: where several runs are measured, the Core of each.
        flags: every flag, defaults included; of several runs, those of the first, but for ``log`` and ``eval_log``.
        devices, dataset, model: what the task works on, once it runs.
    """

    _given: dict[str, Any]

    def __init__(self, flags: Mapping[str, Any], overrides: Mapping[str, Any] | None = None,
                 settings: Sequence[tuple[str, Any]] = (), name: str = 'temp'):
        if not isinstance(flags, Mapping):
            raise UserError(f"FLAGS must be a dictionary such as {{'dataset': 'digits', ...}}, not {shown(flags)}")
        flags = resolved(flags)
        given = {**flags, **(overrides or {})}
        asked = {**given, **dict(settings)}
        asked.update({name: checked(name, asked[name]) for name in
                      ('task', 'log', 'eval_log', 'resume', 'like', 'ensemble', 'eid', 't')
                      if asked.get(name) is not None})
        self.runs: list[Core] = []
        self.derived: list[Ensemble | Point] = []
        if isinstance(logs := asked.get('log'), list) and (joined := self._joined(logs, asked)):
            overrides, settings = {**(overrides or {}), **joined}, _without_log(settings)
            given, asked = {**given, **joined}, {**asked, **joined}
        elif isinstance(logs, list):
            self.runs = self._of_each(logs, asked, flags, overrides or {}, settings, name)
            first = self.runs[0]
            self._given = {**first._given, 'runs': len(logs)}
            super().__init__({**first.flags, 'log': logs, 'eval_log': asked.get('eval_log')}, name, first.config,
                             first.log_frame0_given)
            return
        if asked.get('task') in ('train_peek', *EVALUATIONS) and isinstance(asked.get('log'), str):
            points, places = points_of(asked, task_class(asked['task']))
            self.derived += points
            overrides, settings = {**(overrides or {}), **places}, _without_log(settings) if places else settings
            given, asked = {**given, **places}, {**asked, **places}
        recorded = {}
        if asked.get('task') in ('train_peek', *EVALUATIONS):
            own = [made for made in self.derived if str(made.place.path) == asked['log']]
            recorded = own[0].recorded_flags() if own else evaluated_flags(asked.get('log'))
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
        if (asked.get('task') or 'train') == 'train' and joins_runs(given):
            given = with_ends(given)
        try:
            merged = merge(given)
        except UserError as e:
            arch, its = given.get('arch'), recorded.get('arch')
            hint = f'; the run was trained with arch={its!r}' if its and isinstance(arch, str) and arch != its else ''
            raise UserError(f'{e}{hint}') from None
        self._given = plain({k: v for k, v in merged.items() if k not in PLACES})
        if merged['seed'] is None:
            merged['seed'] = secrets.randbits(32)
        super().__init__(merged, name, plain(portable_flags(flags)), 'log_frame0' in given)

    def _joined(self, logs: Sequence[str], asked: Mapping[str, Any]) -> dict[str, Any]:
        """The flags with which one task measures several runs together; empty where each is measured by itself.

        Raises:
            UserError: see ``ensembles.Ensemble``.
        """
        if asked.get('task') not in ('train_peek', *EVALUATIONS):
            return {}
        compares = getattr(task_class(asked['task']), 'compares_runs', False)
        if compares or asked.get('ensemble'):
            _refuse_twice(logs)
        if compares:
            options = asked.get('options')
            return {'log': logs[0], 'options': {**(options if isinstance(options, dict) else {}),
                                                'others': list(logs[1:])}}
        if not asked.get('ensemble'):
            return {}
        self.derived = [Ensemble(logs, asked.get('eid', 'last'), asked['ensemble'])]
        return {'log': str(self.derived[0].place.path)}

    @staticmethod
    def _of_each(logs: Sequence[str], asked: Mapping[str, Any], flags: Mapping[str, Any],
                 overrides: Mapping[str, Any], settings: Sequence[tuple[str, Any]], name: str) -> list[Core]:
        if asked.get('task') not in ('train_peek', *EVALUATIONS):
            raise UserError(f'log names {len(logs)} directories; a network is trained in one, and only measured are '
                            'several runs by one command')
        _refuse_twice(logs)
        settings = [(key, value) for key, value in _without_log(settings) if key != 'eval_log']
        cores = []
        for log, folder in zip(logs, called([Path(log).resolve() for log in logs])):
            place = Path(asked['eval_log']) / folder if asked.get('eval_log') else None
            cores.append(Core(flags, {**overrides, 'log': log, 'eval_log': place}, settings, name))
            cores[-1].among_others = True
        return cores

    def run(self) -> dict[Any, Any]:
        """Runs the task; returns its results, which are also in the working directory. Of several runs, these are
        log -> its results.

        Raises:
            UserError: something that a person can put right; of several runs, those before it are measured.
        """
        for core in self.runs or [self]:
            _task(core)  # refuses its options before anything is done
        self.devices = use_device(self.flags['gpu'], self.flags['threads'])
        with self.devices.joined(self._again), self._printing_once():
            self._agree()
            if not self.runs:
                return self._alone()
            return {core.flags['log']: self._run_one(core) for core in self.runs}

    def _alone(self) -> dict[Any, Any]:
        with remembered() if self.derived else nullcontext():
            for derived in self.derived:
                derived.make(self.devices)
            return _task(self).run()

    def _run_one(self, core: Core) -> dict[Any, Any]:
        core.devices = self.devices
        core._agree()
        try:
            return copy(core)._alone()  # which takes its network with it
        except UserError as e:
            raise type(e)(f"{core.flags['log']}: {e}") from None

    @contextmanager
    def _printing_once(self) -> Iterator[None]:
        """What the run prints, worker 0 prints."""
        with open(os.devnull, 'w') as null, redirect_stdout(null if self.devices.worker else sys.stdout):
            yield

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

    def refuse(self, evaluations: Mapping[str, Mapping[str, Any]]) -> None:
        """Raises what the training would before it writes anything, and evaluations of its network.

        Args:
            evaluations: flags of evaluations, by name.

        Raises:
            UserError: flags that cannot be used.
        """
        self.devices = use_device(self.flags['gpu'], self.flags['threads'])
        Train(self).prepare()
        for name, flags in evaluations.items():
            try:
                task = _task(self.with_flags(merge({k: self.flags[k] for k in RECORDED_FLAGS}, flags)))
                if isinstance(task, Evaluation):
                    task.refuse()
            except UserError as e:
                raise UserError(f'{name}: {e}') from None


def _refuse_twice(logs: Sequence[str]) -> None:
    paths = [Path(log).resolve() for log in logs]
    if double := [log for log, path in zip(logs, paths) if paths.count(path) > 1]:
        raise UserError(f'log names the run {double[0]} twice')


def _without_log(settings: Sequence[tuple[str, Any]]) -> list[tuple[str, Any]]:
    return [(key, value) for key, value in settings if key != 'log']


def called(paths: Sequence[Path]) -> list[str]:
    """As much of the ends of paths as tells them from each other."""
    k = 1
    while len({path.parts[-k:] for path in paths}) < len(paths):
        k += 1
    return [str(Path(*path.parts[-k:])) for path in paths]


def _task(session: Session) -> Task:
    """The task that the flags of a session describe.

    Raises:
        UserError: an option that it has not.
    """
    cls, options = task_class(session.flags['task']), session.flags['options']
    known = list(inspect.signature(cls).parameters)[1:]
    for name in options:
        if name not in known:
            raise UserError(f"options: the task {session.flags['task']} has no option {shown(name)}; "
                            f"{did_you_mean(name, known) if known else 'it has none'}")
    return cls(session, **options)
