"""A network's copies on several devices, through tf.distribute: what each takes of a batch, and how they are joined."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

_PLACED = 4
"""Tensors that stay on the devices: images and labels of the training set and of the test set."""


class Replicas:
    """The replicas of the ``tf.distribute`` strategy in whose scope this is made; one, without a strategy.

    ``sum`` and ``concat`` are called from the whole, within a tf.function; the others by what they call,
    within a replica.

    Attributes:
        strategy: the strategy.
        count: its replicas, over all workers.
        across_workers: whether there are other processes, which have to make the same calls in the same order.
    """

    def __init__(self) -> None:
        self.strategy = tf.distribute.get_strategy()
        self.count: int = self.strategy.num_replicas_in_sync
        self.across_workers = isinstance(self.strategy, tf.distribute.MultiWorkerMirroredStrategy)
        self._placed: list[tuple[tf.Tensor, Any]] = []

    def on_each(self, t: tf.Tensor) -> Any:
        """A tensor on every device of this machine, for ``sum`` and ``concat``; the last few are kept there."""
        if self.count == 1:
            return t
        for tensor, placed in self._placed:
            if tensor is t:
                return placed
        devices = self.strategy.extended.worker_devices

        def copy(context: tf.distribute.experimental.ValueContext) -> tf.Tensor:
            with tf.device(devices[context.replica_id_in_sync_group % len(devices)]):
                return tf.identity(t)
        placed = self.strategy.experimental_distribute_values_from_function(copy)
        self._placed = [*self._placed[1 - _PLACED:], (t, placed)]
        return placed

    def sum(self, call: Callable[..., Any], *args: Any) -> Any:
        """The sum of what all replicas return, a tensor or a list of them."""
        results = self._run(call, args)
        if isinstance(results, list):
            return [self.strategy.reduce(tf.distribute.ReduceOp.SUM, r, axis=None) for r in results]
        return self.strategy.reduce(tf.distribute.ReduceOp.SUM, results, axis=None)

    def concat(self, call: Callable[..., Sequence[tf.Tensor]], *args: Any) -> list[tf.Tensor]:
        """What all replicas return for their ``part`` of the rows, one after the other; what follows the last row, if
        there are fewer rows than replicas, is to be left out."""
        results = self._run(call, args)
        return list(results) if self.count == 1 else [self.strategy.gather(r, axis=0) for r in results]

    def _run(self, call: Callable[..., Any], args: Sequence[Any]) -> Any:
        """Calls it in every replica; as it stands, or AutoGraph would rewrite all that it calls."""
        return self.strategy.run(tf.autograph.experimental.do_not_convert(call), args)

    def share(self, batch: tf.Tensor) -> tf.Tensor:
        """What this replica takes of a batch.

        All take equally many, so that none takes nothing, which not every kernel bears: where the batch does not divide
        evenly, its first image fills up, and ``mean`` leaves it out.
        """
        if self.count == 1:
            return batch
        own = self._own(batch)
        return tf.gather(batch, tf.where(own < tf.size(batch), own, 0))

    def mean(self, values: tf.Tensor, batch: tf.Tensor) -> tf.Tensor:
        """This replica's summand of the mean over the batch; ``values``, float [n], are those of its ``share``."""
        if self.count == 1:
            return tf.reduce_mean(values)
        return self.total(values, batch) / tf.cast(tf.size(batch), values.dtype)

    def total(self, values: tf.Tensor, batch: tf.Tensor) -> tf.Tensor:
        """This replica's summand of the sum over the batch."""
        if self.count == 1:
            return tf.reduce_sum(values)
        return tf.reduce_sum(tf.where(self._own(batch) < tf.size(batch), values, 0))

    def _own(self, batch: tf.Tensor) -> tf.Tensor:
        return _replica() + self.count * tf.range((tf.size(batch) + self.count - 1) // self.count)

    def part(self, rows: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """The first and the last but one of the rows that are this replica's, an unbroken part of at least one row."""
        if self.count == 1:
            return tf.constant(0), rows
        each = (rows + self.count - 1) // self.count
        start = tf.minimum(_replica() * each, rows - 1)
        return start, tf.minimum(start + each, rows)

    def log_sum_exp(self, values: tf.Tensor, batch: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """ln of the sum of exp(values), over this replica's ``share`` of the batch, and over all of the batch."""
        if self.count == 1:
            own = tf.reduce_logsumexp(values)
            return own, own
        inside = self._own(batch) < tf.size(batch)
        own = tf.reduce_logsumexp(tf.where(inside, values, tf.constant(-math.inf, values.dtype)))
        each = tf.distribute.get_replica_context().all_gather(tf.stop_gradient(own)[tf.newaxis], axis=0)
        return own, tf.reduce_logsumexp(each)

    def total_of(self, amounts: Sequence[tf.Tensor]) -> list[tf.Tensor]:
        """The sums over all replicas, in every replica."""
        if self.count == 1:
            return list(amounts)
        return tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, list(amounts))

    def subtract(self, variables: Sequence[tf.Variable], amounts: Sequence[tf.Tensor]) -> None:
        """Subtracts the sum, over all replicas, of ``amounts``; in every replica alike."""
        if self.count == 1:
            for v, amount in zip(variables, amounts):
                v.assign_sub(amount)
            return

        def update(strategy: tf.distribute.Strategy, total: Sequence[Any]) -> None:
            for v, amount in zip(variables, total):
                strategy.extended.update(v, lambda own, value: own.assign_sub(value), args=(amount,), group=False)
        tf.distribute.get_replica_context().merge_call(update, args=(self.total_of(amounts),))

    def assign(self, variable: tf.Variable, value: tf.Tensor) -> None:
        """Gives a variable a value, which is the same in every replica."""
        self.on_each_copy(variable, lambda own, new: own.assign(new), value)

    def assign_rows(self, variable: tf.Variable, rows: tf.Tensor, values: tf.Tensor, batch: tf.Tensor) -> None:
        """Gives rows of a variable their values; those of this replica's ``share`` of the batch, and in every replica
        those of all."""
        if self.count > 1:
            context, own = tf.distribute.get_replica_context(), self._own(batch)
            rows, values, filled_up = (context.all_gather(t, axis=0)
                                       for t in (rows, values, tf.cast(own >= tf.size(batch), tf.int32)))
            rows, values = tf.boolean_mask(rows, filled_up == 0), tf.boolean_mask(values, filled_up == 0)
        self.on_each_copy(variable, lambda own, at, new: own.scatter_update(tf.IndexedSlices(new, at)), rows, values)

    def on_each_copy(self, variable: tf.Variable, change: Callable[..., Any], *args: Any) -> None:
        """Calls ``change`` with each device's copy of a variable, and with args: tensors that are the same in every
        replica, and variables, of which it is given the same device's copy."""
        if self.count == 1:
            change(variable, *args)
            return

        def update(strategy: tf.distribute.Strategy, *each: Any) -> None:
            strategy.extended.update(variable, change, args=each, group=False)
        tf.distribute.get_replica_context().merge_call(update, args=args)

    def own_seed(self, seed: tf.Tensor) -> tf.Tensor:
        """A seed, int32 [2], as it is on one device, and on several another one for each."""
        return seed if self.count == 1 else tf.random.fold_in(seed, _replica())


def _replica() -> Any:
    return tf.distribute.get_replica_context().replica_id_in_sync_group
