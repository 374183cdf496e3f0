"""Checks of arguments, which people write into config files: every failure is a ValueError that says what would be
right."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable
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


def numbers(name: str, values: Any, high: float = math.inf) -> list[float]:
    """A list, which is not empty, of finite numbers above 0; ascending and without repetition."""
    if isinstance(values, (str, bytes, dict)) or not isinstance(values, Iterable):
        raise ValueError(f'{name} must be a list of numbers above 0, not {shown(values)}')
    found = sorted({number(f'each of {name}', v, high=high) for v in values})
    if not found:
        raise ValueError(f'{name} must have at least one number')
    return found


def _finite(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, Real):
        return None
    try:
        return float(value) if math.isfinite(value) else None
    except OverflowError:  # a whole number of hundreds of digits
        return None
