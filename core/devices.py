"""What ``--gpu`` and TF_CONFIG mean: the devices of a task, and the other workers."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import tensorflow as tf

from models.types import shown

from .errors import UserError

FAREWELL = 2.0
"""Seconds that a worker stays after its task, so that the others can fetch what they last exchanged with it."""
_GONE = (tf.errors.UnavailableError, tf.errors.InternalError, tf.errors.AbortedError, tf.errors.CancelledError,
         tf.errors.DeadlineExceededError)


@dataclass(frozen=True)
class Devices:
    """What a task runs on.

    Attributes:
        text: the devices, in words.
        strategy: splits the steps and evaluations of a model that is built in its scope.
        worker: which of the workers of TF_CONFIG this process is; 0 without one. Worker 0 does the writing.
        workers: how many there are.
    """

    text: str
    strategy: tf.distribute.Strategy = field(default_factory=tf.distribute.get_strategy)
    worker: int = 0
    workers: int = 1

    @property
    def local(self) -> tuple[str | None, ...]:
        """Names of this process's devices, for work that comes in separate parts; None stands for the only one."""
        return (None,) if self.strategy.num_replicas_in_sync == 1 else tuple(self.strategy.extended.worker_devices)

    def everyone(self, value: Any) -> list[Any]:
        """The values, of JSON's types, that all workers call this with, by worker; each waits for the others."""
        if self.workers == 1:
            return [value]
        data = np.frombuffer(json.dumps([self.worker, value]).encode(), np.uint8).astype(np.int32)
        lengths, together = (self._gather(part).numpy() for part in (np.array([len(data)], np.int32), data))
        texts = np.split(together.astype(np.uint8), np.cumsum(lengths)[:-1])
        found = dict(json.loads(text.tobytes()) for text in texts)  # one of a worker's several replicas
        return [found[worker] for worker in range(self.workers)]

    def of_first(self, value: Any) -> Any:
        """What worker 0 calls this with."""
        return self.everyone(value)[0]

    @cached_property
    def _gather(self) -> Callable[[np.ndarray], tf.Tensor]:
        return tf.function(lambda part: self.strategy.gather(self.strategy.run(tf.identity, (part,)), axis=0),
                           input_signature=[tf.TensorSpec([None], tf.int32)])

    @contextmanager
    def joined(self, again: Callable[[], str]) -> Iterator[None]:
        """Work of all workers: it ends together, and where one of them is lost.

        Args:
            again: says, then, what starting all workers again takes to go on.

        Raises:
            UserError: another worker has ended early, or cannot be reached.
        """
        if self.workers == 1:
            yield
            return
        try:
            yield
            self.everyone('done')
        except _GONE as e:
            raise UserError(f'another worker has ended, or cannot be reached ({type(e).__name__}); what was finished '
                            f'is saved; start all workers again{again()}') from None
        if self.worker:
            time.sleep(FAREWELL)


def use_device(gpu: int | str | Sequence[int | str] | None, threads: int | None = None) -> Devices:
    """Restricts TensorFlow to the devices that are asked for; must run before TensorFlow has computed anything.

    With TF_CONFIG in the environment these are the devices of one worker of several.

    Args:
        gpu: the index of a GPU, or 'cpu'; several GPUs as '0,1'; 'cpu,cpu' for the CPU in two parts, to try how
            several devices work together. None for the first GPU if there is one. An index that does not exist is left
            out with a warning, and the CPU used if none is left, as in the original.
        threads: CPU threads that one operation may use; None for all cores.

    Raises:
        UserError: not indices, or TF_CONFIG describes no workers.
    """
    names = _names(gpu)
    cluster = worker_of_cluster()
    if cluster and len(names) > 1 and names[0] == 'cpu':
        raise UserError("with TF_CONFIG the CPU of a worker is one device: use --gpu cpu, not --gpu " + ','.join(names))
    # TF32 rounds the inputs of matrix products to 10 bits; margins, and decisions on a loss ratio, need float32's 23.
    tf.config.experimental.enable_tensor_float_32_execution(False)
    try:
        gpus = [] if names[0] == 'cpu' else tf.config.list_physical_devices('GPU')
        wanted = [0] if names == ['auto'] else [int(name) for name in names if name.isdigit()]
        chosen = [i for i in wanted if i < len(gpus)]
        if missing := [name for name in names if name.isdigit() and int(name) not in chosen]:
            print(f"warning: there is no GPU {' or '.join(missing)} that TensorFlow can use here"
                  f"{'' if chosen else '; running on the CPU'}", file=sys.stderr)
        tf.config.set_visible_devices([gpus[i] for i in chosen], 'GPU')
        parts = 0 if chosen else max(1, names.count('cpu'))
        text = _use_cpu(parts, threads) if parts else _use_gpus({i: gpus[i] for i in chosen})
        several = [f'GPU:{k}' for k in range(len(chosen))] or [f'CPU:{k}' for k in range(parts)]
    except RuntimeError:  # TensorFlow is already running, in a notebook say: its devices stay as they are
        text, several = 'as already in use', [f'CPU:{k}' for k in range(names.count('cpu'))]
        several = [name for name in several if any(d.name.endswith(name) for d in tf.config.list_logical_devices())]
    if cluster:
        strategy = _join(*cluster)
        return Devices(f'{text}, worker {cluster[0]} of {cluster[1]}', strategy, *cluster)
    return Devices(text, _mirrored(several)) if len(several) > 1 else Devices(text)


def _names(gpu: Any) -> list[str]:
    if gpu is None:
        return ['auto']
    parts = gpu if isinstance(gpu, (list, tuple)) else str(gpu).split(',')
    names = [shown(part).strip("' ").lower() for part in parts]
    gpus = all(name.isdecimal() and len(name) < 10 for name in names) and len(set(names)) == len(names)
    if not names or not (gpus or names == ['auto'] or set(names) == {'cpu'}):
        raise UserError(f"--gpu takes the index of a GPU (0, 1, ...), several as in 0,1, or 'cpu', not {shown(gpu)}")
    return names


def _use_gpus(gpus: Mapping[int, Any]) -> str:
    for gpu in gpus.values():
        tf.config.experimental.set_memory_growth(gpu, True)
    told = [f"GPU {i} ({tf.config.experimental.get_device_details(gpu).get('device_name', 'unknown')})"
            for i, gpu in gpus.items()]
    return ', '.join(told)


def _use_cpu(parts: int, threads: int | None) -> str:
    # The operations of one network run one after the other; a second queue of them only contends for the cores.
    tf.config.threading.set_inter_op_parallelism_threads(1)
    tf.config.threading.set_intra_op_parallelism_threads(threads or 0)
    if parts == 1:
        return 'CPU'
    tf.config.set_logical_device_configuration(
        tf.config.list_physical_devices('CPU')[0], [tf.config.LogicalDeviceConfiguration()] * parts)
    return f'CPU in {parts} parts'


def _mirrored(local: Sequence[str]) -> tf.distribute.Strategy:
    # Parts of the CPU share its memory: a collective has nothing to offer them.
    ops = tf.distribute.ReductionToOneDevice() if local[0].startswith('CPU') else None
    return tf.distribute.MirroredStrategy(list(local), cross_device_ops=ops)


def worker_of_cluster() -> tuple[int, int] | None:
    """Which worker this is, and of how many, as TF_CONFIG has it; None without one, or with one worker only.

    Raises:
        UserError: TF_CONFIG describes no workers.
    """
    text = os.environ.get('TF_CONFIG')
    if not text:
        return None
    try:
        config = json.loads(text)
        jobs, task = config.get('cluster', {}), config.get('task', {})
        if not jobs:
            return None
        workers = [('chief', i) for i in range(len(jobs.get('chief', ())))]
        workers += [('worker', i) for i in range(len(jobs.get('worker', ())))]
        if not workers or set(jobs) - {'chief', 'worker'}:
            raise ValueError
        index = workers.index((task['type'], int(task['index'])))
    except (ValueError, KeyError, TypeError, AttributeError):
        raise UserError('TF_CONFIG must be JSON such as {"cluster": {"worker": ["host0:2222", "host1:2222"]}, "task": '
                        f'{{"type": "worker", "index": 0}}}}, not {text}') from None
    return None if len(workers) == 1 else (index, len(workers))


def _join(worker: int, workers: int) -> tf.distribute.Strategy:
    print(f'worker {worker} of {workers}, waiting for the others', file=sys.stderr)
    try:
        return tf.distribute.MultiWorkerMirroredStrategy()
    except RuntimeError as e:
        raise UserError(f'the workers of TF_CONFIG cannot be joined: {e}') from None
