"""Robust accuracy in the course of adversarial training, and whether it overfits to single steps."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from models import Model
from models.attacks import LossPGD
from models.checks import count, flag, number
from models.margins import log_losses
from models.objectives import adversarial_part
from models.registry import make
from models.schedules import Control

from ...session import Session
from ..overfitting import judged
from .base import Moment, Monitor

FEW = 200
"""Images that are attacked of each part, unless one says otherwise."""


class PGDAccuracy(Monitor):
    """Accuracy and loss of a part of the data set, and of the first training images, under the PGD of an adversarial
    objective: within the budget of the last step of the epoch ('current'), and within that of the run's last step
    ('final'). Of one by a single step or two, PGD of ten steps; see ``Adversarial.measured_by``.

    Names are those of the part ('val', 'test' and 'train'), and: '<part>_acc_clean', '<part>_acc_current',
    '<part>_acc_final', and '<part>_loss_...' alike, mean cross entropies; '<part>_acc_fgsm', not of training images, of
    one step from the clean image within the current budget. 'eps_current' and 'eps_final' are the budgets. Within a
    budget of 0, the images are as they are.

    Args:
        part: 'validation' or 'test'; by default the validation images if there are any.
        images: how many of the part, and how many training images, from the first on; all, where there are fewer.
        eps: a budget to measure within, in place of the objective's; to be given where that has none.
        alarm: whether to look for catastrophic overfitting, see ``overfitting``.
        options: arguments of the attack, ``attacks.LossPGD``, in place of the objective's.
    """

    _batch = 250

    def __init__(self, model: Model, session: Session, part: str | None = None, images: int = FEW,
                 eps: float | None = None, alarm: bool = True, options: Mapping[str, Any] | None = None):
        super().__init__(model, session)
        objective = adversarial_part(session.model.objective)
        if objective is None and eps is None:
            raise ValueError("'pgd' measures within the budget of an adversarial objective; for another one give eps, "
                             "as in ('pgd', 1, {'eps': 0.1})")
        self._alarm = flag('alarm', alarm)
        part = part or ('validation' if len(self.dataset.validation[1]) else 'test')
        self._name = {'validation': 'val'}.get(part, part)
        most = count('images', images, 1)
        self._parts = {name: tuple(a[:most] for a in self.images(of))
                       for name, of in ((self._name, part), ('train', 'train'))}
        given = {'k': 10, 'a': 0.25, 'losses': ['xent']} if objective is None else objective.measured_by
        self._attack = make({'LOSS_PGD': LossPGD}, {**given, **(options or {}), 'type': 'LOSS_PGD'}, 'attack',
                            model=model)
        self._step = LossPGD(model, k=1, a=1.0, random_start=False, norm=self._attack.norm, losses=['xent'])
        self._budget = objective.eps if eps is None and objective is not None else Control('eps', number('eps', eps))
        flags, steps = session.flags, session.model.steps_of(len(session.dataset.train[1]), session.flags['B'])
        self._per_epoch, self._steps = steps, flags['steps'] or flags['E'] * steps

    def statistics(self) -> list[str]:
        return [f'{name}_{what}_{when}' for name in self._parts for what in ('acc', 'loss')
                for when in ('clean', 'current', 'final')] + [f'{self._name}_acc_fgsm']

    def measure(self, rng: np.random.Generator, moment: Moment) -> dict[str, Any]:
        last = min(moment.eid * self._per_epoch, self._steps) - 1
        current, final = (float(eps) for eps in self._budget(np.array([last, self._steps - 1]), self._per_epoch))
        found: dict[str, Any] = {'eps_current': current, 'eps_final': final}
        for name, (x, y) in self._parts.items():
            of_size: dict[float, dict[str, float]] = {}
            for when, eps in (('clean', 0.0), ('current', current), ('final', final)):
                if eps not in of_size:
                    of_size[eps] = self._judged(self._within(self._attack, x, y, eps, rng), y)
                found.update({f'{name}_{what}_{when}': value for what, value in of_size[eps].items()})
        x, y = self._parts[self._name]
        found[f'{self._name}_acc_fgsm'] = self._judged(self._within(self._step, x, y, current, rng), y)['acc']
        if self._alarm:
            found.update(judged(current, found[f'{self._name}_acc_current'], found[f'{self._name}_acc_fgsm'],
                                moment.last))
        return found

    def _within(self, attack: LossPGD, x: np.ndarray, y: np.ndarray, eps: float, rng: np.random.Generator
                ) -> np.ndarray:
        if eps == 0:
            return x
        parts = range(0, len(x), self._batch)
        return np.concatenate([attack.of_size(x[i:i + self._batch], y[i:i + self._batch], eps, rng) for i in parts])

    def _judged(self, x: np.ndarray, y: np.ndarray) -> dict[str, float]:
        logits = np.concatenate([self._attack.logits(x[i:i + self._batch]) for i in range(0, len(x), self._batch)])
        return {'acc': float((logits.argmax(axis=1) == y).mean()), 'loss': float(np.exp(log_losses(logits, y)).mean())}
