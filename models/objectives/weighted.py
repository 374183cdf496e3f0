"""A sum of objectives, each with a weight."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from ..batch import Batch
from ..schedules import Control
from ..types import shown
from .base import Objective, as_batch
from .passes import ForwardPass

_WEIGHT = 'weight'


class Weighted(Objective):
    """sum of weight * objective; all objectives that only read a forward pass share one.

    Args:
        terms: pairs (weight, objective). A weight is a finite number of at least 0, or one that follows a schedule, see
            ``schedules.Control``; an objective of weight 0 is not computed.

    Raises:
        ValueError: terms that are not such, or no weight above 0.
    """

    def __init__(self, terms: Sequence[tuple[Any, Objective]]):
        for term in terms:
            if not isinstance(term, (list, tuple)) or len(term) != 2 or not isinstance(term[1], Objective):
                raise ValueError(f'each of the terms must be a pair of a weight and an objective, not '
                                 f'{shown(term)}')
        weights = [Control('the weight of an objective', weight) for weight, _ in terms]
        self.terms = tuple((weight.value, objective) for weight, (_, objective) in zip(weights, terms) if weight.value)
        self._weights = [weight for weight in weights if weight.value]
        if not self.terms:
            raise ValueError('at least one objective must have a weight above 0')
        self._own = [type(objective).losses is not Objective.losses for _, objective in self.terms]
        for name in ('second_order', 'per_image', 'per_place', 'in_the_box'):
            setattr(self, name, any(getattr(objective, name) for _, objective in self.terms))
        self.replays = max(objective.replays for _, objective in self.terms)

    def layers(self, net: keras.Model) -> tuple[str, ...]:
        """The activations that any of the objectives reads."""
        return tuple(dict.fromkeys(name for _, objective in self.terms for name in objective.layers(net)))

    def build(self, net: keras.Model, images: int, batch: int = 0) -> None:
        for _, objective in self.terms:
            objective.build(net, images, **({'batch': batch} if objective.per_place else {}))

    def variables(self) -> Mapping[str, tf.Variable]:
        return {f'{i}.{name}': v for i, (_, objective) in enumerate(self.terms)
                for name, v in objective.variables().items()}

    def metrics(self) -> Mapping[str, tf.Tensor]:
        return {name: value for _, objective in self.terms for name, value in objective.metrics().items()}

    def record(self) -> Mapping[str, Any]:
        """Of all objectives; of several of a name, the first."""
        return {name: said for _, objective in reversed(self.terms) for name, said in objective.record().items()}

    def schedules(self) -> Mapping[str, Control]:
        """Of the weights, and of the objectives by their own names; of several of a name, the first."""
        own = {name: c for _, objective in reversed(self.terms) for name, c in objective.schedules().items()}
        return {**own, **{f'{i}.{_WEIGHT}': c for i, c in enumerate(self._weights)}}

    def controls(self, steps: np.ndarray, per_epoch: int) -> Mapping[str, np.ndarray]:
        found = {}
        for i, (weight, (_, objective)) in enumerate(zip(self._weights, self.terms)):
            if weight.schedule is not None:
                found[f'{i}.{_WEIGHT}'] = weight(steps, per_epoch)
            found.update({f'{i}..{name}': values for name, values in objective.controls(steps, per_epoch).items()})
        return found

    def losses(self, batch: Batch | keras.Model, x: Any = None, y: Any = None, training: bool = True) -> tf.Tensor:
        batch = as_batch(batch, x, y, training)
        shared = None if all(self._own) else self.pass_over(batch)
        return tf.add_n([self._weight(i, batch) * (
            objective.losses(self._part(i, batch)) if own else objective.losses_of(self._part_of_pass(i, shared)))
            for i, ((_, objective), own) in enumerate(zip(self.terms, self._own))])

    def losses_of(self, run: ForwardPass) -> tf.Tensor:
        """From a forward pass alone, of objectives that need no more."""
        return tf.add_n([weight * objective.losses_of(run) for weight, objective in self.terms])

    def _weight(self, i: int, batch: Batch) -> Any:
        """As scheduled in a training step, and as given elsewhere."""
        return batch.controls.get(f'{i}.{_WEIGHT}', self.terms[i][0])

    def _part(self, i: int, batch: Batch) -> Batch:
        """The batch with one objective's own controls."""
        start = f'{i}..'
        return replace(batch, controls={name[len(start):]: value for name, value in batch.controls.items()
                                        if name.startswith(start)})

    def _part_of_pass(self, i: int, run: ForwardPass | None) -> ForwardPass:
        assert run is not None and run.batch is not None
        return run._replace(batch=self._part(i, run.batch))
