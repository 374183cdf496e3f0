"""The margin of each image from both sides: a certified radius, and the distance at which an attack succeeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from models import Model, checks
from models.attacks import Attack
from models.certificates.methods import METHODS, Method, make_method

from ..errors import UserError, about
from ..session import Session
from .attack import Attacking, distribution

NAMED = 10
"""Images that an error names at most."""


class Sandwich(Attacking):
    """Attacks images as ``attack.Attacking`` does, and certifies a radius of each in the norm of the attack.

    ``res`` holds eid -> what that of an attack does, and 'radii', float64 [N].

    Args:
        method: what certifies, see ``certify.Certify``.
        seconds_per_image, precision, steps: as there.
    """

    def __init__(self, session: Session, method: str = 'crown', seconds_per_image: float | None = None,
                 precision: float = 0.02, steps: int = 12):
        super().__init__(session)
        with about('options'):
            self.method = checks.one_of('method', method, METHODS)
            self.options = {
                'precision': checks.number('precision', precision, high=1.0), 'steps': checks.count('steps', steps, 0),
                **({} if seconds_per_image is None else {
                    'seconds_per_image': checks.number('seconds_per_image', seconds_per_image)})}
        self._methods: dict[int, Method] = {}
        self._epochs: dict[int, int] = {}

    def make(self, model: Model) -> Attack:
        attack = super().make(model)
        self._methods[id(model)] = make_method(self.method, model, attack.norm, **self.options)
        return attack

    def about(self) -> dict[str, Any]:
        return {**super().about(), 'method': self.method}

    def measure_batch(self, eid: int, start: int, device: str | None) -> Mapping[str, Any]:
        found = super().measure_batch(eid, start, device)
        model = id(self.networks[device][0])
        if self._epochs.get(model) != eid:
            self._methods[model].changed()
            self._epochs[model] = eid
        certified = self._methods[model].certify(*self.batch(start))
        return {**found, 'radii': certified.radii, 'by_method': certified.by}

    def join(self, parts: Sequence[Mapping[str, Any]]) -> tuple[dict[str, Any], dict[str, Any]]:
        res, numbers = super().join(parts)
        radii, distances, found, label = (np.concatenate([p[name] for p in parts])
                                          for name in ('radii', 'distances', 'clean_class', 'label'))
        right = found == label
        with np.errstate(divide='ignore'):
            ratios = distances[right] / radii[right]
        return {**res, 'radii': radii}, {
            **numbers, 'certified': distribution(radii), 'rightly_classified': int(right.sum()),
            **({'ratio': distribution(ratios)} if len(ratios) else {})}

    def line(self, eid: int, numbers: Mapping[str, Any]) -> str:
        first, *rest = super().line(eid, numbers).split('\n')
        low, high = numbers['certified']['median'], numbers['median']
        lines = [first, f'between the certified {self.norm} {low:.5g} and the attack\'s {high:.5g} at the median']
        if 'ratio' in numbers:
            q = numbers['ratio']['quantiles']
            lines[1] += (f"; of {numbers['rightly_classified']} images classified rightly the attack's distance is "
                         f"{numbers['ratio']['median']:.3g} times the certified one at the median, {q['0.05']:.3g} to "
                         f"{q['0.95']:.3g} for nine in ten")
        return '\n'.join([*lines, *rest])

    def measure_all(self) -> dict[int, Any]:
        """Measures the models of all epochs.

        Raises:
            UserError: a certificate exceeds the distance of an image that has another class; all is written by then.
        """
        res = super().measure_all()
        for eid in self.eids:
            for start in self.out.parts().get(eid, ()):
                part = self.out.read_part(eid, start, ('index', 'radii', 'distances', 'success'))
                wrong = part['index'][part['success'] & (part['radii'] > part['distances'])]
                if len(wrong):
                    raise UserError(contradiction(f'epoch {eid}', wrong.tolist()))
        return res


def contradiction(subject: str, images: Sequence[int]) -> str:
    """The sentence about images whose certificate an attack refutes."""
    named = ', '.join(map(str, images[:NAMED])) + (' and more' if len(images) > NAMED else '')
    return (f'{subject}: the certified radius of image {named} is larger than the distance at which the attack found '
            'another class, so the certificate or the network that was attacked is not what it is taken for')
