"""The flags of a run: their defaults, how they are merged, and what values they may have.

Flags merge in one direction: defaults < the recorded run (of an evaluation) < the config file < the command line.
"""

from __future__ import annotations

import ast
import inspect
import math
import os
from collections.abc import Callable, Mapping
from copy import copy
from enum import Enum
from typing import Any, NamedTuple

import numpy as np

from models import (
    ARCHITECTURES,
    ARCHIVERS,
    AUGMENTATIONS,
    LR_SCHEDULERS,
    Archiver,
    BiasMode,
    ConstLR,
    InitPolicy,
    LRScheduler,
    LRSchedulerWithFrame,
    TrainMode,
)
from models.architectures import model_keys
from models.attacks import AttackType
from models.checks import number
from models.objectives import Objective, objective_of
from models.types import did_you_mean, shown

from ..errors import UserError, about

LONGEST_NAME = 255
"""Bytes in a part of a path, on every file system in use."""
MOST_BITS = 1024
"""Of a whole number: beyond that it is no float, and some more no text."""
DEEPEST = 50
"""Lists and dictionaries in each other; what a config file needs is five or so."""
TASKS = ('train', 'train_peek', 'attack', 'certify', 'kkt', 'transfer')
EVALUATIONS = ('attack', 'certify', 'kkt', 'transfer')
"""Tasks that measure archived models."""


class Flag(NamedTuple):
    """A flag: its default, the check that returns the value to use or raises ValueError, and what it expects."""

    default: Any
    check: Callable[[Any], Any]
    expects: str


def _integer(low: int, high: int = 2 ** 31 - 1) -> Callable[[Any], int]:
    def check(value):
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise ValueError
        return value
    return check


def _number(low: float, strict: bool = False, high: float = math.inf) -> Callable[[Any], float]:
    return lambda value: number('it', value, low, strict, high)


def _instance(*types: type) -> Callable[[Any], Any]:
    def check(value):
        if not isinstance(value, types):
            raise ValueError
        return value
    return check


def _path(value: Any) -> str:
    path = os.path.expanduser(_instance(str)(os.fspath(value)))
    if not path.strip() or '\0' in path or max(map(len, os.fsencode(path).split(b'/'))) > LONGEST_NAME:
        raise ValueError
    return path


def _source(value: Any) -> str:
    return '' if isinstance(value, str) and value == '' else _path(value)  # which is to be named yet, in a config file


def _member(kind: type[Enum]) -> Callable[[Any], Enum]:
    def check(value):
        if isinstance(value, str) and value in kind.__members__:
            return kind[value]
        return _instance(kind)(value)
    return check


def _one_of(*values: str) -> Callable[[Any], str]:
    def check(value):
        if not isinstance(value, str) or value not in values:
            raise ValueError
        return value
    return check


def _optional(check: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda value: None if value is None else check(value)


def _count_or_all(value: Any) -> int | str:
    return 'all' if _is('all', value) else _integer(1)(value)


def _is(name: str, value: Any) -> bool:
    return isinstance(value, str) and value == name


def _list_of(check: Callable[[Any], Any]) -> Callable[[Any], list[Any]]:
    def check_all(value):
        if not isinstance(value, (list, tuple, range)) or not value:
            raise ValueError
        return [check(v) for v in value]
    return check_all


def _epochs(value: Any) -> Any:
    if _is('last', value) or _is('all', value):
        return value
    if isinstance(value, (list, tuple, range)) and value:
        return [_integer(0)(v) for v in value]
    return _integer(0)(value)


def _epoch_or_last(value: Any) -> int | str:
    return 'last' if _is('last', value) else _integer(0)(value)


def _named(bare: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """A name alone, a tuple of a name and arguments, or a bare value."""
    def check(value):
        if isinstance(value, str):
            return value
        if isinstance(value, (list, tuple)):
            return tuple([_instance(str)(value[0]) if value else bare(None), *value[1:]])
        return bare(value)
    return check


def _enum_names(kind: type[Enum]) -> str:
    return ' or '.join(', '.join(kind.__members__).rsplit(', ', 1))


FLAGS: dict[str, Flag] = {
    'task': Flag('train', _one_of(*TASKS), ' or '.join(', '.join(TASKS).rsplit(', ', 1))),
    'dataset': Flag(None, _path, "a data set's name, or the path of an .npz file"),
    'train_N': Flag('all', _count_or_all, "'all', or a number of training images"),
    'test_N': Flag('all', _count_or_all, "'all', or a number of test images"),
    'train_fraction': Flag(1.0, _number(0, strict=True, high=1), 'a number above 0 and at most 1'),
    'label_noise': Flag(0.0, _number(0, high=1), 'a number from 0 to 1'),
    'arch': Flag('simple_sequential', _one_of(*ARCHITECTURES), ' or '.join(ARCHITECTURES)),
    'model': Flag(None, _instance(dict), "a dictionary with the network's description"),
    'train_mode': Flag(TrainMode.NORMAL, _member(TrainMode), _enum_names(TrainMode)),
    'log_frame0': Flag(math.log(math.log(10)), _number(-700, high=700), 'a number from -700 to 700'),
    'objective': Flag('cross-entropy', _instance(str, dict, list, tuple),
                      "an objective's name, a dictionary of its 'type' and arguments, or a list of such"),
    'augment': Flag(None, _optional(_one_of(*AUGMENTATIONS)), f"None, or {' or '.join(map(repr, AUGMENTATIONS))}"),
    'lr': Flag(None, _optional(_named(_number(0, strict=True))),
               "a float, or a tuple of a scheduler's name and its arguments (rates are finite and above 0)"),
    'archive': Flag('idle', _named(_integer(0)),
                    "an int of at least 0, an archiver's name, or a tuple of a name and arguments"),
    'E': Flag(100, _integer(1), 'a number of epochs, at least 1'),
    'B': Flag(128, _integer(1), 'a number of images, at least 1'),
    'lr_lb': Flag(1e-50, _number(0), 'a number of at least 0'),
    'loss_ub': Flag(100.0, _number(0, strict=True), 'a number above 0'),
    'print': Flag(True, _instance(bool), 'True or False'),
    'tensorboard': Flag(False, _instance(bool), 'True or False'),
    'include_all_rt_loss_in_res': Flag(False, _instance(bool), 'True or False'),
    'eid': Flag('last', _epochs, "an epoch, a list of epochs, 'last' or 'all'"),
    'attack_type': Flag(AttackType['L_2'], _member(AttackType), _enum_names(AttackType)),
    'attack_set': Flag('train', _one_of('train', 'test'), "'train' or 'test'"),
    'attack_N': Flag('all', _count_or_all, "'all', or a number of images"),
    'attack': Flag(None, _optional(_list_of(_integer(0))), 'a list of indices of images, each at least 0'),
    'attack_B': Flag(64, _integer(1), 'a number of images, at least 1'),
    'attack_eps_list': Flag(None, _optional(_list_of(_number(0, strict=True))), 'a list of numbers above 0'),
    'attack_K': Flag(None, _optional(_integer(1)), 'a number of steps, at least 1'),
    'attack_E': Flag(None, _optional(_integer(1)), 'a number of restarts, at least 1'),
    'attack_normalize_output': Flag(None, _optional(_instance(bool)), 'True or False'),
    'attack_initial_const': Flag(None, _optional(_number(0, strict=True)), 'a number above 0'),
    'attack_options': Flag({}, _instance(dict), "a dictionary of the attack's own arguments"),
    'source': Flag(None, _optional(_source), "a run's working directory"),
    'source_eid': Flag('last', _epoch_or_last, "an epoch, or 'last'"),
    'init_weights': Flag(None, _optional(_path), 'the path of an .npz file'),
    'permutations': Flag(None, _optional(_path), 'the path of an .npz file'),
    'seed': Flag(None, _optional(_integer(0, 2 ** 63 - 1)), 'a whole number from 0 to 2**63 - 1'),
    'deterministic': Flag(False, _instance(bool), 'True or False'),
    'resume': Flag(None, _optional(_path), "a run's working directory"),
    'like': Flag(None, _optional(_path), "a run's working directory"),
    'gpu': Flag(None, _optional(_instance(int, str, tuple, list)), "the index of a GPU, several as in '0,1', or 'cpu'"),
    'threads': Flag(None, _optional(_integer(1, 1024)), 'a number of CPU threads, from 1 to 1024'),
    'data_dir': Flag(None, _optional(_path), 'a directory'),
    'log': Flag(None, _optional(_path), 'a directory'),
    'eval_log': Flag(None, _optional(_path), 'a directory'),
}

RECORDED_FLAGS = ('dataset', 'train_N', 'test_N', 'train_fraction', 'label_noise', 'arch', 'model', 'train_mode')
"""Flags that an evaluation takes from the run it is pointed at."""


PLACES = ('log', 'eval_log', 'gpu', 'threads', 'data_dir')
"""Flags that say where something is, or runs."""


def parse_setting(text: str) -> tuple[str, Any]:
    """Splits 'key=value' of --set; the value is a Python literal, or else a string.

    Raises:
        UserError: there is no '=', or a tuple, list or dictionary that is not a literal.
    """
    key, equals, value = text.partition('=')
    if not equals or not key.strip():
        raise UserError(f'--set takes key=value, not {shown(text)}')
    key, value = key.strip(), value.strip()
    try:
        return key, ast.literal_eval(value)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        if value[:1] in ('(', '[', '{'):
            raise UserError(f'--set {key}: {shown(value)} is not a Python literal (numbers are written out: '
                            f'2 ** (1 / 5) is {2 ** (1 / 5):.4f})') from None
        return key, value


def apply_setting(flags: dict[str, Any], key: str, value: Any) -> None:
    """Sets a flag; 'model.init.weight' reaches into dictionaries, making those that are not there.

    Raises:
        UserError: an unknown key, or one inside something that is not a dictionary.
    """
    *path, last = str(key).split('.')
    _known(path[0] if path else last, FLAGS, 'flag')
    target = flags
    for i, part in enumerate(path):
        inner = target.get(part)
        if inner is None:
            inner = {}
        if not isinstance(inner, dict):
            raise UserError(f"{'.'.join(path[:i + 1])} is {shown(inner)}, not a dictionary, so {key} cannot be set")
        target[part] = target = dict(inner)  # a copy: the config file's own dictionary stays as it is
    target[last] = value


def merge(*layers: Mapping[str, Any]) -> dict[str, Any]:
    """Defaults, overridden by each layer in turn, checked.

    Raises:
        UserError: an unknown key, or a value that a flag cannot have.
    """
    flags = {name: flag.default for name, flag in FLAGS.items()}
    for layer in layers:
        for name, value in layer.items():
            _known(name, FLAGS, 'flag')
            flags[name] = value
    flags['task'] = checked('task', flags['task'])
    for name in ('dataset', 'model') if flags['task'] in EVALUATIONS else ('dataset', 'model', 'lr'):
        if flags[name] is None:
            raise UserError(f'the flag {name!r} is missing; it must be {FLAGS[name].expects}')
    for name in FLAGS:
        flags[name] = checked(name, flags[name])
    flags['model'] = _check_model(flags['model'], flags['arch'])
    return flags


def checked(name: str, value: Any) -> Any:
    """The value to use of a flag.

    Raises:
        UserError: the flag cannot have it.
    """
    flag = FLAGS[name]
    try:
        return flag.check(in_python(value))
    except (ValueError, TypeError):
        raise UserError(f'{name} must be {flag.expects}, not {shown(value)}') from None


def in_python(value: Any, depth: int = 0) -> Any:
    """A flag's value with Python's numbers and lists in place of NumPy's.

    Raises:
        ValueError: lists or dictionaries in each other without an end, a number beyond all others.
    """
    if depth > DEEPEST:
        raise ValueError
    if isinstance(value, int) and value.bit_length() > MOST_BITS:
        raise ValueError
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, dict):
        return {k: in_python(v, depth + 1) for k, v in value.items()}
    if type(value) in (list, tuple):
        return type(value)(in_python(v, depth + 1) for v in value)
    return value


def _check_model(model: dict[str, Any], arch: str) -> dict[str, Any]:
    for key in model:
        _known(key, model_keys(arch), 'flag', prefix='model.')
    if 'description' in model_keys(arch) and 'description' not in model:
        raise UserError("the flag 'model.description' is missing; it must be a list of layers")
    init = {} if model.get('init') is None else model['init']
    if not isinstance(init, dict):
        raise UserError(f"model.init must be a dictionary such as {{'weight': 'he_normal'}}, not {shown(init)}")
    for key in init:
        _known(key, InitPolicy.DEFAULTS, 'flag', prefix='model.init.')
    model = dict(model)
    if 'bias_mode' in model:
        try:
            model['bias_mode'] = _member(BiasMode)(model['bias_mode'])
        except ValueError:
            raise UserError(f"model.bias_mode must be {_enum_names(BiasMode)}, "
                            f"not {shown(model['bias_mode'])}") from None
    return model


def _known(key: Any, table: Any, kind: str, prefix: str = '') -> None:
    if key not in table:
        raise UserError(f'there is no {kind} {shown(prefix + str(key))}; '
                        f'{did_you_mean(prefix + str(key), [prefix + k for k in table])}')


def scheduler_of(lr: Any, log_frame0: float | None = None) -> LRScheduler:
    """The scheduler that the flag ``lr`` describes, told of the frame unless ``log_frame0`` is None.

    Raises:
        UserError: an unknown name, arguments that do not fit, or a scheduler that does not suit the training mode.
    """
    scheduler = _construct('lr', 'scheduler', lr, LR_SCHEDULERS, bare='const')
    if log_frame0 is None:
        if getattr(scheduler, 'needs_frame', False):
            raise UserError(f'lr: {type(scheduler).__name__} needs train_mode=USE_FRAME')
    elif isinstance(scheduler, LRSchedulerWithFrame):
        scheduler.use_frame(log_frame0)
    else:
        raise UserError(f'lr: {type(scheduler).__name__} does not know frames; '
                        'use train_mode=NORMAL, or a constant or loss-based lr')
    if not math.isfinite(first := copy(scheduler).get().lr):
        raise UserError(f'lr: the first rate would be {first}; choose a smaller lr, or a smaller log_frame0')
    return scheduler


def objective_from(flags: Mapping[str, Any], scheduler: LRScheduler) -> Objective | None:
    """The objective that the flags describe; None for the cross entropy alone, which the model knows.

    Raises:
        UserError: no such objective, or a way of training that does not go with the scheduler.
    """
    with about('objective'):
        objective = None if flags['objective'] == 'cross-entropy' else objective_of(flags['objective'])
    others = {
        'objective': objective is not None, 'augment': flags['augment'] is not None,
        **{f'model.{k}': flags['model'].get(k, plain) != plain for k, plain in (
            ('opt', 'gd'), ('schedule', None), ('clip_norm', None))}}
    for name, given in others.items():
        if given and not isinstance(scheduler, ConstLR):
            raise UserError(f'{name} does not go with lr={shown(flags["lr"])}: that follows the cross entropy of '
                            'gradient descent on the training set itself, so lr must be a constant')
    return objective


def archiver_of(archive: Any) -> Archiver:
    """The archiver that the flag ``archive`` describes.

    Raises:
        UserError: an unknown name, or arguments that do not fit.
    """
    return _construct('archive', 'archiver', archive, ARCHIVERS, bare='const-epoch')


_BARE = {'lr': 'a float alone, such as 0.1, for a constant rate',
         'archive': 'an int alone, such as 50, for every so many epochs'}


def _construct(flag: str, kind: str, value: Any, table: Mapping[str, type], bare: str) -> Any:
    name, *args = value if isinstance(value, tuple) else (value,) if isinstance(value, str) else (bare, value)
    with about(flag):
        if not isinstance(name, str) or name not in table:
            raise ValueError(f'there is no {kind} {shown(name)}; {did_you_mean(name, table)}; or give {_BARE[flag]}')
        cls = table[name]
        signature = inspect.signature(cls)
        try:
            signature.bind(*args)
        except TypeError:
            expected = ', '.join(map(str, signature.parameters.values())) or 'nothing'
            raise ValueError(f'{name!r} takes {expected} after its name, not {shown(tuple(args))}') from None
        return cls(*args)
