"""How alike two networks are: by their adversarial perturbations, and by their parameters."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from ..model import Model


class Likeness(NamedTuple):
    """Of perturbations [N, ...]: the cosines of their angles, and of those of their signs, float64 [N]; nan where
    either is 0, and has no direction."""

    cosine: np.ndarray
    sign_cosine: np.ndarray


def likeness(first: np.ndarray, second: np.ndarray) -> Likeness:
    """Cosine similarities of the perturbations of the same images, as Liu et al. compare models (arXiv 2006.08403,
    section 4): ``<d, e> / (|d| |e|)``, and the same of sign(d) and sign(e).

    Args:
        first, second: perturbations, adversarial images less clean ones, floats [N, ...] of one shape.

    Raises:
        ValueError: they have different shapes, or values that are not finite.
    """
    d, e = (np.asarray(a, np.float64).reshape(len(a), -1) for a in (first, second))
    if np.shape(first) != np.shape(second):
        raise ValueError(f'perturbations of the same images have one shape, not {np.shape(first)} and '
                         f'{np.shape(second)}')
    if not (np.isfinite(d).all() and np.isfinite(e).all()):
        raise ValueError('perturbations must be finite numbers')
    return Likeness(_cosines(d, e), _cosines(np.sign(d), np.sign(e)))


def _cosines(d: np.ndarray, e: np.ndarray) -> np.ndarray:
    # In units of the largest value, so that no square underflows.
    d, e = (a / np.maximum(np.abs(a).max(axis=1, keepdims=True, initial=0), np.finfo(np.float64).tiny) for a in (d, e))
    sizes = [np.linalg.norm(a, axis=1) for a in (d, e)]
    moved = (sizes[0] > 0) & (sizes[1] > 0)
    units = [np.divide(a, size[:, np.newaxis], out=np.zeros_like(a), where=moved[:, np.newaxis])
             for a, size in zip((d, e), sizes)]
    return np.where(moved, np.clip((units[0] * units[1]).sum(axis=1), -1, 1), np.nan)


class ParameterDistance(NamedTuple):
    """Euclidean distances of the parameters of two networks.

    Attributes:
        total: of all that is trained; moving statistics of batch normalisation are not.
        layers: the same of each layer, by its name.
        with_statistics: of all, moving statistics included.
    """

    total: float
    layers: dict[str, float]
    with_statistics: float


def parameter_distance(first: Model, second: Model, weights: Mapping[str, np.ndarray] | None = None
                       ) -> ParameterDistance:
    """The Euclidean distance of two networks, in float64.

    Args:
        first, second: of the same layers.
        weights: what to take in place of the second's, by their names, as ``matching.match`` gives them.

    Raises:
        ValueError: the networks have other layers, or layers of other shapes.
    """
    theirs = [{name: [tuple(v.shape) for v in vs] for name, vs in model.layer_vars.items()}
              for model in (first, second)]
    if theirs[0] != theirs[1] or [tuple(v.shape) for v in first.vars] != [tuple(v.shape) for v in second.vars]:
        differ = next((n for n in {**theirs[0], **theirs[1]} if theirs[0].get(n) != theirs[1].get(n)), 'the last')
        raise ValueError(f'the networks differ in their layers ({differ})')
    given = {id(v): weights[name] for name, v in second.network.weights.items()} if weights is not None else {}

    def square(v: Any, w: Any) -> float:
        return float(np.square(v.numpy().astype(np.float64) - given.get(id(w), w)).sum())
    layers = {name: sum(map(square, vs, second.layer_vars[name])) for name, vs in first.layer_vars.items()}
    total = sum(map(square, first.vars, second.vars))  # also what is trained but in no layer
    statistics = sum(square(v.value, w.value) for v, w in zip(first.net.non_trainable_weights,
                                                              second.net.non_trainable_weights))
    return ParameterDistance(math.sqrt(total), {name: math.sqrt(value) for name, value in layers.items()},
                             math.sqrt(total + statistics))
