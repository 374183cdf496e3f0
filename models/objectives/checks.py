"""Checks of the arguments of objectives, which people write into config files: every failure is a ValueError."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any


def number(name: str, value: Any, low: float = 0.0, strict: bool = True) -> float:
    """A finite number above ``low`` (of at least ``low``, if not strict)."""
    real = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    if not real or value < low or (strict and value == low):
        raise ValueError(f'{name} must be a finite number {"above" if strict else "of at least"} {low:g}, '
                         f'not {value!r}')
    return float(value)


def flag(name: str, value: Any) -> bool:
    """True or False."""
    if not isinstance(value, bool):
        raise ValueError(f'{name} must be True or False, not {value!r}')
    return value


def norm(value: Any) -> float:
    """The p of a norm: 1, 2 or infinity, the last also by the name 'inf', which a JSON file can hold."""
    if not isinstance(value, bool) and value in (1, 2, math.inf, 'inf'):
        return float(value)
    raise ValueError(f"norm must be 1, 2 or 'inf', the norm in which the margin is measured, not {value!r}")


def top_k(value: Any, most: int | None = None) -> int:
    """A number of competing classes, at least 1, and at most ``most`` once the network is known."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(f'top_k must be a whole number of competing classes, at least 1, not {value!r}')
    if most is not None and value > most:
        raise ValueError(f'top_k must be at most {most} with this network, not {value}')
    return value


def layer_names(value: Any) -> str | tuple[str, ...]:
    """'all', 'hidden', or a list of layer names without repetition."""
    if value in ('all', 'hidden'):
        return value
    if isinstance(value, str):
        return (value,)
    if not isinstance(value, (list, tuple)) or not value or not all(isinstance(n, str) for n in value):
        raise ValueError(f"layers must be 'all', 'hidden' or a list of layer names such as ['input', 'pool2'], "
                         f'not {value!r}')
    if twice := sorted({n for n in value if value.count(n) > 1}):
        raise ValueError(f'layers must name each layer once; {", ".join(twice)} is there more than once')
    return tuple(value)


def layer_weights(value: Any, layers: Sequence[str] | None = None) -> tuple[float, ...] | None:
    """None, or a positive number for each layer; their count is checked once the layers are known."""
    if value is None:
        return None
    if not isinstance(value, (list, tuple)):
        raise ValueError(f'layer_weights must be None or a list with a number for each layer, not {value!r}')
    weights = tuple(number('each of layer_weights', w) for w in value)
    if layers is not None and len(weights) != len(layers):
        raise ValueError(f'layer_weights must have {len(layers)} numbers, for {", ".join(layers)}, '
                         f'not {len(weights)}')
    return weights
