"""Monitors of margins, of robustness at a given budget, and of the distance to a KKT point."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from models import Model
from models.attacks import ANPGD, ATTACKS
from models.checks import count, number
from models.margins import margins
from models.measures.kkt import KKTMeter
from models.registry import make
from models.types import did_you_mean, shown

from ...session import Session
from ..attack import QUANTILES
from ..kkt import kkt_numbers
from .base import IMAGES, Moment, Monitor


class KKTDistance(Monitor):
    """The distance to a KKT point of the max-margin problem, on the whole training set: what eval-kkt measures of an
    epoch, but for the drift."""

    def __init__(self, model: Model, session: Session):
        super().__init__(model, session)
        self._meter = KKTMeter(model)

    def measure(self, rng: np.random.Generator, moment: Moment) -> dict[str, Any]:
        x, y = self.dataset.train
        return {k: v for k, v in kkt_numbers(self._meter.measure(x, np.asarray(y))).items() if k != 'drift'}


class MarginQuantiles(Monitor):
    """The distribution of the margins of a part of the data set.

    Args:
        part: 'train', 'validation' or 'test'.
        quantiles: which are told, from 0 to 1.
    """

    def __init__(self, model: Model, session: Session, part: str = 'train', quantiles: Sequence[float] = QUANTILES):
        super().__init__(model, session)
        if not isinstance(quantiles, (list, tuple)) or not quantiles:
            raise ValueError(f'quantiles must be a list of numbers from 0 to 1, not {shown(quantiles)}')
        self._quantiles = [number('a quantile', q, strict=False, high=1) for q in quantiles]
        self._images = self.images(part)

    def measure(self, rng: np.random.Generator, moment: Moment) -> dict[str, Any]:
        x, y = self._images
        q = margins(self.model.test(x, y)['y_'], y)
        return {'mean': float(q.mean(dtype=np.float64)), 'quantiles': {
            f'{share:g}': float(np.quantile(q, share, method='inverted_cdf')) for share in self._quantiles}}


class RobustAccuracy(Monitor):
    """Accuracy under an attack.

    Args:
        eps: the size of perturbations, in the attack's norm.
        attack: its name, as for the flag ``attack_type``.
        images: how many of them are attacked, from the first on; by default 100, or all if there are fewer.
        part: 'train', 'validation' or 'test'.
        options: arguments of the attack.
    """

    def __init__(self, model: Model, session: Session, eps: float, attack: str = 'PGD', images: int | None = None,
                 part: str = 'test', options: Mapping[str, Any] | None = None):
        super().__init__(model, session)
        self._eps = number('eps', eps)
        if attack not in ATTACKS:
            raise ValueError(f'there is no attack {shown(attack)}; {did_you_mean(attack, ATTACKS)}')
        few = min(IMAGES, len(self.images(part)[0]))
        self._images = self.images(part, few if images is None else count('images', images, 1))
        known = list(inspect.signature(ATTACKS[attack]).parameters)[1:]
        for name in options or {}:
            if name not in known or name == 'eps_list':
                raise ValueError(f'the attack {attack} has no option {shown(name)}; {did_you_mean(name, known)}')
        budgets: dict[str, Any] = {'eps_list': [self._eps]} if 'eps_list' in known else {}
        self._attack = ATTACKS[attack](model, **budgets, **(options or {}))

    def statistics(self) -> list[str]:
        return ['robust_accuracy']

    def measure(self, rng: np.random.Generator, moment: Moment) -> dict[str, Any]:
        x, y = self._images
        result = self._attack.attack(x, y, rng)
        sizes = result.distances if result.eps is None else result.eps
        return {'accuracy': float((self._attack.logits(x).argmax(axis=1) == y).mean()),
                'robust_accuracy': float((sizes > self._eps).mean())}


class ANPGDMargin(Monitor):
    """The mean margin by AN-PGD, which MMA training chooses its best epoch by (arXiv 1812.02637, appendix).

    '<part>_margin' is the mean of the true distances, '<part>_eps' that of the sizes that are searched for, as in the
    released code; misclassified images count with what the search makes of them, nearly 0. 'robust_accuracy' is that
    where PGD ends, at its budget.

    Args:
        part: 'validation', 'test' or 'train', in the names 'val', 'test' or 'train'.
        images: how many of them, from the first on; all by default.
        options: arguments of the attack.
    """

    _batch = 250

    def __init__(self, model: Model, session: Session, part: str = 'validation', images: int | None = None,
                 options: Mapping[str, Any] | None = None):
        super().__init__(model, session)
        self._images = self.images(part, None if images is None else count('images', images, 1))
        self._name = {'validation': 'val'}.get(part, part)
        self._attack = make({'AN_PGD': ANPGD}, {**(options or {}), 'type': 'AN_PGD'}, 'attack', model=model)

    def statistics(self) -> list[str]:
        return [f'{self._name}_margin', f'{self._name}_eps', 'robust_accuracy']

    def measure(self, rng: np.random.Generator, moment: Moment) -> dict[str, Any]:
        sizes, distances, right, robust = [], [], [], []
        for start in range(0, len(self._images[0]), self._batch):
            x, y = (a[start:start + self._batch] for a in self._images)
            size, distance, end = self._attack.measure(x, y, rng)
            sizes.append(size)
            distances.append(distance)
            right.append(self._attack.logits(x).argmax(axis=1) == y)
            robust.append(self._attack.logits(end).argmax(axis=1) == y)
        return {f'{self._name}_margin': _mean(distances), f'{self._name}_eps': _mean(sizes),
                'accuracy': _mean(right), 'robust_accuracy': _mean(robust)}


def _mean(parts: Sequence[np.ndarray]) -> float:
    return float(np.concatenate(parts).mean(dtype=np.float64))
