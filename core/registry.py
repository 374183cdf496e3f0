"""Things of one's own, under a name that flags take: what a config file registers before it is started."""

from __future__ import annotations

import runpy
import sys
from collections.abc import Collection, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

from models.types import did_you_mean, shown

from .errors import UserError


class Kind(NamedTuple):
    """A kind of thing: where the table of its names is, and which flag takes them."""

    module: str
    table: str
    flag: str


KINDS = {
    'attack': Kind('models.attacks', 'ATTACKS', 'attack_type'),
    'objective': Kind('models.objectives', 'OBJECTIVES', 'objective'),
    'network': Kind('models', 'ARCHITECTURES', 'arch'),
    'scheduler': Kind('models', 'LR_SCHEDULERS', 'lr'),
    'archiver': Kind('models', 'ARCHIVERS', 'archive'),
    'optimizer': Kind('models.optimizers', 'OPTIMIZERS', 'model.opt'),
    'augmentation': Kind('models', 'AUGMENTATIONS', 'augment'),
    'data set': Kind('core.datasets', 'DATASETS', 'dataset'),
    'task': Kind('core.tasks', 'EVALUATIONS', 'task'),
    'figure': Kind('core.plotting', 'FIGURES', ''),
}
"""What can be registered."""
_by_whom: dict[tuple[str, str], str | None] = {}
"""The file in which each was registered; None if it was none, as in a notebook."""


def register(kind: str, name: str, thing: Any) -> None:
    """Gives a thing a name, by which flags can then call it as they call those that are here.

    To be called in a config file, before it starts; a run's record says which file that was, so that what reads the run
    later finds the thing again.

    Args:
        kind: one of 'attack' (a subclass of ``models.attacks.Attack``), 'objective' (a subclass of
            ``models.objectives.Objective``), 'network' (an architecture, see ``models.ARCHITECTURES``), 'scheduler' and
            'archiver' (subclasses of ``models.LRScheduler``, ``models.Archiver``), 'optimizer' (from a learning rate
            and arguments to a Keras optimizer), 'augmentation' (see ``models.augmentation.Augmentation``), 'data set'
            (from a directory of data, or None, to (images, labels) for training and for testing), 'task' (a subclass of
            ``core.tasks.base.Evaluation``), 'figure' (from
            working directories to a matplotlib figure).
        name: a new one; a name that was registered before is replaced.
        thing: the class or function.

    Raises:
        UserError: no such kind, a name that cannot be one or is one of this project's own, or a thing that cannot be
            called.
    """
    if kind not in KINDS:
        raise UserError(f'there is no kind of things {shown(kind)} to register; {did_you_mean(kind, KINDS)}')
    if not isinstance(name, str) or not name.strip():
        raise UserError(f'a registered {kind} needs a name, not {shown(name)}')
    if not callable(thing):
        raise UserError(f'the {kind} {name!r} must be a class or a function, not {shown(thing)}')
    table = table_of(kind)
    if name in table and (kind, name) not in _by_whom:
        raise UserError(f'there is a {kind} {name!r} already; choose another name')
    table[name] = thing
    _by_whom[kind, name] = sys._getframe(1).f_globals.get('__file__')


def table_of(kind: str) -> dict[str, Any]:
    """The names of a kind of thing, and what each stands for."""
    return getattr(import_module(KINDS[kind].module), KINDS[kind].table)


def record_of(flags: Mapping[str, Any]) -> dict[str, Any]:
    """What a run's record says of registered things that its flags name: {'registered': kind -> name -> the file that
    registered it, or None}; empty where there are none."""
    found: dict[str, dict[str, str | None]] = {}
    for (kind, name), file in _by_whom.items():
        if KINDS[kind].flag and name in _names(_value(flags, KINDS[kind].flag)):
            found.setdefault(kind, {})[name] = None if file is None else str(Path(file).resolve())
    return {'registered': found} if found else {}


def register_again(record: Mapping[str, Any], run: Path, names: Collection[str] | None = None) -> None:
    """Sees that what a run used is registered, by running the files that did so then; a line says so.

    Args:
        record: of the run.
        run: its working directory. A file in there is not run: runs come from other people, too.
        names: flags that are needed of it; None for all.

    Raises:
        UserError: a file is gone, cannot be run, or does not register it any more.
    """
    registered = record.get('registered')
    for kind, things in registered.items() if isinstance(registered, dict) else ():
        if kind in KINDS and isinstance(things, dict) and (
                names is None or KINDS[kind].flag.split('.')[0] in names):
            for name, file in things.items():
                if name not in table_of(kind) and (problem := _run_again(file, run, kind, name)):
                    raise UserError(f'{run} was made with the {kind} {name!r}, {problem}')


def _run_again(file: Any, run: Path, kind: str, name: str) -> str:
    """Runs a file that registers something; returns what is wrong if it is not there then."""
    if not isinstance(file, str) or not Path(file).is_absolute():
        return 'which no file registered; register it before'
    if not Path(file).is_file():
        return f'which {file} registered, a file that is not there any more; register it before'
    if run.resolve() in Path(file).resolve().parents:
        return f'which {file} registers: run that from outside of the run, or register it before'
    print(f'the {kind} {name!r} is registered by {file}', flush=True)
    try:
        runpy.run_path(file)
    except Exception as e:  # it may be any file
        return f'which {file} registers, and that fails: {type(e).__name__}: {e}'
    return '' if name in table_of(kind) else f'which {file} registered, and does not any more'


def _value(flags: Mapping[str, Any], key: str) -> Any:
    value: Any = flags
    for part in key.split('.'):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value


def _names(value: Any) -> set[str]:
    """What may be names in a flag's value: it, the first of a tuple, a 'type', and those of a list of such."""
    if isinstance(value, str):
        return {value}
    if isinstance(value, Mapping):
        return _names(value.get('type'))
    if isinstance(value, (list, tuple)):
        return set().union(*map(_names, value))
    return {value.name} if hasattr(value, 'name') else set()
