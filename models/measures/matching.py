"""The neurons of one network in the order of another's: matching of weights, after Ainsworth et al. (*Git Re-Basin*,
arXiv 2209.04836, algorithm 1).

The channels of a hidden layer may be permuted without a change of the function. Two networks that differ in little else
may therefore be far apart as vectors of parameters.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import keras
import numpy as np

from ..chains import is_exactly, links_of
from ..model import Model

POINTWISE = (keras.layers.ReLU, keras.layers.Activation, keras.layers.LeakyReLU, keras.layers.Dropout,
             keras.layers.InputLayer)
"""Layers that treat all channels alike, and each by itself; so do poolings."""
POOLINGS = (keras.layers.MaxPooling2D, keras.layers.AveragePooling2D)
POINTWISE_FUNCTIONS = ('linear', 'relu', 'tanh', 'sigmoid', 'elu', 'gelu', 'swish', 'silu', 'softplus')
MOST = 100
"""Rounds over all layers, after which it ends in any case; a few are enough."""


@dataclass
class Block:
    """A layer with weights, and all that goes with its channels.

    Attributes:
        kernel: index, in ``net.weights``, of the array whose next to last axis is that of the channels before.
        places: indices of the arrays whose last axis is that of its own channels, the kernel among them.
        trained: those of ``places`` that are trained.
    """

    kernel: int
    places: list[int]
    trained: list[int]


def match(first: Model, second: Model) -> dict[str, np.ndarray]:
    """The weights of the second network with its hidden channels in the order in which its parameters are nearest to
    those of the first, as far as coordinate descent finds it; the function is the same. Moving statistics go along, and
    have no say.

    Layer by layer, in turn, the permutation is the best for those of the other layers, a linear assignment problem,
    until none gets any better (algorithm 1).

    Args:
        first, second: of the same layers and shapes, convolutions, dense layers and batch normalisation in a chain,
            such as ``simple_sequential`` makes.

    Returns:
        What ``second.set_weights`` takes.

    Raises:
        ValueError: networks for which there is no such matching.
    """
    blocks, theirs = blocks_of(first.net), blocks_of(second.net)
    mine, yours = ([np.asarray(v.value, np.float64) for v in model.net.weights] for model in (first, second))
    if blocks != theirs or [w.shape for w in mine] != [w.shape for w in yours]:
        raise ValueError('there is no matching of neurons between networks of different layers')
    orders = permutations(blocks, mine, yours)
    moved = permuted(blocks, [np.asarray(v.value) for v in second.net.weights], orders)
    by_id = {id(v.value): w for v, w in zip(second.net.weights, moved)}
    return {name: by_id[id(v)] for name, v in second.network.weights.items()}


def blocks_of(net: keras.Model) -> list[Block]:
    """The layers with weights of a chain, from the images to the logits.

    Raises:
        ValueError: it is none, or has layers whose channels cannot be told.
    """
    try:
        links = links_of(net)
    except ValueError as e:
        raise ValueError(f'there is no matching of neurons: {e}') from None
    numbers = {id(v): i for i, v in enumerate(net.weights)}
    blocks: list[Block] = []
    for layer, shape in links:
        own = [numbers[id(v)] for v in layer.weights]
        trained = [numbers[id(v)] for v in layer.trainable_weights]
        if is_exactly(layer, keras.layers.Dense) or is_exactly(layer, keras.layers.Conv2D):
            if getattr(layer, 'groups', 1) != 1:
                raise ValueError(f'there is no matching of neurons of {layer.name}, whose channels are in groups')
            blocks.append(Block(numbers[id(layer.kernel)], own, trained))
        elif is_exactly(layer, keras.layers.BatchNormalization) and layer.axis in (-1, len(shape)):
            if blocks:  # of the images themselves it stays as it is
                blocks[-1].places += own
                blocks[-1].trained += trained
        elif not (is_exactly(layer, keras.layers.Flatten) or any(is_exactly(layer, kind)
                                                                 for kind in (*POINTWISE, *POOLINGS))):
            raise ValueError(f'there is no matching of neurons of a {type(layer).__name__}, {layer.name}')
        activation = getattr(layer, 'activation', None)
        if activation is not None and getattr(activation, '__name__', '') not in POINTWISE_FUNCTIONS:
            raise ValueError(f'there is no matching of neurons of {layer.name}, whose activation may mix channels')
    return blocks


def permutations(blocks: Sequence[Block], first: Sequence[np.ndarray], second: Sequence[np.ndarray]
                 ) -> list[np.ndarray]:
    """For each block, which channels of the second network take the places 0, 1, ...: int64 [channels]. The last
    block's, the classes, stay where they are.

    Coordinate descent starts twice, from the channels as they are and from an order that goes by what comes in, and the
    better end counts: never a worse one than no permutation.
    """
    as_is = [np.arange(second[b.kernel].shape[-1]) for b in blocks]
    by_inputs = list(as_is)
    for i in range(len(blocks) - 1):
        by_inputs[i] = _assigned(_likeness(blocks, i, first, second, by_inputs, outputs=False))
    ends = [_descended(blocks, first, second, start) for start in (as_is, by_inputs)]

    def apart(orders: Sequence[np.ndarray]) -> float:
        moved = permuted(blocks, second, orders)
        return sum(float(np.square(first[k] - moved[k]).sum()) for block in blocks for k in block.trained)
    return min(ends, key=apart)


def _descended(blocks: Sequence[Block], first: Sequence[np.ndarray], second: Sequence[np.ndarray],
               start: Sequence[np.ndarray]) -> list[np.ndarray]:
    orders = list(start)
    for _ in range(MOST):
        gained = False
        for i in range(len(blocks) - 1):
            likeness = _likeness(blocks, i, first, second, orders)
            order, rows = _assigned(likeness), np.arange(len(likeness))
            now, then = likeness[rows, orders[i]].sum(), likeness[rows, order].sum()
            if then > now + 1e-12 * abs(now):
                orders[i], gained = order, True
        if not gained:
            break
    return orders


def _assigned(likeness: np.ndarray) -> np.ndarray:
    from scipy.optimize import linear_sum_assignment  # takes a while, and few need it
    return linear_sum_assignment(likeness, maximize=True)[1]


def _likeness(blocks: Sequence[Block], i: int, first: Sequence[np.ndarray], second: Sequence[np.ndarray],
              orders: Sequence[np.ndarray], outputs: bool = True) -> np.ndarray:
    """The scalar product of all that comes in to, and with ``outputs`` goes out of, a channel of block ``i`` of the
    first network with that of one of the second, float64 [channels, channels]."""
    n = len(orders[i])
    total = np.zeros((n, n))
    for k in blocks[i].trained:
        theirs = second[k]
        if k == blocks[i].kernel and i:
            theirs = _rows(theirs, orders[i - 1])
        total += first[k].reshape(-1, n).T @ theirs.reshape(-1, n)
    if outputs:
        k = blocks[i + 1].kernel
        mine, theirs = (w.reshape(-1, n, w.shape[-1]).swapaxes(0, 1) for w in (first[k], second[k]))
        total += mine.reshape(n, -1) @ theirs[..., orders[i + 1]].reshape(n, -1).T
    return total


def _rows(kernel: np.ndarray, order: np.ndarray) -> np.ndarray:
    """A kernel whose channels that come in are permuted; after a flattened image, those of all its places."""
    return kernel.reshape(-1, len(order), kernel.shape[-1])[:, order].reshape(kernel.shape)


def permuted(blocks: Sequence[Block], weights: Sequence[np.ndarray], orders: Sequence[np.ndarray]) -> list[np.ndarray]:
    """The weights with their channels in other orders, which is the same function.

    Args:
        blocks: of ``blocks_of``.
        weights: in the order of ``net.weights``.
        orders: see ``permutations``; that of the last block must leave its channels where they are.
    """
    found = list(weights)
    for i, block in enumerate(blocks):
        for k in block.places:
            w = _rows(weights[k], orders[i - 1]) if k == block.kernel and i else weights[k]
            found[k] = w[..., orders[i]]
    return found
