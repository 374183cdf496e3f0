"""The list of a sweep's runs and evaluations: what there is of each, and who is at work on it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from ..flags import merge
from ..workdir import Workdir
from ..workdir.locks import SILENCE, holder
from .clock import duration
from .directory import PlannedRun, SweepDirectory
from .jobs import accuracy


def listing(out: SweepDirectory, runs: Sequence[PlannedRun], evaluations: Collection[str]) -> str:
    """A line for each run and each of its evaluations, and one of how many runs are finished.

    Args:
        out: the sweep's directory, which need not be there yet.
        runs, evaluations: what to list.
    """
    begun = out.holds_sweep(out.path)
    failures = {f['name']: f['error'] for f in out.read_sweep()['failures']} if begun else {}
    lines = []
    for run in runs:
        lines.append((run.name, _run(out, run, failures)))
        for name in evaluations:
            full, place = f'{run.name}/{name}', out.evaluation_of(run, name)
            done = begun and out.is_evaluated(run, name)
            lines.append((full, 'complete' if done else _and_whose('-', place, failures.get(full))))
    width = max(len(name) for name, _ in lines)
    finished = sum(map(out.is_finished, runs))
    return '\n'.join([*(f'{name:{width}}  {state}' for name, state in lines),
                      f'{finished} of {len(runs)} runs are finished'])


def _run(out: SweepDirectory, run: PlannedRun, failures: Mapping[str, str]) -> str:
    workdir = out.of(run)
    if out.is_finished(run):
        return accuracy(workdir)
    done = workdir.last_epoch() if workdir.history_path.exists() else 0
    return _and_whose(f"{done} of {merge(run.flags)['E']} epochs" if done else '-', workdir, failures.get(run.name))


def _and_whose(state: str, place: Workdir, error: str | None) -> str:
    """The state, and who is at work there, or left it, or how it failed."""
    who = holder(place.lock_path)
    if who is None:
        return f'{state}, failed: {error}' if error else state
    if who.at_work is False:
        return f'{state}, left behind by {who.who}'
    silent = f', without a sign of life for {duration(who.silent)}' if not who.at_work and who.silent > SILENCE else ''
    return f'{state}, {who.who}{silent}'
