"""Archivers: they see the numbers of an accepted epoch and decide whether its model is kept.

They never touch disk; the caller saves the model when the answer is True.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

from .checks import count, number
from .types import EpochInfo, Resumable


class Archiver(Resumable, ABC):
    """Base of all archivers."""

    @abstractmethod
    def should_archive(self, info: EpochInfo) -> bool:
        """Whether to keep the model of this accepted epoch.

        Args:
            info: the epoch's record; 'log_frame' is the frame the epoch was trained in (None without a frame), and
                ``stats['loss']`` its loss in units of that frame.
        """


class IdleArchiver(Archiver):
    """Keeps nothing."""

    def should_archive(self, info: EpochInfo) -> bool:
        return False


class ConstEpochArchiver(Archiver):
    """Keeps every ``nS``-th epoch; 0 keeps none."""

    def __init__(self, nS: int):
        self.nS = count('archive', nS, 0)

    def should_archive(self, info: EpochInfo) -> bool:
        return self.nS != 0 and info['eid'] % self.nS == 0


class TwoPhaseConstEpochArchiver(Archiver):
    """Keeps every ``nS1``-th epoch below epoch ``nS2``, and every ``nS2``-th."""

    def __init__(self, nS1: int, nS2: int):
        self.nS1 = count('the first period of archive', nS1, 1)
        self.nS2 = count('the second period of archive', nS2, 1)

    def should_archive(self, info: EpochInfo) -> bool:
        eid = info['eid']
        return (eid < self.nS2 and eid % self.nS1 == 0) or eid % self.nS2 == 0


class LogLossArchiver(Archiver):
    """Keeps the first epoch, and every later one whose real loss passed a further power of ``base``.

    Epoch 0 is kept without moving the mark.
    """

    def __init__(self, base: float = 10):
        self.base = number('the base of archive', base, 1)
        self.next = math.inf

    def should_archive(self, info: EpochInfo) -> bool:
        if info['eid'] == 0:
            return True
        loss, log_frame = info['stats']['loss'], info['log_frame']
        log_base = math.log(self.base)
        log_loss = math.log(loss) if loss > 0 else -math.inf
        if log_frame is not None:
            # a loss of 0 fell by a factor of 1e300 in one epoch; its logarithm is then in the statistics
            level = (log_loss + log_frame if loss > 0 else info['stats']['log_loss']) / log_base
            if level < self.next:
                self.next = math.ceil(level) - 1
                return True
        elif loss < self.next:  # without a frame the powers themselves are compared, as the original does
            self.next = self.base ** (math.ceil(log_loss / log_base) - 1) if loss > 0 else 0
            return True
        return False


ARCHIVERS: dict[str, type[Archiver]] = {
    'idle': IdleArchiver,
    'const-epoch': ConstEpochArchiver,
    'two-phase-const-epoch': TwoPhaseConstEpochArchiver,
    'logloss': LogLossArchiver,
}
"""Archiver names, as the first entry of the flag ``archive``; an int alone stands for 'const-epoch'."""
