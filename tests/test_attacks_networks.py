"""Attacks take any Keras model that gives logits, and say in a sentence what is none."""

from __future__ import annotations

from functools import cache

import keras
import numpy as np
import pytest
from keras import layers as L
from nets import Made, Subclassed, subclassed

from models.attacks import DDN, FGSM, FMN, IFGSM, L2BIM, PGD, CarliniL2, L2DeepFool, L2Fast, LinfPGDAttack

EPS = [0.05, 0.1, 0.2, 0.3]
KINDS = {
    'CarliniL2': lambda net: CarliniL2(net, binary_search_steps=3, max_iterations=40, learning_rate=0.1,
                                       initial_const=1.0),
    'LinfPGDAttack': lambda net: LinfPGDAttack(net, EPS, k=10, repeat=1),
    'L2BIM': lambda net: L2BIM(net, search_steps=6),
    'L2DeepFool': lambda net: L2DeepFool(net, steps=20), 'L2Fast': lambda net: L2Fast(net, steps=20, starts=3),
    'DDN': lambda net: DDN(net, steps=20), 'FMN': lambda net: FMN(net, steps=20), 'FGSM': lambda net: FGSM(net, EPS),
    'IFGSM': lambda net: IFGSM(net, EPS), 'PGD': lambda net: PGD(net, EPS, k=10, repeat=1)}


def layers(policy):
    return [L.Conv2D(6, 3, activation='relu', dtype=policy), L.Flatten(dtype=policy), L.Dense(10, dtype=policy)]


def sequential(policy):
    return keras.Sequential([keras.Input((8, 8, 1)), *layers(policy)])


def unknown_size(policy):
    """A network whose images may have any size, with the same function."""
    net = keras.Sequential([keras.Input((None, None, 1)), L.Conv2D(6, 3, activation='relu', dtype=policy),
                            L.Conv2D(10, 6, dtype=policy), L.GlobalAveragePooling2D(dtype=policy)])
    return net


@pytest.fixture(scope='module')
def trained(digits):
    """Weights of a small CNN in float32, 16 images that it gets right, and what each attack finds."""
    keras.utils.set_random_seed(1)
    (x, y), _ = digits
    net = sequential('float32')
    net.compile('adam', keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    net.fit(x[:600], y[:600], epochs=6, verbose=0)
    gaps = np.sort(net(x[:64]).numpy(), axis=1)
    sure = np.flatnonzero((net(x[:64]).numpy().argmax(axis=1) == y[:64]) & (gaps[:, -1] - gaps[:, -2] > 0.5))[:16]
    x, y = x[sure], y[sure]
    return net.get_weights(), x, y, Made(lambda name: KINDS[name](net).attack(x, y, 0), KINDS)


@cache
def in_half(policy):
    """A network of a policy, and attacks of it, compiled once for weights of any scale."""
    net = sequential(policy)
    return net, Made(lambda name: KINDS[name](net), KINDS)


@pytest.mark.long
@pytest.mark.parametrize('factor', [1.0, 2.0 ** -7, 2.0 ** 7])
@pytest.mark.parametrize('policy', ['mixed_float16', 'mixed_bfloat16'])
def test_in_half_precision_attacks_find_what_they_find_in_float32_at_any_scale(policy, factor, trained):
    weights, x, y, found = trained
    net, attacks = in_half(policy)
    net.set_weights([*weights[:-2], *(w * np.float32(factor) for w in weights[-2:])])
    for name in ('L2Fast', 'PGD', 'LinfPGDAttack', 'L2DeepFool') if factor == 1 else ('FMN', 'FGSM'):
        result = attacks[name].attack(x, y, 0)
        np.testing.assert_array_equal(result.success, found[name].success, name)
        assert (net(result.images[result.success]).numpy().argmax(axis=1) != y[result.success]).all(), name
        assert abs(np.median(result.distances) / np.median(found[name].distances) - 1) < 0.1, name


@pytest.mark.long
@pytest.mark.parametrize('make', [lambda: sequential('float64'), lambda: subclassed(layers)])
def test_float64_and_subclassed_networks_are_attacked_as_float32_ones(make, trained):
    weights, x, y, found = trained
    net = make()
    net.set_weights(weights)
    for name, attack in KINDS.items():
        if name in ('FGSM', 'IFGSM', 'LinfPGDAttack'):  # they descend as PGD does
            continue
        result = attack(net).attack(x, y, 0)
        np.testing.assert_array_equal(result.success, found[name].success, name)
        finite = result.success
        np.testing.assert_allclose(result.distances[finite], found[name].distances[finite], rtol=0.02, err_msg=name)


@pytest.mark.long
@pytest.mark.parametrize('policy', ['mixed_float16', 'mixed_bfloat16'])
def test_subclassed_networks_in_half_precision_are_attacked(policy, trained):
    weights, x, y, found = trained
    net = subclassed(layers, policy)
    net.set_weights(weights)
    result = KINDS['L2Fast'](net).attack(x, y, 0)
    assert result.success.all() and np.median(result.distances) < 1.1 * np.median(found['L2Fast'].distances)


@pytest.mark.long
def test_a_network_for_images_of_any_size_is_attacked_at_each_size(trained):
    _, x, y, _ = trained
    keras.utils.set_random_seed(0)
    net = unknown_size('float32')
    attack = PGD(net, [0.9], k=5, repeat=1)
    for images in (x[:3], np.tile(x[:2], (1, 2, 2, 1))):
        y = net(images).numpy().argmax(axis=1)
        result = attack.attack(images, y, 0)
        assert result.images.shape == images.shape


def test_batch_norm_over_channels_that_come_first():
    net = keras.Sequential([keras.Input((3, 4, 4)), L.BatchNormalization(axis=1),
                            L.Flatten(data_format='channels_first'), L.Dense(4)])
    x = np.random.default_rng(0).uniform(size=(4, 3, 4, 4)).astype(np.float32)
    y = net(x).numpy().argmax(axis=1)
    assert FMN(net, steps=20).attack(x, y).success.all()


def softmax_in(policy='float32'):
    return keras.Sequential([keras.Input((8, 8, 1)), keras.Sequential([L.Flatten(), L.Dense(10), L.Softmax()])])


class Probable(Subclassed):
    def call(self, x):
        return keras.ops.softmax(super().call(x))


@pytest.mark.parametrize('make, message', [
    (softmax_in, 'the model gives probabilities; an attack needs one that gives logits'),
    (lambda: keras.Sequential([keras.Input((8, 8, 1)), L.Flatten(), L.Dense(1)]), 'the model gives one logit'),
    (lambda: keras.Sequential([L.Flatten(), L.Dense(10)]), 'the model has not been built'),
    (lambda: keras.Sequential([keras.Input((8, 8, 1)), L.Conv2D(4, 3)]), 'gives logits of shape [N, C]'),
    (lambda: keras.Model(i := keras.Input((8, 8, 1)), [L.Flatten()(i), i]), 'one input and one output'),
    (lambda: keras.Sequential([keras.Input((1, 8, 8)), L.Conv2D(4, 3, data_format='channels_first'), L.Flatten(),
                               L.Dense(10)]), 'the model does not run here: The Conv2D op currently only supports'),
    (lambda: 'a string', 'needs a Keras model that gives logits, not a str')])
@pytest.mark.parametrize('kind', ['L2Fast', 'PGD', 'CarliniL2', 'L2DeepFool'])
def test_what_gives_no_logits_is_refused_when_the_attack_is_made(kind, make, message):
    with pytest.raises(ValueError) as e:
        KINDS[kind](make())
    assert message in str(e.value) and '\n' not in str(e.value)


class Dictionary(Subclassed):
    def call(self, x):
        return {'logits': super().call(x)}


class Single(Subclassed):
    def call(self, x):
        return super().call(x)[:, :1]


@pytest.mark.parametrize('kind, message', [
    (Probable, 'the model gives probabilities'), (Dictionary, 'gives logits of shape [N, C], not a dict'),
    (Single, 'the model gives one logit')])
def test_a_subclassed_network_that_gives_no_logits_is_refused_when_it_is_asked(kind, message, trained):
    _, x, y, _ = trained
    net = kind(layers('float32'))
    net(x)
    attack = PGD(net, [0.1])
    for n in (1, 16):
        with pytest.raises(ValueError) as e:
            attack.attack(x[:n], y[:n])
        assert message in str(e.value) and 'in user code' not in str(e.value)


def test_a_network_of_vectors_is_told_how_to_take_images():
    net = keras.Sequential([keras.Input((64,)), L.Dense(10)])
    with pytest.raises(ValueError, match='takes N x 64; a keras.layers.Reshape in front'):
        FGSM(net, [0.1]).attack(np.zeros((2, 64), np.float32), np.zeros(2, int))
