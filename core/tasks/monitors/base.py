"""What a monitor is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from models import Model
from models.types import shown

from ...session import Session

IMAGES = 100
"""That are attacked, unless one says otherwise."""
PARTS = ('train', 'validation', 'test')


class Moment(NamedTuple):
    """When a network is measured.

    Attributes:
        eid: the epoch that has ended.
        last: what the monitor measured the time before; None if it has not.
    """

    eid: int
    last: Mapping[str, Any] | None = None


class Monitor(ABC):
    """Measures a network at some epochs. What it measures has to follow from the weights, the draws and the
    moment that it is given, so that a resumed run measures the same.

    Args:
        model: the network to measure, which is not that which is trained, but has its weights when it is measured.
        session: where the data is.
    """

    def __init__(self, model: Model, session: Session):
        self.model, self.dataset = model, session.dataset

    def statistics(self) -> list[str]:
        """Which of its numbers an archiver can go by: none, unless overridden."""
        return []

    @abstractmethod
    def measure(self, rng: np.random.Generator, moment: Moment) -> dict[str, Any]:
        """The numbers of the network as it is now: numbers, None, and dictionaries of them.

        Args:
            rng: the only source of randomness.
            moment: of the run.
        """

    def images(self, part: str, n: int | None = None) -> tuple[np.ndarray, np.ndarray]:
        """The first images and labels of a part of the data set.

        Raises:
            ValueError: there is no such part, or not so many.
        """
        if part not in PARTS:
            raise ValueError(f"part must be {', '.join(map(repr, PARTS[:-1]))} or {PARTS[-1]!r}, not {shown(part)}")
        x, y = (np.asarray(t) for t in getattr(self.dataset, part))
        if len(x) < (n or 1):
            raise ValueError(f'the {part} set has {len(x)} images, not {n or 1}')
        return x[:n], y[:n]
