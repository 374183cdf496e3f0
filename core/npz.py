"""Reading .npz files that people give."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Collection
from pathlib import Path

import numpy as np

from .errors import UserError


def read_npz(path: str | Path, subject: str, names: Collection[str] | None = None) -> dict[str, np.ndarray]:
    """The arrays of an .npz file; nothing is unpickled. Given ``names``, only those of them that it has are read.

    Raises:
        UserError: about ``subject``: there is no such file, or it is not an .npz file of plain arrays.
    """
    try:
        with open(path, 'rb') as file, np.load(file, allow_pickle=False) as f:
            return {name: f[name] for name in f if names is None or name in names}
    except FileNotFoundError:
        raise UserError(f'{subject}: there is no file {path} (looked for it from {Path.cwd()})') from None
    except (OSError, ValueError, EOFError, AttributeError, TypeError, zipfile.BadZipFile, zlib.error) as e:
        raise UserError(f'{subject}: {path} is not a readable .npz file of arrays ({e})') from None
