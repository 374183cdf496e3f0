"""Reading .npz files that people give."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Collection
from pathlib import Path

import numpy as np

from ..errors import UserError

_BEGINNINGS = {
    b'\x93NUMPY': 'a single array, as np.save writes it', b'\x1f\x8b': 'compressed by gzip',
    b'\x89HDF': 'a file of HDF5', b'BZh': 'compressed by bzip2', b'\xfd7zXZ': 'compressed by xz',
    b'\x89PNG': 'an image', b'\xff\xd8\xff': 'an image', b'GIF8': 'an image', b'%PDF': 'a PDF', b'\x80': 'a pickle',
    b'MATLAB': 'a file of MATLAB'}
"""What files are that begin so."""


def read_npz(path: str | Path, subject: str, names: Collection[str] | None = None, holds: str = 'arrays by name'
             ) -> dict[str, np.ndarray]:
    """The arrays of an .npz file; nothing is unpickled. Given ``names``, only those of them that it has are read.

    Args:
        path: of the file.
        subject: what it is for, which begins the sentence of an error.
        names: of the arrays wanted; None for all.
        holds: in words, what it should hold.

    Raises:
        UserError: there is no such file, or it is not an .npz file of plain arrays; the sentence says what it is.
    """
    try:
        with open(path, 'rb') as file:
            # NumPy advises to load what it does not know unsafely: it is asked only for what can be an .npz file.
            if (problem := _what_it_is(file.read(512))) is None:
                file.seek(0)
                with np.load(file, allow_pickle=False) as f:
                    arrays = {name: f[name] for name in f if names is None or name in names}
                others = [name for name, array in arrays.items() if not isinstance(array, np.ndarray)]
                if not others:
                    return arrays
                problem = f'{others[0]} in it is no array'
    except FileNotFoundError:
        raise UserError(f'{subject}: there is no file {path} (looked for it from {Path.cwd()})') from None
    except OSError as e:
        problem = e.strerror or 'it is damaged'
    except ValueError as e:
        problem = 'it holds arrays of Python objects' if 'allow_pickle' in str(e) else f'it is damaged: {e}'
    except MemoryError:
        problem = 'its arrays do not fit in memory'
    except (EOFError, AttributeError, TypeError, NotImplementedError, RuntimeError, SyntaxError, zipfile.BadZipFile,
            zlib.error) as e:
        problem = f'it is damaged: {e}' if str(e) else 'it is damaged'
    raise UserError(f'{subject}: {path} is not a readable .npz file of arrays ({problem}); it should hold {holds}, and '
                    'np.savez writes one')


def _what_it_is(beginning: bytes) -> str | None:
    """What a file is that begins so; None if it may be an .npz file."""
    if beginning.startswith(b'PK'):
        return None
    if not beginning:
        return 'it is empty'
    if beginning.lstrip().lower().startswith((b'<!doctype', b'<html', b'<?xml', b'<head')):
        return 'it is a web page, such as a server sends in place of a file'
    for start, kind in _BEGINNINGS.items():
        if beginning.startswith(start):
            return f'it is {kind}'
    is_text = all(byte >= 32 or byte in b'\t\n\r\f' for byte in beginning)
    return 'it is plain text' if is_text else 'it is no zip archive'
