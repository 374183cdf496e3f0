"""What tasks have in common. A task is a class in a file of its own, and a line in ``tasks.TASKS``."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

import numpy as np

from models import Model

from .. import progress
from ..errors import UserError, about
from ..flags.earlier import differing_flags, measured_epochs
from ..session import Session
from ..workdir import Workdir, plain
from .arguments import chosen_indices
from .begun import digests, open_evaluation


class Task(ABC):
    """Something that is done with a session: ``Task(session, **options).run()``.

    The options of a task are the further arguments of its constructor; the flag ``options`` gives them by name.
    """

    def __init__(self, session: Session):
        self.session, self.flags = session, session.flags

    @abstractmethod
    def run(self) -> dict[Any, Any]:
        """Does it; returns the results, which are also in the working directory.

        Raises:
            UserError: something that a person can put right.
        """


class Evaluation(Task):
    """Measures the archived models ``eid`` of the run ``log``, and records what it finds in ``eval_log``.

    A subclass measures an epoch (``measure``), and says in a line what it found (``line``). What it needs for that of a
    network it makes in ``make``, which refuses a network that it cannot measure; what it takes from flags it checks in
    ``check``. This class does the rest: it finds the run, its images and its networks, opens and locks the directory,
    copies what is printed, writes ``res`` and summary.json, which names the task. See ``parts.Batches`` for
    evaluations that take long and go on where they were stopped.

    Attributes:
        subject: what an error about a network begins with.
        norm: of the distances that it records; None for other things.
        run_dir: the run's working directory.
        eids: the epochs.
        images, labels: float32 [N, H, W, C] and int64 [N], what ``attack_set``, ``attack_N`` and ``attack`` choose.
        indices: int64 [N], which images of the data set these are.
        meter: what ``make`` made of the network.
        out: the evaluation's directory.
    """

    subject = 'the network'
    norm: str | None = None
    run_dir: Workdir
    eids: list[int]
    images: np.ndarray
    labels: np.ndarray
    indices: np.ndarray
    meter: Any
    out: Workdir

    # ---- what a subclass says ----

    def check(self) -> None:
        """Refuses flags that do not fit, before anything is read."""

    def make(self, model: Model) -> Any:
        """What measures a network.

        Raises:
            ValueError: it cannot be measured.
        """

    def record(self) -> dict[str, Any]:
        """What flags.json says beside what it says of every evaluation."""
        return {}

    def about(self) -> dict[str, Any]:
        """What the summary says before the epochs, beside what it says of every evaluation."""
        return {}

    def begin(self) -> None:
        """Says what is to be said before the first epoch."""

    @abstractmethod
    def measure(self, eid: int) -> tuple[Any, dict[str, Any]]:
        """What ``res`` and what the summary say of an epoch, whose weights the network has."""

    @abstractmethod
    def line(self, eid: int, numbers: Mapping[str, Any]) -> str:
        """What is printed of an epoch, from what the summary says of it."""

    # ---- what is done for every evaluation ----

    def run(self) -> dict[int, Any]:
        """Measures every epoch.

        Returns:
            eid -> what ``res`` says of it.

        Raises:
            UserError: flags that do not fit, a network that cannot be measured, an epoch that was not archived.
        """
        self.check()
        self.load()
        self.prepare()
        self.out = self._open()
        with progress.copy_stdout(self.out.stdout_path), self.out.locked(progress.say):
            self.session.print_flags()
            self.begin()
            res = self.measure_all()
            progress.say(f'{self.out.res_path} written')
        return res

    def refuse(self) -> None:
        """Raises what measuring the network of the session would, before there is anything to measure."""
        self.check()
        with about(self.subject):
            self.make(self.session.model)
        self.choose()

    def choose(self) -> None:
        """Takes the images that are measured from the data set.

        Raises:
            UserError: there are not so many.
        """
        x, y = (t.numpy() for t in getattr(self.session.dataset, self.flags['attack_set']))
        self.indices = chosen_indices(self.flags, len(x))
        self.images, self.labels = x[self.indices], y[self.indices]

    def load(self) -> None:
        """Finds the run, its epochs and its images, and builds its network."""
        session, self.run_dir = self.session, Workdir(self.flags['log'])
        self.eids, note = measured_epochs(self.run_dir, self.flags['eid'])
        with session.of_the_run():
            session.fetch_dataset()
            session.build_model()
        session.notes += [f'note: {note}'] if note else []
        if differ := differing_flags(self.flags['log'], self.flags):  # as may be meant, of another data set
            session.notes.append(f'note: {differ}')
        self.choose()
        with session.of_the_run(), about(f'epoch {self.eids[0]}'):
            session.model.restore(self.run_dir.find_model(self.eids[0]))

    def prepare(self) -> None:
        """Makes what measures the network."""
        with about(self.subject):
            self.meter = self.make(self.session.model)

    def _open(self) -> Workdir:
        session, run = self.session, self.run_dir
        record = {**session.record(), 'evaluation': session.name, 'norm': self.norm, 'config': session.config,
                  'run': str(run.path), 'models': digests(run, self.eids), **self.record()}
        out = session.directory(lambda: open_evaluation(self.flags['eval_log'], run.path / session.name, record))
        self.flags['eval_log'] = str(out.path)
        return out

    def settings(self) -> dict[str, Any]:
        """The flags that the summary names."""
        kinds = ('attack', 'eid', 'seed', 'source')
        return {k: plain(v) for k, v in self.flags.items()
                if k == 'lr' or k.startswith(kinds) or (k in ('norm', 'eps') and v is not None)
                or (k == 'options' and v)}

    def summary(self, epochs: Mapping[int, Any]) -> dict[str, Any]:
        """summary.json, of what it says of epochs."""
        return {'task': self.flags['task'], 'evaluation': self.session.name, 'run': self.flags['log'],
                'settings': self.settings(), 'device': self.session.devices.text, **self.about(), 'epochs': epochs}

    def measure_all(self) -> dict[int, Any]:
        """Measures the epochs one after the other, and writes ``res`` and the summary after each."""
        res: dict[int, Any] = {}
        epochs: dict[int, dict[str, Any]] = {}
        for eid in self.eids:
            start = time.perf_counter()
            with about(f'epoch {eid}'):
                self.session.model.restore(self.run_dir.find_model(eid))
                res[eid], numbers = self.measure(eid)
            epochs[eid] = {**numbers, 'seconds': time.perf_counter() - start}
            progress.say(self.line(eid, epochs[eid]))
            self.out.write_res(res)
            self.out.write_summary(self.summary(epochs))
        return res


def refuse_results(place: str | None) -> None:
    """Sees that a directory does not hold results, for what does not go on with them.

    Raises:
        UserError: it does.
    """
    if place and Workdir(place).flags_path.exists():
        raise UserError(f'{place} already holds results; choose another directory, or none for a new one')
