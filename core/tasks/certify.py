"""Certifies the L2 radius within which each image keeps its class; see ``models.measures.certificate``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from models import Model, NumericalFailure
from models.margins import margins
from models.measures.certificate import certified_radii, lipschitz

from ..errors import UserError
from .arguments import budgets_of
from .attack import GRIDS, distribution
from .base import Evaluation


class Certify(Evaluation):
    """Certifies radii.

    ``res`` holds eid -> {'radii': float64 [N], 'q': margins, float32 [N], 'lipschitz': constant of each layer below the
    last}.
    """

    subject = 'certificate'

    def check(self) -> None:
        budgets_of(self.flags)
        if self.flags['norm'] not in (None, 'L2'):
            raise UserError(f"norm is {self.flags['norm']}, but what is certified are radii in L2")

    def make(self, model: Model) -> Any:
        return lipschitz(model)

    def about(self) -> dict[str, Any]:
        return {'norm': 'L2'}

    def measure(self, eid: int) -> tuple[dict[str, Any], dict[str, Any]]:
        last, constants = lipschitz(self.session.model)
        try:
            logits = self.session.model.test(self.images, self.labels)['y_']
        except NumericalFailure as e:
            raise ValueError(str(e)) from None
        radii = certified_radii(logits, self.labels, last, float(np.prod(list(constants.values()))))
        return {'radii': radii, 'q': margins(logits, self.labels), 'lipschitz': constants}, {
            'images': len(radii), 'accuracy': float((logits.argmax(axis=1) == self.labels).mean()),
            **distribution(radii),
            'certified_accuracy': {f'{eps:g}': float((radii > eps).mean())
                                   for eps in budgets_of(self.flags) or GRIDS['L2']},
            'lipschitz': constants}

    def line(self, eid: int, numbers: Mapping[str, Any]) -> str:
        return (f"epoch #{eid}: {numbers['images']} images, acc={numbers['accuracy'] * 100:.3f}% "
                f"median certified L2={numbers['median']:.5g} [time={numbers['seconds']:.1f}s]")
