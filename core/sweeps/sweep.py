"""Sweeps: the runs of a grid, one after the other in one process, and their command line."""

from __future__ import annotations

import gc
import os
import shlex
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from functools import partial
from logging import LogRecord, getLogger
from pathlib import Path
from typing import Any

import keras
from absl import app, flags as absl_flags, logging

from .. import datasets, progress
from ..cli.command_line import parse
from ..core import Core
from ..devices import use_device, worker_of_cluster
from ..errors import Interrupted, UserError
from ..flags import PLACES, checked, merge, parse_setting
from ..interrupts import Interrupts
from ..workdir import Workdir, plain
from .directory import PlannedRun, SweepDirectory
from .grid import Grid, grid_of, other_run, run_named_by

_FREE = (*PLACES, 'print', 'tensorboard')
"""Flags that may change while a sweep is under way: none of them changes what a run computes."""


class Sweep:
    """A sweep in its directory.

    Args:
        grid: what is to be run.
        out: the sweep's directory, new or with a part of the runs.
        name: of the sweep.
        settings: flags that win over the base's. Those with which the sweep was begun need not be given again.
        places: the flags 'gpu' and 'data_dir', where they are given.

    Raises:
        UserError: flags that cannot be used, or not with the runs that were made before.
    """

    def __init__(self, grid: Grid, out: SweepDirectory, name: str, settings: Mapping[str, Any] | None = None,
                 places: Mapping[str, Any] | None = None):
        self.out, self.name, self.places = out, name, dict(places or {})
        earlier = out.read_sweep() if out.holds_sweep(out.path) else None
        self.remembered = {k: v for k, v in (earlier or {}).get('settings', {}).items() if k not in (settings or {})}
        self.settings = {**self.remembered, **(settings or {})}
        self.evaluations = grid.evaluations
        self.runs = grid.runs(self.settings)
        self.record: dict[str, Any] = {
            'name': name, 'axes': {axis: list(labels) for axis, labels in grid.axes.items()}, 'base': grid.base,
            'settings': self.settings, 'evaluations': grid.evaluations, 'runs': [vars(run) for run in self.runs],
            'evaluated': []}
        if earlier is not None:
            self._go_on_from(earlier)

    def _go_on_from(self, earlier: Mapping[str, Any]) -> None:
        """Takes over what was planned and done before.

        Raises:
            UserError: a run or an evaluation of the same name had other flags.
        """
        before = {run['name']: run for run in earlier['runs']}
        for run in self.runs:
            if run.name in before:
                self._compare(plain(merge(before[run.name]['flags'])), plain(merge(run.flags)))
        for name, flags in self.evaluations.items():
            if name in earlier['evaluations']:
                self._compare(earlier['evaluations'][name], plain(flags), f' in {name}')
        own = {run.name for run in self.runs}
        # Runs of other seeds, or of labels that the config file has no longer, stay in the record.
        self.record['runs'] = [*self.record['runs'], *(run for name, run in before.items() if name not in own)]
        self.record['axes'] = {axis: list(dict.fromkeys([*labels, *earlier['axes'].get(axis, ())]))
                               for axis, labels in self.record['axes'].items()}
        self.record['evaluated'] = earlier['evaluated']

    def _compare(self, was: Mapping[str, Any], now: Mapping[str, Any], where: str = '') -> None:
        for flag in {**was, **now}:
            if flag not in _FREE and was.get(flag) != now.get(flag):
                raise UserError(f'the sweep in {self.out.path} was begun with {flag}={was.get(flag)!r}{where}, so it '
                                f'cannot go on with {flag}={now.get(flag)!r}; name another directory with --log')

    def listing(self) -> str:
        """The runs and their evaluations, a line each, with what there is of them."""
        lines = []
        for run in self.runs:
            workdir = self.out.of(run)
            done, of = workdir.last_epoch() if workdir.history_path.exists() else 0, merge(run.flags)['E']
            state = _accuracy(workdir) if self.out.is_finished(run) else f'{done} of {of} epochs' if done else '-'
            lines.append((run.name, state))
            if self.out.holds_sweep(self.out.path):
                lines += [(f'{run.name}/{name}', 'complete' if self.out.is_evaluated(run, name) else '-')
                          for name in self.evaluations]
            else:
                lines += [(f'{run.name}/{name}', '-') for name in self.evaluations]
        width = max(len(name) for name, _ in lines)
        finished = sum(self.out.is_finished(run) for run in self.runs)
        return '\n'.join([*(f'{name:{width}}  {state}' for name, state in lines),
                          f'{finished} of {len(self.runs)} runs are finished'])

    def run(self) -> int:
        """Makes the runs and evaluations that are not finished; what one of them prints goes to its own directory.

        Returns:
            How many failed.

        Raises:
            UserError: the directory cannot be used.
            KeyboardInterrupt, Interrupted: Ctrl-C or SIGTERM.
        """
        # A GPU that is not there is warned of once, not by every run.
        if self.places.get('gpu') is not None and use_device(self.places['gpu']).text == 'CPU':
            self.places['gpu'] = 'cpu'
        with datasets.remembered(), _without_warnings_of_tracing():
            self._refuse()
            self.out.make()
            with progress.copy_stdout(self.out.stdout_path), self.out.locked(progress.say):
                self.out.write_sweep(self.record)
                with Interrupts().handled():
                    return self._run()

    def _refuse(self) -> None:
        """Sees, before anything is written, that the runs to be made can be; those of one seed stand for all.

        Raises:
            UserError: one cannot.
        """
        todo = [run for run in self.runs if not self.out.of(run).flags_path.exists()]
        for run in [run for run in todo if run.seed == todo[0].seed]:
            # In place of a run that is named stands any: it is to be made yet.
            evaluations = {name: {k: v if run_named_by(v) is None else run.name for k, v in flags.items()}
                           for name, flags in self.evaluations.items()}
            try:
                Core(run.flags, {**self.places, 'seed': run.seed}, name=self.name).refuse(evaluations)
            except UserError as e:
                raise UserError(f'{run.name}: {e}') from None
            finally:
                keras.backend.clear_session()

    def _run(self) -> int:
        if self.remembered:
            progress.say('going on with ' + ' '.join(f'--set {k}={v!r}' for k, v in self.remembered.items()))
        todo = [run for run in self.runs if not self.out.is_finished(run)]
        if len(todo) < len(self.runs):
            progress.say(f'{len(self.runs) - len(todo)} of {len(self.runs)} runs are finished')
        clock = _Clock([run for run in self.runs if run not in todo], self.out)
        pending = [(run, name) for run in self.runs for name in self.evaluations
                   if not self.out.is_evaluated(run, name)]
        jobs = len(todo) + len(pending)
        done = failed = 0

        def make(name: str, job: Callable[[], str], left: Sequence[PlannedRun], run: PlannedRun | None = None) -> bool:
            """Does a job, and prints its line."""
            nonlocal done, failed
            done += 1
            start = time.perf_counter()
            head = f'{done:{len(str(jobs))}} of {jobs}  {name}'
            with progress.status(head):
                try:
                    result, ok = job(), True
                except Interrupted:
                    raise
                except UserError as e:
                    result, ok = f'failed: {e}', False
            # Keras and TensorFlow keep what was built, and its compiled loops, until they are told otherwise.
            keras.backend.clear_session()
            gc.collect()
            seconds = time.perf_counter() - start
            if ok and run is not None:
                clock.took(run, seconds)
            failed += not ok
            remaining = clock.remaining(left)
            progress.say(f'{head}  {result}  {_duration(seconds)}' + (
                f'; about {_duration(remaining)} to go' if remaining else ''))
            return ok

        def evaluate_those(may: Callable[[PlannedRun, str], bool], left: Sequence[PlannedRun]) -> None:
            for planned, name in list(pending):
                if may(planned, name):
                    pending.remove((planned, name))
                    make(f'{planned.name}/{name}', partial(self._evaluate, planned, name), left)

        evaluate_those(self._is_ready, todo)
        for k, run in enumerate(todo, start=1):
            make(run.name, partial(self._train, run), todo[k:], run)
            evaluate_those(self._is_ready, todo[k:])
        evaluate_those(lambda run, name: True, ())  # what needs a run that failed says so
        progress.say(f'{sum(map(self.out.is_finished, self.runs))} of {len(self.runs)} runs are finished'
                     + (f', {failed} failed' if failed else ''))
        return failed

    # ---- one job ----

    def _train(self, run: PlannedRun) -> str:
        workdir = self.out.of(run)
        place = 'resume' if workdir.flags_path.exists() else 'log'
        self._silently(run.flags, {**self.places, 'seed': run.seed, place: str(workdir.path)}, self.name)
        return _accuracy(workdir)

    def _is_ready(self, run: PlannedRun, name: str) -> bool:
        needs = [run, *self._runs_named_in(run, name).values()]
        return all(map(self.out.is_finished, needs))

    def _runs_named_in(self, run: PlannedRun, name: str) -> dict[str, PlannedRun]:
        """The runs that the flags of an evaluation of ``run`` name, by flag."""
        named = {flag: run_named_by(value) for flag, value in self.evaluations[name].items()}
        return {flag: other_run(labels, run, self.out.planned()) for flag, labels in named.items()
                if labels is not None}

    def _evaluate(self, run: PlannedRun, name: str) -> str:
        out, named = self.out.evaluation_of(run, name), self._runs_named_in(run, name)
        for needed in (run, *named.values()):
            if not self.out.is_finished(needed):
                raise UserError(f'the run {needed.name} is not finished')
        # Only what kept the results of batches can be gone on with.
        if out.path.exists() and not out.parts_path.exists():
            shutil.rmtree(out.path)
        flags = {**self.evaluations[name], **{flag: str(self.out.of(other).path) for flag, other in named.items()}}
        self._silently({'seed': run.seed, **flags},
                       {**self.places, 'log': str(self.out.of(run).path), 'eval_log': str(out.path)}, name)
        self.record['evaluated'].append(f'{run.name}/{name}')
        self.out.write_sweep(self.record)
        return _summary(out)

    @staticmethod
    def _silently(flags: Mapping[str, Any], overrides: Mapping[str, Any], name: str) -> None:
        """Runs a task whose output goes to its own directory only."""
        with open(os.devnull, 'w') as null, redirect_stdout(null):
            Core(flags, overrides, name=name).run()


@contextmanager
def _without_warnings_of_tracing() -> Iterator[None]:
    """TensorFlow takes many networks in one process, each of which is compiled, for one that is compiled again and
    again."""
    def keep(record: LogRecord) -> bool:
        return 'tf.function retracing' not in record.getMessage()
    logger = getLogger('tensorflow')
    logger.addFilter(keep)
    try:
        yield
    finally:
        logger.removeFilter(keep)


class _Clock:
    """Judges how long runs will take, from those that were made: the same point of the grid with another seed, else
    all of them, as time for an image of an epoch."""

    def __init__(self, finished: Sequence[PlannedRun], out: SweepDirectory):
        self._took: list[tuple[PlannedRun, float]] = []
        for run in finished:
            self.took(run, sum(line['time'] for line in out.of(run).read_history()))

    def took(self, run: PlannedRun, seconds: float) -> None:
        self._took.append((run, seconds))

    def remaining(self, runs: Sequence[PlannedRun]) -> float:
        """Seconds; 0 if nothing is known."""
        if not self._took:
            return 0.0
        pace = sum(s for _, s in self._took) / sum(_work(run) for run, _ in self._took)
        same = {tuple(run.labels.values()): seconds for run, seconds in self._took}
        return sum(same.get(tuple(run.labels.values()), pace * _work(run)) for run in runs)


def _work(run: PlannedRun) -> float:
    flags = merge(run.flags)
    return flags['E'] * (flags['train_fraction'] + 0.1)  # every epoch ends with a look at the whole test set


def _accuracy(workdir: Workdir) -> str:
    last = [line for line in workdir.read_history() if line['cmd'] == 'go'][-1]
    return f"test accuracy {100 * last['stats']['test_acc']:.2f} %"


def _summary(out: Workdir) -> str:
    """What an evaluation found of the last epoch, as far as it says so by the usual names."""
    epochs = out.read_summary().get('epochs', {})
    numbers = list(epochs.values())[-1] if epochs else {}
    found = [f'accuracy {100 * numbers["accuracy"]:.2f} %'] if 'accuracy' in numbers else []
    found += [f'median distance {numbers["median"]:.4g}'] if isinstance(numbers.get('median'), float) else []
    return ', '.join(found) or 'complete'


def _duration(seconds: float) -> str:
    minutes = seconds / 60
    if minutes < 1.5:
        return f'{seconds:.0f} s'
    return f'{minutes:.0f} min' if minutes < 90 else f'{minutes // 60:.0f} h {minutes % 60:.0f} min'


# ---- the command line ----

def sweep_start(sweep: Mapping[str, Any]) -> None:
    """Runs a config file's SWEEP with the command line's options; what a config file calls when it is started.

    Exits with status 1 if a run failed, or on an error that a person can put right.

    Args:
        sweep: see ``grid.grid_of``.
    """
    of_main: dict[str, Any] = {'module_name': sys.argv[0]}
    for name, text in (
            ('log', 'directory of the sweep (default: logs/<config>)'),
            ('gpu', "index of the GPU to use, or 'cpu' (default: GPU 0 if there is one)"),
            ('data_dir', "TensorFlow Datasets' directory (default: TFDS_DATA_DIR, or TFDS's own)")):
        absl_flags.DEFINE_string(name, None, text, **of_main)
    absl_flags.DEFINE_integer('seed', None, "make the runs of this seed (default: of all of the config file's)",
                              **of_main)
    absl_flags.DEFINE_bool('list', False, 'only list the runs, and what there is of them', **of_main)
    absl_flags.DEFINE_multi_string('set', [], 'key=value, overrides a flag of all runs; may be repeated', **of_main)
    app.run(lambda argv: _main(argv, sweep), flags_parser=parse)


def _main(argv: list[str], config: Mapping[str, Any]) -> None:
    logging.set_verbosity(logging.WARNING)
    file = Path(sys.argv[0])
    try:
        if len(argv) > 1:
            raise UserError(f'{argv[1]!r} is not an option; flags are set with --set key=value')
        if worker_of_cluster() is not None:
            raise UserError('a sweep is run by one process, so TF_CONFIG must not be set; --gpu 0,1 uses several GPUs')
        options = absl_flags.FLAGS
        seed = options['seed'].value
        grid = grid_of({**config, **({} if seed is None else {'seeds': [seed]})}, file.resolve().parent)
        places = {k: options[k].value for k in ('gpu', 'data_dir') if options[k].value is not None}
        log = options['log'].value
        out = SweepDirectory(Path('logs') / file.stem if log is None else checked('log', log))
        sweep = Sweep(grid, out, file.stem, dict(map(parse_setting, options['set'].value or ())), places)
        if options['list'].value:
            print(sweep.listing())
            return
        progress.say(f'{len(sweep.runs)} runs in {out.path}')
        if sweep.run():
            sys.exit(1)
    except (KeyboardInterrupt, Interrupted):
        again = shlex.join(['./run.sh', file.stem, *sys.argv[1:]])
        print(f'interrupted; what was finished is saved, and the same command goes on: {again}', file=sys.stderr)
        sys.stdout.flush(), sys.stderr.flush()
        os._exit(1)  # TensorFlow may be busy in a thread, and does not survive Python's tidying up
    except UserError as e:
        sys.exit(f'error: {e}')
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
