"""Budgets of 0, and those that are none; networks that draw random numbers."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from core.tasks.attack import robust_accuracy
from models.attacks import APGD, FAB, PGD, AutoAttack, Square
from models.attacks.auto_attack import RANDOM_PASSES
from models.attacks.balls import WHOLE_BOX

CLASSES = 3


@pytest.fixture(scope='module')
def labelled():
    """A linear network, and images of which every third has a wrong label, one of them at a tie of two classes."""
    rng = np.random.default_rng(0)
    net = keras.Sequential([keras.Input((3, 3, 1)), keras.layers.Flatten(), keras.layers.Dense(CLASSES)])
    net.set_weights([rng.normal(size=(9, CLASSES)).astype(np.float32), np.zeros(CLASSES, np.float32)])
    x = rng.uniform(size=(9, 3, 3, 1)).astype(np.float32)
    x[1] = 0  # all logits are 0, and class 0 is predicted; the next float is of another class
    y = net(x).numpy().argmax(axis=1)
    y[::3] = (y[::3] + 1) % CLASSES
    return net, x, y


@pytest.mark.long(after=1)
@pytest.mark.parametrize('make', [
    lambda net, eps: PGD(net, eps, k=3, repeat=1), lambda net, eps: APGD(net, eps, k=3),
    lambda net, eps: Square(net, eps, k=5), lambda net, eps: FAB(net, k=3),
    lambda net, eps: AutoAttack(net, 'Linf', eps, 'custom', ['apgd-ce'])], ids=['pgd', 'apgd', 'square', 'fab', 'auto'])
def test_within_a_budget_of_0_accuracy_is_that_of_the_images_as_they_are(make, labelled, eagerly, monkeypatch):
    net, x, y = labelled
    clean = (net(x).numpy().argmax(axis=1) == y).mean()
    attack = make(net, [0, 0.2])
    result = attack.attack(x, y, 0)

    def robust(result, grid):
        a = {'distances': result.distances, **({} if result.eps is None else {'eps': result.eps})}
        return robust_accuracy(a, grid, attack.ball, 9)
    assert robust(result, [0, 0.2])['0'] == clean == pytest.approx(2 / 3) and robust(result, [0.2])['0.2'] < clean
    assert not np.isnan(result.distances).any() and not np.isnan(result.images).any()
    if attack.has_budgets:
        monkeypatch.setattr(attack, 'eps_list', [0])
        monkeypatch.setattr(attack, '_run', None)  # is not called
        alone = attack.attack(x, y, 0)
        assert robust(alone, [0]) == {'0': clean} and not alone.doubts.any.any()
        np.testing.assert_array_equal(alone.success, result.distances == 0)


def test_all_of_the_box_is_a_budget_and_1_is_asked_about(labelled):
    net, x, y = labelled
    assert np.float32(WHOLE_BOX) == 1 and PGD(net, [WHOLE_BOX]).eps_list == [WHOLE_BOX]
    for eps, asked in ((1.0, '1/255'), (8, '8/255'), (300, None)):
        with pytest.raises(ValueError) as e:
            PGD(net, [eps])
        assert f'eps is {eps:g}; pixels are in [0, 1]: ' in str(e.value)
        assert f'was {asked} meant?' in str(e.value) if asked else 'must be below 1' in str(e.value)


class Noisy(keras.layers.Layer):
    """Logits x (w + noise), the noise drawn anew in every pass, in inference, too."""

    def __init__(self, w):
        super().__init__()
        self.w, self.seeds, self.drawn = tf.constant(w, tf.float32), keras.random.SeedGenerator(1), []

    def call(self, x):
        noise = keras.random.normal(self.w.shape, stddev=0.2, seed=self.seeds)
        if tf.executing_eagerly():
            self.drawn.append(noise.numpy())
        return tf.linalg.matmul(x, self.w + noise)


@pytest.fixture(scope='module')
def noisy():
    layer = Noisy(np.random.default_rng(0).normal(size=(9, 2)))
    net = keras.Sequential([keras.Input((3, 3, 1)), keras.layers.Flatten(), layer])
    x = np.random.default_rng(1).uniform(0.3, 0.7, (6, 3, 3, 1)).astype(np.float32)
    return net, layer, x, (x.reshape(6, 9) @ layer.w.numpy()).argmax(axis=1)


@pytest.mark.parametrize('passes', [1, 4])
def test_a_gradient_is_the_mean_of_that_of_several_passes(passes, noisy, eagerly):
    """Of two classes, the loss is the difference of their logits."""
    net, layer, x, y = noisy
    attack = APGD(net, [0.1], k=2, eot_iter=passes)
    layer.drawn.clear()
    way = attack._way(0, tf.constant(x), tf.constant(y))
    assert len(layer.drawn) == passes and len({noise.tobytes() for noise in layer.drawn}) == passes
    w = layer.w.numpy() + np.mean(layer.drawn, axis=0)
    np.testing.assert_allclose(-way.gradient.numpy().reshape(6, 9), (w[:, 1 - y] - w[:, y]).T, atol=1e-5)
    layer.drawn.clear()
    attack._descend(tf.constant(x), tf.constant(x), tf.constant(y), tf.fill([6], 0.1), False)
    assert len(layer.drawn) == 3 * passes, 'at the start, and after each step'


class FirstPassIsWrong(keras.layers.Layer):
    """Takes the first image for another class in its first pass, and for the right one in all others."""

    def build(self, shape):
        self.passes = self.add_weight(shape=(), dtype='int32', initializer='zeros', trainable=False)

    def call(self, logits):
        passes = self.passes.value.assign_add(1)
        wrong = (passes == 1) & (tf.range(tf.shape(logits)[0]) == 0)
        return tf.where(wrong[:, tf.newaxis], -logits, logits)


@pytest.mark.long
def test_an_image_that_was_misclassified_once_is_so_and_is_not_asked_again():
    net = keras.Sequential([keras.Input((3, 3, 1)), keras.layers.Flatten(), keras.layers.Dense(2, use_bias=False),
                            FirstPassIsWrong()])
    x = np.random.default_rng(0).uniform(0.3, 0.7, (4, 3, 3, 1)).astype(np.float32)
    y = (x.reshape(4, 9) @ net.layers[1].kernel.numpy()).argmax(axis=1)
    attack = PGD(net, [1e-6], k=1, repeat=1)
    net.layers[-1].passes.assign(0)
    result = attack.attack(x, y, 0)
    assert result.success.tolist() == [True, False, False, False] and result.distances[0] == 0


@pytest.mark.long
def test_a_network_that_draws_random_numbers_is_attacked(noisy):
    """Compiled: every pass draws anew."""
    net, _, x, y = noisy
    attack = AutoAttack(net, 'Linf', 0.6, version='rand')
    assert [part.eot_iter for part in attack.members.values()] == [RANDOM_PASSES]
    (part,) = attack.members.values()
    part.k = 5
    first, second = (attack.logits(x) for _ in range(2))
    assert (first != second).all()
    result = attack.attack(x, y, 0)
    assert result.success.mean() > 0.8 and (result.distances[result.success] <= 0.6 * (1 + 1e-6)).all()
