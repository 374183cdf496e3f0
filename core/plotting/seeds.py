"""Runs that differ in nothing but their seeds, for tables and figures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from ..sweeps.directory import SweepDirectory
from ..workdir import Workdir
from .histories import Run, read_runs

NO_PART = {'seed', 'print', 'tensorboard', 'resume', 'like', 'gpu', 'threads', 'data_dir', 'log', 'eval_log'}
"""Flags in which the runs of a group may differ."""


def grouped(places: Sequence[Workdir]) -> list[tuple[str, list[Workdir]]]:
    """Labels, and the directories of each row: runs that differ in their seeds, then ensembles."""
    groups: dict[str, list[Workdir]] = {}
    alone: list[Workdir] = []
    ensembles: list[Workdir] = []
    for place in places:
        if isinstance(place, SweepDirectory):
            for run in place.planned():
                if place.is_finished(run):
                    groups.setdefault(', '.join(run.labels.values()), []).append(place.of(run))
            ensembles += [Workdir(path.parent) for path in sorted(place.path.rglob('ensemble-*/flags.json'))]
        else:
            (ensembles if members_of(place) else alone).append(place)
    by_flags: dict[str, list[Run]] = {}
    for read in read_runs(alone):
        flags = {k: v for k, v in read.record['flags'].items() if k not in NO_PART}
        by_flags.setdefault(repr(sorted(flags.items())), []).append(read)
    names = Counter(several[0].name for several in by_flags.values())
    for several in by_flags.values():
        first = several[0]
        # Two schedules of one name are told apart as the runs are.
        label = first.name if names[first.name] == 1 and first.name not in groups else first.label
        groups[label] = [read.workdir for read in several]
    of = {run.path.resolve(): label for label, runs in groups.items() for run in runs}
    return [*groups.items(), *((_label(place, of), [place]) for place in ensembles)]


def _label(ensemble: Workdir, of: Mapping[Path, str]) -> str:
    """What an ensemble is called: after the group that all its members are of, or else by its directory."""
    members = ensemble.read_flags()['ensemble']['members']
    runs = [(ensemble.path / member.get('run', '')).resolve() for member in members]
    groups = {of.get(run) for run in runs}
    called = next(iter(groups)) if len(groups) == 1 else None
    return f'ensemble of {len(runs)}, {called or ensemble.path.name}'


def members_of(place: Workdir) -> int:
    """How many networks an ensemble has; 0 of a run."""
    return len(place.read_flags().get('ensemble', {}).get('members', ())) if place.flags_path.exists() else 0
