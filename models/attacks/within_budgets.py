"""What attacks within given budgets have in common: budgets tried in turn, and perturbations of images in training."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from .. import checks
from .balls import Ball, Rng, require_within_the_box
from .base import Attack, Net
from .compiled import IMAGES, IMAGES64, LABELS, PER_IMAGE, PER_IMAGE64, compiled
from .descent import Way, descend
from .results import Proposal


def budgets(ball: Ball, eps_list: Sequence[float] | None, size: int | None = None) -> list[float]:
    """Budgets, ascending; those that suit the norm for None.

    Args:
        ball: of the norm.
        eps_list: what was asked for.
        size: values in an image, if that is known.

    Raises:
        ValueError: no list of finite numbers of at least 0, or one that is larger than the box allows.
    """
    most = ball.diagonal(size)
    if eps_list is None:
        return [eps for eps in ball.budgets if eps < most] or [most]
    found = checks.numbers('eps_list', eps_list, strict=False)
    require_within_the_box('the largest of eps_list' if len(found) > 1 else 'eps', found[-1], ball, size)
    return found


class BudgetAttack(Attack):
    """The smallest of given budgets within which gradient steps find a wrong class.

    A subclass says which way is down (``_way``), and where an evaluation's descents start (``_starts``).

    Args:
        model: ``Model``, or any built Keras model that maps images to logits.
        norm: a name or a ball.
        eps_list: budgets, tried in ascending order; None for a list that suits the norm.
        k: steps.
        a: size of a step, in units of the budget.
        repeat: restarts within each budget; without a random start they would all be the same, and one is made.
        random_start: whether to start from a random point of the ball rather than from the clean image.
        compact: False keeps images whose search has finished in the batch, to no one's gain.

    Raises:
        ValueError: an argument that is not such, or with which there is nothing to do.
    """

    has_budgets = True
    _stops = True  # in evaluations, at the first point that is misclassified, rather than looking at the last alone
    _exact = False  # whether points are float64 between steps

    def __init__(self, model: Net, norm: str | Ball, eps_list: Sequence[float] | None, k: int, a: float, repeat: int,
                 random_start: bool, compact: bool = True):
        super().__init__(model, norm)
        self.eps_list = budgets(self.ball, eps_list, self.image_size)
        self.k = checks.count('k', k)
        self.a = checks.number('a', a)
        self.repeat = checks.count('repeat', repeat) if random_start else 1
        self.random_start = checks.flag('random_start', random_start)
        self.compact = checks.flag('compact', compact)
        points, sizes = (IMAGES64, PER_IMAGE64) if self._exact else (IMAGES, PER_IMAGE)
        self._descended = compiled(self._evaluated, points, points, LABELS, sizes)

    @abstractmethod
    def _way(self, i: tf.Tensor, x: tf.Tensor, y: tf.Tensor, *known: tf.Tensor) -> Way:
        """Which way is down at step ``i``; 'stuck' are images that stand still for want of a gradient."""

    def _known(self, clean: tf.Tensor, y: tf.Tensor) -> list[tf.Tensor]:
        """What ``_way`` is given of clean images, [N, ...] each."""
        return []

    @abstractmethod
    def _starts(self, x: np.ndarray, active: np.ndarray, budget: float, rng: Rng) -> np.ndarray:
        """Random points around the images ``active``, int64 [n], of ``x``, within a budget."""

    def _single_steps(self, x: np.ndarray, y: np.ndarray) -> np.ndarray | None:
        """Directions of single steps, tried where all the descents of a budget fail; None for none."""
        return None

    # ---- within a computation ----

    def perturb(self, x: Any, y: Any, eps: Any, seed: Any, stop: bool = False) -> tf.Tensor:
        """Images after a descent within a budget each, as an evaluation's, whether they fool the network or not.

        To be called eagerly or within what is compiled, a training step say: all of it is TensorFlow, it makes no
        variables, and follows the network's weights as they are when it runs. The network is taken as in inference. The
        result is no constant to a tape that watches what it is computed from: take ``tf.stop_gradient`` of it.

        Args:
            x: images in [0, 1], float32 [N, H, W, C].
            y: the right classes, int64 [N].
            eps: the budgets, at least 0, float32 [N] (or one for all), in the attack's norm; ``eps_list`` is for
                evaluations. 0 leaves an image as it is.
            seed: of the random start, if the attack has one, int32 [2]; all that is random is a function of it.
            stop: whether an image stays where it first fools the network; else it takes all ``k`` steps.

        Returns:
            float32 [N, H, W, C], within their balls and [0, 1], up to rounding.
        """
        x = tf.ensure_shape(tf.cast(x, tf.float32), [None, *self.image_shape])
        eps = tf.broadcast_to(tf.cast(eps, tf.float32), tf.shape(y))
        start = x
        if self.random_start:
            noise = self.ball.random(x, eps, tf.cast(seed, tf.int32))
            start = tf.clip_by_value(x + noise, *self.bounds)
        return self.perturb_from(start, x, y, eps, stop)

    def perturb_from(self, start: tf.Tensor, x: tf.Tensor, y: tf.Tensor, eps: tf.Tensor, stop: bool = False
                     ) -> tf.Tensor:
        """As ``perturb``, from given images, float32 [N, H, W, C]; all arguments are tensors."""
        point = tf.float64 if self._exact else tf.float32
        end, _, _ = self._descend(tf.cast(start, point), tf.cast(x, point), tf.cast(y, tf.int64),
                                  tf.cast(eps, point), stop)
        return tf.cast(end, tf.float32)

    def _descend(self, start, clean, y, eps, stop):
        known = self._known(tf.cast(clean, tf.float32), y)
        return descend(self._way, self.ball, self.bounds, self.k, start, clean, y, eps,
                       tf.cast(eps * self.a, tf.float32), known, self._is_wrong if stop else None, self.compact)

    def _evaluated(self, start, clean, y, eps):
        """The ends of descents, whether they are misclassified, and whether they stood still anywhere."""
        x, wrong, stuck = self._descend(start, clean, y, eps, self._stops)
        x = tf.cast(x, tf.float32)
        return x, wrong | self._is_wrong_at(x, y), stuck

    # ---- evaluations ----

    def _restarts(self, x: np.ndarray) -> int:
        """How many descents there are within each budget."""
        return self.repeat

    def _descent(self, restart: int) -> Callable[..., list[np.ndarray]]:
        """What makes the descents of a restart, from starts, images, labels and budgets: see ``_evaluated``."""
        return self._descended

    def _run(self, x, y, rng):
        images, eps, stood_still = np.zeros_like(x), np.full(len(x), np.inf), np.zeros(len(x), bool)
        active = np.arange(len(x))

        def left(ends: np.ndarray, wrong: np.ndarray) -> np.ndarray:
            """Records what was found of the active images; those that are left."""
            images[active[wrong]], eps[active[wrong]] = ends[wrong], budget
            return active[~wrong]

        steps, restarts = self._single_steps(x, y), self._restarts(x)
        for budget in self.tried:
            for restart in range(restarts):
                start = self._starts(x, active, budget, rng) if self.random_start else x[active]
                each = np.full(len(active), budget)
                ends, wrong, stuck = self._descent(restart)(start, x[active], y[active], each)
                stood_still[active] |= stuck
                active = left(ends, wrong)
                if not len(active):
                    return Proposal(images, np.isfinite(eps), eps, stood_still)
            if steps is not None:
                each = np.full(len(active), budget)
                active = left(*self._stepped(x[active], steps[active], y[active], each))
        return Proposal(images, np.isfinite(eps), eps, stood_still)
