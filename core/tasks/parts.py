"""The loop of an evaluation over its parts, such as batches of images, and over epochs; it goes on where it was
stopped."""

from __future__ import annotations

import time
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import tensorflow as tf

from models import Model

from .. import progress
from ..errors import Interrupted, about
from ..interrupts import interruptible
from .base import Evaluation


class Parts(Evaluation):
    """Measures part by part, each part at every epoch, and records what was found.

    A part is recorded when it is finished: an evaluation that was killed goes on where it stopped. A subclass names the
    parts (``starts``), measures one (``measure_part``), makes results of those of an epoch that are finished
    (``join``), and says how it gets on (``describe``). The devices of all workers share the parts, and each has a
    network of its own.

    Attributes:
        counted: what a part has several of, in the singular.
        progress: of a part's arrays, the one of numbers [n], one for each of these, whose ``describe`` tells how the
            evaluation gets on.
        networks: of each device of this process, by name, a network, and what ``make`` made of it. The name None is
            TensorFlow's choice.
    """

    counted: str
    progress: str
    networks: dict[str | None, tuple[Model, Any]]

    # ---- what a subclass says ----

    @abstractmethod
    def starts(self) -> Sequence[int]:
        """The parts, by numbers, ascending."""

    @abstractmethod
    def count(self) -> int:
        """How many of what is counted there are at an epoch."""

    @abstractmethod
    def measure_part(self, eid: int, start: int, device: str | None) -> Mapping[str, Any]:
        """The arrays to record of a part at an epoch."""

    @abstractmethod
    def join(self, parts: Sequence[Mapping[str, Any]]) -> tuple[Any, dict[str, Any]]:
        """What ``res`` and what the summary say of an epoch, from the first parts, those that are finished."""

    @abstractmethod
    def describe(self, numbers: np.ndarray) -> str:
        """In words, the numbers so far."""

    def finish(self, eid: int, device: str | None) -> Mapping[str, Any]:
        """What the summary says of an epoch beside ``join``'s, once all parts are recorded; on one device."""
        return {}

    # ---- what is done for each ----

    def prepare(self) -> None:
        self.networks = {}
        self._restored: dict[str | None, int] = {}
        with about(self.subject):
            for device in self.session.devices.local:
                with tf.device(device):  # several have a network each
                    model = self.session.model if device is None else self.session.new_model()
                    self.networks[device] = model, self.make(model)

    def measure(self, eid: int) -> tuple[Any, dict[str, Any]]:
        raise NotImplementedError('an epoch is measured in parts')

    def at(self, eid: int, device: str | None) -> Any:
        """What ``make`` made of the network of a device, with the weights of an epoch."""
        model, made = self.networks[device]
        if self._restored.get(device) != eid:
            model.restore(self.run_dir.find_model(eid))
            self._restored[device] = eid
        return made

    def measure_all(self) -> dict[int, Any]:
        """Measures the models of all epochs.

        Raises:
            UserError: a model that cannot be read.
            Interrupted: Ctrl-C or SIGTERM.
        """
        eids, devices = self.eids, self.session.devices
        starts = self.starts()
        jobs = [(eid, start) for start in starts for eid in eids]
        have = self.out.parts()
        missing = [(eid, start) for eid, start in jobs if start not in have.get(eid, ())]
        missing = [(eid, start) for eid, start in devices.of_first(missing)]
        each = len(self.networks)
        done = counted = 0
        with progress.image_bar(len(eids) * self.count(), self.describe, self.counted) as tell:
            while done < len(jobs):
                until = done + 1
                if jobs[done] in missing:
                    several, missing = missing[:each * devices.workers], missing[each * devices.workers:]
                    self._measure_parts(several[each * devices.worker:][:each], counted)
                    devices.everyone(None)  # now all of these are there
                    until = jobs.index(several[-1]) + 1
                for eid, start in jobs[done:until]:
                    numbers = self.out.read_part(eid, start, (self.progress,))[self.progress]
                    counted += len(numbers)
                    tell(eid, numbers)
                before, done = done // len(eids), until
                number = done // len(eids)
                # So seldom that all of it takes linear time.
                if number.bit_length() > before.bit_length() and number < len(starts):
                    self._write(starts[:number])
        res, epochs = self._write(starts, self._finished())
        for eid in eids:
            progress.say(self.line(eid, epochs[eid]))
        return res

    def _finished(self) -> dict[int, Mapping[str, Any]]:
        """What ``finish`` says of every epoch; one worker's first device does it, and the others wait."""
        ends: dict[int, Mapping[str, Any]] = {}
        device = next(iter(self.networks))

        def finish_them() -> None:
            for eid in self.eids:
                with about(f'epoch {eid}'), tf.device(device):
                    ends[eid] = self.finish(eid, device)
        if self.session.devices.worker == 0:
            self._interruptible(finish_them, self.count())
        self.session.devices.everyone(None)
        return ends

    def _measure_parts(self, jobs: Sequence[tuple[int, int]], done: int) -> None:
        """Measures a part on each device, and records them."""
        def measure_them() -> None:
            with ThreadPoolExecutor(len(self.networks)) as pool:
                list(pool.map(self._measure_part, jobs, self.networks))
        self._interruptible(measure_them, done)

    def _interruptible(self, call: Callable[[], None], done: int) -> None:
        """Calls what takes long; Ctrl-C says how to go on after so much was done.

        Raises:
            Interrupted: Ctrl-C or SIGTERM.
        """
        try:
            interruptible(call)
        except KeyboardInterrupt:
            alone = f'for {self.run_dir.path} alone, ' if self.session.among_others else ''
            raise Interrupted(f'interrupted after {done} {self.counted}s; repeat the command {alone}with --eval_log '
                              f'{self.out.path} to go on') from None

    def _measure_part(self, job: tuple[int, int], device: str | None) -> None:
        (eid, start), began = job, time.perf_counter()
        with about(f'epoch {eid}'), tf.device(device):
            arrays = self.measure_part(eid, start, device)
        self.out.write_part(eid, start, {**arrays, 'time': np.float64(time.perf_counter() - began)})

    def _write(self, starts: Sequence[int], ends: Mapping[int, Mapping[str, Any]] | None = None
               ) -> tuple[dict[int, Any], dict[int, Any]]:
        res: dict[int, Any] = {}
        epochs: dict[int, dict[str, Any]] = {}
        for eid in self.eids:
            parts = [{k: v for k, v in self.out.read_part(eid, start).items() if k != 'clean'} for start in starts]
            res[eid], numbers = self.join(parts)
            epochs[eid] = {**numbers, **(ends or {}).get(eid, {}), 'seconds': sum(float(p['time']) for p in parts)}
        self.out.write_res(res)
        self.out.write_summary(self.summary(epochs))
        return res, epochs


class Batches(Parts):
    """Measures images batch by batch.

    A subclass measures a batch (``measure_batch``); ``join`` has what that gave, and 'index' and 'label', int64 [n].

    Attributes:
        batch_size: images per batch.
    """

    counted = 'image'
    batch_size: int

    @abstractmethod
    def measure_batch(self, eid: int, start: int, device: str | None) -> Mapping[str, Any]:
        """The arrays to record of the batch that begins at an image, which is ``batch(start)``, at an epoch."""

    def prepare(self) -> None:
        self.batch_size = self.flags['attack_B']
        super().prepare()

    def starts(self) -> Sequence[int]:
        return range(0, len(self.images), self.batch_size)

    def count(self) -> int:
        return len(self.images)

    def batch(self, start: int) -> tuple[np.ndarray, np.ndarray]:
        """The images and labels of the batch that begins at an image."""
        batch = slice(start, start + self.batch_size)
        return self.images[batch], self.labels[batch]

    def measure_part(self, eid: int, start: int, device: str | None) -> Mapping[str, Any]:
        batch = slice(start, start + self.batch_size)
        return {'index': self.indices[batch], 'label': self.labels[batch], **self.measure_batch(eid, start, device)}
