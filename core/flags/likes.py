"""Config files that are like another: 'like' names it, and what is said beside that differs."""

from __future__ import annotations

import difflib
import runpy
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from models.types import shown

from ..errors import UserError
from .merging import apply_setting, checked

FOLDERS = tuple(Path(__file__).resolve().parents[2] / name for name in ('experiments', 'evals'))
"""Where the names of config files are looked for, after the folder of the file that says them."""


def resolved(flags: Mapping[str, Any], place: Path | None = None, seen: Sequence[Path] = ()) -> dict[str, Any]:
    """The flags that a config file means.

    Args:
        flags: its FLAGS. 'like' may be the name of another config file, in the same folder or in those of this project,
            or the path of one, ending in .py: its flags are then those of that file, changed by the others here. Dotted
            keys such as 'model.act_type' reach into dictionaries. A 'like' that names a directory, by a path with a
            slash in it or none that is a config file's name, is left as it is: it is that of a run to repeat.
        place: the folder of the config file; None for the current one.
        seen: the files that led here.

    Raises:
        UserError: 'like' is neither a config file nor a directory, or leads back to itself; a key that cannot be set.
    """
    like, own = flags.get('like'), {k: v for k, v in flags.items() if k != 'like'}
    result: dict[str, Any] = {}
    if isinstance(like, (str, Path)) and str(like):
        like, place = checked('like', like), place or Path()
        if (path := config_file(str(like), place)) is not None:
            result = resolved(dictionary_of(path, 'FLAGS', seen), path.parent, [*seen, path])
        elif Path(like).exists() or '/' in str(like):
            result = {'like': like}  # what is wrong with it is said where it is read
        else:
            known = sorted({p.stem for folder in (place, *FOLDERS) for p in folder.glob('[!_]*.py')})
            near = ''.join(f'; did you mean {n!r}?' for n in difflib.get_close_matches(str(like), known, 1, 0.5))
            raise UserError(f"'like' must be the name or path of a config file, or a run's working directory, and "
                            f'{shown(like)} is neither (there is no such directory){near}')
    elif like is not None:
        result = {'like': like}
    for key, value in own.items():
        if isinstance(key, str) and '.' in key:
            apply_setting(result, key, value)
        else:
            result[key] = value
    return result


def config_file(like: str, place: Path) -> Path | None:
    """The config file that ``like`` names; None if it names none.

    Args:
        like: a name, with or without .py, or a path that ends in .py: from ``place``, or else from the current
            directory.
        place: the folder of the file that says so.

    Raises:
        UserError: a path that ends in .py, where there is no file.
    """
    if '/' not in like:
        candidates = [folder / f'{like.removesuffix(".py")}.py' for folder in (place, *FOLDERS)]
    elif like.endswith('.py'):
        candidates = [place / like, Path(like)]
    else:
        return None
    for path in candidates:
        with suppress(OSError, ValueError):  # of what cannot be the name of a file
            if path.is_file():
                return path.resolve()
    if like.endswith('.py'):
        raise UserError(f"'like' names the config file {like}, which is not there (looked for from {place.resolve()})")
    return None


def dictionary_of(path: Path, name: str, seen: Sequence[Path] = ()) -> dict[str, Any]:
    """FLAGS, or SWEEP, of a config file.

    Args:
        path: of the file.
        name: of the dictionary.
        seen: the files that led here by 'like'.

    Raises:
        UserError: the file leads back to itself, or has no such dictionary.
    """
    if path in seen:
        chain = ' is like '.join(p.stem for p in [*seen[list(seen).index(path):], path])
        raise UserError(f"'like' leads round in a circle: {chain}")
    try:
        found = runpy.run_path(str(path)).get(name)
    except SyntaxError as e:
        raise UserError(f"{path.name}, which 'like' names, line {e.lineno}: {e.msg}") from None
    except (ArithmeticError, AttributeError, ImportError, LookupError, NameError, TypeError, ValueError) as e:
        raise UserError(f"{path.name}, which 'like' names: {type(e).__name__}: {e}") from None
    if not isinstance(found, dict):
        raise UserError(f"{path.name}, which 'like' names, has no dictionary {name}")
    return found
