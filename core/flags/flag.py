"""What a flag is, and the checks of which the table of flags is made: each returns the value to use, or raises
ValueError."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from enum import Enum
from typing import Any

from models import checks

LONGEST_NAME = 255
"""Bytes in a part of a path, on every file system in use."""
Check = Callable[[Any], Any]


@dataclass(frozen=True)
class Flag:
    """A flag.

    Attributes:
        default: its value where none is given.
        check: from a value to the value to use; raises ValueError.
        expected: in words, what it may be, to follow 'must be'; a function where that depends on what is registered.
        meaning: what it does, in plain words.
        recorded: whether an evaluation takes it from the run that it is pointed at.
        place: whether it says where something is, or runs, which no number depends on.
        may_change_on_resume: whether a resumed run may have it otherwise: it changes nothing that an epoch computes.
        once: whether it says where a run starts from, and is not repeated when that is repeated or resumed.
    """

    default: Any
    check: Check
    expected: str | Callable[[], str]
    meaning: str = ''
    recorded: bool = False
    place: bool = False
    may_change_on_resume: bool = False
    once: bool = False

    @property
    def expects(self) -> str:
        """``expected``, as of now."""
        return self.expected() if callable(self.expected) else self.expected


def listed(names: Iterable[str]) -> str:
    """'a, b or c'."""
    return ' or '.join(', '.join(names).rsplit(', ', 1))


def integer(low: int, high: int = 2 ** 31 - 1) -> Callable[[Any], int]:
    """A whole number in a range."""
    return lambda value: checks.count('it', value, low, high)


def number(low: float, strict: bool = False, high: float = float('inf')) -> Callable[[Any], float]:
    """A finite number in a range, without its lower end if ``strict``."""
    return lambda value: checks.number('it', value, low, strict, high)


def switch(value: Any) -> bool:
    """True or False."""
    return checks.flag('it', value)


def instance(*types: type) -> Check:
    """A value of one of these types."""
    def check(value):
        if not isinstance(value, types):
            raise ValueError
        return value
    return check


def name_in(names: Collection[str]) -> Callable[[Any], str]:
    """One of some names, those that are there by then."""
    return lambda value: checks.one_of('it', value, names)


def member(kind: type[Enum]) -> Callable[[Any], Enum]:
    """A member of an enumeration, or its name."""
    def check(value):
        if isinstance(value, str) and value in kind.__members__:
            return kind[value]
        return instance(kind)(value)
    return check


def optional(check: Check) -> Check:
    """None, or what passes a check."""
    return lambda value: None if value is None else check(value)


def list_of(check: Check) -> Callable[[Any], list[Any]]:
    """A list, which is not empty, of what passes a check."""
    def check_all(value):
        if not isinstance(value, (list, tuple, range)) or not value:
            raise ValueError
        return [check(v) for v in value]
    return check_all


def described(bare: Check) -> Check:
    """A description as ``models.registry`` makes things of, or a bare value."""
    def check(value):
        if isinstance(value, str):
            return value
        if isinstance(value, dict):
            return {**value, 'type': instance(str)(value.get('type'))}
        if isinstance(value, (list, tuple)):
            return tuple([instance(str)(value[0]) if value else bare(None), *value[1:]])
        return bare(value)
    return check


def path(value: Any) -> str:
    """A path that a file system takes; ~ is the home directory."""
    found = os.path.expanduser(instance(str)(os.fspath(value)))
    if not found.strip() or '\0' in found or max(map(len, os.fsencode(found).split(b'/'))) > LONGEST_NAME:
        raise ValueError
    return found


def switch_or_path(value: Any) -> bool | str:
    """True or False, or a path."""
    return value if isinstance(value, bool) else path(value)


def paths(value: Any) -> Any:
    """A path, or several; one stays one."""
    if not isinstance(value, (list, tuple)):
        return path(value)
    found = list_of(path)(value)
    return found if len(found) > 1 else found[0]


def two_of(check: Check) -> Callable[[Any], list[Any]]:
    """Two of what passes a check, in a list."""
    def check_both(value):
        first, second = list_of(check)(value)
        return [first, second]
    return check_both


def one_or_two(check: Check) -> Check:
    """What passes a check, or two of it in a list."""
    return lambda value: two_of(check)(value) if isinstance(value, (list, tuple)) else check(value)


def source(value: Any) -> str:
    """A path, or '' in a config file, for one that is yet to be named."""
    return '' if isinstance(value, str) and value == '' else path(value)


def count_or_all(value: Any) -> int | str:
    """A number of at least 1, or 'all'."""
    return 'all' if _is('all', value) else integer(1)(value)


def count_or_switch(value: Any) -> int | bool:
    """A number of at least 0, or True or False."""
    return value if isinstance(value, bool) else integer(0)(value)


def part_of_set(value: Any) -> int | tuple[str, int]:
    """A number of at least 0, or ('first' or 'last', a number of at least 1)."""
    if isinstance(value, (list, tuple)):
        which, count = value
        return checks.one_of('it', which, ('first', 'last')), integer(1)(count)
    return integer(0)(value)


def epochs(value: Any) -> Any:
    """An epoch, a list of epochs, 'last', 'best' or 'all'."""
    if any(_is(name, value) for name in ('last', 'all', 'best')):
        return value
    if isinstance(value, (list, tuple, range)) and value:
        return [integer(0)(v) for v in value]
    return integer(0)(value)


def epoch_or_last(value: Any) -> int | str:
    """An epoch, 'last' or 'best'."""
    return value if _is('last', value) or _is('best', value) else integer(0)(value)


def _is(name: str, value: Any) -> bool:
    return isinstance(value, str) and value == name
