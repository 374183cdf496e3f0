"""The loop of an evaluation over images and epochs, which goes on where it was stopped."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import tensorflow as tf

from .. import progress
from ..devices import Devices
from ..errors import Interrupted, about
from ..interrupts import interruptible
from ..workdir import Workdir


class Batches(ABC):
    """Measures images batch by batch, each batch at every epoch, and records what was found.

    A batch is recorded when it is finished: an evaluation that was killed goes on where it stopped. A subclass measures
    a batch (``_measure``), and makes results of those that are finished (``_join``).

    Args:
        local: names of this process's devices, each of which takes batches; None is TensorFlow's choice.
        images: float32 [N, H, W, C].
        labels: int64 [N].
        indices: int64 [N], which images of the data set these are.
        batch_size: images per batch.
        out: working directory of the evaluation.
        devices: the workers that share the batches.

    Attributes:
        progress: of a batch's arrays, the one of numbers [n] whose ``describe`` tells how the evaluation gets on.
    """

    progress: str

    def __init__(self, local: Sequence[str | None], images: np.ndarray, labels: np.ndarray, indices: np.ndarray,
                 batch_size: int, out: Workdir, devices: Devices | None = None):
        self.local = list(local)
        self.devices = devices or Devices('')
        self.images, self.labels, self.indices = images, labels, indices
        self.batch_size = batch_size
        self.out = out

    @abstractmethod
    def _measure(self, eid: int, start: int, device: str | None) -> Mapping[str, Any]:
        """The arrays to record of the batch that begins at an image, which is ``_batch(start)``, at an epoch."""

    @abstractmethod
    def _join(self, eids: Sequence[int], starts: Sequence[int]) -> tuple[dict[int, Any], dict[str, Any]]:
        """``res`` and the summary of the batches that are finished."""

    @abstractmethod
    def _describe(self, numbers: np.ndarray) -> str:
        """In words, the numbers of the images so far."""

    @abstractmethod
    def _print(self, eid: int, summary: Mapping[str, Any]) -> None:
        """Prints the line of an epoch that is finished."""

    def _batch(self, start: int) -> tuple[np.ndarray, np.ndarray]:
        batch = slice(start, start + self.batch_size)
        return self.images[batch], self.labels[batch]

    def run(self, eids: Sequence[int]) -> dict[int, dict[str, Any]]:
        """Measures the models of these epochs; returns what ``_join`` makes of all batches.

        Raises:
            UserError: a model that cannot be read.
            Interrupted: Ctrl-C or SIGTERM.
        """
        starts = range(0, len(self.images), self.batch_size)
        jobs = [(eid, start) for start in starts for eid in eids]
        have = self.out.parts()
        missing = [(eid, start) for eid, start in jobs if start not in have.get(eid, ())]
        missing = [(eid, start) for eid, start in self.devices.of_first(missing)]
        each = len(self.local)
        done = images = 0
        with progress.image_bar(len(eids) * len(self.images), self._describe) as tell:
            while done < len(jobs):
                until = done + 1
                if jobs[done] in missing:
                    several, missing = missing[:each * self.devices.workers], missing[each * self.devices.workers:]
                    self._measure_batches(several[each * self.devices.worker:][:each], images)
                    self.devices.everyone(None)  # now all of these are there
                    until = jobs.index(several[-1]) + 1
                for eid, start in jobs[done:until]:
                    numbers = self.out.read_part(eid, start, (self.progress,))[self.progress]
                    images += len(numbers)
                    tell(eid, numbers)
                before, done = done // len(eids), until
                number = done // len(eids)
                # So seldom that all of it takes linear time.
                if number.bit_length() > before.bit_length() and number < len(starts):
                    self._write(eids, starts[:number])
        res, summary = self._write(eids, starts)
        for eid in eids:
            self._print(eid, summary['epochs'][eid])
        progress.say(f'{self.out.res_path} written')
        return res

    def _measure_batches(self, jobs: Sequence[tuple[int, int]], done: int) -> None:
        """Measures a batch on each device, and records them."""
        def measure_them() -> None:
            with ThreadPoolExecutor(len(self.local)) as pool:
                list(pool.map(self._measure_batch, jobs, self.local))
        try:
            interruptible(measure_them)
        except KeyboardInterrupt:
            raise Interrupted(f'interrupted after {done} images; repeat the command with --eval_log {self.out.path} '
                              'to go on') from None

    def _measure_batch(self, job: tuple[int, int], device: str | None) -> None:
        (eid, start), began = job, time.perf_counter()
        with about(f'epoch {eid}'), tf.device(device):
            arrays = self._measure(eid, start, device)
        batch = slice(start, start + self.batch_size)
        self.out.write_part(eid, start, {'index': self.indices[batch], 'label': self.labels[batch], **arrays,
                                         'time': np.float64(time.perf_counter() - began)})

    def _write(self, eids: Sequence[int], starts: Sequence[int]) -> tuple[dict[int, Any], dict[str, Any]]:
        res, summary = self._join(eids, starts)
        self.out.write_res(res)
        self.out.write_summary(summary)
        return res, summary
