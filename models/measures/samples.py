"""Images and labels for measures, batch by batch, from arrays or a data set."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

import numpy as np
import tensorflow as tf

from ..logits import class_labels
from ..types import shown

ANY = 2 ** 31
"""Classes that labels may be of: whether the network has them, what looks at its logits says."""
Attacked: TypeAlias = Callable[[np.ndarray, np.ndarray, int], np.ndarray]
"""From images, float32 [n, ...], their labels, int64 [n], and the number of the first of them, to those that count in
their place."""


class Batches:
    """Batches of images and labels in a fixed order, as often as they are gone through.

    Attributes:
        specs: of the images and the labels of a batch.
    """

    def __init__(self, parts: Any, specs: tuple[tf.TensorSpec, tf.TensorSpec]):
        self._parts, self.specs = parts, specs

    def __iter__(self) -> Iterator[tuple[tf.Tensor, tf.Tensor]]:
        for x, y in self._parts:
            yield tf.cast(x, self.specs[0].dtype), tf.cast(tf.reshape(y, [-1]), tf.int64)

    def attacked(self, attack: Attacked) -> Batches:
        """The same with other images, which are made once.

        Raises:
            ValueError: what the attack gives are no such images.
        """
        parts, first = [], 0
        for x, y in self:
            made = np.asarray(attack(x.numpy(), y.numpy(), first), np.float32)
            if made.shape != tuple(x.shape) or not np.isfinite(made).all():
                raise ValueError(f'the attack must give finite images, here of the shape {tuple(x.shape)}; those that '
                                 f'it gave have the shape {made.shape}')
            parts.append((tf.constant(made), y))
            first += len(made)
        return Batches(parts, self.specs)


def batches_of(data: Any, batch: int) -> Batches:
    """Batches of (images, labels), arrays [N, ...] and integers [N], or of a ``tf.data.Dataset`` of batches of them.

    Args:
        data: what there is.
        batch: images in a batch, of arrays.

    Raises:
        ValueError: something else, no images, labels that are not such, or a data set whose batches are.
    """
    if isinstance(data, tf.data.Dataset):
        spec = data.element_spec
        if not isinstance(spec, tuple) or len(spec) != 2 or (spec[0].shape.rank or 0) < 2 or not (
                spec[1].dtype.is_integer and (spec[1].shape.rank == 1 or spec[1].shape[1:] == [1])):
            raise ValueError(f'a data set must be of batches of (images, labels), labels integers [N], not of {spec}')
        return Batches(data, _specs(tuple(spec[0].shape)[1:]))
    if not isinstance(data, (tuple, list)) or len(data) != 2:
        raise ValueError(f'data must be (images, labels) or a tf.data.Dataset of such batches, not {shown(data)}')
    x = np.asarray(data[0], np.float32)
    if not len(x):
        raise ValueError('there are no images')
    x, y = tf.constant(x), tf.constant(class_labels(data[1], ANY, len(x)))
    parts = [(x[i:i + batch], y[i:i + batch]) for i in range(0, len(x), batch)]
    return Batches(parts, _specs(tuple(x.shape)[1:]))


def _specs(shape: tuple[int | None, ...]) -> tuple[tf.TensorSpec, tf.TensorSpec]:
    return tf.TensorSpec([None, *shape], tf.float32), tf.TensorSpec([None], tf.int64)
