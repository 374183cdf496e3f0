"""Measurements that are made while a network is trained. A monitor is a class and a line in MONITORS."""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
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

from ..errors import about
from ..session import Session
from .attack import QUANTILES
from .kkt import kkt_numbers

IMAGES = 100
"""That are attacked, unless one says otherwise."""
PARTS = ('train', 'validation', 'test')


class Monitor(ABC):
    """Measures a network at some epochs. What it measures has to follow from the weights and the draws it is given, so
    that a resumed run measures the same.

    Args:
        model: the network to measure, which is not that which is trained, but has its weights when it is measured.
        session: where the data is.
    """

    def __init__(self, model: Model, session: Session):
        self.model, self.dataset = model, session.dataset

    def statistics(self) -> list[str]:
        """Which of its numbers an archiver can go by: none, unless overridden."""
        return []

    @abstractmethod
    def measure(self, rng: np.random.Generator) -> dict[str, Any]:
        """The numbers of the network as it is now: numbers, None, and dictionaries of them.

        Args:
            rng: the only source of randomness.
        """

    def images(self, part: str, n: int | None = None) -> tuple[np.ndarray, np.ndarray]:
        """The first images and labels of a part of the data set.

        Raises:
            ValueError: there is no such part, or not so many.
        """
        if part not in PARTS:
            raise ValueError(f"part must be {', '.join(map(repr, PARTS[:-1]))} or {PARTS[-1]!r}, not {shown(part)}")
        x, y = (np.asarray(t) for t in getattr(self.dataset, part))
        if len(x) < (n or 1):
            raise ValueError(f'the {part} set has {len(x)} images, not {n or 1}')
        return x[:n], y[:n]


class KKTDistance(Monitor):
    """The distance to a KKT point of the max-margin problem, on the whole training set: what eval-kkt measures of an
    epoch, but for the drift."""

    def __init__(self, model: Model, session: Session):
        super().__init__(model, session)
        self._meter = KKTMeter(model)

    def measure(self, rng: np.random.Generator) -> dict[str, Any]:
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

    def measure(self, rng: np.random.Generator) -> dict[str, Any]:
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

    def measure(self, rng: np.random.Generator) -> dict[str, Any]:
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

    def measure(self, rng: np.random.Generator) -> dict[str, Any]:
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


MONITORS: dict[str, type[Monitor]] = {
    'kkt': KKTDistance,
    'margin': MarginQuantiles,
    'robust': RobustAccuracy,
    'an-pgd': ANPGDMargin,
}
"""Names of monitors, for the flag ``monitors``."""


class Monitors:
    """The monitors of a run. They measure a copy of the network, and draw from draws of their own, so that training is
    the same with and without them.

    Args:
        session: of the run, its network built.
        described: what the flag ``monitors`` says: (name, every so many epochs), or (name, every, options), each.

    Raises:
        UserError: there is no such monitor, or arguments do not fit.
    """

    def __init__(self, session: Session, described: Sequence[Any]):
        self._session = session
        self._monitors: dict[str, tuple[int, Monitor]] = {}
        if described:
            self._model = session.new_model()
        for description in described:
            with about('monitors'):
                name, every, options = _parts(description)
                cls = MONITORS[name]
                known = list(inspect.signature(cls).parameters)[2:]
                if unknown := [option for option in options if option not in known]:
                    raise ValueError(f'{name!r} has no option {shown(unknown[0])}; '
                                     f"{did_you_mean(unknown[0], known) if known else 'it has none'}")
                needed = [p.name for p in inspect.signature(cls).parameters.values() if p.default is p.empty][2:]
                if missing := [option for option in needed if option not in options]:
                    raise ValueError(f'{name!r} needs the option {missing[0]!r}')
                same = sum(key.partition('-')[0] == name for key in self._monitors)
                key = f'{name}-{same + 1}' if same else name
                self._monitors[key] = every, cls(self._model, session, **options)

    def statistics(self) -> list[str]:
        """The numbers of monitors that an archiver can go by."""
        return [name for _, monitor in self._monitors.values() for name in monitor.statistics()]

    def __call__(self, eid: int) -> dict[str, Any] | None:
        """Measures the network as it is now by those monitors that are due at an epoch.

        Returns:
            name -> its numbers; of several of one name, the second is 'name-2'. None if none is due.
        """
        due = {key: monitor for key, (every, monitor) in self._monitors.items() if eid % every == 0}
        if not due:
            return None
        self._model.set_weights(self._session.model.weights())
        places = list(self._monitors)
        return {key: monitor.measure(self._session.rng('monitor', eid, places.index(key)))
                for key, monitor in due.items()}


def _parts(description: Any) -> tuple[str, int, dict[str, Any]]:
    """The name, the period and the options of a monitor."""
    if not isinstance(description, (list, tuple)) or len(description) not in (2, 3):
        raise ValueError("each is (name, every so many epochs), or (name, every, {'option': value}), not "
                         f'{shown(description)}')
    name, every, options = (*description, {})[:3]
    if not isinstance(name, str) or name not in MONITORS:
        raise ValueError(f'there is no monitor {shown(name)}; {did_you_mean(name, MONITORS)}')
    if not isinstance(options, Mapping):
        raise ValueError(f"the options of {name!r} are a dictionary, not {shown(options)}")
    return name, count(f'the period of {name!r}', every, 1), dict(options)
