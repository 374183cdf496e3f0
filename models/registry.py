"""From what a config file says of a thing to the thing, in one way for every kind of thing.

A description is a name, ``'adam'``; a name and arguments in order, ``('aggressive', 0.1, 5)``; or a dictionary of a
name as 'type' and arguments by name, ``{'type': 'adam', 'beta_1': 0.8}``. A table has what makes the thing by its name.
What is not in the table, or no argument, is a ValueError that says which valid name is nearest.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, TypeVar

from .types import did_you_mean, lookup, shown

T = TypeVar('T')


def make(table: Mapping[str, Callable[..., T]], description: Any, kind: str, *, bare: str | None = None, hint: str = '',
         **more: Any) -> T:
    """The thing that a config file describes.

    Args:
        table: what makes things of this kind, classes or functions, by name.
        description: see the module.
        kind: of thing, in words, as in 'there is no KIND ...'.
        bare: the name that a description which is no name, list or dictionary is the only argument of; None if such
            describes nothing.
        hint: ends the sentence about a name that is not in the table.
        more: arguments that the program itself gives, and a description cannot.

    Raises:
        ValueError: it describes nothing, or not with these arguments; or what the maker raises.
    """
    name, positional, named = parts(description, kind, bare)
    try:
        maker = lookup(kind, name, table)
    except ValueError as e:
        raise ValueError(f'{e}{hint}') from None
    require_arguments(kind, name, maker, positional, named, without=more)
    # Positions are those of the arguments that are left to a description.
    return maker(**more, **dict(zip(arguments_of(maker, more), positional)), **named)


def parts(description: Any, kind: str, bare: str | None = None) -> tuple[str, tuple[Any, ...], dict[str, Any]]:
    """The name, the arguments in order, and those by name, of a description; see ``make``.

    Raises:
        ValueError: it is none.
    """
    if isinstance(description, str):
        return description, (), {}
    if isinstance(description, Mapping) and isinstance(description.get('type'), str):
        return description['type'], (), {k: v for k, v in description.items() if k != 'type'}
    if isinstance(description, (list, tuple)) and description and isinstance(description[0], str):
        return description[0], tuple(description[1:]), {}
    if bare is not None and not isinstance(description, (Mapping, list, tuple)):
        return bare, (description,), {}
    raise ValueError(f"{kind} must be a name, or a dictionary with a 'type' and arguments, or a tuple of a name and "
                     f'arguments, not {shown(description)}')


def arguments_of(maker: Callable[..., Any], without: Collection[str] = ()) -> dict[str, inspect.Parameter]:
    """The arguments by name that a maker takes, but for some."""
    kinds = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD, inspect.Parameter.POSITIONAL_ONLY)
    return {k: p for k, p in inspect.signature(maker).parameters.items() if k not in without and p.kind not in kinds}


def require_arguments(kind: str, name: str, maker: Callable[..., Any], positional: Sequence[Any],
                      named: Mapping[str, Any], without: Collection[str] = ()) -> None:
    """Sees that a maker can be called with the arguments of a description.

    Args:
        kind, name: of what it makes.
        maker: a class or a function.
        positional, named: the arguments that are given, in order or by name.
        without: arguments that a description cannot give.

    Raises:
        ValueError: too many arguments, an unknown one, or too few.
    """
    known = arguments_of(maker, without)
    if not any(p.kind is p.VAR_KEYWORD for p in inspect.signature(maker).parameters.values()):
        require_known(f'the {kind} {name!r}', named, known)
    takes = ', '.join(k if p.default is p.empty else f'{k}={p.default!r}' for k, p in known.items()) or 'nothing'
    given = {*list(known)[:len(positional)], *named}
    missing = [k for k, p in known.items() if p.default is p.empty and k not in given]
    if not named and (missing or len(positional) > len(known)):
        raise ValueError(f'{name!r} takes {takes} after its name, not {shown(tuple(positional))}')
    if missing:
        raise ValueError(f"the {kind} {name!r} lacks {' and '.join(missing)}; it takes {takes}")


def require_known(what: str, keys: Iterable[Any], known: Collection[str], takes_no: str = 'takes no') -> None:
    """Sees that something is given no other arguments, or keys, than it knows.

    Args:
        what: takes them, in words.
        keys: those given.
        known: those that there are.
        takes_no: the verb of the sentence.

    Raises:
        ValueError: one is unknown; the message gives the nearest known one.
    """
    for key in keys:
        if not known:
            raise ValueError(f'{what} takes no arguments, not {shown(key)}')
        if key not in known:
            raise ValueError(f'{what} {takes_no} {shown(key)}; {did_you_mean(key, known)}')
