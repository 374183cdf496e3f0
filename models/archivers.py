"""Archivers: they see the numbers of an accepted epoch and decide whether its model is kept.

They never touch disk; the caller saves the model when the answer is True, and removes those of ``superseded``.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Collection

from .checks import count, number
from .types import EpochInfo, Resumable, did_you_mean, shown

BETTER = {
    **dict.fromkeys(('loss', 'log_loss', 'test_loss', 'val_loss', 'rt_loss'), 'min'),
    **dict.fromkeys(('acc', 'test_acc', 'val_acc', 'q_min', 'q_bar_min', 'q_bar2_min', 'smoothed_margin',
                     'smoothed_margin2', 'train_margin', 'val_margin', 'test_margin', 'robust_accuracy'), 'max'),
    **{f'{part}_{what}_{when}': better for part in ('train', 'val', 'test') for what, better in (
        ('acc', 'max'), ('loss', 'min')) for when in ('clean', 'current', 'final')},
}
"""Whether a statistic is better smaller, as losses are, or larger, as accuracies and margins; of others one says so."""

HINTS = {
    **dict.fromkeys(('val_loss', 'val_acc'), ' without validation_N'),
    **dict.fromkeys(('train_margin', 'val_margin', 'test_margin'), " without the monitor 'an-pgd' of that part"),
    **{f'{part}_{what}_{when}': " without the monitor 'pgd' of that part" for part in ('train', 'val', 'test')
       for what in ('acc', 'loss') for when in ('clean', 'current', 'final')},
    'robust_accuracy': " without the monitor 'robust' or 'an-pgd'",
}
"""What is missing where a statistic is not recorded."""


class Archiver(Resumable, ABC):
    """Base of all archivers."""

    @abstractmethod
    def should_archive(self, info: EpochInfo) -> bool:
        """Whether to keep the model of this accepted epoch.

        Args:
            info: the epoch's record; 'log_frame' is the frame the epoch was trained in (None without a frame), and
                ``stats['loss']`` its loss in units of that frame.
        """

    def superseded(self) -> list[int]:
        """Epochs that were kept and are so no longer: their models are removed, once what replaces them is complete."""
        return []

    def check(self, statistics: Collection[str]) -> None:
        """Sees, before training, that the statistics that it goes by are recorded.

        Raises:
            ValueError: one is not.
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


class BestArchiver(Archiver):
    """Keeps the best epoch by a recorded statistic, one at a time: of equal ones, the first. (The last epoch is always
    kept.)

    Losses of different epochs are compared as real losses, whatever frame they were trained in. An epoch in which the
    statistic is not a number, or is not measured, is never the best.

    Args:
        statistic: a name of an epoch's statistics, such as 'val_acc'; or 'rt_loss', the loss of training; or a number
            of a monitor, such as 'val_margin': of several monitors, the first that has it.
        better: 'min' or 'max', whichever is better; None for what BETTER says of the statistic.

    Raises:
        ValueError: ``better`` is something else, or has to be said.
    """

    def __init__(self, statistic: str, better: str | None = None):
        if not isinstance(statistic, str):
            raise ValueError(f"'best' takes the name of a statistic, such as 'val_acc', not {shown(statistic)}")
        if better is not None and better not in ('min', 'max'):
            raise ValueError(f"'best' takes 'min' or 'max' after its statistic, not {shown(better)}")
        self.statistic, self.better = statistic, better or BETTER.get(statistic)
        self.best: float | None = None
        self.best_eid: int | None = None
        self.older: int | None = None

    def check(self, statistics: Collection[str]) -> None:
        if self.statistic not in statistics:
            hint = HINTS.get(self.statistic, '')
            raise ValueError(f"no statistic {self.statistic!r} is recorded{hint}; "
                             f'{did_you_mean(self.statistic, statistics)}')
        if self.better is None:
            raise ValueError(f"whether {self.statistic!r} is better small or large has to be said: ('best', "
                             f"{self.statistic!r}, 'min') or 'max'")

    def should_archive(self, info: EpochInfo) -> bool:
        value = self._value(info)
        if math.isnan(value):
            return False
        if self.best is not None and not (value < self.best if self.better == 'min' else value > self.best):
            return False
        self.older = self.best_eid
        self.best, self.best_eid = value, info['eid']
        return True

    def superseded(self) -> list[int]:
        return [] if self.older is None else [self.older]

    def _value(self, info: EpochInfo) -> float:
        stats, log_frame = info['stats'], info['log_frame']
        if self.statistic not in stats and self.statistic != 'rt_loss':
            return next((float(found[self.statistic]) for found in info.get('monitors', {}).values()
                         if found.get(self.statistic) is not None), math.nan)
        value = float(stats[self.statistic] if self.statistic in stats else info['rt_loss'])
        if log_frame is None or self.statistic not in ('loss', 'rt_loss'):
            return value
        if self.statistic == 'loss':
            return float(stats['log_loss'])
        return math.log(value) + log_frame if value > 0 else -math.inf


ARCHIVERS: dict[str, type[Archiver]] = {
    'idle': IdleArchiver,
    'const-epoch': ConstEpochArchiver,
    'two-phase-const-epoch': TwoPhaseConstEpochArchiver,
    'logloss': LogLossArchiver,
    'best': BestArchiver,
}
"""Archiver names, as the first entry of the flag ``archive``; an int alone stands for 'const-epoch'."""
