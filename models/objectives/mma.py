"""Max-margin adversarial training (Ding et al., arXiv 1812.02637)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from .. import checks
from ..attacks.an_pgd import ANPGD
from ..attacks.balls import require_within_the_box
from ..batch import Batch
from ..chains import differs_in_training
from ..margin_losses import MARGIN_LOSSES, require_signed
from .attacking import Attacking, losses_by_name
from .base import as_batch
from .labels import nan_for_no_class

BEYOND = 1.05
"""The search looks up to so many times the hinge: as far as needed to see that a margin is beyond it."""
KEPT = ('margins', 'distances')
"""Of each image, from the step that last saw it; see ``Adversaries``."""
BINS = 10
"""Of the histogram of margins."""
MIN_EPS = {'Linf': 0.1, 'L2': 0.5}
"""The published least budgets for MNIST."""


class Adversaries(NamedTuple):
    """What AN-PGD makes of a batch.

    Attributes:
        images: float32 [N, H, W, C], those of right images at their boundary, and the others as they were.
        margins: sizes of the perturbations as they were searched for, float32 [N]; 0 for wrong images.
        distances: sizes of those that the images have within the box, float32 [N]; smaller where that was in the way.
        correct: which images are right, bool [N].
        kept: which of them have a margin below the hinge, bool [N].
    """

    images: tf.Tensor
    margins: tf.Tensor
    distances: tf.Tensor
    correct: tf.Tensor
    kept: tf.Tensor


class MMA(Attacking[ANPGD]):
    """Raises the margin of every image, up to a hinge, by training on it where its boundary is.

    The loss of a batch of n images is ``(1 - c) * (sum of L(boundary point) over the right images whose margin is below
    the hinge + sum of L(image) over the wrong ones) / n + c * mean of L(image)``. The boundary point is that of AN-PGD,
    whose PGD has the image's last margin as its budget; the margins are state, one for each image of the training set.

    Where the released code has a rough edge, the default is what one would expect, and an argument has what it did:
    images are trained on inside the box (``clip=False`` lets them leave it a little, by what the box took from PGD);
    a network that differs in training, by batch normalisation say, is searched as in inference, in which it is
    attacked, and passes in training mode once, clean and adversarial images together (``batch_norm='released'``
    searches in training mode, on batches of the right images, and moves the running averages at each of the passes).

    Args:
        hinge: the margin beyond which an image is left alone, d_max in the paper, above 0.
        norm: 'Linf' or 'L2', in pixels of [0, 1].
        min_eps: the least budget, and that of an image that was not seen or was wrong; at most 1.05 times the hinge.
            None for that of the paper on MNIST, or half of the hinge if that is less.
        c: weight of the clean loss: 1/3 for MMA, 0 for OMMA.
        k: steps of PGD.
        step: size of all steps together, in units of the budget.
        search_steps: of the bisection.
        loss: what is minimised, of ``margin_losses.MARGIN_LOSSES``.
        attack_loss: what PGD climbs.
        search_loss: what is 0 at the boundary: 'slm', which is so at a probability of 1/2, or 'lm'.
        correct: which images count as right: 'search', where the search loss is below 0 as released, or 'argmax'.
        random_start: whether PGD starts from a random point; see ``attacks.advertorch``.
        clip: whether boundary points are put back into the box.
        batch_norm: 'inference' or 'released'.
        floor: see ``attacks.advertorch.BoxFirstL2``.

    Raises:
        ValueError: an argument that is not such.
    """

    per_image = True

    def __init__(self, hinge: float, norm: str = 'Linf', min_eps: float | None = None, c: float = 1 / 3, k: int = 40,
                 step: float = 2.5, search_steps: int = 10, loss: str = 'xent', attack_loss: str = 'slm',
                 search_loss: str = 'slm', correct: str = 'search', random_start: bool = True, clip: bool = True,
                 batch_norm: str = 'inference', floor: float = 0.0):
        self.hinge = checks.number('hinge', hinge)
        self.norm = checks.one_of('norm', norm, MIN_EPS)
        self.most = BEYOND * self.hinge
        self.min_eps = checks.number('min_eps', min(MIN_EPS[norm], self.hinge / 2) if min_eps is None else min_eps)
        if self.min_eps > self.most:
            raise ValueError(f'min_eps must be at most {self.most:g}, {BEYOND:g} times the hinge, up to which margins '
                             f'are searched for, not {self.min_eps:g}')
        self.c = checks.number('c', c, strict=False, high=1)
        self.loss = checks.one_of('loss', loss, MARGIN_LOSSES)
        self.correct = checks.one_of('correct', correct, ('search', 'argmax'))
        self.clip = checks.flag('clip', clip)
        self.batch_norm = checks.one_of('batch_norm', batch_norm, ('inference', 'released'))
        k = checks.count('k', k)
        checks.one_of('attack_loss', attack_loss, MARGIN_LOSSES)
        require_signed(search_loss)
        self._search_loss = MARGIN_LOSSES[search_loss]
        self._random_start = checks.flag('random_start', random_start)
        self._attack_options: dict[str, Any] = {
            'norm': norm, 'eps': self.min_eps, 'most': self.most, 'k': k, 'a': checks.number('step', step) / k,
            'search_steps': checks.count('search_steps', search_steps), 'loss': attack_loss, 'first': 'end',
            'search_loss': search_loss, 'random_start': random_start, 'floor': floor}
        self._state: dict[str, tf.Variable] = {}

    # ---- state ----

    def build(self, net: keras.Model, images: int) -> None:
        self.attack_on(net)
        unseen = np.full(images, np.nan, np.float32)
        self._state = {name: tf.Variable(unseen, trainable=False) for name in KEPT} if images else {}

    def variables(self) -> Mapping[str, tf.Variable]:
        return self._state

    def record(self) -> dict[str, Any]:
        """'margins': of the images seen so far, as they were when they were last trained on: how many those are
        ('images'), their 'mean', how many are in each tenth of the sizes that are searched ('histogram'), up to which
        size that is ('most'), and the mean of the true distances ('mean_distance'). Images that were wrong have the
        margin 0."""
        if not self._state:
            return {}
        kept = (tf.convert_to_tensor(self._state[name]).numpy().astype(np.float64) for name in KEPT)
        margins, distances = (values[~np.isnan(values)] for values in kept)
        counts, _ = np.histogram(np.minimum(margins, self.most), BINS, (0.0, self.most))
        mean, mean_distance = (float(v.mean()) if len(v) else None for v in (margins, distances))
        return {'margins': {'images': len(margins), 'mean': mean, 'mean_distance': mean_distance,
                            'histogram': counts.tolist(), 'most': self.most}}

    def metrics(self) -> Mapping[str, tf.Tensor]:
        """'margin': the mean margin of the images seen so far."""
        if not self._state:
            return {}
        margins = tf.convert_to_tensor(self._state['margins'])
        return {'margin': tf.reduce_mean(tf.boolean_mask(margins, ~tf.math.is_nan(margins)))}

    def _make_attack(self, net: keras.Model) -> ANPGD:
        attack = ANPGD(net, **self._attack_options)
        require_within_the_box('hinge', self.hinge, attack.ball, attack.image_size)
        return attack

    def _budgets(self, batch: Batch, n: tf.Tensor) -> tf.Tensor:
        """The margins of the images of a batch as they were last, but not less than ``min_eps``, float32 [n]."""
        least = tf.fill([n], tf.constant(self.min_eps, tf.float32))
        if batch.index is None or not self._state:
            return least
        known = tf.gather(tf.convert_to_tensor(self._state['margins']), batch.index)
        return tf.where(tf.math.is_nan(known), least, tf.maximum(least, known))

    # ---- the losses of a batch ----

    def losses(self, batch: Batch | keras.Model, x: Any = None, y: Any = None, training: bool = True) -> tf.Tensor:
        batch = as_batch(batch, x, y, training)
        apart = self.batch_norm == 'inference' and batch.training and differs_in_training(batch.net)
        run = self.pass_over(replace(batch, training=False) if apart else batch)
        images, labels = tf.cast(batch.x, tf.float32), tf.cast(tf.reshape(run.y, [-1]), tf.int64)
        found = self.adversaries(batch, images, labels, run.logits)
        if batch.index is not None and self._state:
            for name, variable in self._state.items():
                batch.update_rows(variable, getattr(found, name))
        if apart:
            losses = self._in_one_pass(batch, images, labels, found)
        else:
            losses = self._after(batch, labels, run.logits, found)
        return nan_for_no_class(losses, labels, run.logits)

    def adversaries(self, batch: Batch, x: tf.Tensor, y: tf.Tensor, logits: tf.Tensor) -> Adversaries:
        """Attacks the right images of a batch; constants to a tape.

        Args:
            batch: where the margins, and what is drawn, come from.
            x, y: its images, float32 [n, H, W, C], and labels, int64 [n].
            logits: of the images, [n, C].
        """
        logits = tf.stop_gradient(tf.cast(logits, tf.float32))
        y = tf.clip_by_value(y, 0, tf.shape(logits, tf.int64)[1] - 1)
        if self.correct == 'argmax':
            correct = tf.argmax(logits, axis=1) == y
        else:
            correct = self._search_loss(logits, y) < 0
        eps = self._budgets(batch, tf.shape(x)[0])
        start = self._starts(batch, x, eps)
        rows = tf.where(correct)

        def attacked() -> tuple[tf.Tensor, tf.Tensor]:
            begin, images, labels, budgets = (tf.gather_nd(t, rows) for t in (start, x, y, eps))
            found = self.attack_on(batch.net).crossing(begin, images, labels, budgets, self._searched(batch))
            points = tf.clip_by_value(found.images, 0.0, 1.0) if self.clip else found.images
            sizes = tf.scatter_nd(rows, found.size, tf.shape(eps, tf.int64))
            return tf.tensor_scatter_nd_update(x, rows, points), sizes
        images, margins = tf.cond(tf.size(rows) > 0, attacked, lambda: (x, tf.zeros_like(eps)))
        images, margins = tf.stop_gradient(images), tf.stop_gradient(margins)
        distances = self.attack_on(batch.net).ball.size(tf.clip_by_value(images, 0.0, 1.0) - x)
        kept = correct & (tf.constant(self.hinge, tf.float32) > margins)
        return Adversaries(images, margins, distances, correct, kept)

    def _starts(self, batch: Batch, x: tf.Tensor, eps: tf.Tensor) -> tf.Tensor:
        if not self._random_start:
            return x
        return self.attack_on(batch.net).start(x, eps, batch.uniform_like(x))

    def _searched(self, batch: Batch) -> Any:
        """The network that the bisection asks; None for that of inference."""
        if self.batch_norm == 'inference' or not batch.training:
            return None
        return lambda z: tf.cast(batch.net(z, training=True), tf.float32)

    def _after(self, batch: Batch, y: tf.Tensor, logits: tf.Tensor, found: Adversaries) -> tf.Tensor:
        """The losses where the pass over the clean images was that of training, and another one follows."""
        clean, wrong = self._loss(logits, y), ~found.correct
        if self.batch_norm == 'released':
            mixed = self._loss(batch.net(found.images, training=batch.training), y)
            return self._weighed(tf.where(found.kept | wrong, mixed, 0.0), clean)
        if not self.c:
            return self._of_rows(batch, found.images, y, found.kept | wrong)
        kept = self._of_rows(batch, found.images, y, found.kept)
        return self._weighed(tf.where(wrong, clean, kept), clean)  # of a wrong image, the pass is the same

    def _of_rows(self, batch: Batch, images: tf.Tensor, y: tf.Tensor, chosen: tf.Tensor) -> tf.Tensor:
        """The losses of some images, float64 [n], and 0 for the others, which cost nothing."""
        rows = tf.where(chosen)
        # Not every kernel bears an empty batch.
        rows = tf.cond(tf.size(rows) > 0, lambda: rows, lambda: tf.zeros([1, 1], tf.int64))
        losses = self._loss(batch.net(tf.gather_nd(images, rows), training=batch.training), tf.gather_nd(y, rows))
        losses = tf.where(tf.gather_nd(chosen, rows), losses, 0.0)
        return tf.scatter_nd(rows, losses, tf.shape(y, tf.int64))

    def _in_one_pass(self, batch: Batch, x: tf.Tensor, y: tf.Tensor, found: Adversaries) -> tf.Tensor:
        """The losses by one pass in training mode, over clean and adversarial images together."""
        counts = found.kept | ~found.correct
        if not self.c:
            return tf.where(counts, self._loss(batch.net(found.images, training=True), y), 0.0)
        clean, mixed = tf.split(batch.net(tf.concat([x, found.images], 0), training=True), 2)
        return self._weighed(tf.where(counts, self._loss(mixed, y), 0.0), self._loss(clean, y))

    def _weighed(self, margin_part: tf.Tensor, clean: tf.Tensor) -> tf.Tensor:
        return (1 - self.c) * margin_part + (self.c * clean if self.c else 0.0)

    def _loss(self, logits: tf.Tensor, y: tf.Tensor) -> tf.Tensor:
        return losses_by_name(self.loss, logits, y)
