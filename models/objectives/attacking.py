"""What objectives that attack the images of a batch have in common."""

from __future__ import annotations

from abc import abstractmethod
from typing import Generic, TypeVar

import keras
import tensorflow as tf

from ..attacks.base import Attack
from ..losses import hp_sparse_softmax_cross_entropy_with_logits_v1
from ..margin_losses import MARGIN_LOSSES
from .base import Objective

Kind = TypeVar('Kind', bound=Attack)


class Attacking(Objective, Generic[Kind]):
    """An objective with an attack, which is made for the network that it first sees."""

    in_the_box = True
    _made: tuple[keras.Model, Kind] | None = None

    def layers(self, net: keras.Model) -> tuple[str, ...]:
        self.attack_on(net)  # refuses what it cannot attack
        return ()

    def attack_on(self, net: keras.Model) -> Kind:
        """The attack on a network.

        Raises:
            ValueError: it cannot be attacked, or not with such budgets.
        """
        if self._made is None or self._made[0] is not net:
            self._made = net, self._make_attack(net)
        return self._made[1]

    @abstractmethod
    def _make_attack(self, net: keras.Model) -> Kind:
        """Makes the attack on a network."""


def losses_by_name(name: str, logits: tf.Tensor, y: tf.Tensor) -> tf.Tensor:
    """One of ``margin_losses.MARGIN_LOSSES`` to be minimised, float64 [N], of logits [N, C] and labels int64 [N]."""
    if name == 'xent':
        return hp_sparse_softmax_cross_entropy_with_logits_v1(y, logits)
    return MARGIN_LOSSES[name](tf.cast(logits, tf.float64), y)
