"""What measures a network's loss and accuracy at points along directions; see ``scan``."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from .. import checks
from ..in_graphs import compiled_once
from ..logits import class_labels, require_logits
from ..model import Model
from ..types import shown
from .curvature import Net, of_each
from .directions import require_direction, variables_of
from .samples import batches_of


class Scanner:
    """Measures a network at points along directions, and puts its weights back.

    The network is taken as in inference, its moving statistics where they are. All is compiled once; the images stay
    on the device.

    Args:
        net: ``Model``, or any built Keras model that maps images to logits.
        data: (images, labels), arrays [N, ...] and integers [N], or a ``tf.data.Dataset`` of such batches, which is
            gone through once and kept.
        loss: a Keras loss, or a function of (labels, logits) to the losses of images; None for the cross entropy.
        attack: what changes images within a budget: an attack of ``models.attacks`` that has ``perturb``, made for
            this network, or a function of (images, labels, budgets [N], seed int32 [2]) to images.
        batch: images evaluated together, of arrays.
        attack_batch: images attacked together; None for a batch.

    Raises:
        ValueError: an argument that is not such.

    Attributes:
        images: their number.
    """

    def __init__(self, net: Net, data: Any, loss: Any = None, attack: Any = None, batch: int = 500,
                 attack_batch: int | None = None):
        self.net: keras.Model = net.net if isinstance(net, Model) else net
        require_logits(self.net, 'a scan')
        self._loss = of_each(loss)
        found = batches_of(data, checks.count('batch', batch))
        self._parts = list(found)
        self.images = sum(len(y) for _, y in self._parts)
        if not self.images:
            raise ValueError('the data set has no images')
        classes = self.net(self._parts[0][0][:1], training=False).shape[-1]
        for _, y in self._parts:
            class_labels(y.numpy(), classes, len(y))
        self._attack_batch = None if attack_batch is None else checks.count('attack_batch', attack_batch)
        image, label = found.specs
        self._sums = compiled_once(self._sums_of, image, label)
        self._perturb = _perturbing(attack, image, label)
        self._move_to: Callable | None = None
        self.directions: list[list[tf.Tensor]] = []
        self._base: list[tf.Tensor] = []

    def along(self, directions: Sequence[Any]) -> None:
        """Takes the weights as they are now for the origin, and these for the directions, one or two.

        Raises:
            ValueError: they are not such, or of another network.
        """
        if len(directions) not in (1, 2):
            raise ValueError(f'a scan goes along one or two directions, not {len(directions)}')
        variables = variables_of(self.net)
        found = [require_direction(d, self.net, f'direction {i}') for i, d in enumerate(directions, start=1)]
        longest = max(map(len, found))
        self.variables = variables[:longest]
        self.directions = [[tf.constant(a) for a in d] + [tf.zeros_like(v) for v in variables[len(d):longest]]
                            for d in found]
        self._base = [tf.identity(v) for v in self.variables]
        specs = [tf.TensorSpec(v.shape, v.dtype) for v in self.variables]
        self._move_to = compiled_once(self._assign, tf.TensorSpec([len(found)], tf.float64), specs,
                                      [specs] * len(found))

    def _assign(self, at, base, directions):
        for i, v in enumerate(self.variables):
            there = base[i]
            for k, d in enumerate(directions):  # in the order of directions.moved
                there = there + tf.cast(at[k], v.dtype) * d[i]
            v.assign(there)

    def move(self, at: Sequence[float]) -> None:
        """Takes the network to the origin plus so much of each direction."""
        assert self._move_to is not None, 'along comes first'
        self._move_to(tf.constant(np.asarray(at, np.float64)), self._base, self.directions)

    @contextmanager
    def moved(self) -> Iterator[None]:
        """Puts the weights back at its end, bit for bit."""
        try:
            yield
        finally:
            for v, was in zip(self.variables, self._base):
                v.assign(was)

    def block(self, points: Sequence[Sequence[float]], budget: float = 0.0, seed: Callable[[int], Any] | None = None
              ) -> np.ndarray:
        """Measures points with the same images.

        Args:
            points: so much of each direction, [n, directions].
            budget: within which images are attacked at the first of the points; 0 for the images as they are.
            seed: from the number of a batch that is attacked to what is random of it, int32 [2].

        Returns:
            float64 [3, n]: logarithms of mean losses, losses, accuracies; nan where the loss is not finite. Where it is
            not at the first point, there are no images to attack it with, so that all are nan.
        """
        with self.moved():
            parts = self._parts
            if budget > 0:
                self.move(points[0])
                if math.isnan(self._measured(parts)[0]):
                    return np.full((3, len(points)), np.nan)
                parts = self._attacked(budget, seed or (lambda i: [0, i]))
            found = []
            for at in points:
                self.move(at)
                found.append(self._measured(parts))
        return np.array(found).T

    def _attacked(self, budget: float, seed: Callable[[int], Any]) -> list[tuple[tf.Tensor, tf.Tensor]]:
        if self._perturb is None:
            raise ValueError('a budget above 0 takes an attack, such as attack=models.attacks.PGD(net, k=10)')
        made, count = [], 0
        for x, y in self._parts:
            pieces = []
            for i in range(0, len(y), self._attack_batch or len(y)):
                rows = slice(i, i + (self._attack_batch or len(y)))
                eps = tf.fill([len(y[rows])], tf.constant(budget, tf.float32))
                found = self._perturb(x[rows], y[rows], eps, tf.constant(seed(count), tf.int32))
                pieces.append(tf.cast(found, tf.float32))
                count += 1
            made.append((tf.concat(pieces, axis=0), y))
        return made

    def _measured(self, parts: Sequence[tuple[tf.Tensor, tf.Tensor]]) -> tuple[float, float, float]:
        sums = np.array([t.numpy() for t in [self._sums(x, y) for x, y in parts]])
        if sums[:, 2].any():
            return math.nan, math.nan, math.nan
        accuracy = float(sums[:, 1].sum() / self.images)
        with np.errstate(divide='ignore', invalid='ignore', over='ignore', under='ignore'):
            if self._loss is None:
                log_loss = float(np.logaddexp.reduce(sums[:, 0])) - math.log(self.images)
                return log_loss, float(np.exp(log_loss)), accuracy
            loss = float(sums[:, 0].sum() / self.images)
            return (float(np.log(loss)), loss, accuracy) if math.isfinite(loss) else (math.nan, math.nan, math.nan)

    def _sums_of(self, x, y):
        """Of a batch: the logarithm of the sum of cross entropies, or the sum of other losses; how many are right; how
        many logits are not finite."""
        logits = self.net(x, training=False)
        if self._loss is None:
            total = tf.reduce_logsumexp(log_cross_entropies(y, logits))
        else:
            total = tf.reduce_sum(tf.cast(self._loss(y, logits), tf.float64))
        right = tf.argmax(logits, axis=1) == y
        odd = ~tf.math.is_finite(logits)
        return tf.stack([total, *(tf.cast(tf.math.count_nonzero(t), tf.float64) for t in (right, odd))])


def log_cross_entropies(y: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
    """Natural logarithms of the cross entropies, float64 [N]; as ``margins.log_losses``, on tensors."""
    z = tf.cast(logits, tf.float64)
    right = tf.one_hot(y, logits.shape[-1], on_value=True, off_value=False, dtype=tf.bool)
    gaps = z - tf.gather(z, y[:, tf.newaxis], axis=1, batch_dims=1)
    gap = tf.reduce_logsumexp(tf.where(right, tf.constant(-np.inf, tf.float64), gaps), axis=1)
    return tf.where(gap < -37, gap, tf.math.log(tf.math.softplus(tf.maximum(gap, -37))))


def _perturbing(attack: Any, image: tf.TensorSpec, label: tf.TensorSpec) -> Callable | None:
    if attack is None:
        return None
    if hasattr(attack, 'perturb'):
        return compiled_once(attack.perturb, image, label, tf.TensorSpec([None], tf.float32),
                             tf.TensorSpec([2], tf.int32))
    if not callable(attack):
        raise ValueError('attack must be an attack within budgets, such as models.attacks.PGD(net), or a function of '
                         f'(images, labels, budgets, seed) to images, not {shown(attack)}')
    return attack
