"""Plain Python types shared by everything in ``models``; imports no TensorFlow."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from enum import Enum
from typing import Any, Literal, NamedTuple, TypedDict, TypeVar

T = TypeVar('T')


class Resumable:
    """Something whose attributes are numbers, booleans and None, so that they can be written down and taken over."""

    def state(self) -> dict[str, Any]:
        """What a resumed run needs to decide as this one would: plain numbers, for ``restore``."""
        return dict(vars(self))

    def restore(self, state: Mapping[str, Any]) -> None:
        """Takes over what ``state`` gave.

        Raises:
            ValueError: it is the state of something else.
        """
        if set(state) != set(vars(self)):
            raise ValueError(f'this is not the state of a {type(self).__name__}')
        vars(self).update(state)


class BiasMode(Enum):
    """Which convolutional and dense layers have a bias.

    A network of bias-free layers is homogeneous in its parameters, and it stays so with a bias in its first
    layer; with a bias in every layer it is not.
    """

    NONE = 1
    FIRST_LAYER = 2
    ALL = 3


class TrainMode(Enum):
    """NORMAL trains on the loss itself; USE_FRAME on the loss relative to a frame, ``loss * exp(-log_frame)``; ASCENT
    raises the normalised margin, see ``ascent``."""

    NORMAL = 1
    USE_FRAME = 2
    ASCENT = 3


class EpochInfo(TypedDict, total=False):
    """What one attempt at an epoch produced, with the keys of the original's ``res['raw'][eid]``.

    ``lr`` and ``rt_loss`` are in frame units; ``stats`` is None, and ``rt_loss`` absent, when the attempt failed.
    """

    eid: int
    all_rt_loss: list[float] | None
    lr: float
    log_frame: float | None
    rt_loss: float
    stats: Any  # dict[str, float], or None
    time: float
    monitors: Any  # what monitors measured of an accepted epoch, by name; absent where none was due
    objective: Any  # what the objective says of its state after an accepted epoch; absent where it says nothing


class Decision(NamedTuple):
    """A scheduler's answer: keep the attempt ('go') or repeat it ('back'), and the rate of the next attempt."""

    cmd: Literal['go', 'back']
    lr: float


class NumericalFailure(Exception):
    """A loss above its bound, or a value that is not finite: the one failure that a smaller rate can mend.

    Attributes:
        batch_losses: losses of the batches run before the failure, in frame units.
    """

    def __init__(self, reason: str, batch_losses: Sequence[float] = ()):
        super().__init__(reason)
        self.batch_losses = list(batch_losses)


def shown(value: Any) -> str:
    """``repr`` of what a person gave, cut short where it is long."""
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # a number of thousands of digits, a list within itself
        text = f'a {type(value).__name__}'
    text = ' '.join(text.split())  # an array's has several lines
    return text if len(text) <= 60 else f'{text[:50]} ...'


def did_you_mean(name: Any, known: Iterable[str]) -> str:
    """Says which of the known names is nearest to ``name``, and what the known names are; to follow a semicolon."""
    known = list(known)
    near = difflib.get_close_matches(str(name), known, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}? " if near else ''
    names = f"known: {', '.join(known)}"
    return f'{hint}({names})' if near else names


def lookup(kind: str, name: Any, table: Mapping[str, T]) -> T:
    """Finds what ``name`` stands for in the table of one kind of thing.

    Raises:
        ValueError: the name is unknown; the message gives the nearest known name.
    """
    if isinstance(name, str) and name in table:
        return table[name]
    raise ValueError(f"there is no {kind} {shown(name)}; {did_you_mean(name, table)}")
