"""What checks look at: an attack, some images, and what it found of them."""

from __future__ import annotations

import inspect
import math
from copy import copy
from functools import cached_property
from typing import Any

import numpy as np

from ..attacks.auto_attack import AutoAttack
from ..attacks.balls import WHOLE_BOX, Linf
from ..attacks.base import Attack, Net
from ..attacks.results import AttackResult
from ..attacks.within_budgets import BudgetAttack, budgets

NEARLY = 0.9
"""Of the distance that an attack found, the share within which it says that there is nothing."""
FEW = 32
"""Images on which attacks are run once more."""


def again(attack: Attack, net: Net, **changes: Any) -> Attack:
    """The same attack, of another network or with other arguments, as it was made.

    Raises:
        ValueError: it cannot be made of that network.
    """
    args, kwargs = attack.given
    arguments = inspect.signature(type(attack)).bind(*args, **kwargs).arguments
    first, *_ = arguments
    return type(attack)(**{**arguments.pop('kwargs', {}), **arguments, first: net, **changes})


def within(attack: Attack, *eps: float) -> Attack:
    """The same attack, compiled already, within other budgets."""
    other = copy(attack)
    other.eps_list = sorted(eps)
    return other


def stepping(attack: Attack) -> BudgetAttack | None:
    """The attack, or of one that is made of several the first, that takes gradient steps within budgets."""
    parts = attack.members.values() if isinstance(attack, AutoAttack) else [attack]
    return next((part for part in parts if isinstance(part, BudgetAttack)), None)


class Evidence:
    """What checks look at.

    Args:
        attack: that of the evaluation.
        x, y: images and right classes, float32 [N, H, W, C] and int64 [N].
        result: what the attack found of them.
        seed: of all that is drawn.
        pool: further images of the kind, float32 [M, H, W, C]; they need no labels.

    Attributes:
        attack, x, y, result, pool: see above.
        logits: of the images, [N, num_labels].
        right: which of them are classified correctly, bool [N].
        held: within which budget the evaluation says that there is nothing: of attacks within budgets the largest that
            was not enough; of others 0.9 times the distance that was found, and where nothing was, the largest budget
            that is usual in the norm. 0 where it says nothing. float64 [N].
    """

    def __init__(self, attack: Attack, x: np.ndarray, y: np.ndarray, result: AttackResult, seed: int,
                 pool: np.ndarray | None = None):
        self.attack, self.x, self.y, self.result, self._seed = attack, x, y, result, seed
        self.pool = x if pool is None else pool
        self.logits = attack.logits(x).astype(np.float64)
        self.right = (self.logits.argmax(axis=1) == y) & np.isfinite(self.logits).all(axis=1)
        self.held = np.where(self.right, self._held(), 0.0)

    def _held(self) -> np.ndarray:
        attack = self.attack
        if attack.has_budgets and self.result.eps is not None:
            return np.array([0.0, *attack.eps_list])[np.searchsorted(attack.eps_list, self.result.eps)]
        usual = min(budgets(attack.ball, None, self.x[0].size)[-1], attack.most)
        return NEARLY * np.where(np.isinf(self.result.distances), usual, self.result.distances)

    def rng(self, name: str) -> np.random.Generator:
        """What a check draws from."""
        return np.random.default_rng([self._seed, *name.encode()])

    @cached_property
    def standing(self) -> np.ndarray:
        """The images of which the evaluation says that a budget is not enough, int64 [n]."""
        return np.flatnonzero(self.held > 0)

    @property
    def scale(self) -> float:
        """Of the logits: the median over images of how far the largest is above the smallest."""
        return max(float(np.median(np.ptp(self.logits, axis=1))), float(np.finfo(np.float32).tiny))

    @property
    def box(self) -> float:
        """A budget that holds all of the box."""
        ball = self.attack.ball
        return WHOLE_BOX if isinstance(ball, Linf) else ball.diagonal(math.prod(self.x.shape[1:]))

    def is_wrong(self, images: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """Whether images in place of those of the rows are misclassified by more than rounding, bool [n]."""
        return self.lead(images, rows) < 0

    def lead(self, images: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """By how much the right class leads at images in place of those of the rows, [n]; as far as rounding goes, it
        does; inf where logits are no numbers, for a class that is not predicted is no other class."""
        logits, at = self.attack.logits(images).astype(np.float64), np.arange(len(rows))
        finite = np.array(np.isfinite(logits).all(axis=1))
        logits = np.where(finite[:, np.newaxis], logits, 0)
        own = logits[at, self.y[rows]].copy()
        slack = self.attack.slack * abs(logits).max(axis=1)
        logits[at, self.y[rows]] = -np.inf
        return np.where(finite, own - logits.max(axis=1) + slack, np.inf)
