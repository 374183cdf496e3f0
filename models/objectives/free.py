"""Free adversarial training: weights and perturbations by one backward pass (Shafahi et al., arXiv 1904.12843)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
import tensorflow as tf

from .. import checks
from ..batch import Batch
from .adversarial import Adversarial
from .base import as_batch


class Free(Adversarial):
    """Every batch is replayed ``replays`` times, and each of these steps is one of the weights down, and one of the
    perturbation up the same gradient:

        d <- clip(d + step * eps * sign(gradient of the loss at x + d), -eps, eps)

    The perturbation, one for each place in a batch, goes on from replay to replay and from batch to batch. It is kept
    within [0, 1] of the images that it was made for, as Wong et al. do (arXiv 2001.03994); the authors let it leave the
    box, clip the images, and get no gradient there, which on images with black backgrounds is nearly everywhere.

    A replay is a step like others, to the schedules and to the flag ``steps``: an epoch has ``replays`` times as many
    of them. The authors divide the number of epochs by it. The gradient is that of the pass as in training.

    Args:
        eps: the budget, in pixels of [0, 1], above 0; or one that follows a schedule, see ``schedules.Control``.
        replays: how many steps are taken on each batch; m in the paper.
        step: size of a step, in units of the budget.

    Raises:
        ValueError: an argument that is not such.
    """

    per_place = True

    def __init__(self, eps: Any, replays: int = 8, step: float = 1.0):
        super().__init__(eps, k=1, step=step)
        self.replays = checks.count('replays', replays)
        self.step = float(step)
        self._state: dict[str, tf.Variable] = {}

    def build(self, net: keras.Model, images: int, batch: int = 0) -> None:
        if not batch:
            raise ValueError('Free keeps a perturbation for each place in a batch: say how many there are, as in '
                             'minimise(objective, batch=128)')
        shape = (batch, *self.attack_on(net).image_shape)
        self._state = {'perturbation': tf.Variable(tf.zeros(shape), trainable=False)}

    def variables(self) -> Mapping[str, tf.Variable]:
        return self._state

    def losses(self, batch: Batch | keras.Model, x: Any = None, y: Any = None, training: bool = True) -> tf.Tensor:
        """See ``Objective.losses``; outside of a training step, which has the perturbation, those of the images as they
        are."""
        return super().losses(as_batch(batch, x, y, training))

    def adversaries(self, batch: Batch) -> tf.Tensor:
        """The images of a batch with their perturbation, float32 [n, H, W, C]."""
        clean = tf.cast(batch.x, tf.float32)
        if batch.whole is None:
            return clean
        kept, places, eps = self._state['perturbation'], batch.places, self._budget(batch)
        images = tf.clip_by_value(clean + tf.clip_by_value(tf.gather(kept, places), -eps, eps), 0.0, 1.0)

        def climb(gradient: tf.Tensor) -> None:
            moved = tf.clip_by_value(images - clean + self.step * eps * tf.sign(gradient), -eps, eps)
            batch.update_rows(kept, tf.clip_by_value(clean + moved, 0.0, 1.0) - clean, places)
        return batch.watch(images, climb)
