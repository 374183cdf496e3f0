"""Networks that give logits, and labels that are classes: what every measurement of a margin asks for.

Probabilities pass for logits all too easily: their differences vanish where the network is sure, and whatever follows
a gradient then reports a robustness that is not there. So one looks at the structure, through nested models, and at
values.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

PROBES = 8
"""Images of noise on which a network's outputs are looked at."""
SEVERAL = 4
"""So many rows do not have the same sum by accident."""
_SQUASHING = ('softmax', 'sigmoid', 'hard_sigmoid', 'sparsemax', 'sparse_sigmoid')
"""Functions whose values are probabilities; not log_softmax, whose differences are those of the logits."""
_TRANSPARENT = ('Activation', 'Dropout', 'Reshape', 'Flatten', 'Identity', 'Permute', 'Rescaling',
                'ActivityRegularization', 'Cast', 'Squeeze', 'ExpandDims', 'Transpose', 'GaussianDropout',
                'GaussianNoise', 'AlphaDropout')
"""Layers and operations after which probabilities are still probabilities, up to a factor."""


def require_logits(net: Any, what: str) -> None:
    """Sees that a network is built, has one input, and gives logits [N, C] of two classes at least.

    Args:
        net: a Keras model, of any kind.
        what: what needs the logits, such as 'an attack'; the subject of the sentence.

    Raises:
        ValueError: it does not.
    """
    # A subclassed model tells neither.
    inputs, outputs = getattr(net, 'inputs', None) or [], getattr(net, 'outputs', None) or []
    if len(inputs) > 1 or len(outputs) > 1:
        raise ValueError(f'{what} needs a model of one input and one output, not of {len(inputs)} and {len(outputs)}')
    require_logit_structure(net, what)
    if inputs and None not in inputs[0].shape[1:]:
        require_logits_of_noise(net, inputs[0].shape[1:], what)


def require_logits_of_noise(net: keras.Model, shape: Sequence[int], what: str) -> None:
    """Sees that what a network gives, to images of noise of this shape, is logits; see ``require_logits``.

    Raises:
        ValueError: it is not, or the network does not run on this machine.
    """
    noise = np.random.default_rng(0).uniform(size=(PROBES, *shape)).astype(np.float32)
    try:
        values = net(noise, training=False)
    except tf.errors.OpError as e:  # a convolution with channels first, on a CPU
        raise ValueError(f'the model does not run here: {_reason(e)}') from None
    require_logit_values(values, what)


def require_logit_structure(net: Any, what: str) -> None:
    """Sees that a network, of any number of inputs, is built, and that its structure does not contradict that it gives
    logits; for the rest one must look at values. Its arguments, and what it raises, are those of ``require_logits``."""
    if not isinstance(net, keras.Model):
        raise ValueError(f'{what} needs a Keras model that gives logits, not a {type(net).__name__}')
    if not net.built:
        raise ValueError('the model has not been built, so it has no weights yet; call it on a batch of images once, '
                         'or give it an Input')
    outputs = getattr(net, 'outputs', None) or []
    if len(outputs) > 1:
        raise ValueError(f'{what} needs a model of one output, not of {len(outputs)}')
    if outputs:
        require_logit_shape(tuple(outputs[0].shape), what)
        if _ends_in_probabilities(outputs[0]):
            raise ValueError(_PROBABILITIES.format(what))


def _reason(e: tf.errors.OpError) -> str:
    """The sentence in what TensorFlow says, which Keras wraps in an account of the call."""
    lines = [line for line in re.sub(r'\x1b\[\d+m', '', e.message).splitlines() if line.strip()]
    line = lines[1] if len(lines) > 1 and lines[0].startswith('Exception encountered') else lines[0]
    return re.sub(r'\{\{.*?\}\}|\[Op:.*?\]', '', line).strip()


def require_logit_values(logits: Any, what: str) -> None:
    """Sees that values [N, C] that a network gave, to several images, are no probabilities.

    Args:
        logits: array or tensor.
        what: see ``require_logits``.

    Raises:
        ValueError: they have another shape, or are probabilities.
    """
    if not hasattr(logits, 'shape'):
        raise ValueError(f'{what} needs a model that gives logits of shape [N, C], not a {type(logits).__name__}')
    require_logit_shape(tuple(logits.shape), what)
    if are_probabilities(logits):
        raise ValueError(_PROBABILITIES.format(what))


_PROBABILITIES = 'the model gives probabilities; {} needs one that gives logits, without softmax'


def are_probabilities(values: Any) -> bool:
    """Whether all rows [N, C], of an array or a tensor, are non-negative and sum to 1, or several different ones to
    the same number, as far as rounding lets them: a softmax, or a multiple of one."""
    values = tf.convert_to_tensor(values)
    rows = tf.cast(values, tf.float64).numpy()
    if not len(rows) or not (rows >= 0).all():
        return False
    # Of several rows, it need not be exact to be no accident: what is float32 may have been a softmax in float16.
    rounding = 2e-2 if len(rows) >= SEVERAL or values.dtype in (tf.float16, tf.bfloat16) else 1e-3
    sums = rows.sum(axis=1)
    if (np.abs(sums - 1) < rounding).all():
        return True
    alike = (np.abs(sums / np.maximum(sums.mean(), 1e-300) - 1) < 1e-3).all()
    return bool(len(rows) >= SEVERAL and alike and (np.ptp(rows, axis=0) > 1e-2 * sums.mean()).any())


def require_logit_shape(shape: tuple[int | None, ...], what: str) -> None:
    """Sees that a shape is that of logits [N, C] of two classes at least; it raises as ``require_logits`` does."""
    if len(shape) != 2 or shape[1] is None:
        raise ValueError(f'{what} needs a model that gives logits of shape [N, C], a column for each class, not '
                         f'{list(shape)}')
    if shape[1] < 2:
        raise ValueError(f'the model gives one logit; {what} needs two at least, one for each class: a binary '
                         'classifier has the logits 0 and z instead of z alone')


def _ends_in_probabilities(output: Any) -> bool:
    """Whether a symbolic tensor is, but for layers that change no order, the output of a softmax or the like."""
    found, _ = _look_back(output)
    return found


def _look_back(tensor: Any) -> tuple[bool, bool]:
    """Whether a tensor of a functional graph ends in probabilities, and whether it is the graph's input itself, but for
    what is transparent."""
    while True:
        history = getattr(tensor, '_keras_history', None)
        if history is None:
            return False, False
        operation = history.operation
        if isinstance(operation, keras.layers.InputLayer):
            return False, True
        if _squashes(operation):
            return True, False
        inputs = operation._inbound_nodes[history.node_index].input_tensors
        if isinstance(operation, keras.Model) and getattr(operation, 'outputs', None):
            inside, passes = _look_back(operation.outputs[0])
            if inside or not passes:
                return inside, False
        elif not _is_transparent(operation):
            return False, False
        if len(inputs) != 1:
            return False, False
        tensor = inputs[0]


def _squashes(operation: Any) -> bool:
    names = [type(operation).__name__, getattr(getattr(operation, 'activation', None), '__name__', '')]
    return any(_plain(name) in map(_plain, _SQUASHING) for name in names)


def _plain(name: str) -> str:
    """A name without what tells a layer, an operation and a function apart: 'softmax_v2', 'Softmax', 'HardSigmoid'."""
    return name.lower().replace('_', '').removesuffix('v2')


def _is_transparent(operation: Any) -> bool:
    if type(operation).__name__ not in _TRANSPARENT:
        return False
    activation = getattr(operation, 'activation', None)
    return activation is None or activation is keras.activations.linear


def class_labels(y: Any, classes: int, n: int | None = None) -> np.ndarray:
    """Labels as int64 [N].

    Args:
        y: integers [N] or [N, 1].
        classes: how many there are.
        n: how many labels there must be; None for any number.

    Raises:
        ValueError: they are not such, or not in 0..classes - 1.
    """
    y = np.asarray(y)
    labels = y[:, 0] if y.ndim == 2 and y.shape[1] == 1 else y
    if labels.ndim != 1 or not np.issubdtype(labels.dtype, np.integer) or (n is not None and len(labels) != n):
        many = 'integers of shape [N]' if n is None else f'{n} integers'
        hint = '; for one-hot labels give y.argmax(axis=1)' if y.ndim == 2 else ''
        raise ValueError(f'labels must be {many}, not {y.dtype} of shape {y.shape}{hint}')
    if labels.size and not (0 <= labels.min() and labels.max() < classes):
        raise ValueError(f'labels must be in 0..{classes - 1}; these go from {labels.min()} to {labels.max()}'
                         f'{", and labels count from 0" if labels.max() == classes and labels.min() > 0 else ""}')
    return labels.astype(np.int64)
