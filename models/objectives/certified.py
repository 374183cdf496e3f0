"""Certified training: what a bound says of the worst image within a budget (Gowal et al., arXiv 1810.12715)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from .. import checks
from ..attacks.balls import ball_of, require_within_the_box
from ..batch import Batch
from ..certificates.bounds import Bounds
from ..losses import hp_sparse_softmax_cross_entropy_with_logits_v1
from ..schedules import Control
from .base import Objective, as_batch
from .labels import nan_for_no_class

AT_LAST = 10 ** 9
"""A step, and an epoch, at which schedules have ended."""
SHARES = ('kappa', 'beta')


class Certified(Objective):
    """The cross entropy of the image, and that of the worst logits that a bound allows within the budget:

        kappa * xent(z) + (1 - kappa) * xent(-m),    m = beta * m_crown + (1 - beta) * m_ibp,

    where m are lower bounds of ``z_y - z_j``, 0 of y itself, for all images of the ball that are in [0, 1]: m_ibp by
    intervals up to the last linear layers (IBP, arXiv 1810.12715, section 3), m_crown by linear functions that are
    passed back from the margins to the image, within the same intervals (CROWN-IBP; Zhang et al., arXiv 1906.06316,
    section 3). Training that works lets eps grow from 0, as both papers do, and beta fall to 0 meanwhile.

    Bounds are of the network at rest, and batch normalisation takes its moving statistics there; the pass over the
    images themselves is as in training.

    Args:
        eps: the budget, in pixels of [0, 1]; or one that follows a schedule, see ``schedules.Control``. All that follow
            may, too.
        norm: 'Linf' or 'L2'.
        kappa: the share of the images themselves, from 0 to 1.
        beta: the share of linear relaxation in the bound, from 0 to 1; at 0 it is not computed.
        final: a budget at which the bound is recorded as well, though nothing is trained at it; None for the one that
            the schedule of ``eps`` ends at.

    Raises:
        ValueError: an argument that is not such.
    """

    per_image = True
    in_the_box = True
    _made: tuple[keras.Model, Bounds] | None = None

    def __init__(self, eps: Any, norm: str = 'Linf', kappa: Any = 0.5, beta: Any = 0.0, final: float | None = None):
        self.norm = checks.one_of('norm', norm, ('Linf', 'L2'))
        self._controls = {'eps': Control('eps', eps), 'kappa': Control('kappa', kappa), 'beta': Control('beta', beta)}
        for name in SHARES:
            if self._controls[name].schedule is None:
                checks.number(name, self._controls[name].value, strict=False, high=1)
        at_last = float(self._controls['eps'](np.array([AT_LAST]), 1)[0])
        self.final = checks.number('final', at_last if final is None else final, strict=False)
        self._state: dict[str, tf.Variable] = {}

    # ---- the network, and schedules ----

    def layers(self, net: keras.Model) -> tuple[str, ...]:
        self.bounds_of(net)  # refuses what it cannot bound
        return ()

    def bounds_of(self, net: keras.Model) -> Bounds:
        """The bounds of a network.

        Raises:
            ValueError: it has none, or not at such budgets.
        """
        if self._made is None or self._made[0] is not net:
            bounds = Bounds(net, self.norm)
            self._require_within_the_box('final', self.final, bounds)
            self._made = net, bounds
        return self._made[1]

    def _require_within_the_box(self, name: str, eps: float, bounds: Bounds) -> None:
        require_within_the_box(name, eps, ball_of(self.norm), math.prod(bounds.nodes[0].shape))

    def schedules(self) -> Mapping[str, Control]:
        return self._controls

    def controls(self, steps: np.ndarray, per_epoch: int) -> Mapping[str, np.ndarray]:
        """See ``Objective``.

        Raises:
            ValueError: the budget of a step is larger than the box allows, or below 0; or a share is not in [0, 1].
        """
        controls = super().controls(steps, per_epoch)
        for name, values in controls.items():
            most, wanted = (np.inf, 'at least 0') if name == 'eps' else (1, 'from 0 to 1')
            if len(values) and not 0 <= values.min() <= values.max() <= most:
                raise ValueError(f'{name} must be {wanted} in every step, and its schedule says {values.min():g} to '
                                 f"{values.max():g}; give it a 'min' and a 'max'")
        if self._made is not None:
            self._require_within_the_box('eps', float(controls['eps'].max(initial=0)), self._made[1])
        return controls

    # ---- state ----

    def build(self, net: keras.Model, images: int) -> None:
        self.bounds_of(net)
        unseen = np.full(images, np.nan, np.float32)
        self._state = {'eps': tf.Variable(np.float32(0), trainable=False),
                       'bound': tf.Variable(unseen, trainable=False),
                       'final_bound': tf.Variable(unseen, trainable=False)} if images else {}

    def variables(self) -> Mapping[str, tf.Variable]:
        return self._state

    def record(self) -> dict[str, Any]:
        """'certified': of the images seen so far, as they were when they were last trained on, the share that the bound
        of training certified ('accuracy') and the median of their smallest margin's bound ('bound'), under the budget
        of the last step ('at_eps') and under the one that is meant in the end ('at_final_eps')."""
        if not self._state:
            return {}
        eps, bound, final = (tf.convert_to_tensor(v).numpy().astype(np.float64) for v in self._state.values())
        seen = ~np.isnan(bound)
        said = {name: {'eps': at, 'accuracy': float((b[seen] > 0).mean()) if seen.any() else None,
                       'bound': float(np.median(b[seen])) if seen.any() else None}
                for name, at, b in (('at_eps', float(eps), bound), ('at_final_eps', self.final, final))}
        return {'certified': {'norm': self.norm, 'images': int(seen.sum()), **said}}

    def metrics(self) -> Mapping[str, tf.Tensor]:
        """'certified': the share of the images seen so far that are certified under the budget of their last step."""
        if not self._state:
            return {}
        bound = tf.convert_to_tensor(self._state['bound'])
        return {'certified': tf.reduce_mean(tf.cast(tf.boolean_mask(bound, ~tf.math.is_nan(bound)) > 0, tf.float32))}

    # ---- the losses of a batch ----

    def losses(self, batch: Batch | keras.Model, x: Any = None, y: Any = None, training: bool = True) -> tf.Tensor:
        batch = as_batch(batch, x, y, training)
        run = self.pass_over(batch)
        bounds, labels = self.bounds_of(batch.net), tf.cast(tf.reshape(run.y, [-1]), tf.int64)
        images, known = tf.cast(batch.x, bounds.dtype), tf.clip_by_value(labels, 0, bounds.classes - 1)
        eps, kappa, beta = (self._now(name, batch) for name in ('eps', *SHARES))
        margins = self._margins(bounds, images, known, eps, beta)
        if batch.index is not None and self._state:
            final = tf.constant(self.final, tf.float64)
            at_final = tf.cond(tf.equal(eps, final), lambda: margins,
                               lambda: self._margins(bounds, images, known, final, beta))
            batch.update(self._state['eps'], tf.cast(eps, tf.float32))
            batch.update_rows(self._state['bound'], _smallest(margins, known))
            batch.update_rows(self._state['final_bound'], _smallest(at_final, known))
        clean, worst = (hp_sparse_softmax_cross_entropy_with_logits_v1(known, z) for z in (run.logits, -margins))
        return nan_for_no_class(kappa * clean + (1 - kappa) * worst, labels, run.logits)

    def _now(self, name: str, batch: Batch) -> tf.Tensor:
        """A number as scheduled in a training step; outside of one that of the first, and the budget of the last."""
        control = self._controls[name]
        outside = self.final if name == 'eps' else float(control(np.zeros(1, np.int64), 1)[0])
        return tf.cast(batch.controls.get(name, outside), tf.float64)

    def _margins(self, bounds: Bounds, x: tf.Tensor, y: tf.Tensor, eps: tf.Tensor, beta: tf.Tensor) -> tf.Tensor:
        """Lower bounds of margins, [n, classes], 0 at the right class."""
        radius = tf.fill(tf.shape(y), tf.cast(eps, bounds.dtype))
        intervals = bounds.intervals(x, radius)
        by_intervals = bounds.margins(intervals, x, y, radius, relaxed=False)
        never = self._controls['beta'].schedule is None and not self._controls['beta'].value
        if never:
            return by_intervals

        def mixed() -> tf.Tensor:
            share = tf.cast(beta, bounds.dtype)
            return share * bounds.margins(intervals, x, y, radius, relaxed=True) + (1 - share) * by_intervals
        return tf.cond(beta > 0, mixed, lambda: by_intervals)


def _smallest(margins: tf.Tensor, y: tf.Tensor) -> tf.Tensor:
    """Of bounds [n, classes] the least at other classes than the right one, float32 [n]."""
    right = tf.one_hot(y, margins.shape[1], on_value=True, off_value=False, dtype=tf.bool)
    return tf.cast(tf.reduce_min(tf.where(right, tf.constant(np.inf, margins.dtype), margins), axis=1), tf.float32)
