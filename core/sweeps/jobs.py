"""The jobs of a sweep: runs to be trained, evaluations to be made of them; how each stands, and how it is done."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from typing import Any

from .. import progress
from ..core import Core
from ..errors import UserError
from ..workdir import Workdir
from .directory import PlannedRun, SweepDirectory
from .grid import other_run, run_named_by


@dataclass(frozen=True)
class Job:
    """A run that is to be trained, or an evaluation of it."""

    run: PlannedRun
    evaluation: str | None = None

    @property
    def name(self) -> str:
        return self.run.name if self.evaluation is None else f'{self.run.name}/{self.evaluation}'


class Jobs:
    """All that is to be done of a sweep.

    Args:
        out: the sweep's directory, with its record.
        name: of the sweep.
        runs: that are to be trained.
        evaluations: that are to be made of each, by name.
        places: the flags 'gpu' and 'data_dir', where they are given.
    """

    def __init__(self, out: SweepDirectory, name: str, runs: Sequence[PlannedRun], evaluations: Mapping[str, Any],
                 places: Mapping[str, Any]):
        self._out, self._name, self._evaluations, self._places = out, name, evaluations, places
        self.training = [Job(run) for run in runs]
        self.measuring = [Job(run, evaluation) for run in runs for evaluation in evaluations]
        self._planned = out.planned()
        self._done: set[str] = set()  # once it is, a job stays so
        self._earlier = {failure['id'] for failure in out.read_sweep()['failures']}
        self.look()

    def look(self) -> None:
        """Reads anew which evaluations are complete, and what has failed since this was made."""
        record = self._out.read_sweep()
        self._evaluated = set(record['evaluated'])
        self.failed = {f['name']: f['error'] for f in record['failures'] if f['id'] not in self._earlier}

    def workdir(self, job: Job) -> Workdir:
        """Where a job leaves what it finds, and its lock."""
        return self._out.of(job.run) if job.evaluation is None else self._out.evaluation_of(job.run, job.evaluation)

    def is_done(self, job: Job, mine: bool = False) -> bool:
        """Whether a job is.

        Args:
            mine: this process has its lock, which nobody left behind.
        """
        if job.name not in self._done:
            if job.evaluation is not None:
                done = job.name in self._evaluated and self.workdir(job).res_path.exists()
            else:
                done = self._out.is_complete(job.run) if mine else self._out.is_finished(job.run)
            if not done:
                return False
            self._done.add(job.name)
        return True

    def needs(self, job: Job) -> list[Job]:
        """The runs that a job needs.

        Raises:
            UserError: its flags name a run that the sweep has not.
        """
        if job.evaluation is None:
            return []
        return [Job(job.run), *(Job(run) for run in self._runs_named_by(job.evaluation, job.run).values())]

    def _runs_named_by(self, evaluation: str, run: PlannedRun) -> dict[str, PlannedRun]:
        """The runs that the flags of an evaluation of ``run`` name, by flag."""
        named = {flag: run_named_by(value) for flag, value in self._evaluations[evaluation].items()}
        return {flag: other_run(labels, run, self._planned) for flag, labels in named.items() if labels is not None}

    def do(self, job: Job) -> str:
        """Does a job, whose lock this process has; returns what came of it, in words.

        Raises:
            UserError: it failed.
            KeyboardInterrupt, Interrupted: Ctrl-C or SIGTERM.
        """
        found = self._train(job.run) if job.evaluation is None else self._evaluate(job, job.evaluation)
        self._done.add(job.name)
        return found

    def _train(self, run: PlannedRun) -> str:
        workdir = self._out.of(run)
        place = 'resume' if workdir.flags_path.exists() else 'log'
        self._silently(run.flags, {**self._places, 'seed': run.seed, place: str(workdir.path)}, self._name)
        return accuracy(workdir)

    def _evaluate(self, job: Job, evaluation: str) -> str:
        for needed in self.needs(job):
            if not self.is_done(needed):
                raise UserError(f'the run {needed.name} is not finished')
        out, named = self.workdir(job), self._runs_named_by(evaluation, job.run)
        self._out.clear_evaluation(job.run, evaluation)
        flags = {**self._evaluations[evaluation], **{k: str(self._out.of(other).path) for k, other in named.items()}}
        self._silently({'seed': job.run.seed, **flags},
                       {**self._places, 'log': str(self._out.of(job.run).path), 'eval_log': str(out.path)}, evaluation)
        self._out.add_evaluated(job.run, evaluation, progress.say)
        return _summary(out)

    @staticmethod
    def _silently(flags: Mapping[str, Any], overrides: Mapping[str, Any], name: str) -> None:
        """Runs a task whose output goes to its own directory only."""
        with open(os.devnull, 'w') as null, redirect_stdout(null):
            Core(flags, overrides, name=name).run()


def accuracy(workdir: Workdir) -> str:
    """What is said of a finished run."""
    last = [line for line in workdir.read_history() if line['cmd'] == 'go'][-1]
    return f"test accuracy {100 * last['stats']['test_acc']:.2f} %"


def _summary(out: Workdir) -> str:
    """What an evaluation found of the last epoch, as far as it says so by the usual names."""
    epochs = out.read_summary().get('epochs', {})
    numbers = list(epochs.values())[-1] if epochs else {}
    found = [f'accuracy {100 * numbers["accuracy"]:.2f} %'] if 'accuracy' in numbers else []
    found += [f'median distance {numbers["median"]:.4g}'] if isinstance(numbers.get('median'), float) else []
    return ', '.join(found) or 'complete'
