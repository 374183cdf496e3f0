"""Check: whether images that are adversarial to a small network of the same opinions are adversarial to this one."""

from __future__ import annotations

import math

import numpy as np
import tensorflow as tf

from ..attacks import leads, ops
from ..in_graphs import graph_function, loops_in_graph
from .evidence import Evidence
from .findings import Finding, many

BATCH, EPOCHS, LEAST_STEPS = 64, 15, 150
"""Of the surrogate's training."""
RATE = 3e-3
STEPS, SIZE = 10, 0.25
"""Of PGD on the surrogate: how many, and how long, in units of the budget."""
PIXELS = 16
"""The first layer brings images down to about so many pixels a side."""


class Surrogate:
    """A small CNN, trained on what another network takes images for; float32.

    Args:
        shape: of an image.
        classes: how many.
    """

    def __init__(self, shape: tuple[int, ...], classes: int):
        height, width, channels = shape
        self.stride = max(1, max(height, width) // PIXELS)
        flat = 32 * math.prod(math.ceil(math.ceil(side / self.stride) / 2) for side in (height, width))
        sizes = [(3, 3, channels, 16), (3, 3, 16, 32), (flat, classes), (16,), (32,), (classes,)]
        self.variables = [tf.Variable(tf.zeros(size)) for size in sizes]
        self._trained = graph_function(self._train, reduce_retracing=True)

    def __call__(self, x: tf.Tensor) -> tf.Tensor:
        """Logits."""
        first, second, last, *biases = self.variables
        for weight, bias, stride in ((first, biases[0], self.stride), (second, biases[1], 2)):
            x = tf.nn.relu(tf.nn.conv2d(x, weight, stride, 'SAME') + bias)
        return tf.reshape(x, [tf.shape(x)[0], last.shape[0]]) @ last + biases[2]

    def fit(self, x: np.ndarray, labels: np.ndarray, rng: np.random.Generator) -> None:
        """Begins anew, and minimises the cross entropy by Adam."""
        for v in self.variables:
            scale = np.sqrt(2 / math.prod(v.shape[:-1])) if v.shape.rank > 1 else 0.0
            v.assign(rng.normal(size=v.shape) * scale)
        steps = max(LEAST_STEPS, EPOCHS * len(x) // BATCH)
        rows = np.stack([rng.choice(len(x), min(BATCH, len(x)), replace=False) for _ in range(steps)])
        self._trained(tf.constant(x), tf.constant(labels), tf.constant(rows))

    @loops_in_graph
    def _train(self, x: tf.Tensor, labels: tf.Tensor, batches: tf.Tensor) -> None:
        moments = [tf.zeros_like(v) for v in self.variables * 2]
        for step in tf.range(tf.shape(batches)[0]):
            with tf.GradientTape() as tape:
                logits = self(tf.gather(x, batches[step]))
                loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(
                    tf.gather(labels, batches[step]), logits))
            gradients, n = tape.gradient(loss, self.variables), len(self.variables)
            means = [0.9 * m + 0.1 * g for m, g in zip(moments, gradients)]
            squares = [0.999 * m + 0.001 * g ** 2 for m, g in zip(moments[n:], gradients)]
            t = tf.cast(step + 1, tf.float32)
            size = RATE * tf.sqrt(1 - 0.999 ** t) / (1 - 0.9 ** t)
            for v, m, s in zip(self.variables, means, squares):
                v.assign_sub(size * m / (tf.sqrt(s) + 1e-8))
            moments = means + squares


def transfer_beats_white_box(e: Evidence, surrogate: Surrogate) -> Finding:
    """How many of the images that stand are broken by images made on a surrogate, within the budgets they stand at.

    The surrogate learns what the network takes the images of the evaluation for, clean and with noise; so no second
    network of the kind is needed, and nothing of the network but its answers.
    """
    name, rows, rng = 'transfer_beats_white_box', e.standing, e.rng('transfer')
    if not len(rows):
        return Finding(name, False, {'images': 0, 'of': 0})
    noise = e.attack.ball.draw(e.pool.shape, 1.0, rng) * rng.uniform(0, e.held.max(), (len(e.pool), 1, 1, 1))
    x = np.concatenate([e.pool, np.clip(e.pool + noise, *e.attack.bounds)]).astype(np.float32)
    labels = np.concatenate([e.attack.logits(x[i:i + len(e.x)]) for i in range(0, len(x), len(e.x))]).argmax(axis=1)
    surrogate.fit(x, labels, rng)
    broken = np.zeros(len(rows), bool)
    for images in climbed(e, surrogate, rows):
        broken |= e.is_wrong(images, rows)
    count = int(broken.sum())
    agrees = float((surrogate(tf.constant(e.x)).numpy().argmax(axis=1) == e.logits.argmax(axis=1)).mean())
    return Finding(name, many(count, len(rows)), {'images': count, 'of': len(rows), 'surrogate_agrees': agrees},
                   f'images made on a small surrogate break {count} of {len(rows)} that the attack on the network '
                   'itself does not: its gradients are masked, so attack through what masks them (BPDA, EOT), without '
                   'gradients (SQUARE), or from other runs (eval-blackbox-ifgsm)')


def climbed(e: Evidence, surrogate: Surrogate, rows: np.ndarray) -> list[np.ndarray]:
    """The images of each step of PGD on a surrogate, within ``e.held``."""
    clean, y, eps = tf.constant(e.x[rows]), tf.constant(e.y[rows]), tf.constant(e.held[rows], tf.float32)
    x, way = clean, []
    for _ in range(STEPS):
        _, gradient = ops.value_and_gradient(surrogate, x, lambda z: leads.soft_lead(z, y, 1.0))
        moved = x - ops.per_image(SIZE * eps) * e.attack.ball.direction(gradient)
        x = tf.clip_by_value(e.attack.ball.onto(moved, clean, eps), *e.attack.bounds)
        way.append(x.numpy())
    return way
