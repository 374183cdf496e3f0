"""Loss and accuracy along a curve between two runs, and along the straight line between them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from models import Model, NumericalFailure, checks
from models.attacks import ATTACKS, Attack
from models.attacks.balls import BALLS
from models.margins import log_losses, log_mean_exp
from models.measures.moving_statistics import MovingStatistics
from models.networks.curve import point

from ..errors import UserError, about
from ..flags import merge
from ..session import Session
from ..workdir import Workdir
from .arguments import attack_arguments, budgets_of
from .attack import robust_accuracy
from .parts import Parts
from .telling import scientific

WAYS = ('curve', 'straight')
MEASURED = ('train_log_loss', 'train_acc', 'test_log_loss', 'test_acc')


class AlongCurve(Parts):
    """Measures the networks at the points t = 0, step, 2 step, ... 1 of a curve, and of the straight line between its
    ends: the mean cross entropy and the accuracy of the training and the test set; with a budget (``eps`` or
    ``attack_eps_list``), the robust accuracy of the chosen images under the attack. Moving statistics are computed
    anew at each point, over the training set, but at the ends, which have their own.

    A point is a unit of work: an evaluation that was killed goes on with the next. All points are attacked with the
    same random numbers. What is not finite is recorded as nan, and said.

    ``res`` holds eid -> {'t': float64 [n]; 'curve', 'straight': {'train_log_loss', 'train_acc', 'test_log_loss',
    'test_acc': float64 [n], 'robust_acc': float64 [n, budgets]}}, losses as natural logarithms.

    Args:
        step: between points.
        straight: whether to measure the straight line, too.
        released: whether t = 0, step, ... up to the first beyond 1 - step / 2 or so, as NumPy's ``arange(0, 1 + step,
            step)`` has it in the code released with arXiv 2006.08403: it may lie beyond 1.
    """

    subject, counted, progress = 'the curve', 'point', 'train_log_loss'
    measures_curves = True

    def __init__(self, session: Session, step: float = 0.05, straight: bool = True, released: bool = False):
        super().__init__(session)
        with about('options'):
            self.ts = grid(checks.number('step', step, high=1), checks.flag('released', released))
            self.ways = WAYS if checks.flag('straight', straight) else WAYS[:1]

    def check(self) -> None:
        if self.flags['arch'] != 'curve':
            raise UserError(f"{self.flags['log']} is no curve; ./run.sh exper-curve-digits --ends logs/A --ends logs/B "
                            'trains one between two runs')
        self.budgets = [eps for eps in budgets_of(self.flags) or () if eps > 0]
        self.arguments = attack_arguments(self.flags) if self.budgets else {}

    def prepare(self) -> None:
        self._curve_batch = Workdir(self.flags['log']).read_flags()['flags']['B']
        self.points = [(way, t) for way in self.ways for t in self.ts]
        super().prepare()

    def starts(self) -> Sequence[int]:
        return range(len(self.points))

    def count(self) -> int:
        return len(self.points)

    def make(self, model: Model) -> tuple[Model, Model, MovingStatistics, Attack | None]:
        """The curve, a network of the ends' kind, what computes its moving statistics, and what attacks it."""
        of = self.flags['model']['of']
        plain = self.session.new_model(merge({'task': 'curve', 'dataset': self.flags['dataset'], **of}))
        name = self.flags['attack_type'].name
        attack = ATTACKS[name](plain, **self.arguments) if self.budgets else None
        return model, plain, MovingStatistics(plain.net), attack

    def measure_part(self, eid: int, start: int, device: str | None) -> Mapping[str, Any]:
        curve, plain, statistics, attack = self.at(eid, device)
        (way, t), chain = self.points[start], self.flags['model'].get('chain', 'bezier')
        plain.set_weights(point(curve.weights(), chain, t, way == 'straight'))
        if t not in (0, 1):  # an end has its own
            statistics.refresh(self.session.dataset.train[0], self._curve_batch)
        found: dict[str, Any] = {}
        for part in ('train', 'test'):
            found[f'{part}_log_loss'], found[f'{part}_acc'] = _measured(plain, *getattr(self.session.dataset, part))
        if attack is not None:
            found['robust_acc'] = [self._robust(attack, eid)]
        return {name: np.array(value, np.float64).reshape(1, *np.shape(value)[1:]) for name, value in found.items()}

    def _robust(self, attack: Attack, eid: int) -> list[float]:
        x, y = self.images, self.labels
        parts = []
        for start in range(0, len(x), self.flags['attack_B']):
            batch = slice(start, start + self.flags['attack_B'])
            result = attack.attack(x[batch], y[batch], self.session.rng('attack', eid, start))
            parts.append({'distances': result.distances, **({} if result.eps is None else {'eps': result.eps})})
        joined = {name: np.concatenate([p[name] for p in parts]) for name in parts[0]}
        return list(robust_accuracy(joined, self.budgets, BALLS[attack.norm], x[0].size).values())

    def join(self, parts: Sequence[Mapping[str, Any]]) -> tuple[Any, dict[str, Any]]:
        names = [*MEASURED, *(('robust_acc',) if self.budgets else ())]
        res: dict[str, Any] = {'t': np.array(self.ts)}
        numbers: dict[str, Any] = {'t': self.ts}
        for way in self.ways:
            own = [part for part, (its, _) in zip(parts, self.points) if its == way]
            if not own:
                continue
            res[way] = {name: np.concatenate([p[name] for p in own]) for name in names}
            numbers[way] = {name: [[_or_none(v) for v in row] if isinstance(row, list) else _or_none(row)
                                   for row in a.tolist()] for name, a in res[way].items()}
            loss = res[way]['train_log_loss']
            if np.isfinite(loss).any():
                worst = int(np.nanargmax(loss))
                numbers[way].update(greatest_log_loss=float(loss[worst]), greatest_at=self.ts[worst])
        if self.budgets:
            numbers['budgets'], numbers['attacked'] = self.budgets, len(self.images)
        return res, numbers

    def describe(self, numbers: np.ndarray) -> str:
        finite = numbers[np.isfinite(numbers)]
        return f'greatest training loss {scientific(float(finite.max()))}' if len(finite) else 'no finite loss'

    def line(self, eid: int, numbers: Mapping[str, Any]) -> str:
        lines = [f"epoch #{eid}: {len(self.ts)} points [time={numbers['seconds']:.1f}s]"]
        for way in self.ways:
            own = numbers[way]
            name = {'curve': 'along the curve', 'straight': 'along the straight line'}[way]
            if 'greatest_log_loss' in own:
                lines.append(f"{name}: training loss at most {scientific(own['greatest_log_loss'])} (t = "
                             f"{own['greatest_at']:g}), test accuracy at least "
                             f"{100 * min(a for a in own['test_acc'] if a is not None):.2f} %")
            if gaps := sum(v is None for v in own['train_log_loss']):
                lines.append(f'note: {name} the loss is not finite at {gaps} of {len(self.ts)} points')
        return '\n'.join(lines)


def grid(step: float, released: bool = False) -> list[float]:
    """The t of points: 0, step, 2 step, ... and 1; as ``released``, see ``AlongCurve``."""
    if released:
        return np.arange(0, 1 + step, step).tolist()
    inner = [k * step for k in range(math.ceil(1 / step) + 1)]
    return [*(t for t in inner if t < 1 - 1e-9), 1.0]


def _measured(model: Model, x: Any, y: Any) -> tuple[list[float], list[float]]:
    """Natural logarithm of the mean cross entropy, and the accuracy; nan where the loss is not finite."""
    try:
        found = model.test(x, y)
    except NumericalFailure:
        return [math.nan], [math.nan]
    return [log_mean_exp(log_losses(found['y_'], np.asarray(y)))], [found['acc']]


def _or_none(value: float) -> float | None:
    return value if math.isfinite(value) else None
