"""Directions in the space of a network's parameters, along which its loss is looked at (NumPy).

A direction is a list of arrays in the shapes of ``net.trainable_variables``, in their order. One to another network
(``towards``) goes on with the other weights that Keras keeps, such as the moving statistics of batch normalisation, so
that a whole step along it is that network.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, TypeAlias

import keras
import numpy as np
import tensorflow as tf

Direction: TypeAlias = list[np.ndarray]


def variables_of(net: keras.Model) -> list[tf.Variable]:
    """All weights: those that are trained, in their order, then the others that are floating numbers."""
    others = [v.value for v in net.weights if not any(v is t for t in net.trainable_variables)]
    return [v.value for v in net.trainable_variables] + [v for v in others if v.dtype.is_floating]


def weights_of(net: keras.Model, trained: bool = True) -> Direction:
    """Copies of the weights as they are now: those that are trained, or all of ``variables_of``."""
    found = variables_of(net)
    return [v.numpy() for v in (found[:len(net.trainable_variables)] if trained else found)]


def require_direction(direction: Sequence[Any], net: keras.Model, what: str = 'the direction') -> Direction:
    """The direction as arrays in the dtypes of the network's variables.

    Raises:
        ValueError: it is not one of this network, or has numbers that are not finite.
    """
    variables = variables_of(net)
    shapes = [tuple(v.shape) for v in variables]
    theirs = [np.shape(d) for d in direction]
    trained = len(net.trainable_variables)
    if theirs != shapes[:trained] and theirs != shapes:
        i = next((i for i, (a, b) in enumerate(zip(theirs, shapes)) if a != b), min(len(theirs), len(shapes)))
        its, ours = (f'{s[i]}' if i < len(s) else 'nothing' for s in (theirs, shapes))
        raise ValueError(f'{what} is not one of this network: it has {len(theirs)} arrays and the network has '
                         f'{trained} parameters; number {i + 1} is {its}, not {ours}')
    found = [np.asarray(d, v.dtype.as_numpy_dtype) for d, v in zip(direction, variables)]
    if not all(np.isfinite(d).all() for d in found):
        raise ValueError(f'{what} has numbers that are not finite')
    return found


def random_direction(weights: Sequence[np.ndarray], rng: np.random.Generator, scale: float = 1.0) -> Direction:
    """Standard normal numbers times a scale, in the shapes and dtypes of the weights."""
    return [(scale * rng.normal(size=w.shape)).astype(w.dtype) for w in weights]


def filter_normalised(direction: Sequence[np.ndarray], weights: Sequence[np.ndarray], scale: float = 1.0
                      ) -> Direction:
    """A direction with the norm of each filter made that of the same filter of the weights, times a scale (Li et al.,
    arXiv 1712.09913, in the form that was released with Liu et al., arXiv 2006.08403).

    A filter is what makes one output: the last axis of a kernel of Keras counts them. Each number of an array with one
    axis, such as a bias or a gamma, is a filter, so that what is left of it is a sign. Where a filter of either is 0,
    the result is. Nothing is normalised as a whole.
    """
    found = []
    for d, w in zip(direction, weights, strict=True):
        length, wanted = (_filter_norms(np.asarray(a, np.float64)) for a in (d, w))
        ratio = np.divide(wanted, length, out=np.zeros_like(length), where=length > 0)
        found.append((scale * ratio * d).astype(w.dtype))
    return found


def _filter_norms(a: np.ndarray) -> np.ndarray:
    """That of each filter, in a shape that broadcasts to the array's; scaled, so that no square underflows."""
    if a.ndim < 2:
        return np.abs(a)
    axes = tuple(range(a.ndim - 1))
    top = np.abs(a).max(axis=axes, keepdims=True, initial=0)
    units = np.divide(a, top, out=np.zeros_like(a), where=top > 0)
    return top * np.sqrt(np.square(units).sum(axis=axes, keepdims=True))


def towards(net: keras.Model, other: keras.Model) -> Direction:
    """From a network to another of the same architecture: all weights, so that a step of 1 ends at the other.

    Raises:
        ValueError: they have weights of other shapes.
    """
    start, end = (weights_of(n, trained=False) for n in (net, other))
    if [a.shape for a in start] != [a.shape for a in end]:
        raise ValueError('the networks differ in the shapes of their weights, so there is no direction from one to the '
                         'other')
    return [b.astype(np.float64) - a for a, b in zip(start, end)]


def moved(weights: Sequence[np.ndarray], directions: Sequence[Direction], steps: Sequence[float]) -> Direction:
    """Weights moved by so much of each direction, in their own dtypes; by 0 they are the same, bit for bit.

    Args:
        weights: at least as many arrays as the longest direction has.
        directions: one or two.
        steps: a number for each.
    """
    found = [w.copy() for w in weights]
    for direction, step in zip(directions, steps, strict=True):
        for i, d in enumerate(direction if step else ()):
            found[i] = found[i] + np.asarray(step, found[i].dtype) * d
    return found


class Components(NamedTuple):
    """Principal components of several weights.

    Attributes:
        directions: the first k, each of norm 1 together.
        variance: the share of the variance that each explains, float64 [k].
        coordinates: of each of the weights, from the last of them, along each, float64 [T, k].
    """

    directions: list[Direction]
    variance: np.ndarray
    coordinates: np.ndarray


def principal(weights: Sequence[Sequence[np.ndarray]], k: int = 2) -> Components:
    """The directions in which several weights of one network, such as those of its epochs, differ most.

    Those of the weights less their mean: with X = U S V^T the centred weights as rows, V are the directions, and
    S^2 / sum(S^2) the shares of variance. U and S come of X X^T, which is small, an array of the network at a time. A
    sign is such that the furthest of the weights has a positive coordinate.

    Args:
        weights: T of them.
        k: how many components, at most T - 1.

    Raises:
        ValueError: not so many weights, or weights that do not differ.
    """
    T = len(weights)
    if not 1 <= k <= T - 1:
        raise ValueError(f'{T} weight vectors have {max(T - 1, 0)} principal components, not {k}')
    gram = np.zeros((T, T))
    for rows in zip(*weights, strict=True):
        x = _centred(rows)
        gram += x @ x.T
    squares, u = np.linalg.eigh(gram)
    squares, u = squares[::-1][:k], u[:, ::-1][:, :k]
    total = float(np.trace(gram))
    if not total > 0 or squares[-1] <= 1e-14 * total:
        rank = int((squares > 1e-14 * total).sum()) if total > 0 else 0
        raise ValueError(f'the {T} weight vectors differ in {rank} directions only, so there are not {k} components')
    at = u * np.sqrt(squares)
    at = at - at[-1]
    signs = np.sign(at[np.abs(at).argmax(axis=0), np.arange(k)])
    found = [[(s * (u[:, i] / np.sqrt(squares[i])) @ _centred(rows)).reshape(np.shape(rows[0]))
              for rows in zip(*weights)] for i, s in enumerate(signs)]
    return Components(found, squares / total, at * signs)


def _centred(rows: Sequence[np.ndarray]) -> np.ndarray:
    x = np.stack([np.asarray(row, np.float64).ravel() for row in rows])
    return x - x.mean(axis=0)
