"""Curves that are trained between two runs: the objective, the run, points on it, and what is measured along it."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

import models
from models.losses import hp_sparse_softmax_cross_entropy_with_logits_v1 as cross_entropies
from models.networks.curve import CurveLayer
from models.objectives import objective_of

LENET = {'arch': 'lenet', 'model': {'width': 1}}


# ---- the objective ----

@pytest.fixture
def seen(monkeypatch, eagerly):
    """The t of every pass that is made."""
    found, original = [], CurveLayer.call

    def call(layer, images, training=None):
        if tf.executing_eagerly():
            found.append(float(layer.t.value))
        return original(layer, images, training)
    monkeypatch.setattr(CurveLayer, 'call', call)
    return found


def trained(digits, images, of):
    """A curve, and its weights before steps of gradient descent on 20 images each at a rate of 1."""
    model = models.build_model('curve', (8, 8, 1), of=LENET, seed=1, weight_decay=0.1)
    model.minimise(objective_of({'type': 'curve', 'of': of}), images, 20)
    before = model.weights()
    losses = model.train_epoch(*(a[:images] for a in digits.train), np.arange(images), 20, 1.0, seed=[5])
    return model, before, losses


def test_a_step_follows_the_gradient_at_one_random_t_and_the_ends_stay(digits, seen):
    model, before, (loss,) = trained(digits, 20, 'cross-entropy')
    after, t = model.weights(), seen[-1]
    bends = [name for name in before if name.startswith('p1.')]
    assert {name for name in before if (before[name] != after[name]).any()} == set(bends)
    assert after['t'] == 0.5 and 0 < t < 1 and abs(t - 0.5) > 0.01, 'between steps it is at 0.5'
    model.set_weights({**before, 't': np.float64(t)})
    x, y = (a[:20] for a in digits.train)
    with tf.GradientTape() as tape:
        want = tf.reduce_mean(cross_entropies(y, model.net(x, training=True)))
    decay = sum(np.square(before[name]).sum() for name in bends) * 0.1
    assert loss == pytest.approx(float(want) + decay / 2, rel=1e-6)
    by_name = dict(zip((id(v) for v in model.vars), tape.gradient(want, model.vars)))
    for name in bends:
        step = by_name[id(model.network.weights[name])].numpy() + 0.1 * before[name]
        np.testing.assert_allclose(after[name], before[name] - step, rtol=1e-4, atol=1e-6)


def test_each_batch_has_its_t_and_is_attacked_there(digits, seen):
    _, _, losses = trained(digits, 60, {'type': 'adversarial', 'eps': 0.2, 'k': 3})
    passes = seen[-3 * len(losses):]
    drawn = list(dict.fromkeys(passes))
    assert len(drawn) == len(losses) == 3 and 0.5 not in drawn
    assert passes == sorted(passes, key=drawn.index), 'one t in all passes of a step'


def test_other_networks_are_no_curves():
    model = models.build_model('lenet', (8, 8, 1), width=1)
    with pytest.raises(ValueError, match="'curve' trains a curve between"):
        objective_of('curve').layers(model.net)
