"""Checks of the arguments of objectives, which people write into config files: every failure is a ValueError."""

from __future__ import annotations

import math
from collections.abc import Sequence
from numbers import Real
from typing import Any

from ..checks import count, flag, number
from ..types import shown

__all__ = ['flag', 'layer_names', 'layer_weights', 'norm', 'number', 'top_k']


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
