"""DLR, targeted DLR and the cross entropy's twin, against the released code's numbers and their formulas."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from conftest import ADVERSARIAL as REFERENCE, reference_npz

from models.climbed_losses import FLOOR, dlr, mean_soft_margin, targeted_dlr
from models.margin_losses import cross_entropy, soft_logit_margin

NUMBERS = reference_npz('apgd', REFERENCE)


def test_dlr_is_that_of_the_released_code():
    logits, y, want = (NUMBERS[f'dlr.{key}'] for key in ('logits', 'y', 'loss'))
    np.testing.assert_allclose(dlr(tf.constant(logits), tf.constant(y)), want, rtol=1e-5, atol=0)


def test_targeted_dlr_is_its_formula():
    rng = np.random.default_rng(0)
    z, rows = rng.normal(size=(30, 6)), np.arange(30)
    y, target = rng.integers(0, 6, 30), rng.integers(0, 6, 30)
    z1, z3, z4 = np.sort(z, axis=1)[:, [5, 3, 2]].T
    want = -(z[rows, y] - z[rows, target]) / (z1 - (z3 + z4) / 2 + FLOOR)
    np.testing.assert_allclose(targeted_dlr(tf.constant(z), tf.constant(y), tf.constant(target)), want, rtol=1e-12)


@pytest.mark.parametrize('scale', [1e-30, 1e-3, 1.0, 1e3, 1e30])
def test_the_cross_entropys_twin_has_its_order_and_direction_and_saturates_nowhere(scale):
    rng = np.random.default_rng(1)
    z, y = rng.normal(size=(40, 5)) * scale, rng.integers(0, 5, 40)
    x = tf.constant(z.astype(np.float32))
    with tf.GradientTape() as tape:
        tape.watch(x)
        twin = mean_soft_margin(x, tf.constant(y))
    direction = tape.gradient(twin, x).numpy()
    assert len(np.unique(twin.numpy())) == 40 and np.isfinite(twin).all()
    exact = tf.constant(z)
    with tf.GradientTape() as tape:
        tape.watch(exact)
        slm = soft_logit_margin(exact, tf.constant(y))
    np.testing.assert_allclose(direction, tape.gradient(slm, exact), atol=1e-5)
    if scale >= 1e-3:
        np.testing.assert_allclose(twin, slm - np.log(4), rtol=1e-4, atol=1e-6 * scale)
    if scale == 1:
        np.testing.assert_array_equal(np.argsort(twin), np.argsort(cross_entropy(exact, tf.constant(y))))
