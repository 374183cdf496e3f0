"""Check: whether the attack finds adversarial images that are known to be there (Zimmermann et al., arXiv 2206.13991).

Of each image, points around it and one at a known distance are told apart by a linear readout of the network's own
features. The network with that readout in place of its last layer has an adversarial image within that distance, behind
all that hides the gradient of the features: an attack that does not find it would not find others either.
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from ..attacks.balls import Ball
from ..attacks.base import Attack
from .evidence import FEW, Evidence, again
from .findings import Finding, skipped

FOUND = 0.95
"""The share of planted images that an attack must find."""
INNER, POINTS = 0.5, 48
"""Where the points around an image are, in units of the distance of the planted one, and how many."""
TRIES = 4
"""Points that are tried for each image."""
APART = 0.25
"""The readout of the planted point lies above those of the others by this share, at least, of what it is above their
mean; the boundary is halfway."""
RIDGE = 1e-3
"""Of the readout's fit, in units of the mean variance of a feature."""
LEAST = 8
"""So few planted images say nothing."""
CLEAR = 0.45
"""The budget is at most this share of the distance of any two of the images."""
NEAR = 0.05
"""A search for the least distance may find this much more than the planted distance."""


def features_of(net: keras.Model) -> Any:
    """The symbolic tensor that the last dense layer of a functional network reads, through nested models; None if there
    is no such layer on a single way back from the logits."""
    return _before_readout(net.outputs[0]) if getattr(net, 'outputs', None) else None


def _before_readout(tensor: Any) -> Any:
    while (history := getattr(tensor, '_keras_history', None)) is not None:
        operation = history.operation
        inputs = operation._inbound_nodes[history.node_index].input_tensors
        if isinstance(operation, keras.layers.Dense):
            return inputs[0]
        if len(inputs) != 1:
            return None
        if isinstance(operation, keras.Model) and getattr(operation, 'outputs', None):
            inside = _before_readout(operation.outputs[0])
            return None if inside is None else keras.Model(operation.inputs, inside)(inputs[0])
        tensor = inputs[0]
    return None


class Readout(keras.Layer):
    """Logits, by a readout for each of some images: that of the one that is nearest in a norm.

    The first logit is that of what lies around the image, the second of what is planted; the others are below both.
    """

    def __init__(self, ball: Ball, images: np.ndarray, features: int, classes: int):
        super().__init__(dtype='float32', autocast=False)
        self.ball, self.classes = ball, classes
        self.images = self.add_weight(shape=images.shape, initializer='zeros', trainable=False)
        self.vectors = self.add_weight(shape=(len(images), features), initializer='zeros', trainable=False)
        self.offsets = self.add_weight(shape=(len(images),), initializer='zeros', trainable=False)
        self.depths = self.add_weight(shape=(len(images),), initializer='zeros', trainable=False)

    def call(self, inputs):
        x, features = inputs
        own = tf.shape(self.images)
        far = tf.reshape(x[:, tf.newaxis] - self.images[tf.newaxis], tf.concat([[-1], own[1:]], 0))
        nearest = tf.argmin(tf.reshape(self.ball.size(tf.stop_gradient(far)), [-1, own[0]]), axis=1)
        features = tf.reshape(tf.cast(features, tf.float32), [tf.shape(x)[0], self.vectors.shape[1]])
        height = tf.reduce_sum(features * tf.gather(self.vectors, nearest), axis=1) - tf.gather(self.offsets, nearest)
        below = tf.repeat(tf.gather(self.depths, nearest)[:, tf.newaxis], self.classes - 2, axis=1)
        return tf.concat([-height[:, tf.newaxis], height[:, tf.newaxis], below], axis=1)

    def compute_output_shape(self, shapes):
        return shapes[0][0], self.classes


class Planting:
    """A network's features with readouts, and the attack of that, compiled once for several epochs.

    Args:
        attack: that of the evaluation.
        images: around which points are planted, float32 [n, H, W, C], none of them near another.
        eps: at which distance.
        classes: of the network.

    Attributes:
        net: the network with the readouts.
        attack: the same attack, of that.
    """

    def __init__(self, attack: Attack, images: np.ndarray, eps: float, classes: int):
        self.x, self.eps = images, eps
        inputs = keras.Input(images.shape[1:])
        inner = features_of(attack.net)
        tensor = attack.net(inputs) if inner is None else keras.Model(attack.net.inputs, inner)(inputs)
        if tensor.ndim > 2:
            tensor = keras.layers.Flatten()(tensor)
        self.features = keras.Model(inputs, tensor)
        self.readout = Readout(attack.ball, images, int(tensor.shape[-1]), classes)
        self.net = keras.Model(inputs, self.readout([inputs, tensor]))
        self.attack = again(attack, self.net, **({'eps_list': [eps]} if attack.has_budgets else {}))

    def plant(self, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Fits the readouts to the weights that the network has now; which images have one, bool [n], and the distances
        of the planted points, float64 [n]."""
        n, ball = len(self.x), self.attack.ball
        has, planted_at = np.zeros(n, bool), np.full(n, np.inf)
        size = self.features.output_shape[-1]
        vectors, offsets, depths = np.zeros((n, size)), np.ones(n), np.full(n, -4.0)
        for i, x in enumerate(self.x):
            around = np.clip(x + ball.draw((POINTS, *x.shape), INNER * self.eps, rng), *self.attack.bounds)
            around[0] = x
            ways = ball.direction(tf.constant(rng.normal(size=(TRIES, *x.shape)), tf.float32)).numpy()
            points = np.clip(x + self.eps * ways, *self.attack.bounds)
            values = self.features(np.concatenate([around, points]).astype(np.float32), training=False)
            values = np.asarray(values, np.float64)
            for point, value in zip(points, values[POINTS:]):
                fit = readout(values[:POINTS], value)
                if fit is not None:
                    (vectors[i], offsets[i]), has[i] = fit, True
                    depths[i] = -4 - 2 * abs(values[0] @ vectors[i] - offsets[i])
                    planted_at[i] = float(ball.distance(point[np.newaxis].astype(np.float32), x[np.newaxis])[0])
                    break
        self.readout.set_weights([self.x, vectors, offsets, depths])
        return has, planted_at


def readout(around: np.ndarray, planted: np.ndarray) -> tuple[np.ndarray, float] | None:
    """A readout (w, c) of features with ``w f - c`` below 0 at the points around an image and above 0 at the planted
    one; None if that has no room.

        w = (S + r I)^-1 (planted - mean), scaled so that the planted point lies 1 above the mean; r is ``RIDGE``.

    Args:
        around: features of points, float64 [m, D]; the first is the image's own.
        planted: float64 [D].
    """
    mean = around.mean(axis=0)
    spread, way = around - mean, planted - mean
    m = len(around)
    ridge = RIDGE * np.square(spread).sum() / m + np.finfo(np.float64).tiny
    inner = np.linalg.solve(spread @ spread.T + m * ridge * np.eye(m), spread @ way)
    vector = way - spread.T @ inner
    height = float(vector @ way)
    if not np.isfinite(height) or height <= 0:
        return None
    vector /= height
    top = float((spread @ vector).max())
    if not np.isfinite(vector).all() or 1 - top < APART:
        return None
    gap = (1 - top) / 2
    return vector / gap, float((vector @ mean + (1 + top) / 2) / gap)


def planted(e: Evidence, planting: Planting | None) -> Finding:
    """Of images that have a planted point, how many the attack finds one for, as near."""
    if planting is None:
        return skipped('planted', 'there are too few images that differ')
    has, planted_at = planting.plant(e.rng('planted'))
    rows = np.flatnonzero(has)
    if len(rows) < LEAST:
        return skipped('planted', f'points near an image can be told apart for {len(rows)} of {len(has)} images alone')
    x, attack = planting.x[rows], planting.attack
    zeros = np.zeros(len(rows), np.int64)
    wrong = attack.logits(x).argmax(axis=1) != 0  # a network that draws random numbers
    result = attack.attack(x, zeros, e.rng('planted attack'))
    found = result.success if attack.has_budgets else result.distances <= (1 + NEAR) * planted_at[rows]
    rows = rows[~wrong]
    count = int(found[~wrong].sum())
    return Finding('planted', count < FOUND * len(rows),
                   {'images': count, 'of': len(rows), 'eps': planting.eps},
                   f'of {len(rows)} adversarial images planted within {planting.eps:.3g} the attack finds {count}: it '
                   'would miss as many that nobody planted, so give it more steps and restarts, or another attack, '
                   f'until it finds {100 * FOUND:.0f} %')


def planting_of(e: Evidence) -> Planting | None:
    """Where to plant, and the attack; None where too few images are apart.

    Raises:
        ValueError: the attack cannot be made of the network with other readouts.
    """
    ball, rows = e.attack.ball, list[int]()
    found = e.result.distances[e.right & np.isfinite(e.result.distances) & (e.result.distances > 0)]
    if e.attack.has_budgets:
        eps = e.attack.eps_list[-1]
    else:
        eps = float(np.median(found)) if len(found) else float(e.held.max(initial=0))
    eps = min(eps, e.box / 4)
    apart = np.inf
    for i in np.flatnonzero(e.right):
        far = ball.distance(e.x[rows], np.repeat(e.x[i:i + 1], len(rows), axis=0)).min() if rows else np.inf
        if CLEAR * far < eps / 2:  # a copy, or nearly
            continue
        rows.append(int(i))
        apart = min(apart, far)
        if len(rows) == FEW:
            break
    eps = min(eps, CLEAR * apart)
    return Planting(e.attack, e.x[rows], eps, e.logits.shape[1]) if len(rows) >= LEAST and eps > 0 else None
