"""Certified training: its bounds against those of certificates and against points of the ball, its loss, its record."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from models import BiasMode, Model, SimpleSequential, build_model
from models.batch import Batch
from models.certificates.balls import BALLS
from models.certificates.bounds import Bounds
from models.certificates.relaxation import Relaxation
from models.objectives import Certified, objective_of

L = keras.layers
NORMS = pytest.mark.parametrize('norm', list(BALLS))


def networks():
    """With all that is bounded: overlapping pools, relu2, padding, batch normalisation, sums."""
    keras.utils.set_random_seed(1)
    yield keras.Sequential([keras.Input((6, 5, 2)), L.ZeroPadding2D(((0, 1), (1, 0))), L.Conv2D(3, 3, strides=2),
                            L.ReLU(), L.MaxPooling2D(2, 1), L.AveragePooling2D(2, 1, padding='same'), L.Flatten(),
                            L.Dense(3)])
    yield SimpleSequential('m', (6, 6, 1), [['C', 3, [3, 3]], ['P'], ['F', 6], ['F', 3, {'act': False}]],
                           act_type='relu2', bias_mode=BiasMode.ALL, seed=1).net
    yield build_model('residual', (6, 6, 1), widths=[3, 4], repeats=1, num_labels=3, batch_norm=True, seed=1).net


@NORMS
@pytest.mark.parametrize('which', range(3))
def test_bounds_of_training_are_those_of_certificates_and_hold_at_points_of_the_ball(which, norm):
    """In L-infinity they are CROWN-IBP's, and intervals', but for rounding; in L2 a first layer's are no tighter."""
    net = list(networks())[which]
    rng = np.random.default_rng(2)
    for v in net.weights:
        if v.name in ('bias', 'beta', 'moving_mean'):
            v.assign(0.2 * rng.normal(size=v.shape))
    x = rng.uniform(size=(2, *net.input_shape[1:])).astype(np.float32)
    y, radius = np.array([0, 2]), np.array([0.3, 0.1]) / (1 if norm == 'L2' else 6)
    bounds = Bounds(net, norm)
    at = tf.constant(x), tf.constant(y), tf.constant(radius, tf.float32)
    intervals = bounds.intervals(at[0], at[2])
    relaxed, plain = (bounds.margins(intervals, *at, relaxed=r).numpy() for r in (True, False))
    exact = Relaxation(net, BALLS[norm])
    images = tf.constant(x, tf.float64)
    known = exact.know(images, tf.constant(radius, tf.float64), tighten=False)
    others = np.arange(3) != y[:, np.newaxis]
    wanted = exact.margins(known, images, at[1], tf.constant(radius, tf.float64)).numpy()
    scale = 1e-4 * max(1, np.abs(wanted[others]).max())
    assert (wanted >= relaxed - scale)[others].all() and not relaxed[~others].any() and not plain[~others].any()
    if norm == 'Linf':
        np.testing.assert_allclose(relaxed[others], wanted[others], atol=scale)
        for own, other in zip(intervals, known.intervals):
            np.testing.assert_allclose(np.array(own), np.array(other), atol=scale)
    for i in range(2):
        step = rng.normal(size=(4000, *x.shape[1:]))
        step = radius[i] * (np.sign(step) if norm == 'Linf' else step / np.sqrt(
            np.square(step).sum(axis=(1, 2, 3), keepdims=True)))
        logits = net((x[i] + step).clip(0, 1).astype(np.float32), training=False).numpy()
        gaps = (logits[:, [y[i]]] - logits).min(axis=0)[others[i]]
        assert (relaxed[i][others[i]] <= gaps + 1e-5).all() and (plain[i][others[i]] <= gaps + 1e-5).all()
