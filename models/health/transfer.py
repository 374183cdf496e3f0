"""Check: whether images that are adversarial to a small network of the same opinions are adversarial to this one."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from ..attacks import leads, ops
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
    """A small CNN, trained on what another network takes images for; float32, computed eagerly.

    Args:
        shape: of an image.
        classes: how many.
        rng: of its weights and of its training.
    """

    def __init__(self, shape: tuple[int, ...], classes: int, rng: np.random.Generator):
        height, width, channels = shape
        self.stride = max(1, max(height, width) // PIXELS)
        flat = 32 * int(np.prod([-(-(-(-side // self.stride)) // 2) for side in (height, width)]))
        self.rng = rng
        self.weights = [tf.Variable(rng.normal(size=s) * np.sqrt(2 / np.prod(s[:-1])), dtype=tf.float32)
                        for s in ((3, 3, channels, 16), (3, 3, 16, 32), (flat, classes))]
        self.biases = [tf.Variable(tf.zeros(n)) for n in (16, 32, classes)]

    def __call__(self, x: tf.Tensor) -> tf.Tensor:
        """Logits."""
        for weight, bias, stride in zip(self.weights[:2], self.biases, (self.stride, 2)):
            x = tf.nn.relu(tf.nn.conv2d(x, weight, stride, 'SAME') + bias)
        return tf.reshape(x, [tf.shape(x)[0], -1]) @ self.weights[2] + self.biases[2]

    def fit(self, x: np.ndarray, labels: np.ndarray) -> None:
        """Adam on the cross entropy."""
        variables = [*self.weights, *self.biases]
        moments = [[tf.zeros_like(v), tf.zeros_like(v)] for v in variables]
        steps = max(LEAST_STEPS, EPOCHS * len(x) // BATCH)
        for step in range(1, steps + 1):
            rows = self.rng.choice(len(x), min(BATCH, len(x)), replace=False)
            with tf.GradientTape() as tape:
                loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels[rows], self(x[rows])))
            for v, m, gradient in zip(variables, moments, tape.gradient(loss, variables)):
                m[0], m[1] = 0.9 * m[0] + 0.1 * gradient, 0.999 * m[1] + 0.001 * gradient ** 2
                size = RATE * (1 - 0.999 ** step) ** 0.5 / (1 - 0.9 ** step)
                v.assign_sub(size * m[0] / (tf.sqrt(m[1]) + 1e-8))


def transfer_beats_white_box(e: Evidence) -> Finding:
    """How many of the images that stand are broken by images made on a surrogate, within the budgets they stand at.

    The surrogate learns what the network takes the images of the evaluation for, clean and with noise; so no second
    network of the kind is needed, and nothing of the network but its answers.
    """
    name, rows, rng = 'transfer_beats_white_box', e.standing, e.rng('transfer')
    if not len(rows):
        return Finding(name, False, {'images': 0, 'of': 0})
    x = np.concatenate([e.pool, np.clip(e.pool + rng.uniform(-1, 1, e.pool.shape) * rng.uniform(
        0, e.held.max(), (len(e.pool), 1, 1, 1)), *e.attack.bounds)]).astype(np.float32)
    labels = np.concatenate([e.attack.logits(x[i:i + len(e.x)]) for i in range(0, len(x), len(e.x))]).argmax(axis=1)
    surrogate = Surrogate(e.x.shape[1:], e.logits.shape[1], rng)
    surrogate.fit(x, labels)
    broken = np.zeros(len(rows), bool)
    for images in climbed(e, surrogate, rows):
        broken |= e.is_wrong(images, rows)
    count = int(broken.sum())
    agrees = float((surrogate(tf.constant(e.x)).numpy().argmax(axis=1) == e.logits.argmax(axis=1)).mean())
    return Finding(name, many(count, len(rows)), {'images': count, 'of': len(rows), 'surrogate_agrees': agrees},
                   f'images made on a small surrogate break {count} of {len(rows)} that the attack on the network itself '
                   'does not: its gradients are masked, so attack through what masks them (BPDA, EOT), without gradients '
                   '(SQUARE), or from other runs (eval-blackbox-ifgsm)')


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
