"""The arguments of attacks, and the images that are measured, as FLAGS have them."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from models.attacks import ATTACKS, FGSM, IFGSM, GradientDescentAttack
from models.registry import require_known
from models.types import shown

from ..errors import UserError
from ..flags import FLAGS

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
    budgets = budgets_of(flags)
    arguments = {**_norm_argument(flags, name), **_eps_argument(flags, name)}
    for flag, names in FLAG_ARGUMENTS.items():
        own = [n for n in names if n in parameters]
        if flag == 'attack_eps_list' and own and budgets is not None:
            arguments['eps_list'] = budgets
            continue
        if flags[flag] is None or (flag == 'attack_eps_list' and not own):  # a grid for the summary, too
            continue
        if not own:
            raise UserError(f'{flag} means nothing to the attack {name}; its arguments are {", ".join(_options(name))}')
        if flag == 'lr' and not isinstance(flags[flag], float):
            raise UserError(f'lr must be a float for an attack, not {shown(flags[flag])}')
        arguments[own[0]] = flags[flag]
    try:
        require_known(f'the attack {name}', flags['attack_options'], _options(name), 'has no option')
    except ValueError as e:
        raise UserError(str(e)) from None
    for option, value in flags['attack_options'].items():
        arguments[option] = value if _is_named(parameters[option], value) else _like(
            option, parameters[option].default, value)
    return arguments


def budgets_of(flags: Mapping[str, Any]) -> list[float] | None:
    """The budgets, or sizes, that the flags give: ``eps`` alone, or ``attack_eps_list``; None for the attack's own.

    Raises:
        UserError: both are given.
    """
    if flags['eps'] is None:
        return flags['attack_eps_list']
    if flags['attack_eps_list'] is not None:
        raise UserError(f"eps is {flags['eps']:g}, and attack_eps_list is given, too: leave one of them out: "
                        '--set eps=None, or --set attack_eps_list=None')
    return [flags['eps']]


def _norm_argument(flags: Mapping[str, Any], name: str) -> dict[str, Any]:
    norm, attack = flags['norm'], ATTACKS[name]
    if norm is None:
        return {}
    if 'norm' in flags['attack_options']:
        raise UserError(f'norm is {norm}, and attack_options.norm is given, too: leave one of them out, '
                        'with --set norm=None, say')
    if 'norm' in inspect.signature(attack).parameters:
        return {'norm': norm}
    if norm != attack.norm:
        raise UserError(f'norm is {norm}, but the attack {name} has no other norm than {attack.norm}')
    return {}


def _eps_argument(flags: Mapping[str, Any], name: str) -> dict[str, Any]:
    parameters = inspect.signature(ATTACKS[name]).parameters
    if flags['eps'] is None or 'eps_list' in parameters:
        return {}
    if 'eps' not in parameters:
        raise UserError(f'eps means nothing to the attack {name}, which looks for the nearest image, not within a '
                        'budget; attack_eps_list is the grid of its summary')
    if 'eps' in flags['attack_options']:
        raise UserError(f"eps is {flags['eps']:g}, and attack_options.eps is given, too: leave one of them out")
    return {'eps': flags['eps']}


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
    for flag in [name for name in FLAGS if name.startswith('attack') or name in ('lr', 'norm', 'eps')]:
        if flags[flag] != FLAGS[flag].default:
            raise UserError(f'{flag} means nothing here: the KKT conditions are those of the whole training set')


def _options(name: str) -> list[str]:
    return [p for p in inspect.signature(ATTACKS[name]).parameters if p not in _NOT_OPTIONS]


def _is_named(parameter: inspect.Parameter, value: Any) -> bool:
    """Whether a name, or a list of names, is given to what takes numbers or None as well; the attack knows which."""
    takes, names = str(parameter.annotation), value if isinstance(value, (list, tuple)) else None
    if names and 'Sequence[str]' in takes and parameter.default is None:
        return all(isinstance(name, str) for name in names)
    return isinstance(value, str) and takes == 'int | str'


def _like(option: str, default: Any, value: Any) -> Any:
    """``value``, if it is the kind of thing that ``default`` is."""
    number = isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value <= sys.float_info.max
    if isinstance(default, (bool, str)):
        fits, kind = isinstance(value, type(default)), type(default).__name__
    elif isinstance(default, tuple):
        fits = isinstance(value, (list, tuple)) and all(isinstance(v, type(default[0])) for v in value)
        kind = f'a list of {type(default[0]).__name__}s'
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
    if size == 0:
        raise UserError(f"attack_set is {flags['attack_set']}, but the run has no such images: it was trained with "
                        f"validation_N={flags['validation_N']}")
    if flags['attack'] is None:
        n = size if flags['attack_N'] == 'all' else flags['attack_N']
        if n > size:
            raise UserError(f'attack_N is {n}, but the {flags["attack_set"]} set of the run has {size} images')
        return np.arange(n)
    if max(flags['attack']) >= size:
        raise UserError(f'attack: there is no image {max(flags["attack"])} in the {flags["attack_set"]} set of the run '
                        f'({size} images, counted from 0)')
    return np.array(flags['attack'], np.int64)
