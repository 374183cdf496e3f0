"""An ensemble: several networks as one, which predicts by the mean of their probabilities."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from ..logits import require_logits
from .network import CountedLayer, Network

MOST = float(np.finfo(np.float32).max)
"""Differences of logits beyond this are cut to it, so that they are finite in float32."""


def ensemble(members: Sequence[Any], name: str = 'ensemble') -> keras.Model:
    """The network whose logits are the logarithm of the mean of the members' softmax:
    ``z_c = ln (1 / M) sum_m exp(z_mc) / sum_k exp(z_mk)``.

    Nothing is exponentiated but differences from the largest, in float64: a class whose probability is exp(-1e30) has
    the logit -1e30, and a gradient that leads to it. The members' variables are its own; a change of theirs is one of
    its. (Where members are sure, of different classes, the mean itself is flat: its gradient then is tiny, as it should
    be, and 0 in float32 once they lead by 100 logits.)

    Args:
        members: two at least, built Keras models or ``Model``, that map images of one shape to the logits of as many
            classes.
        name: of the network.

    Returns:
        From images, float32 [N, H, W, C], to logits, float32 [N, classes], the logarithms of probabilities. What it
        saves, Keras alone loads.

    Raises:
        ValueError: members that are not such, the same one twice, or images or classes that differ.
    """
    nets = [member if isinstance(member, keras.Model) else getattr(member, 'net', member) for member in members]
    if len(nets) < 2:
        raise ValueError(f'an ensemble needs two networks at least, not {len(nets)}')
    for i, net in enumerate(nets, start=1):
        require_logits(net, 'an ensemble')
        if not getattr(net, 'inputs', None):
            raise ValueError(f'network {i} does not tell the shape of its images, which an ensemble needs: make it by '
                             'keras.Model(inputs, outputs), or keras.Sequential with a keras.Input')
        if any(net is other for other in nets[:i - 1]):
            raise ValueError(f'network {i} is in the ensemble already')
        for what, own, first in (('takes images of', net.input_shape[1:], nets[0].input_shape[1:]),
                                 ('has outputs', net.output_shape[-1:], nets[0].output_shape[-1:])):
            if own != first:
                raise ValueError(f'the networks of an ensemble must be alike in images and classes, but network {i} '
                                 f'{what} {_sizes(own)}, and the first {_sizes(first)}')
    images = keras.Input(nets[0].input_shape[1:], name='image')
    # Wrapped, so that each has a name of its own; the layers are the members'.
    wrapped = [keras.Model(net.inputs[0], net.outputs[0], name=f'member{i}') for i, net in enumerate(nets, start=1)]
    return keras.Model(images, log_mean_softmax([net(images) for net in wrapped]), name=name)


def ensemble_network(members: Sequence[Network]) -> Network:
    """The ensemble of several networks as one. It is homogeneous in no parameters, so none enter a product of norms:
    the order is 0, and its normalised margin is its margin. Names have the member's number in front: '2.conv1_f'.

    Raises:
        ValueError: see ``ensemble``.
    """
    numbered = list(enumerate(members, start=1))
    return Network(
        ensemble([member.net for member in members]),
        [CountedLayer(f'{i}.{layer.name}', layer.variables, 0) for i, member in numbered for layer in member.layers],
        False,
        {f'{i}.{name}': variables for i, member in numbered for name, variables in member.layer_vars.items()},
        {f'{i}.{name}': v for i, member in numbered for name, v in member.weights.items()}, 0)


def log_mean_softmax(logits: Sequence[Any]) -> Any:
    """``ln (1 / M) sum_m softmax(logits_m)``, float32 [N, C].

    Args:
        logits: of M networks, floating [N, C] each; tensors, or Keras's symbolic ones.
    """
    ops = keras.ops
    logs = ops.stack([_log_softmax(ops.cast(z, 'float64')) for z in logits])
    mean = ops.logsumexp(logs, axis=0) - np.log(len(logits))
    return ops.cast(ops.maximum(mean, -MOST), 'float32')


def _log_softmax(z: Any) -> Any:
    """The logarithms of probabilities; of one near 1, which is tiny, and its gradient, to full relative precision."""
    ops = keras.ops
    top = ops.max(z, axis=1, keepdims=True)
    is_top = ops.one_hot(ops.argmax(z, axis=1), z.shape[-1], dtype='bool')
    below = z - top
    others = ops.logsumexp(ops.where(is_top, -np.inf, below), axis=1, keepdims=True)  # that of the top leads by so much
    return ops.where(is_top, 0.0, below) - ops.softplus(others)


def _sizes(shape: Sequence[int | None]) -> str:
    return ' x '.join(str(n or 'any') for n in shape)
