"""AN-PGD: projected gradient descent, and a search along where it ended for the nearest boundary."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from .. import checks
from ..margin_losses import MARGIN_LOSSES, require_signed
from . import ops
from .balls import require_within_the_box
from .base import Attack, Net, rng_of
from .bisection import bisected
from .compiled import IMAGES, LABELS, PER_IMAGE, compiled
from .loss_pgd import LossPGD
from .results import Proposal

DEFAULT_EPS = {'Linf': 0.3, 'L2': 2.0}
"""Budgets of the published test attack on MNIST; its ``most`` was 1.05 times the largest hinge, a little more."""
SPARE = 1e-12
"""Added to a budget that is divided by, as in the released code."""


class Crossing(NamedTuple):
    """Where the network changes its mind, along a direction.

    Attributes:
        images: clean images plus ``size`` times the direction, float32 [N, H, W, C]; not clipped to the box.
        size: in units of the direction, [N]: what the released code calls eps.
        wrong_size: the nearest size that was seen to be wrong, or the largest that was looked at, [N].
        direction: (end - clean) / eps, [N, H, W, C]; its norm is 1 at most, and less where the box is in the way.
        end: images where PGD ended, [N, H, W, C].
    """

    images: tf.Tensor
    size: tf.Tensor
    wrong_size: tf.Tensor
    direction: tf.Tensor
    end: tf.Tensor


class ANPGD(Attack):
    """Adaptive-norm PGD (Ding et al., arXiv 1812.02637, algorithm 2): the distance of an image from the boundary,
    along the direction in which PGD within a budget ends.

    As an evaluation, the budget is the same for every image, and the bisection is of the logit margin. As a part of MMA
    training, ``crossing`` takes a budget for each image; see ``objectives.MMA``.

    Args:
        model: ``Model``, or any built Keras model that maps images to logits.
        norm: 'Linf' or 'L2'.
        eps: the budget of PGD; None for that of the paper on MNIST.
        most: the largest size that the search looks at; None for 1.5 times the budget.
        k: steps of PGD.
        a: size of a step, in units of the budget; None for 2.5 / k.
        search_steps: of the bisection; its result is within 2^-search_steps of ``most``, along its direction.
        loss: what PGD climbs, of ``margin_losses.MARGIN_LOSSES``.
        search_loss: whose change of sign is searched for: 'lm' or 'slm'.
        first: with what the bisection begins. 'half': half of ``most``, and its margin. 'end': the budget, and the
            margin where PGD ended. 'released': half of ``most``, but with the margin where PGD ended, as the released
            test attack does: wherever the boundary lies between the two, it then reports half of ``most``.
        random_start: whether PGD starts from a random point; see ``advertorch``.
        floor: see ``advertorch.BoxFirstL2``.

    Raises:
        ValueError: an argument that is not such; a search loss that is never below 0 and so calls no image right;
            with ``first='end'``, a budget above ``most``.
    """

    depends_on_scale = True  # SLM and CW do

    def __init__(self, model: Net, norm: str = 'Linf', eps: float | None = None, most: float | None = None,
                 k: int = 100, a: float | None = None, search_steps: int = 10, loss: str = 'slm',
                 search_loss: str = 'lm', first: str = 'half', random_start: bool = True, floor: float = 0.0):
        checks.one_of('norm', norm, DEFAULT_EPS)
        self.eps = checks.number('eps', DEFAULT_EPS[norm] if eps is None else eps)
        self.search_steps = checks.count('search_steps', search_steps)
        self.first = checks.one_of('first', first, ('half', 'end', 'released'))
        checks.one_of('loss', loss, MARGIN_LOSSES)
        require_signed(search_loss)
        k = checks.count('k', k)
        self._pgd = LossPGD(model, [self.eps], k, 2.5 / k if a is None else a, 1, random_start, norm, [loss], floor)
        super().__init__(model, self._pgd.ball)
        require_within_the_box('eps', self.eps, self.ball, self.image_size)
        self.most = checks.number('most', min(1.5 * self.eps, self.ball.diagonal(self.image_size))
                                  if most is None else most)
        if self.first == 'end' and self.eps > self.most:
            raise ValueError(f'eps must be at most {self.most:g}, the largest size that is searched (most), not '
                             f'{self.eps:g}')
        self._margin_of = MARGIN_LOSSES[search_loss]
        self._found = compiled(self._find, IMAGES, IMAGES, LABELS, PER_IMAGE)

    # ---- within a computation ----

    def start(self, x: tf.Tensor, eps: tf.Tensor, uniform: tf.Tensor) -> tf.Tensor:
        """Random points that PGD starts from; see ``advertorch``, and ``crossing`` for the arguments.

        Args:
            x, eps: images and budgets.
            uniform: numbers in [0, 1), float32 of the shape of the images.
        """
        return self._pgd.ball.start(x, eps, uniform)

    def crossing(self, start: tf.Tensor, x: tf.Tensor, y: tf.Tensor, eps: tf.Tensor, net: Any = None) -> Crossing:
        """Attacks each image within its own budget, and searches along where that ended.

        To be called eagerly or within what is compiled, a training step say. All of it is a constant to a tape that
        watches the network.

        Args:
            start: where PGD starts, within the budgets and [0, 1], float32 [N, H, W, C].
            x: images in [0, 1], float32 [N, H, W, C].
            y: the right classes, int64 [N].
            eps: budgets, above 0 and at most ``most``, float32 [N].
            net: from images to logits, for the search; None for the network in inference.
        """
        net = self._inference if net is None else net
        end = tf.stop_gradient(self._pgd.perturb_from(start, x, y, eps))
        direction = (end - x) / ops.per_image(eps + SPARE)

        def margin(size: tf.Tensor) -> tf.Tensor:
            return self._margin_of(net(tf.clip_by_value(x + ops.per_image(size) * direction, *self.bounds)), y)
        most = tf.fill(tf.shape(eps), tf.constant(self.most, tf.float32))
        first = eps if self.first == 'end' else most / 2
        at_first = margin(first) if self.first == 'half' else self._margin_of(net(end), y)
        size, wrong_size = (tf.stop_gradient(t) for t in bisected(margin, first, at_first, most, self.search_steps))
        return Crossing(x + ops.per_image(size) * direction, size, wrong_size, direction, end)

    def _inference(self, x: tf.Tensor) -> tf.Tensor:
        return tf.cast(self.net(x, training=False), tf.float32)

    # ---- evaluations ----

    def measure(self, images: np.ndarray, labels: np.ndarray, rng: Any = None) -> tuple[np.ndarray, ...]:
        """The sizes that are searched for, of every image, as the released test attack gives them.

        Images that are misclassified are measured like the others, and come out near 0; those that stay right up to
        ``most``, near ``most``. ``attack`` gives distances that are judged.

        Args:
            images, labels, rng: as for ``attack``.

        Returns:
            float64 [N] sizes, in units of a direction whose norm is 1 at most; float64 [N] distances, the norms of such
            perturbations themselves, clipped to the box; float32 [N, H, W, C] images where PGD ended.
        """
        x, y, _ = self._checked(images, labels)
        size, _, direction, end = self._found(self._starts(x, rng_of(rng)), x, y, np.full(len(x), self.eps))
        at = np.clip(x + size[:, None, None, None] * direction, *self.bounds)
        return size.astype(np.float64), self.distance(at, x), end

    def _run(self, x, y, rng):
        _, wrong_size, direction, _ = self._found(self._starts(x, rng), x, y, np.full(len(x), self.eps))
        images = x + wrong_size[:, None, None, None] * direction
        return Proposal(images, np.ones(len(x), bool))  # whether they are wrong is for the judge to see

    def _starts(self, x: np.ndarray, rng: Any) -> np.ndarray:
        if not self._pgd.random_start:
            return x
        uniform = rng.uniform(size=x.shape).astype(np.float32)
        return self.start(x, np.full(len(x), self.eps, np.float32), uniform).numpy()

    def _find(self, start, x, y, eps):
        found = self.crossing(start, x, y, eps)
        return found.size, found.wrong_size, found.direction, found.end
