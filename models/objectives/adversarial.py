"""Adversarial training: what PGD makes of the images within a budget (Madry et al., arXiv 1706.06083)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from .. import checks
from ..attacks.balls import require_within_the_box
from ..attacks.loss_pgd import STARTS, LossPGD
from ..batch import Batch
from ..margin_losses import MARGIN_LOSSES
from ..schedules import Control
from .attacking import Attacking, losses_by_name
from .base import as_batch
from .labels import nan_for_no_class

LEAST_STEPS = 10
"""Of a PGD that robustness is measured by: one step is what a network can learn to deceive."""


class Adversarial(Attacking[LossPGD]):
    """The loss of every image where PGD within a budget ends, right images and wrong ones alike.

    With a budget that follows a schedule, steps follow it. With one that grows from 0 it is the PGDLS of Ding et al.
    (arXiv 1812.02637). The network is attacked as in inference; one pass as in training follows.

    Args:
        eps: the budget, in pixels of [0, 1], above 0; or one that follows a schedule, see ``schedules.Control``.
        norm: 'Linf' or 'L2'.
        k: steps of PGD.
        step: size of all steps together, in units of the budget.
        loss: what is minimised, of ``margin_losses.MARGIN_LOSSES``.
        attack_loss: what PGD climbs; in place of the cross entropy, SLM, see ``attacks.LossPGD``.
        random_start: whether PGD starts from a random point.
        floor: see ``attacks.advertorch.BoxFirstL2``.
        start: where random points are from: 'ball', see ``attacks.advertorch``; or 'step', within a step of the image,
            as Liu et al. (arXiv 2006.08403) do, see ``attacks.step_starts``.
        shift: see ``attacks.step_starts.StepL2``.

    Raises:
        ValueError: an argument that is not such.
    """

    def __init__(self, eps: Any, norm: str = 'Linf', k: int = 10, step: float = 2.5, loss: str = 'xent',
                 attack_loss: str = 'xent', random_start: bool = True, floor: float = 0.0,
                 start: str = 'ball', shift: float = 0.0):
        self.eps = Control('eps', eps, strict=True)
        self.norm = checks.one_of('norm', norm, ('Linf', 'L2'))
        self.loss = checks.one_of('loss', loss, MARGIN_LOSSES)
        checks.one_of('attack_loss', attack_loss, MARGIN_LOSSES)
        k = checks.count('k', k)
        self._attack_options: dict[str, Any] = {
            'k': k, 'a': checks.number('step', step) / k, 'random_start': checks.flag('random_start', random_start),
            'norm': norm, 'losses': [attack_loss], 'floor': checks.number('floor', floor, strict=False),
            'start': checks.one_of('start', start, STARTS), 'shift': checks.number('shift', shift, strict=False)}
        if floor if start == 'step' else shift:
            raise ValueError("floor is of start='ball', and shift of start='step'; leave the other out")

    def _make_attack(self, net: keras.Model) -> LossPGD:
        attack = LossPGD(net, **self._attack_options)
        if self.eps.schedule is None:
            require_within_the_box('eps', self.eps.value, attack.ball, attack.image_size)
        return attack

    def build(self, net: keras.Model, images: int) -> None:
        self.attack_on(net)

    def schedules(self) -> Mapping[str, Control]:
        return {'eps': self.eps}

    def controls(self, steps: np.ndarray, per_epoch: int) -> Mapping[str, np.ndarray]:
        """See ``Objective``.

        Raises:
            ValueError: the budget of a step is larger than the box allows.
        """
        controls = super().controls(steps, per_epoch)
        if self._made is not None:
            _, attack = self._made
            require_within_the_box('eps', float(controls['eps'].max(initial=0)), attack.ball, attack.image_size)
        return controls

    @property
    def measured_by(self) -> dict[str, Any]:
        """The arguments of the ``attacks.LossPGD`` that robustness within the budget is measured by: its own, or, of
        an objective whose attack has too few steps to be believed, ten steps of a quarter of the budget."""
        if self._attack_options['k'] >= LEAST_STEPS:
            return dict(self._attack_options)
        return {'k': LEAST_STEPS, 'a': 2.5 / LEAST_STEPS, 'norm': self.norm, 'losses': ['xent']}

    def losses(self, batch: Batch | keras.Model, x: Any = None, y: Any = None, training: bool = True) -> tf.Tensor:
        batch = as_batch(batch, x, y, training)
        run = self.pass_over(replace(batch, x=self.adversaries(batch)))
        labels = tf.cast(tf.reshape(run.y, [-1]), tf.int64)
        return nan_for_no_class(losses_by_name(self.loss, run.logits, labels), labels, run.logits)

    def adversaries(self, batch: Batch) -> tf.Tensor:
        """The images of a batch where PGD ends, float32 [n, H, W, C]; constants to a tape. Outside of a training step
        the budget is that of the first."""
        x = tf.cast(batch.x, tf.float32)
        y = tf.cast(tf.reshape(batch.y, [-1]), tf.int64)
        y = tf.clip_by_value(y, 0, batch.net.output_shape[-1] - 1)  # what is no class is told by its loss
        return tf.stop_gradient(self._attacked(batch, x, y, tf.fill(tf.shape(y), self._budget(batch))))

    def _attacked(self, batch: Batch, x: tf.Tensor, y: tf.Tensor, eps: tf.Tensor) -> tf.Tensor:
        attack = self.attack_on(batch.net)
        start = attack.ball.start(x, eps, batch.uniform_like(x)) if attack.random_start else x
        return attack.perturb_from(start, x, y, eps)

    def _budget(self, batch: Batch) -> tf.Tensor:
        first = float(self.eps(np.zeros(1, np.int64), 1)[0])
        return tf.cast(batch.controls.get('eps', first), tf.float32)
