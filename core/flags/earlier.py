"""Flags that come from an earlier run: to evaluate it, to resume it, or to repeat it."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from models import ARCHITECTURES
from models.registry import arguments_of
from models.types import shown

from .. import datasets
from ..errors import UserError
from ..registry import register_again
from ..workdir import Workdir, plain
from .merging import apply_setting, merge, model_keys
from .table import CHANGEABLE, FLAGS, ONCE, RECORDED_FLAGS


def evaluated_flags(log: str | None) -> dict[str, Any]:
    """What an evaluation takes from the record of the run it is pointed at.

    Raises:
        UserError: it is not a run, or the file of its data set is gone or not what it was.
    """
    if not log:
        raise UserError('name the working directory of a run with --log')
    flags = _flags_of(Workdir(os.path.expanduser(log)), RECORDED_FLAGS)
    return {k: v for k, v in flags.items() if k in RECORDED_FLAGS}


def source_flags(source: str, flags: Mapping[str, Any]) -> dict[str, Any]:
    """All flags of the network of a run that makes images for another.

    Args:
        source: its working directory.
        flags: those of the run that the images are for.

    Raises:
        UserError: see ``evaluated_flags``; or it was trained on another data set.
    """
    theirs = merge({'task': flags['task'], **evaluated_flags(source)})
    if datasets.identity(theirs['dataset']) != datasets.identity(flags['dataset']):
        raise UserError(f"the source {source} was trained on the data set {theirs['dataset']}, and {flags['log']} on "
                        f"{flags['dataset']}; choose a source of the same data set")
    if theirs['arch'] == 'curve':
        raise UserError(f'the source {source} is a curve; name a point of it: ./eval.sh eval-... {source} --set t=0.3 '
                        'makes its directory')
    return theirs


def repeated_flags(like: str) -> dict[str, Any]:
    """The flags of a run that is to be repeated, its seed included, but for those that say where something is.

    Raises:
        UserError: see ``evaluated_flags``.
    """
    flags = _flags_of(Workdir(os.path.expanduser(like)))
    return {k: v for k, v in flags.items() if k not in ONCE}


def resumed_flags(resume: str, config: Mapping[str, Any], overrides: Mapping[str, Any],
                  settings: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """The flags of a run that is to be resumed.

    Args:
        resume: its working directory.
        config: the config file's flags. What has changed in them since, and the command line, count; else what is
            recorded does, so that nothing need be said again.
        overrides, settings: the command line's.

    Raises:
        UserError: see ``evaluated_flags``; or a flag differs that would make it another run.
    """
    run = Workdir(os.path.expanduser(resume))
    if run.is_ensemble():
        raise UserError(f'{run.path} is an ensemble, which was not trained, so there is nothing to resume; name a run '
                        'that is a member of it')
    recorded = {k: v for k, v in _flags_of(run).items() if k not in ONCE}
    now, then = plain(dict(config)), run.read_flags().get('config', {})
    changed = {**recorded, **{k: v for k, v in config.items() if now[k] != then.get(k)}, **overrides}
    for key, value in settings:
        apply_setting(changed, key, value)
    for name in ('log', 'like'):
        if changed.pop(name, None) is not None:
            raise UserError(f'--resume goes on in the directory that it names; leave out --{name}')
    before, after = plain(merge(recorded)), plain(merge(changed))
    for name in FLAGS:
        if name not in CHANGEABLE and before[name] != after[name]:
            raise UserError(f'{run.path} was begun with {name}={before[name]!r}, so it cannot be resumed with '
                            f'{name}={after[name]!r}')
    return {**changed, 'resume': resume, 'log': str(run.path)}


def differing_flags(log: str, flags: Mapping[str, Any]) -> str | None:
    """A sentence about the flags that make another network of an evaluation's than of the run's; None if none do.

    Args:
        log: the run's working directory.
        flags: the evaluation's.
    """
    its, ours = shaping(merge({'task': flags['task'], 'lr': 0.1, **evaluated_flags(log)})), shaping(flags)
    for name, here in ours.items():
        was = its.get(name)
        if was == here:
            continue
        where = name
        if isinstance(was, list) and isinstance(here, list) and was[:1] and here[:1]:
            i = next((i for i, (a, b) in enumerate(zip(was, here)) if a != b), min(len(was), len(here)))
            where, was, here = f'entry {i + 1} of {name}', *(v[i] if i < len(v) else None for v in (was, here))
        return (f'the run in {log} was trained with {where} {shown(was)}, which is {shown(here)} here: leave out '
                f'{name}, and the evaluation takes it from the run')
    return None


def shaping(flags: Mapping[str, Any]) -> dict[str, Any]:
    """The flags that the network's layers, and the images that they take, depend on, defaults included."""
    no_layers = ('init',)
    parameters = arguments_of(ARCHITECTURES[flags['arch']])
    model = {k: flags['model'].get(k, parameters[k].default) for k in parameters if k in model_keys(flags['arch'])
             if k not in no_layers}
    return {'dataset': flags['dataset'], 'arch': flags['arch'], **{f'model.{k}': plain(v) for k, v in model.items()}}


def _flags_of(run: Workdir, needed: Collection[str] | None = None) -> dict[str, Any]:
    """The flags in a run's record; what those that are needed name, or else any of them, is registered then."""
    record = run.read_flags()
    if record.get('evaluation') and record.get('run'):
        raise UserError(f"{run.path} holds an evaluation; name the run that it is of, {record['run']}")
    flags, source = dict(record['flags']), record.get('dataset')
    if missing := [name for name in ('dataset', 'model') if name not in flags]:
        raise UserError(f"{run.flags_path} is not a run's record: it lacks the flag {missing[0]!r}")
    register_again(record, run.path, needed)
    if isinstance(source, dict) and isinstance(source.get('path'), str):
        flags['dataset'] = source['path']
        if datasets.provenance(source['path'])['sha256'] != source.get('sha256'):
            raise UserError(f"the data set {source['path']} is not the file that the run in {run.path} was trained on")
    return flags


def archived_epochs(workdir: Workdir, eid: int | str | list[int]) -> list[int]:
    """The epochs that the flag ``eid`` means, all of them archived.

    Raises:
        UserError: one was not archived, or its file is damaged.
    """
    archived = workdir.archived_epochs()
    if eid in ('last', 'all') and not archived:
        raise UserError(f'no epoch is archived in {workdir.path}')
    best = workdir.best_epoch() if eid == 'best' else None
    if eid == 'best' and best is None:
        raise UserError(f"{workdir.path} has no best epoch: archive=('best', 'val_acc'), say, keeps the best by a "
                        'statistic when a run is trained')
    eids: Any = {'all': archived, 'last': archived[-1:], 'best': best}[eid] if isinstance(eid, str) else eid
    eids = [eids] if isinstance(eids, int) else eids
    for e in eids:
        if not zipfile.is_zipfile(path := workdir.find_model(e)):
            raise UserError(f'epoch {e}: {path.name} cannot be read: it is no file of a Keras model')
    return eids


def measured_epochs(workdir: Workdir, eid: int | str | list[int]) -> tuple[list[int], str | None]:
    """The epochs that an evaluation measures: as ``archived_epochs``, but of a run that keeps no best one, the last in
    its place, so that runs of all kinds are measured by one command.

    Returns:
        the epochs; a sentence where the last stands for the best, else None.

    Raises:
        UserError: see ``archived_epochs``.
    """
    if eid != 'best' or not workdir.archived_epochs() or workdir.best_epoch() is not None:
        return archived_epochs(workdir, eid), None
    last = archived_epochs(workdir, 'last')
    if not workdir.state_path.exists():  # what no training left, an ensemble or a point of a curve, has no other
        return last, None
    return last, (f"{workdir.path} has no best epoch, so the last that it archived is measured, {last[0]} "
                  "(archive=('best', 'val_acc'), say, keeps the best by a statistic when a run is trained)")


def different_versions(run: Workdir, versions: Mapping[str, str]) -> str | None:
    """A sentence about libraries that are not those of an earlier run, whose numbers may then differ."""
    before = run.read_flags().get('versions', {})
    differ = [f'{name} {was} (here {versions[name]})' for name, was in before.items()
              if name in versions and versions[name] != was]
    return f'note: {Path(run.path)} was made with {", ".join(differ)}; numbers may differ' if differ else None
