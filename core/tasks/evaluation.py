"""What an evaluation takes from FLAGS: its attack, its images, and whether it goes on with an earlier one."""

from __future__ import annotations

import hashlib
import inspect
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from models.attacks import ATTACKS, FGSM, IFGSM, GradientDescentAttack
from models.types import did_you_mean, shown

from ..errors import UserError
from ..flags import FLAGS, PLACES
from ..workdir import Workdir, plain

FLAG_ARGUMENTS = {
    'lr': ('learning_rate', 'a', 'stepsize', 'alpha'),
    'attack_K': ('max_iterations', 'k', 'iterations', 'steps'),
    'attack_E': ('repeat', 'starts'),
    'attack_eps_list': ('eps_list',),
    'attack_normalize_output': ('normalize_output',),
    'attack_initial_const': ('initial_const',),
}
"""The original's flags, and the names that what they set has in the classes of attacks."""
MAKERS: dict[str, Callable[..., GradientDescentAttack]] = {'FGSM': FGSM, 'IFGSM': IFGSM}
"""Attacks that make images of given sizes."""
_NOT_OPTIONS = ('model', 'batch_size', 'targeted', 'boxmin', 'boxmax', 'compact')


def attack_arguments(flags: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments, beside the model, of the class of the attack that the flags describe.

    Raises:
        UserError: a flag that means nothing to that attack, or an option that it has not.
    """
    name = flags['attack_type'].name
    parameters = inspect.signature(ATTACKS[name]).parameters
    arguments = {}
    for flag, names in FLAG_ARGUMENTS.items():
        own = [n for n in names if n in parameters]
        if flags[flag] is None or (flag == 'attack_eps_list' and not own):  # a grid for the summary, too
            continue
        if not own:
            raise UserError(f'{flag} means nothing to the attack {name}; its arguments are {", ".join(_options(name))}')
        if flag == 'lr' and not isinstance(flags[flag], float):
            raise UserError(f'lr must be a float for an attack, not {shown(flags[flag])}')
        arguments[own[0]] = flags[flag]
    for option, value in flags['attack_options'].items():
        if option not in _options(name):
            raise UserError(f'the attack {name} has no option {shown(option)}; {did_you_mean(option, _options(name))}')
        arguments[option] = _like(option, parameters[option].default, value)
    return arguments


def transfer_arguments(flags: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments, beside the model, of the class of the attack that makes images of given sizes.

    Raises:
        UserError: another attack than FGSM and IFGSM, flags that mean nothing to it, or a source that is yet to be
            named.
    """
    name = flags['attack_type'].name
    if name not in MAKERS:
        raise UserError(f'attack_type must be {" or ".join(MAKERS)} to make images of given sizes, not {name}')
    if flags['attack_options']:
        raise UserError('attack_options means nothing here; attack_K and lr are the number of steps and their size')
    if flags['source'] == '':
        raise UserError('name the run whose network makes the adversarial images, with --set source=logs/RUN')
    if flags['source'] is None and flags['source_eid'] != 'last':
        raise UserError('source_eid means nothing without a source; the network itself makes the images')
    return attack_arguments(flags)


def refuse_attack_flags(flags: Mapping[str, Any]) -> None:
    """Sees that no flag of attacks is given, where the whole training set is measured.

    Raises:
        UserError: one is.
    """
    for flag in [name for name in FLAGS if name.startswith('attack') or name == 'lr']:
        if flags[flag] != FLAGS[flag].default:
            raise UserError(f'{flag} means nothing here: the KKT conditions are those of the whole training set')


def _options(name: str) -> list[str]:
    return [p for p in inspect.signature(ATTACKS[name]).parameters if p not in _NOT_OPTIONS]


def _like(option: str, default: Any, value: Any) -> Any:
    """``value``, if it is the kind of thing that ``default`` is."""
    number = isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value <= sys.float_info.max
    if isinstance(default, (bool, str)):
        fits, kind = isinstance(value, type(default)), type(default).__name__
    elif isinstance(default, int):
        fits, kind = number and isinstance(value, int) and 1 <= value < 2 ** 31, 'a whole number of at least 1'
    elif option == 'eps_list':
        fits, kind = False, 'set by attack_eps_list'
    else:
        fits, kind = number or (default is None and value is None), 'a number of at least 0'
        kind += ', and finite' if isinstance(value, float) and value > 0 else ''
    if not fits:
        raise UserError(f'attack_options: {option} must be {kind}, not {shown(value)}')
    return value


def chosen_indices(flags: Mapping[str, Any], size: int) -> np.ndarray:
    """Indices, int64 [N], of the images that ``attack``, or else ``attack_N``, choose among ``size`` of them.

    Raises:
        UserError: there are not so many.
    """
    if flags['attack'] is None:
        n = size if flags['attack_N'] == 'all' else flags['attack_N']
        if n > size:
            raise UserError(f'attack_N is {n}, but the {flags["attack_set"]} set of the run has {size} images')
        return np.arange(n)
    if max(flags['attack']) >= size:
        raise UserError(f'attack: there is no image {max(flags["attack"])} in the {flags["attack_set"]} set of the run '
                        f'({size} images, counted from 0)')
    return np.array(flags['attack'], np.int64)


def earlier_flags(eval_log: str | None, name: str, config: Mapping[str, Any], command_line: Mapping[str, Any]
                  ) -> dict[str, Any] | None:
    """The flags of the evaluation that was begun in ``eval_log``, to go on with; None if none was.

    Args:
        eval_log: the flag.
        name: of the config file.
        config: its flags.
        command_line: flags that were given there.

    Raises:
        UserError: it was another evaluation, or one with other flags.
    """
    if not eval_log or not Workdir(eval_log).flags_path.exists():
        return None
    record = Workdir(eval_log).read_flags()
    if record.get('evaluation') != name:
        raise UserError(f'{eval_log} does not hold an evaluation by {name}; choose another directory, or none for a '
                        'new one')
    begun, flags = record['config'], record['flags']
    now, asked = plain(portable_flags(config)), plain(portable_flags(command_line))
    differs = [(k, begun.get(k), now.get(k)) for k in {**begun, **now} if begun.get(k) != now.get(k)]
    differs += [(k, flags.get(k), v) for k, v in asked.items() if flags.get(k) != v]
    if differs:
        key, was, wanted = differs[0]
        raise UserError(f'the evaluation in {eval_log} was begun with {key}={was!r}, so it cannot go on with '
                        f'{key}={wanted!r}; choose another directory, or none for a new one')
    return {k: v for k, v in flags.items() if k not in PLACES}


def portable_flags(flags: Mapping[str, Any]) -> dict[str, Any]:
    """Flags without those that say where something is."""
    return {k: v for k, v in flags.items() if k not in PLACES}


def open_evaluation(eval_log: str | None, parent: Path, record: Mapping[str, Any]) -> Workdir:
    """The directory of an evaluation: a new one, or one to go on with, of the same models.

    Raises:
        UserError: it cannot be written in, holds something else, or the run's models have changed since.
    """
    if eval_log and Workdir(eval_log).flags_path.exists():
        out = Workdir(eval_log)
        earlier = out.read_flags().get('models', {})
        for eid, digest in record['models'].items():
            if earlier.get(str(eid)) != digest:
                raise UserError(f'the model of epoch {eid} is not the one that the evaluation in {eval_log} began with')
        if record.get('source_model') != out.read_flags().get('source_model'):
            raise UserError(f'the model of the source is not the one that the evaluation in {eval_log} began with')
        return out
    out = Workdir.create(eval_log, parent)
    out.write_flags(dict(record))
    return out


def digests(run: Workdir, eids: list[int]) -> dict[str, str]:
    """SHA-256 of the archived models."""
    return {str(eid): hashlib.sha256(run.find_model(eid).read_bytes()).hexdigest() for eid in eids}
