"""Files that appear whole or not at all, and what is written in them."""

from __future__ import annotations

import itertools
import math
import os
import time
from collections.abc import Callable
from enum import Enum
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from ..errors import writing


def new_directory(parent: Path) -> Path:
    """Makes ``parent/<date>``, or ``parent/<date>-2`` and so on where another process was faster."""
    stamp = time.strftime('%Y%m%d_%H%M%S')
    for k in itertools.count(1):
        path = parent / (stamp if k == 1 else f'{stamp}-{k}')
        try:
            path.mkdir(parents=True)
            return path
        except FileExistsError:
            if not parent.is_dir():
                raise
    raise AssertionError


def plain(value: Any) -> Any:
    """``value`` in JSON's types: enumerations by name, tuples as lists, numbers that are not finite as strings."""
    if isinstance(value, dict):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple, range)):
        return [plain(v) for v in value]
    if isinstance(value, Enum):
        return value.name
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    return str(value)


def replace(path: Path, data: bytes | memoryview | Callable[[BinaryIO], None]) -> None:
    """Writes a file, of ``data`` or what that writes, that appears whole or not at all, and is then on disk."""
    temporary = path.with_name(path.name + '.tmp')
    with writing(path):
        try:
            with open(temporary, 'wb') as f:
                data(f) if callable(data) else f.write(data)
                f.flush()
                os.fsync(f.fileno())
            os.replace(temporary, path)
        except OSError:
            temporary.unlink(missing_ok=True)
            raise
