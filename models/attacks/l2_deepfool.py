"""L2DeepFool: the attack of Moosavi-Dezfooli, Fawzi and Frossard."""

from __future__ import annotations

import tensorflow as tf

from .. import checks
from . import leads, ops
from .base import Attack, Net
from .compiled import IMAGES, LABELS, compiled
from .results import Proposal


class L2DeepFool(Attack):
    """Steps to the nearest of the linearised class boundaries until the class changes (arXiv 1511.04599, algorithm 2).

    As Foolbox 2 did it for the original's evaluation: among the ``candidates`` classes with the largest logits at the
    clean image, with the overshoot applied to every step, and clipping to the box after each.

    Args:
        model: ``Model``, or any built Keras model that maps images to logits.
        steps: the most steps for an image.
        overshoot: by how much of itself a step is lengthened.
        candidates: number of classes, the right one included, whose boundaries are considered.
        normalize_output: whether logits are divided by their largest magnitude, through which the gradient then flows,
            as in the original's evaluation. The steps differ a little; the scale of the logits has no effect in either
            case.
        compact: False keeps images whose search has finished in the batch, to no one's gain.
    """

    def __init__(self, model: Net, steps: int = 1000, overshoot: float = 0.05, candidates: int = 10,
                 normalize_output: bool = False, compact: bool = True):
        super().__init__(model)
        self.steps = checks.count('steps', steps)
        self.overshoot = checks.number('overshoot', overshoot, strict=False)
        self.candidates = checks.count('candidates', candidates, low=2)
        self.normalize_output = checks.flag('normalize_output', normalize_output)
        self.compact = checks.flag('compact', compact)
        self._searched = compiled(self._search, IMAGES, LABELS)

    def _run(self, x, y, rng):
        return Proposal(*self._searched(x, y))

    def _search(self, x, y):
        logits = tf.cast(self.net(x, training=False), tf.float32)
        top = tf.math.top_k(logits, min(self.candidates, logits.shape[-1])).indices
        found = tf.zeros_like(y, tf.bool)
        x, found = ops.compacting_loop(self._step, [x, found], [y, tf.cast(top, tf.int64)], self.steps, self.compact)
        return x, found | self._is_wrong_at(x, y)

    def _step(self, i, state, fixed):
        x, _ = state
        y, candidates = fixed
        logits, scores, gaps, gradients = leads.gaps(self.quick_net, x, y, candidates, self.normalize_output)
        # Clipping to the box shortens every step, so that steps to the boundary alone would approach it for ever.
        size = tf.abs(gaps) + 2 * self.slack * leads.largest(scores)
        norms = tf.stack([ops.l2_norm(gradient) for gradient in gradients])
        own = tf.transpose(candidates) == y
        nearest = tf.argmin(tf.where(own | (norms == 0), x.dtype.max, size / tf.where(norms > 0, norms, 1)), axis=0)
        rows = tf.stack([nearest, tf.range(tf.size(y, out_type=tf.int64))], axis=1)
        norm = tf.gather_nd(norms, rows)
        length = tf.where(norm > 0, tf.maximum(tf.gather_nd(size, rows) / norm, ops.LEAST), 0.0)
        moved = ops.unit(tf.gather_nd(tf.stack(gradients), rows)) * ops.per_image(length * (1 + self.overshoot))
        wrong = self._is_wrong(logits, y)
        x = tf.where(ops.per_image(wrong), x, tf.clip_by_value(x + moved, *self.bounds))
        return [x, wrong], wrong
