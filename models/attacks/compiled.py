"""Functions of tensors, compiled once for each size of images and called with arrays."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import tensorflow as tf

from ..in_graphs import graph_function

IMAGES = tf.TensorSpec([None, None, None, None], tf.float32)
IMAGES64 = tf.TensorSpec([None, None, None, None], tf.float64)
LABELS = tf.TensorSpec([None], tf.int64)
PER_IMAGE = tf.TensorSpec([None], tf.float32)
PER_IMAGE64 = tf.TensorSpec([None], tf.float64)


def compiled(function: Callable, *specs: tf.TensorSpec) -> Callable[..., list[np.ndarray]]:
    """``function`` compiled, once for each size of images, for arguments of these kinds and any number of images: from
    arrays to arrays.

    (A bare tf.function traces, and warns, anew for many instances and shapes.)
    """
    traced: dict[tuple[int, ...], Callable] = {}

    def call(*args):
        size = args[0].shape[1:]
        if size not in traced:
            own = [tf.TensorSpec([None, *size], s.dtype) if s.shape.rank == 4 else s for s in specs]
            traced[size] = graph_function(function, input_signature=own).get_concrete_function()
        results = traced[size](*(tf.convert_to_tensor(a, s.dtype) for a, s in zip(args, specs)))
        return [t.numpy() for t in tf.nest.flatten(results)]
    return call
