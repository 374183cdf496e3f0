"""A sum of objectives, each with a weight."""

from __future__ import annotations

from collections.abc import Sequence

import keras
import tensorflow as tf

from .. import checks
from ..types import shown
from .base import Objective
from .passes import ForwardPass


class Weighted(Objective):
    """sum of weight * objective, all read from one forward pass; one of weight 0 is not computed.

    Args:
        terms: pairs (weight, objective); weights are finite and at least 0.

    Raises:
        ValueError: terms that are not such, or no weight above 0.
    """

    def __init__(self, terms: Sequence[tuple[float, Objective]]):
        for term in terms:
            if not isinstance(term, (list, tuple)) or len(term) != 2 or not isinstance(term[1], Objective):
                raise ValueError(f'each of the terms must be a pair of a weight and an objective, not '
                                 f'{shown(term)}')
        weights = [checks.number('the weight of an objective', weight, strict=False) for weight, _ in terms]
        self.terms = tuple((weight, objective) for weight, (_, objective) in zip(weights, terms) if weight)
        if not self.terms:
            raise ValueError('at least one objective must have a weight above 0')
        self.second_order = any(objective.second_order for _, objective in self.terms)

    def layers(self, net: keras.Model) -> tuple[str, ...]:
        """The activations that any of the objectives reads."""
        return tuple(dict.fromkeys(name for _, objective in self.terms for name in objective.layers(net)))

    def losses_of(self, run: ForwardPass) -> tf.Tensor:
        return tf.add_n([weight * objective.losses_of(run) for weight, objective in self.terms])
