"""What a sweep's config file describes: a grid of runs, from plain data."""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from models.types import did_you_mean

from ..errors import UserError
from ..flags import EVALUATIONS, FLAGS, PLACES, apply_setting, merge
from ..flags.likes import config_file, dictionary_of, resolved
from .directory import PlannedRun

KEYS = ('like', 'base', 'axes', 'seeds', 'evaluations')
NEXT = 'next'


@dataclass(frozen=True)
class Grid:
    """A sweep.

    Attributes:
        base: flags of every run.
        axes: axis -> label -> flags, which win over the base's, and over those of the axes before.
        seeds: every point of the grid is run with each of them.
        evaluations: name -> the flags of an evaluation that is made of every run.
    """

    base: dict[str, Any]
    axes: dict[str, dict[str, dict[str, Any]]]
    seeds: tuple[int, ...]
    evaluations: dict[str, dict[str, Any]]

    def runs(self, settings: Mapping[str, Any]) -> list[PlannedRun]:
        """Every run, all of the first seed before those of the second, so that a sweep that is cut short has the whole
        grid once, rather than a part of it often.

        Args:
            settings: flags that win over the base's; dotted keys reach into dictionaries.

        Raises:
            UserError: flags that cannot be used, a setting that an axis overrides, two runs of one name.
        """
        for key in settings:
            self._check_setting(key)
        runs = []
        for seed, *labels in itertools.product(self.seeds, *self.axes.values()):
            flags: dict[str, Any] = {}
            for given in (self.base, settings, *(self.axes[axis][label] for axis, label in zip(self.axes, labels))):
                for key, value in given.items():
                    apply_setting(flags, key, value)
            name = '/'.join([*map(folder, self.axes, labels), f'seed-{seed}'])
            try:
                merge(flags)
            except UserError as e:
                raise UserError(f'{name}: {e}') from None
            runs.append(PlannedRun(name, dict(zip(self.axes, labels)), seed, flags))
        names = [run.name for run in runs]
        if double := [name for name in names if names.count(name) > 1]:
            raise UserError(f'two runs would have the name {double[0]}; give their labels more letters or digits')
        return runs

    def _check_setting(self, key: str) -> None:
        if key == 'seed':
            raise UserError('the runs of a sweep have a seed each; --seed 4 runs the grid with another')
        if key in PLACES or key in ('task', 'resume', 'like'):
            raise UserError(f'{key} cannot be set for the runs of a sweep')
        for axis, labels in self.axes.items():
            for flags in labels.values():
                if over := [k for k in flags if key == k or key.startswith(f'{k}.')]:
                    raise UserError(f'{over[0]} is what the axis {axis!r} of this sweep varies, so --set {key} would '
                                    'mean nothing')


def folder(axis: str, label: str) -> str:
    """The directory of a label: the label, with the axis before it if it begins with a digit."""
    text = re.sub(r'[^\w.+-]+', '-', label.strip()).strip('-.').lower()
    if not text:
        raise UserError(f'the axis {axis!r} has the label {label!r}, of which no directory can be named')
    return f'{axis}-{text}' if text[0].isdigit() else text


def grid_of(sweep: Mapping[str, Any], place: Path, seen: Sequence[Path] = ()) -> Grid:
    """The grid that a config file describes.

    Args:
        sweep: a dictionary of

            - 'base': flags of every run; 'like' in it names an experiment's config file, whose flags these change;
            - 'axes': axis -> label -> flags;
            - 'seeds': a list;
            - 'evaluations': name -> flags, if there are any; 'like' in them names an evaluation's config file, whose
              flags these change. The value of a flag may name a run of the sweep:
              ``{'run': {'loss': 'l2', 'seed': 'next'}}`` is the run with these labels, and otherwise those of the run
              that is evaluated; the seed is a number, or 'next', the one after that run's (after the last, the first).
            - 'like': the name of another sweep, of which this is a variant. What is said here then changes its base,
              and replaces its axes of the same name, its seeds, and its evaluations of the same name.

        place: the directory of the config file, where that of 'like' is.
        seen: the config files that led here by 'like'.

    Raises:
        UserError: something is missing, unknown or of another kind.
    """
    for key in sweep:
        if key not in KEYS:
            raise UserError(f'a sweep has no {key!r}; {did_you_mean(str(key), KEYS)}')
    base: dict[str, Any] = {}
    axes: dict[str, Any] = {}
    evaluations: dict[str, Any] = {}
    seeds: Any = None
    if (like := sweep.get('like')) is not None:
        path = config_file(like, place) if isinstance(like, str) else None
        if path is None:
            raise UserError(f"'like' must be the name of another sweep in {place.name}/, not {like!r}")
        earlier = grid_of(dictionary_of(path, 'SWEEP', seen), path.parent, [*seen, path])
        base, axes = dict(earlier.base), dict(earlier.axes)
        evaluations, seeds = dict(earlier.evaluations), list(earlier.seeds)
    own = _dictionary(sweep, 'base')
    base.update(resolved({k: v for k, v in own.items() if k == 'like'}, place))
    for key, value in own.items():
        if key != 'like':
            apply_setting(base, key, value)
    axes.update(_dictionary(sweep, 'axes'))
    evaluations.update({name: resolved(flags, place) if isinstance(flags, dict) else flags
                        for name, flags in _dictionary(sweep, 'evaluations').items()})
    seeds = sweep.get('seeds', seeds)
    if not axes:
        raise UserError("a sweep needs 'axes', a dictionary of axis -> label -> flags")
    for axis, labels in axes.items():
        if not isinstance(labels, dict) or not labels or not all(
                isinstance(k, str) and isinstance(v, dict) for k, v in labels.items()):
            raise UserError(f'the axis {axis!r} must be a dictionary of label -> flags, labels being strings')
    if not isinstance(seeds, (list, tuple, range)) or not seeds or any(type(s) is not int or s < 0 for s in seeds):
        raise UserError(f"a sweep needs 'seeds', a list of whole numbers of at least 0, not {seeds!r}")
    for name, flags in evaluations.items():
        _check_evaluation(name, flags, axes)
    return Grid(base, axes, tuple(seeds), evaluations)


def _dictionary(sweep: Mapping[str, Any], key: str) -> dict[str, Any]:
    value = sweep.get(key, {})
    if not isinstance(value, dict):
        raise UserError(f'{key!r} of a sweep must be a dictionary, not {value!r}')
    return value


def _check_evaluation(name: str, flags: Any, axes: Mapping[str, Any]) -> None:
    if not isinstance(name, str) or not re.fullmatch(r'[\w.-]*\w', name):
        raise UserError(f'an evaluation of a sweep is named by letters, digits, dots and hyphens, not {name!r}')
    if not isinstance(flags, dict) or flags.get('task') not in EVALUATIONS:
        raise UserError(f"the evaluation {name!r} must be a dictionary of flags whose 'task' is "
                        f"{' or '.join(EVALUATIONS)}")
    for key, value in flags.items():
        if key not in FLAGS:
            raise UserError(f'the evaluation {name!r}: there is no flag {key!r}; {did_you_mean(key, FLAGS)}')
        for axis, label in (run_named_by(value) or {}).items():
            known = [NEXT] if axis == 'seed' else axes.get(axis, ())
            if not (label in known or (axis == 'seed' and type(label) is int)):
                raise UserError(f'the evaluation {name!r}: {key} names a run by {axis!r}: {label!r}, which the sweep '
                                'has not')


def run_named_by(value: Any) -> dict[str, Any] | None:
    """The labels by which a flag's value names a run of the sweep; None for any other value."""
    if isinstance(value, dict) and set(value) == {'run'} and isinstance(value['run'], dict):
        return value['run']
    return None


def other_run(labels: Mapping[str, Any], run: PlannedRun, runs: Sequence[PlannedRun]) -> PlannedRun:
    """The run with these labels, and otherwise those of ``run``; see ``grid_of``.

    Raises:
        UserError: there is none, or it is the run itself.
    """
    seeds = sorted({r.seed for r in runs})
    seed = labels.get('seed', run.seed)
    if seed == NEXT:
        seed = seeds[(seeds.index(run.seed) + 1) % len(seeds)]
    wanted = {**run.labels, **{k: v for k, v in labels.items() if k != 'seed'}}
    found = [r for r in runs if r.labels == wanted and r.seed == seed and r is not run]
    if not found:
        raise UserError(f'the sweep has no other run with {wanted} and the seed {seed}')
    return found[0]
