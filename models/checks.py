"""Checks of arguments, which people write into config files: every failure is a ValueError that says what would be
right."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Sequence
from numbers import Integral, Real
from typing import Any

from .types import shown


def count(name: str, value: Any, low: int = 1, high: int = 2 ** 31 - 1) -> int:
    """A whole number of at least ``low``, and of at most ``high``, Python's or NumPy's."""
    if isinstance(value, bool) or not isinstance(value, Integral) or not low <= int(value) <= high:
        raise ValueError(f'{name} must be a whole number of at least {low}, not {shown(value)}')
    return int(value)


def number(name: str, value: Any, low: float = 0.0, strict: bool = True, high: float = math.inf) -> float:
    """A finite number above ``low`` (of at least ``low``, if not strict), and of at most ``high``."""
    found = _finite(value)
    if found is None or found < low or found > high or (strict and found == low):
        most = f' and at most {high:g}' if high < math.inf else ''
        raise ValueError(f'{name} must be a finite number {"above" if strict else "of at least"} {low:g}{most}, not '
                         f'{shown(value)}')
    return found


def flag(name: str, value: Any) -> bool:
    """True or False."""
    if not isinstance(value, bool):
        raise ValueError(f'{name} must be True or False, not {shown(value)}')
    return value


def one_of(name: str, value: Any, known: Collection[str]) -> str:
    """One of some names."""
    if not isinstance(value, str) or value not in known:
        raise ValueError(f'{name} must be {" or ".join(map(repr, known))}, not {shown(value)}')
    return value


def numbers(name: str, values: Any, high: float = math.inf, strict: bool = True) -> list[float]:
    """A list, which is not empty, of finite numbers above 0 (of at least 0, if not strict); ascending and without
    repetition."""
    if isinstance(values, (str, bytes, dict)) or not isinstance(values, Iterable):
        raise ValueError(f'{name} must be a list of numbers {"above" if strict else "of at least"} 0, not '
                         f'{shown(values)}')
    found = sorted({number(f'each of {name}', v, strict=strict, high=high) for v in values})
    if not found:
        raise ValueError(f'{name} must have at least one number')
    return found


def norm(value: Any) -> float:
    """The p of a norm: 1, 2 or infinity, the last also by the name 'inf', which a JSON file can hold."""
    if isinstance(value, str) and value == 'inf':
        return math.inf
    if isinstance(value, Real) and not isinstance(value, bool) and value in (1, 2, math.inf):
        return float(value)
    raise ValueError(f"norm must be 1, 2 or 'inf', the norm in which the margin is measured, not {shown(value)}")


def top_k(value: Any, most: int | None = None) -> int:
    """A number of competing classes, at least 1, and at most ``most`` once the network is known."""
    try:
        k = count('top_k', value)
    except ValueError:
        raise ValueError('top_k must be a whole number of competing classes, at least 1, '
                         f'not {shown(value)}') from None
    if most is not None and k > most:
        raise ValueError(f'top_k must be at most {most} with this network, not {k}')
    return k


def layer_names(value: Any) -> str | tuple[str, ...]:
    """'all', 'hidden', or a list of layer names without repetition."""
    if isinstance(value, str):
        return value if value in ('all', 'hidden') else (value,)
    if not isinstance(value, (list, tuple)) or not value or not all(isinstance(n, str) for n in value):
        raise ValueError(f"layers must be 'all', 'hidden' or a list of layer names such as ['input', 'pool2'], "
                         f'not {shown(value)}')
    if twice := sorted({n for n in value if value.count(n) > 1}):
        raise ValueError(f'layers must name each layer once; {", ".join(twice)} is there more than once')
    return tuple(value)


def layer_weights(value: Any, layers: Sequence[str] | None = None) -> tuple[float, ...] | None:
    """None, or a positive number for each layer; their count is checked once the layers are known."""
    if value is None:
        return None
    if not isinstance(value, (list, tuple)):
        raise ValueError(f'layer_weights must be None or a list with a number for each layer, '
                         f'not {shown(value)}')
    weights = tuple(number('each of layer_weights', w) for w in value)
    if layers is not None and len(weights) != len(layers):
        raise ValueError(f'layer_weights must have {len(layers)} numbers, for {", ".join(layers)}, '
                         f'not {len(weights)}')
    return weights


def _finite(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, Real):
        return None
    try:
        return float(value) if math.isfinite(value) else None
    except OverflowError:  # a whole number of hundreds of digits
        return None
