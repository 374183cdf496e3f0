"""CarliniL2: the L2 attack of Carlini and Wagner, as the original's evaluations run it."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from .. import checks
from ..in_graphs import loops_in_graph
from . import leads, ops
from .base import Attack, Net
from .compiled import IMAGES, LABELS, PER_IMAGE, compiled
from .results import Proposal

_NEVER = 1e10
"""Distance of an image for which nothing was found, and upper bound of a constant that never succeeded."""
LARGEST_CONST = 1e20
"""Of the first constant, which is multiplied by 10 a few times and by logits, in float32."""
_BETA1, _BETA2, _EPSILON = np.float32(0.9), np.float32(0.999), np.float32(1e-8)
"""Adam's, in float32 as TensorFlow 1's kernel has them: there 1 - beta2 is off by 1.3e-5, which the distances show."""


class CarliniL2(Attack):
    """Minimises ``||x' - x||^2 + const * max(0, lead of the right class + confidence)`` by Adam over
    ``x' = box(tanh(w))``, and searches the smallest ``const`` that works for each image (Carlini & Wagner,
    arXiv 1608.04644, section VI-A).

    **Its result depends on the scale of the logits**, as the original's does: ``const`` weighs a logit difference
    against a distance, and the search tries ``binary_search_steps`` values from ``initial_const`` upwards. With
    ``normalize_output`` it does not.

    The images of a batch share one decision, as in the original: every tenth of ``max_iterations`` a search step ends
    if the batch's loss has not fallen by 1e-4 of itself since the last look. An image's result therefore depends a
    little on its batch.

    Args:
        model: ``Model``, or any built Keras model that maps images to logits.
        batch_size: images attacked together; None for all that are given.
        confidence: by how much, in logits, the wrong class must lead.
        targeted: whether labels name the class to reach. (Default of the original: True.)
        learning_rate: Adam's.
        binary_search_steps: number of constants tried; with 10 or more, the last is the smallest that worked.
        max_iterations: Adam's steps for each constant.
        abort_early: whether a search step may end early.
        initial_const: the first constant; on failure it is multiplied by 10 until it works.
        boxmin: least value of a pixel.
        boxmax: largest value of a pixel.
        normalize_output: whether logits are divided by the sum of their absolute values.

    Attributes:
        consts: float64 [steps, N], constants of the last batch, in the order tried.
        iterations: int [steps], Adam's steps of the last batch.
    """

    def __init__(self, model: Net, batch_size: int | None = None, confidence: float = 0.0, targeted: bool = False,
                 learning_rate: float = 1e-2, binary_search_steps: int = 9, max_iterations: int = 10_000,
                 abort_early: bool = True, initial_const: float = 1e-3, boxmin: float = 0.0, boxmax: float = 1.0,
                 normalize_output: bool = False):
        super().__init__(model)
        self.batch_size = None if batch_size is None else checks.count('batch_size', batch_size)
        self.confidence = checks.number('confidence', confidence, strict=False)
        self.targeted = checks.flag('targeted', targeted)
        self.learning_rate = checks.number('learning_rate', learning_rate)
        self.binary_search_steps = checks.count('binary_search_steps', binary_search_steps)
        self.max_iterations = checks.count('max_iterations', max_iterations)
        self.abort_early = checks.flag('abort_early', abort_early)
        self.initial_const = checks.number('initial_const', initial_const, high=LARGEST_CONST)
        lowest = checks.number('boxmin', boxmin, low=-1e30)
        self.bounds = (lowest, checks.number('boxmax', boxmax, low=lowest))
        self.normalize_output = checks.flag('normalize_output', normalize_output)
        self.depends_on_scale = not normalize_output
        self.consts = np.zeros((0, 0))
        self.iterations = np.zeros(0, int)
        self._searched = compiled(self._search_step, IMAGES, LABELS, PER_IMAGE, PER_IMAGE, IMAGES)

    def _run(self, x, y, rng):
        size = self.batch_size or len(x)
        images, found = zip(*(self._attack_batch(x[i:i + size], y[i:i + size]) for i in range(0, len(x), size)))
        return Proposal(np.concatenate(images), np.concatenate(found))

    def _attack_batch(self, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        half, middle = (self.bounds[1] - self.bounds[0]) / 2, (self.bounds[0] + self.bounds[1]) / 2
        start = np.arctanh((x.astype(np.float64) - middle) / half * 0.999999).astype(np.float32)
        lower, upper = np.zeros(len(x)), np.full(len(x), _NEVER)
        const = np.full(len(x), float(self.initial_const))
        best = [np.full(len(x), _NEVER, np.float32), np.zeros_like(x)]
        consts, iterations = [], []
        for step in range(self.binary_search_steps):
            if step == self.binary_search_steps - 1 and self.binary_search_steps >= 10:
                const = upper.copy()
            consts.append(const.copy())
            hit, *best, count = self._searched(start, y, const.astype(np.float32), *best)
            iterations.append(int(count))
            upper = np.where(hit, np.minimum(upper, const), upper)
            lower = np.where(hit, lower, np.maximum(lower, const))
            const = np.where(upper < 1e9, (lower + upper) / 2, np.where(hit, const, const * 10))
        self.consts, self.iterations = np.array(consts), np.array(iterations)
        return best[1], best[0] < np.float32(_NEVER)

    @loops_in_graph
    def _search_step(self, start, y, const, best_l2, best_image):
        """Adam from the clean images at given constants.

        Returns:
            Whether each image was hit; the smallest squared distances so far and their images; steps taken.
        """
        clean = self._to_image(start)
        state = self._initial(start)
        hit = tf.zeros_like(best_l2, tf.bool)
        mark = tf.constant(np.inf, tf.float64)
        period = max(1, self.max_iterations // 10)
        count = 0
        for i in tf.range(self.max_iterations):
            loss, gradient, image, l2, wins = self._look(state[0], start, clean, y, const)
            state = self._adam(gradient, *state)
            count = i + 1
            if self.abort_early and i % period == 0:
                loss = tf.cast(loss, tf.float64)
                if loss > mark * 0.9999:
                    break  # before this iteration's images are looked at, as in the original
                mark = loss
            hit |= wins
            better = wins & (l2 < best_l2)
            best_l2 = tf.where(better, l2, best_l2)
            best_image = tf.where(ops.per_image(better), image, best_image)
        return hit, best_l2, best_image, count

    @staticmethod
    def _initial(start):
        """The variable w, Adam's moments, and the powers of its betas."""
        return tf.zeros_like(start), tf.zeros_like(start), tf.zeros_like(start), tf.constant(1.0), tf.constant(1.0)

    def _adam(self, gradient, w, m, v, power1, power2):
        power1, power2 = power1 * _BETA1, power2 * _BETA2
        m += (gradient - m) * (1 - _BETA1)
        v += (tf.square(gradient) - v) * (1 - _BETA2)
        w -= self.learning_rate * tf.sqrt(1 - power2) / (1 - power1) * m / (tf.sqrt(v) + _EPSILON)
        return w, m, v, power1, power2

    def _to_image(self, w: tf.Tensor) -> tf.Tensor:
        return tf.tanh(w) * ((self.bounds[1] - self.bounds[0]) / 2) + (self.bounds[0] + self.bounds[1]) / 2

    def _look(self, w, start, clean, y, const):
        """The loss of the batch at w, its gradient, the images, their squared distances, whether they succeed."""
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(w)
            image = self._to_image(w + start)
            logits = self.quick_net(image)
            if self.normalize_output:
                size = tf.reduce_sum(tf.abs(logits), axis=1, keepdims=True)
                logits /= tf.where(size > 0, size, 1.0)
            lead = leads.lead(logits, y) * (-1.0 if self.targeted else 1.0) + self.confidence
            l2 = tf.reduce_sum(tf.square(image - clean), axis=[1, 2, 3])
            loss = tf.reduce_sum(const * tf.maximum(0.0, lead)) + tf.reduce_sum(l2)
        wins = lead < -self.slack * leads.largest(logits)
        return loss, tape.gradient(loss, w), image, l2, wins
