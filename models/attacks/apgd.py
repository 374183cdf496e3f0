"""Auto-PGD: steps up a loss whose sizes adapt, from random points of the sphere."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf

from .. import checks
from ..climbed_losses import dlr, mean_soft_margin, targeted_dlr
from ..margin_losses import cross_entropy
from . import leads, ops
from .adaptive import FIRST, climb
from .base import Net
from .compiled import IMAGES, LABELS, PER_IMAGE, compiled
from .descent import Way
from .sparse import STAGES, sparse_climb, staged_climb
from .spheres import Sphere, sphere_of
from .within_budgets import BudgetAttack

LOSSES = {'xent': 2, 'slm': 2, 'dlr': 3, 'dlr-targeted': 4}
"""The losses that APGD climbs, and of how many classes at least."""
CLIMBS = {'Linf': climb, 'L2': climb, 'L1': sparse_climb}
"""By the names of norms."""
RELEASED_REPEAT = 5
"""Restarts of the attack that arXiv 2006.08403 was released with."""


class APGD(BudgetAttack):
    """The smallest of given budgets within which steps up a loss, of sizes that adapt, meet a wrong class.

    As Croce and Hein (arXiv 2003.01690) have it: a first step of twice the budget, momentum, and checks at which an
    image that does not get on returns to its best point, to go on in steps of half the size (``adaptive``). Random
    starts are on the sphere. An image that is fooled takes part in no further restart, or target. In L1, as the same
    authors have it (arXiv 2103.01208), a step changes few pixels, the fewer the sparser the best point is (``sparse``).

    - ``'xent'``, the cross entropy. The attack compares losses and takes the direction of gradients, and in both SLM
      agrees with it, and does not vanish where the network is sure: so that is climbed, and ``'slm'`` is the same
      attack. What it finds depends on the scale of the logits, as they do.
    - ``'dlr'``, the difference of logits ratio, does not. Logits are taken in units of the clean image's.
    - ``'dlr-targeted'``, towards each of the ``target_classes`` classes that are the strongest at the clean image.

    Args:
        model: ``Model``, or any built Keras model that maps images to logits.
        eps_list: budgets, tried in ascending order; None for a list that suits the norm.
        k: steps.
        repeat: restarts within each budget, and with each target; None for 1, or for 5 as released.
        norm: 'Linf', 'L2' or 'L1'.
        loss: 'xent', 'slm', 'dlr' (of three classes at least) or 'dlr-targeted' (of four).
        target_classes: how many classes the last of them goes towards, in turn; 'all', or more than there are, for all.
        rho: share of the steps between two checks at which the loss must rise for a step not to be halved, below 1.
        stop: whether an image is done where it is first misclassified. False takes all its steps and keeps the last
            misclassified point, as the authors' code does: the same images are fooled, at other points.
        released: whether it is as released with arXiv 2006.08403: five restarts, all the steps, and the cross entropy's
            own values and gradients.
        larger_first: of L1: whether the first 0.3 of the steps are within three times the budget, and the next 0.3
            within twice, as AutoAttack has it; each goes on from the best point of the one before.
        eot_iter: passes whose gradients, and logits, are averaged at each step, for networks that draw random numbers
            in inference, anew in each pass; AutoAttack takes 20 for those. With more than one no image is done early,
            and the point of the largest loss counts: what is misclassified once may be right in the next pass. (The
            authors average gradients alone, and keep the last point that was misclassified.)
        compact: False keeps images whose search has finished in the batch, to no one's gain.

    Raises:
        ValueError: an argument that is not such, or fewer classes than the loss needs.
    """

    ball: Sphere

    def __init__(self, model: Net, eps_list: Sequence[float] | None = None, k: int = 100, repeat: int | None = None,
                 norm: str = 'Linf', loss: str = 'xent', target_classes: int | str = 9, rho: float = 0.75,
                 stop: bool = True, released: bool = False, larger_first: bool = False, eot_iter: int = 1,
                 compact: bool = True):
        self.loss = checks.one_of('loss', loss, LOSSES)
        self.released = checks.flag('released', released)
        self.rho = checks.number('rho', rho, high=1.0)
        self.eot_iter = checks.count('eot_iter', eot_iter)
        self.target_classes = math.inf if target_classes == 'all' else _targets(target_classes)
        if repeat is None:
            repeat = RELEASED_REPEAT if released else 1
        super().__init__(model, sphere_of(norm), eps_list, k, FIRST, repeat, True, compact)
        self._stops = checks.flag('stop', stop) and not released and self.eot_iter == 1
        if checks.flag('larger_first', larger_first) and norm != 'L1':
            raise ValueError(f"larger_first is of norm='L1', not of {norm!r}")
        self._climbing = staged_climb if larger_first else CLIMBS[norm]
        self._start_size = STAGES[0][0] if larger_first else 1  # in units of the budget
        self.depends_on_scale = loss in ('xent', 'slm')
        if outputs := getattr(self.net, 'outputs', None):
            self._require_classes(outputs[0].shape[-1])
        self._towards = compiled(self._climbed_towards, IMAGES, IMAGES, LABELS, PER_IMAGE, LABELS)

    def _require_classes(self, classes: int) -> None:
        if classes < LOSSES[self.loss]:
            raise ValueError(f'the loss {self.loss!r} needs a network of {LOSSES[self.loss]} classes at least, not of '
                             f"{classes}; 'xent' does with two")

    # ---- the loss ----

    def _value(self, logits: tf.Tensor, y: tf.Tensor, *known: tf.Tensor) -> tf.Tensor:
        if self.depends_on_scale:
            own = self.released and self.loss == 'xent'
            return cross_entropy(logits, y) if own else mean_soft_margin(logits, y)
        unit, *target = known
        logits = logits / unit[:, tf.newaxis]
        return targeted_dlr(logits, y, *target) if target else dlr(logits, y)

    @property
    def _before_first(self) -> float:
        """What the first loss is compared with: 0 in the authors' code, which the cross entropy is always above."""
        return -math.inf if self.depends_on_scale else 0.0

    def _way(self, i, x, y, *known):
        logits, gradient = ops.value_and_gradient(self.quick_net, x, lambda z: self._value(z, y, *known))
        if self.eot_iter > 1:
            def more(j, *sums):
                own = ops.value_and_gradient(self.quick_net, x, lambda z: self._value(z, y, *known))
                return j + 1, *(a + b for a, b in zip(sums, own))
            _, *sums = tf.while_loop(lambda j, *_: j < self.eot_iter, more, (1, logits, gradient))
            logits, gradient = (a / self.eot_iter for a in sums)
        return Way(-gradient, ops.linf_norm(gradient) == 0, logits)

    def _known(self, clean, y, rank=None):
        """The unit of the logits, and the class that is strongest, or of rank ``rank``, int64 [N], among the others."""
        if self.depends_on_scale:
            return []
        logits = self.quick_net(clean)
        self._require_classes(logits.shape[1])
        unit = tf.reduce_max(logits, axis=1) - tf.reduce_min(logits, axis=1)
        largest = leads.largest(logits)
        unit = tf.where(unit > 0, unit, tf.where(largest > 0, largest, 1.0))
        if self.loss == 'dlr':
            return [unit]
        own = tf.one_hot(y, tf.shape(logits)[1], on_value=True, off_value=False)
        order = tf.argsort(tf.where(own, -np.inf, logits), axis=1, direction='DESCENDING', stable=True)
        rank = tf.zeros_like(y) if rank is None else rank
        return [unit, tf.cast(tf.gather(order, rank, axis=1, batch_dims=1), tf.int64)]

    # ---- climbs ----

    def _climb(self, start, clean, y, eps, known, stop):
        return self._climbing(self._way, self._value, self.ball, self.bounds, self.k, start, clean, y, eps, known,
                              self._is_wrong, self._before_first, self.rho, stop, self.compact)

    def _descend(self, start, clean, y, eps, stop):
        """Of an image that is to stop, where it was first misclassified; else the point of the largest loss."""
        end = self._climb(start, clean, y, eps, self._known(clean, y), stop)
        x = tf.where(ops.per_image(end.wrong), end.found, end.best) if stop else end.best
        return x, end.wrong, end.stuck

    def _climbed_towards(self, start, clean, y, eps, rank):
        end = self._climb(start, clean, y, eps, self._known(clean, y, rank), self._stops)
        return end.best if self.eot_iter > 1 else end.found, end.wrong, end.stuck

    # ---- evaluations ----

    def _restarts(self, x):
        if self.loss != 'dlr-targeted':
            return self.repeat
        return self.repeat * int(min(self.target_classes, self.logits(x[:1]).shape[1] - 1))

    def _descent(self, restart: int) -> Callable[..., list[np.ndarray]]:
        return lambda start, x, y, eps: self._towards(start, x, y, eps, np.full(len(y), restart // self.repeat))

    def _starts(self, x, active, budget, rng):
        # Drawn for every image, so that what an image gets does not depend on which others are done.
        noise = self.ball.noise(x.shape, rng)[active]
        size = np.full(len(active), budget * self._start_size, np.float32)
        return self.ball.start(x[active], size, noise).numpy()


def _targets(value: int | str) -> int:
    try:
        return checks.count('target_classes', value)
    except ValueError as e:
        raise ValueError(f"{e}; or 'all'") from None
