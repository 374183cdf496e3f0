"""Objectives: what a training step minimises. A class a file, and their names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras

from ..registry import make
from ..types import shown
from .adversarial import Adversarial
from .base import Objective
from .certified import Certified
from .cross_entropy import CrossEntropy
from .curve import Curve
from .fgsm_rs import FGSMRS
from .free import Free
from .large_margin import Distances, LargeMargin, boundary_distances, large_margin_losses
from .mma import MMA
from .moments import twice_differentiable_moments
from .n_fgsm import NFGSM
from .passes import ForwardPass, forward_pass, layers_of
from .released_large_margin import ReleasedLargeMargin, released_distances, released_large_margin_losses
from .weighted import Weighted

OBJECTIVES: dict[str, type[Objective]] = {
    'cross-entropy': CrossEntropy,
    'large-margin': LargeMargin,
    'large-margin-released': ReleasedLargeMargin,
    'adversarial': Adversarial,
    'fgsm-rs': FGSMRS,
    'n-fgsm': NFGSM,
    'free': Free,
    'mma': MMA,
    'certified': Certified,
    'curve': Curve,
}
"""Names of objectives, for config files."""
for _kind in (*OBJECTIVES.values(), Weighted):
    keras.saving.register_keras_serializable(package='max_margin')(_kind)


def objective_of(description: Any) -> Objective:
    """The objective that a config file describes.

    Args:
        description: a name of ``OBJECTIVES``; a dictionary with the name as 'type' and the class's arguments, such as
            ``{'type': 'large-margin', 'gamma': 0.5}``; or a list of such dictionaries, each with a 'weight' (1 if it
            has none), for ``Weighted``. The 'of' of a 'curve' is such a description, or else the cross entropy.

    Raises:
        ValueError: it describes none; an unknown name or argument.
    """
    if isinstance(description, (list, tuple)):
        terms = []
        for entry in description:
            entry = {'type': entry} if isinstance(entry, str) else entry
            if not isinstance(entry, Mapping):
                raise ValueError(f'each objective must be a name or a dictionary, not '
                                 f'{shown(entry)}')
            rest = {k: v for k, v in entry.items() if k != 'weight'}
            terms.append((entry.get('weight', 1.0), objective_of(rest)))
        return Weighted(terms)
    if isinstance(description, str):
        description = {'type': description}
    if not isinstance(description, Mapping) or 'type' not in description:
        raise ValueError(f"an objective is a name, a dictionary with a 'type', or a list of these, not "
                         f"{shown(description)}; names are {', '.join(OBJECTIVES)}")
    if description['type'] == 'curve':
        description = {**description, 'of': objective_of(description.get('of', 'cross-entropy'))}
    return make(OBJECTIVES, description, 'objective')


def adversarial_part(objective: Any) -> Adversarial | None:
    """What of an objective trains against perturbations within a budget: itself, the first such term of a sum, what a
    curve trains at its points, or None."""
    if isinstance(objective, Curve):
        return adversarial_part(objective.of)
    terms = [term for _, term in objective.terms] if isinstance(objective, Weighted) else [objective]
    return next((term for term in terms if isinstance(term, Adversarial)), None)


__all__ = [
    'Adversarial', 'Certified', 'CrossEntropy', 'Curve', 'Distances', 'FGSMRS', 'ForwardPass', 'Free', 'LargeMargin',
    'MMA', 'NFGSM', 'OBJECTIVES', 'Objective', 'ReleasedLargeMargin', 'Weighted', 'adversarial_part',
    'boundary_distances', 'forward_pass', 'large_margin_losses', 'layers_of', 'objective_of', 'released_distances',
    'released_large_margin_losses', 'twice_differentiable_moments',
]
