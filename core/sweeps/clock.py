"""How long what is left of a sweep will take."""

from __future__ import annotations

from collections.abc import Sequence

from ..flags import merge
from .directory import PlannedRun, SweepDirectory


class Clock:
    """Judges how long runs will take, from those that were made: the same point of the grid with another seed, else
    all of them, as time for an image of an epoch."""

    def __init__(self, finished: Sequence[PlannedRun], out: SweepDirectory):
        self._took: list[tuple[PlannedRun, float]] = []
        for run in finished:
            self.took(run, sum(line['time'] for line in out.of(run).read_history()))

    def took(self, run: PlannedRun, seconds: float) -> None:
        """Learns from a run that was made."""
        self._took.append((run, seconds))

    def remaining(self, runs: Sequence[PlannedRun]) -> float:
        """Seconds that runs will take one after the other; 0 if nothing is known."""
        if not self._took:
            return 0.0
        pace = sum(s for _, s in self._took) / sum(_work(run) for run, _ in self._took)
        same = {tuple(run.labels.values()): seconds for run, seconds in self._took}
        return sum(same.get(tuple(run.labels.values()), pace * _work(run)) for run in runs)


def _work(run: PlannedRun) -> float:
    flags = merge(run.flags)
    return flags['E'] * (flags['train_fraction'] + 0.1)  # every epoch ends with a look at the whole test set


def duration(seconds: float) -> str:
    """Seconds, minutes or hours, in words."""
    minutes = seconds / 60
    if minutes < 1.5:
        return f'{seconds:.0f} s'
    return f'{minutes:.0f} min' if minutes < 90 else f'{minutes // 60:.0f} h {minutes % 60:.0f} min'
