"""Checks of an evaluation by an attack: reasons to doubt its numbers. See docs/health.md."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from ..attacks.base import Attack, AttackResult
from .budget_checks import rises_with_eps, single_step_beats_many
from .evidence import Evidence
from .findings import Finding
from .gradient_free import gradient_free_beats_gradient, searching
from .gradients import zero_gradients
from .outputs import batch_dependent, probabilities, random_output
from .planted import Planting, planted, planting_of
from .step_checks import Steps
from .transfer import Surrogate, transfer_beats_white_box

NAMES = ('random_output', 'batch_dependent', 'probabilities', 'zero_gradients', 'gradient_free_beats_gradient',
         'still_moving', 'best_not_returned', 'rises_with_eps', 'not_zero_unbounded', 'single_step_beats_many',
         'transfer_beats_white_box', 'planted')
"""Of the checks."""


class Health:
    """Looks whether what an attack finds can be believed.

    What is compiled for it is kept, so that a network with other weights, that of another epoch, costs less.

    Args:
        attack: an attack of ``models.attacks``, or one's own, not targeted.

    Raises:
        ValueError: it is targeted.
    """

    def __init__(self, attack: Attack):
        if attack.targeted:
            raise ValueError('health is of attacks that look for any wrong class, not of a targeted one')
        self.attack = attack
        self._kept: dict[str, Any] = {}

    def check(self, images: np.ndarray, labels: np.ndarray, result: AttackResult | None = None, seed: int = 0,
              pool: np.ndarray | None = None) -> dict[str, Finding]:
        """All checks, by name.

        Args:
            images: some of those that were attacked, floats in [0, 1], [N, H, W, C]; 64 do.
            labels: the right classes, integers [N], or one-hot.
            result: what the attack found of them; None to attack them now.
            seed: of all that is drawn.
            pool: further images of the kind [M, H, W, C], for the surrogate of ``transfer_beats_white_box``; None for
                the images.

        Raises:
            ValueError: images or labels that are not such, or logits that are not finite.
        """
        x, y, _ = self.attack._checked(images, labels)
        result = self.attack.attack(x, y, seed) if result is None else result
        e = Evidence(self.attack, x, y, result, seed, pool)
        (first,) = found = self._tried(('random_output',), lambda: (random_output(e),))
        checks: list[tuple[tuple[str, ...], Callable[[], tuple[Finding, ...]]]] = [
            (('batch_dependent',), lambda: (batch_dependent(e, first.fired),)),
            (('probabilities',), lambda: (probabilities(e),)),
            (('zero_gradients',), lambda: (zero_gradients(e),)),
            (('gradient_free_beats_gradient',), lambda: (gradient_free_beats_gradient(
                e, self._keep('search', lambda: searching(self.attack))),)),
            (('still_moving', 'best_not_returned'), lambda: self._keep('steps', lambda: Steps(self.attack)).check(e)),
            (('rises_with_eps', 'not_zero_unbounded'), lambda: rises_with_eps(e)),
            (('single_step_beats_many',), lambda: (single_step_beats_many(e),)),
            (('transfer_beats_white_box',), lambda: (transfer_beats_white_box(e, self._keep(
                'surrogate', lambda: Surrogate(x.shape[1:], e.logits.shape[1]))),)),
            (('planted',), lambda: (planted(e, self._keep('planting', lambda: planting_of(e))),)),
        ]
        for names, check in checks:
            found += self._tried(names, check)
        return {name: finding for name in NAMES for finding in found if finding.name == name}

    def _keep(self, name: str, make: Callable[[], Any]) -> Any:
        if name not in self._kept:
            self._kept[name] = make()
        return self._kept[name]

    @staticmethod
    def _tried(names: tuple[str, ...], check: Callable[[], tuple[Finding, ...]]) -> tuple[Finding, ...]:
        """What a check finds; an evaluation of hours is not lost because one of them cannot be made of an attack of
        one's own, which may refuse another network, or in the memory that is left: the finding says that it failed."""
        try:
            return check()
        except (ValueError, TypeError, tf.errors.OpError) as e:
            return tuple(Finding(name, False, skipped=str(e), failed=True) for name in names)


def health(attack: Attack, images: np.ndarray, labels: np.ndarray, result: AttackResult | None = None, seed: int = 0,
           pool: np.ndarray | None = None) -> dict[str, Finding]:
    """Looks whether what an attack finds can be believed; see ``Health.check``."""
    return Health(attack).check(images, labels, result, seed, pool)


__all__ = ['NAMES', 'Finding', 'Health', 'Planting', 'health']
