"""How near networks are to a KKT point of the max-margin problem; see ``models.measures.kkt``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from models import Model, TrainMode
from models.measures.homogeneity import TOLERANCE
from models.measures.kkt import KKTMeter, KKTPoint, drift, samples_of_mass

from .. import progress
from ..session import Session
from .arguments import refuse_attack_flags
from .base import Evaluation, refuse_results

MASSES = (0.5, 0.9, 0.99)
"""Shares of the multipliers whose support vectors are counted."""


class WatchKKT(Evaluation):
    """Measures the KKT conditions on the whole training set, at each epoch in their order.

    ``res`` holds eid -> the fields of ``KKTPoint``, but for the direction.

    Args:
        sharpness: see ``KKTMeter``.
    """

    def __init__(self, session: Session, sharpness: float | None = None):
        super().__init__(session)
        self.sharpness = sharpness

    def check(self) -> None:
        refuse_attack_flags(self.flags)
        refuse_results(self.flags['eval_log'])

    def make(self, model: Model) -> KKTMeter:
        return KKTMeter(model, self.sharpness)

    def settings(self) -> dict[str, Any]:
        return {'eid': self.flags['eid'], **({} if self.sharpness is None else {'sharpness': self.sharpness})}

    def about(self) -> dict[str, Any]:
        model = self.session.model
        return {'order': model.norms().order, 'is_homogeneous': model.is_homogeneous}

    def begin(self) -> None:
        self.eids = sorted(set(self.eids))
        self._before: np.ndarray | None = None
        if not self.session.model.is_homogeneous:
            progress.say('This network is not homogeneous in its parameters: epsilon and delta are not defined.')
        if self.sharpness is None and self.flags['train_mode'] is TrainMode.ASCENT:
            progress.say('Margin ascent archives layers of norm 1, where all images have nearly the same multiplier: '
                         'give a scale by --set options.sharpness=300, the smallest margin that weights are scaled to.')

    def measure(self, eid: int) -> tuple[dict[str, Any], dict[str, Any]]:
        x, y = self.session.dataset.train
        point = self.meter.measure(x, np.asarray(y))
        numbers = kkt_numbers(point, self._before)
        self._before = point.direction
        return {k: v for k, v in point._asdict().items() if k != 'direction'}, numbers

    def line(self, eid: int, numbers: Mapping[str, Any]) -> str:
        residuals = ' '.join(f'{k}=' + ('-' if numbers[k] is None else f'{numbers[k]:.4g}')
                             for k in ('epsilon', 'delta', 'drift'))
        line = (f"epoch #{eid}: cos(theta, -grad)={numbers['cosine']:.4f} {residuals} 90 % of the multipliers on "
                f"{numbers['support_vectors']['0.9']} of {numbers['images']} images [time={numbers['seconds']:.1f}s]")
        error, about = numbers['euler_error'], self.about()
        if about['is_homogeneous'] and error is not None and error > TOLERANCE:
            line += (f"\nEuler's identity fails by {error:.1e}: this network is not homogeneous of order "
                     f"{about['order']}.")
        return line


def kkt_numbers(point: KKTPoint, before: np.ndarray | None = None) -> dict[str, Any]:
    """What is told of a point; None where a number is not defined.

    Args:
        point: what was measured.
        before: the direction at the epoch before it, from which the drift is taken.
    """
    scalars = {k: v for k, v in point._asdict().items() if isinstance(v, float)}
    return {
        **{k: None if np.isnan(v) else v for k, v in scalars.items()},
        'cosine': 1 - point.one_minus_cosine,
        'images': len(point.q),
        'support_vectors': {f'{mass:g}': samples_of_mass(point.shares, mass) for mass in MASSES},
        'drift': None if before is None else drift(before, point.direction),
    }
