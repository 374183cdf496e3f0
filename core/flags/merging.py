"""How flags are merged, and seen to be such that they can be used.

Flags merge in one direction: defaults < the recorded run (of an evaluation) < the config file < the command line.
"""

from __future__ import annotations

import ast
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np

from models import BiasMode, InitPolicy
from models.architectures import model_keys
from models.types import did_you_mean, shown

from ..errors import UserError
from ..tasks import EVALUATIONS
from .flag import listed, member
from .table import FLAGS

MOST_BITS = 1024
"""Of a whole number: beyond that it is no float, and some more no text."""
DEEPEST = 50
"""Lists and dictionaries in each other; what a config file needs is five or so."""


def parse_setting(text: str) -> tuple[str, Any]:
    """Splits 'key=value' of --set; the value is a Python literal, or else a string.

    Where a number may stand, a fraction of two numbers, 8/255, is one, and so it is within a list, a tuple or a
    dictionary.

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
        found = divided(value)
        if found is not None and (not isinstance(found, float) or _may_be(key, found)):
            return key, found
        if value[:1] in ('(', '[', '{'):
            raise UserError(f'--set {key}: {shown(value)} is not a Python literal (numbers are written out: '
                            f'2 ** (1 / 5) is {2 ** (1 / 5):.4f})') from None
        return key, value


def divided(text: str) -> Any:
    """The value of a literal with fractions of two numbers in it, each the quotient as Python has it; None for any
    other text."""
    def with_quotients(node: ast.expr) -> ast.expr:
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div):
            above, below = (ast.literal_eval(side) for side in (node.left, node.right))
            if not {type(above), type(below)} <= {int, float}:
                raise ValueError
            return ast.Constant(above / below)
        if isinstance(node, (ast.List, ast.Tuple)):
            node.elts = [with_quotients(e) for e in node.elts]
        if isinstance(node, ast.Dict):
            node.values = [with_quotients(v) for v in node.values]
        return node
    try:
        return ast.literal_eval(with_quotients(ast.parse(text, mode='eval').body))
    except (ValueError, SyntaxError, TypeError, ArithmeticError, MemoryError, RecursionError):
        return None


def _may_be(key: str, value: float) -> bool:
    """Whether a number may stand there, rather than a path such as 1/2; within a dictionary, any."""
    if '.' in key or key not in FLAGS:
        return True
    try:
        FLAGS[key].check(value)
    except (ValueError, TypeError):
        return False
    return True


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
            model['bias_mode'] = member(BiasMode)(model['bias_mode'])
        except ValueError:
            raise UserError(f"model.bias_mode must be {listed(BiasMode.__members__)}, "
                            f"not {shown(model['bias_mode'])}") from None
    return model


def _known(key: Any, table: Collection[str], kind: str, prefix: str = '') -> None:
    if key not in table:
        raise UserError(f'there is no {kind} {shown(prefix + str(key))}; '
                        f'{did_you_mean(prefix + str(key), [prefix + k for k in table])}')
