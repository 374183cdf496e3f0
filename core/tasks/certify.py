"""Certifies the radius within which each image keeps its class; see ``models.certificates``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from models import Model, checks
from models.certificates.methods import METHODS, Method, make_method
from models.margins import margins

from ..errors import UserError, about
from ..session import Session
from .arguments import budgets_of
from .attack import GRIDS, distribution
from .parts import Batches

_CONSTANT = 'lipschitz/'


class Certify(Batches):
    """Certifies radii.

    ``res`` holds eid -> {'radii': float64 [N], 'q': margins, float32 [N], 'by': the method that gave each radius, [N]},
    and of the method 'lipschitz' also 'lipschitz': the constant of each layer below the last.

    Args:
        method: 'lipschitz', the product of the layers' norms, of the network as a function of real numbers; or, of the
            network as float32 evaluates it, 'local', Lipschitz constants within the ball, 'crown', linear relaxation,
            'alpha', the same with optimised slopes, or 'best' of these three.
        seconds_per_image: of 'best', what an image may take, about; None for as long as it takes.
        precision: how much further, relatively, a radius is not certified; of all but 'lipschitz'.
        steps: of 'alpha', in which slopes are optimised.
    """

    subject, progress = 'certificate', 'radii'

    def __init__(self, session: Session, method: str = 'lipschitz', seconds_per_image: float | None = None,
                 precision: float = 0.02, steps: int = 12):
        super().__init__(session)
        with about('options'):
            self.method = checks.one_of('method', method, METHODS)
            self.options = {
                'precision': checks.number('precision', precision, high=1.0), 'steps': checks.count('steps', steps, 0)}
            if seconds_per_image is not None:
                self.options['seconds_per_image'] = checks.number('seconds_per_image', seconds_per_image)
                if method != 'best':
                    raise ValueError(f"seconds_per_image chooses among the methods of 'best', and method is {method!r}")

    def check(self) -> None:
        budgets_of(self.flags)
        self.in_norm = self.flags['norm'] or 'L2'
        if self.in_norm not in (('L2',) if self.method == 'lipschitz' else ('L2', 'Linf')):
            raise UserError(f"norm is {self.flags['norm']}, but what is certified are radii in L2"
                            + (', and by the methods local, crown, alpha and best in Linf'
                               if self.method == 'lipschitz' and self.in_norm == 'Linf' else ''))

    def make(self, model: Model) -> Method:
        return make_method(self.method, model, self.in_norm, **self.options)

    def about(self) -> dict[str, Any]:
        return {'norm': self.in_norm, 'method': self.method}

    def at(self, eid: int, device: str | None) -> Method:
        before = self._restored.get(device)
        made = super().at(eid, device)
        if before != eid:
            made.changed()
        return made

    def measure_batch(self, eid: int, start: int, device: str | None) -> Mapping[str, Any]:
        x, y = self.batch(start)
        found = self.at(eid, device).certify(x, y)
        return {'radii': found.radii, 'q': margins(found.logits, y), 'by': found.by,
                'class': found.logits.argmax(axis=1),
                **{_CONSTANT + name: np.float64(c) for name, c in found.constants.items()}}

    def join(self, parts: Sequence[Mapping[str, Any]]) -> tuple[dict[str, Any], dict[str, Any]]:
        radii, q, by, label, found = (np.concatenate([p[name] for p in parts])
                                      for name in ('radii', 'q', 'by', 'label', 'class'))
        constants = {name.removeprefix(_CONSTANT): float(c) for name, c in parts[0].items()
                     if name.startswith(_CONSTANT)}
        own = {'lipschitz': constants} if constants else {}
        grid = budgets_of(self.flags) or GRIDS[self.in_norm]
        return {'radii': radii, 'q': q, 'by': by, **own}, {
            'images': len(radii), 'images_asked_for': len(self.images), 'accuracy': float((found == label).mean()),
            **distribution(radii), 'certified_accuracy': {f'{eps:g}': float((radii > eps).mean()) for eps in grid},
            'certified_by': dict(Counter(by.tolist())), **own}

    def describe(self, numbers: np.ndarray) -> str:
        return f'median certified {self.in_norm} {np.median(numbers):.4g}'

    def line(self, eid: int, numbers: Mapping[str, Any]) -> str:
        each = ', '.join(f'{name} {n}' for name, n in numbers['certified_by'].items())
        by = f' by {each}' if self.method == 'best' else ''
        return (f"epoch #{eid}: {numbers['images']} images, acc={numbers['accuracy'] * 100:.3f}% "
                f"median certified {self.in_norm}={numbers['median']:.5g}{by} [time={numbers['seconds']:.1f}s]")
