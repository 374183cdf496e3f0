"""A sweep in its directory: what is planned, made and listed of it. Any number of processes may run it at once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from logging import LogRecord, getLogger
from typing import Any

from .. import datasets, progress
from ..devices import use_device
from ..interrupts import Interrupts
from .directory import PlannedRun, SweepDirectory
from .grid import Grid
from .hands import Hand
from .jobs import Jobs
from .listing import listing
from .plan import Plan


class Sweep:
    """A sweep in its directory.

    Args:
        grid: what is to be run.
        out: the sweep's directory, new or with a part of the runs.
        name: of the sweep.
        settings: flags that win over the base's. Those with which the sweep was begun need not be given again.
        places: the flags 'gpu' and 'data_dir', where they are given.

    Raises:
        UserError: flags that cannot be used, or not with the runs that were made before.
    """

    def __init__(self, grid: Grid, out: SweepDirectory, name: str, settings: Mapping[str, Any] | None = None,
                 places: Mapping[str, Any] | None = None):
        self.out, self.name, self.places = out, name, dict(places or {})
        self._grid, self._settings = grid, dict(settings or {})
        self.plan = self._planned()

    def _planned(self) -> Plan:
        return Plan(self._grid, self.out, self.name, self._settings)

    @property
    def runs(self) -> list[PlannedRun]:
        """The runs that are to be made."""
        return self.plan.runs

    @property
    def record(self) -> dict[str, Any]:
        """What sweep.json is to hold."""
        return self.plan.record

    def listing(self) -> str:
        """The runs and their evaluations, a line each, with what there is of them, and who is at work on them."""
        return listing(self.out, self.runs, self.plan.evaluations)

    def run(self) -> int:
        """Makes the runs and evaluations that are not finished, but for those that other processes make meanwhile, for
        which it waits; what one of them prints goes to its own directory.

        Returns:
            How many failed.

        Raises:
            UserError: the directory cannot be used, or the sweep was begun otherwise.
            KeyboardInterrupt, Interrupted: Ctrl-C or SIGTERM.
        """
        gpu = self.places.get('gpu')
        device = use_device(gpu).text
        if gpu is not None and device == 'CPU':  # a GPU that is not there is warned of once, not by every run
            self.places['gpu'] = 'cpu'
        with datasets.remembered(), _without_warnings_of_tracing():
            self.plan.refuse(self.places)
            self.out.make()
            with progress.copy_stdout(self.out.stdout_path), Interrupts().handled():
                with self.out.alone(progress.say):
                    self.plan = self._planned()  # anew: another process may have begun the sweep meanwhile
                    self.out.write_sweep(self.record)
                return self._work(device)

    def _work(self, device: str) -> int:
        if self.plan.remembered:
            progress.say('going on with ' + ' '.join(f'--set {k}={v!r}' for k, v in self.plan.remembered.items()))
        jobs = Jobs(self.out, self.name, self.runs, self.plan.evaluations, self.places)
        failed = Hand(self.out, jobs, device).work()
        progress.say(f'{sum(map(jobs.is_done, jobs.training))} of {len(self.runs)} runs are finished'
                     + (f', {failed} failed' if failed else ''))
        return failed


@contextmanager
def _without_warnings_of_tracing() -> Iterator[None]:
    """TensorFlow takes many networks in one process, each of which is compiled, for one that is compiled again and
    again."""
    def keep(record: LogRecord) -> bool:
        return 'tf.function retracing' not in record.getMessage()
    logger = getLogger('tensorflow')
    logger.addFilter(keep)
    try:
        yield
    finally:
        logger.removeFilter(keep)
