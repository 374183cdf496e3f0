"""Attacks where the box matters: on black and white images, in corners and at ties, beside a closed form."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import layers as L

from models.attacks import DDN, FGSM, FMN, IFGSM, L2BIM, PGD, L2DeepFool, L2Fast
from models.attacks.balls import WHOLE_BOX

LEAST = {  # attacks that look for the least L2 distance, and how near they come to it
    'FMN': (lambda net: FMN(net, steps=60), 1.001), 'DDN': (lambda net: DDN(net, steps=100), 1.05),
    'L2Fast': (lambda net: L2Fast(net, steps=40, starts=4), 1.001), 'L2BIM': (lambda net: L2BIM(net), 1.5),
    'L2DeepFool': (lambda net: L2DeepFool(net, steps=200), 1.06)}
EPS = [0.02, 0.05, 0.1, 0.2, 0.4, 0.7, WHOLE_BOX]
WITHIN = {
    'FGSM': lambda net: FGSM(net, EPS), 'IFGSM': lambda net: IFGSM(net, EPS),
    'PGD': lambda net: PGD(net, EPS, 20, repeat=1),
    'PGD L2': lambda net: PGD(net, [0.5, 1.0, 2.0, 4.0, 8.0], k=40, repeat=1, norm='L2')}


def images(kind, n=12):
    rng = np.random.default_rng(0)
    x = {'inner': rng.uniform(0.3, 0.7, (n, 8, 8, 1)), 'black and white': rng.integers(0, 2, (n, 8, 8, 1)),
         'black': np.zeros((n, 8, 8, 1)), 'white': np.ones((n, 8, 8, 1)), 'grey': np.full((n, 8, 8, 1), 0.5),
         'clipped': np.clip(rng.uniform(-0.5, 1.5, (n, 8, 8, 1)), 0, 1)}[kind]
    return x.astype(np.float32)


@pytest.fixture(scope='module')
def linear():
    """Two classes, logits W x + b."""
    net = keras.Sequential([keras.Input((8, 8, 1)), L.Flatten(), L.Dense(2)])
    kernel = np.random.default_rng(1).normal(size=(64, 2)).astype(np.float32)
    net.layers[-1].set_weights([kernel, np.zeros(2, np.float32)])
    return net


def least_distances(net, x, y, order):
    """Of images from the other class of a linear network, within the box: over the pixels that are not at a wall the
    perturbation is a multiple of the gradient (of its signs, in L-infinity), which bisection finds."""
    w, b = (v.astype(float) for v in net.layers[-1].get_weights())
    found = []
    for image, label in zip(x.reshape(len(x), -1).astype(float), y):
        gradient, bias = w[:, label] - w[:, 1 - label], b[label] - b[1 - label]
        direction = gradient if order == 2 else np.sign(gradient)

        def moved(length, image=image, direction=direction):
            return np.clip(image - length * direction, 0, 1)

        low, high = 0.0, 1e3
        assert gradient @ moved(high) + bias < 0, 'it can be reached'
        for _ in range(100):
            middle = (low + high) / 2
            low, high = (low, middle) if gradient @ moved(middle) + bias < 0 else (middle, high)
        found.append(np.linalg.norm(moved(high) - image, order))
    return np.array(found)


@pytest.fixture(scope='module')
def attacks(linear):
    return {name: make(linear) for name, make in [*((n, m) for n, (m, _) in LEAST.items()), *WITHIN.items()]}


@pytest.mark.long
@pytest.mark.parametrize('bias', [0.0, 4.0])
@pytest.mark.parametrize('kind', ['inner', 'black and white', 'black', 'white', 'grey', 'clipped'])
def test_every_image_is_found_at_the_distance_that_the_box_leaves(kind, bias, linear, attacks):
    linear.layers[-1].bias.assign([bias, 0.0])
    x = images(kind)
    y = linear(x).numpy().argmax(axis=1)
    l2, linf = (least_distances(linear, x, y, order) for order in (2, np.inf))
    for name, (_, within) in LEAST.items():
        result = attacks[name].attack(x, y, 0)
        assert result.success.all() and not result.doubts.any.any(), name
        assert (result.distances >= l2 * (1 - 1e-4)).all(), name
        assert np.median(result.distances) <= max(within * np.median(l2), 1e-2), name  # at a tie the least is 0
    for name in WITHIN:
        result = attacks[name].attack(x, y, 0)
        eps = np.array(attacks[name].eps_list)
        if name != 'PGD L2':
            np.testing.assert_array_equal(result.eps, eps[np.searchsorted(eps, linf * (1 + 1e-4))], name)
        else:
            assert result.success.all() and (result.eps <= eps[np.searchsorted(eps, l2 * 1.1)]).all()


@pytest.mark.long
def test_more_steps_do_not_lose_images(linear):
    linear.layers[-1].bias.assign([0.0, 0.0])
    x = images('inner')
    y = linear(x).numpy().argmax(axis=1)
    for steps in (20, 300):
        assert FMN(linear, steps=steps).attack(x, y).success.all()


@pytest.mark.long
def test_a_black_image_of_a_network_without_biases_is_a_tie_with_no_gradient(attacks_eagerly):
    """All logits are 0 there, and class 0 is predicted; any other image may be of another class."""
    keras.utils.set_random_seed(0)
    net = keras.Sequential([keras.Input((4, 4, 1)), L.Conv2D(4, 3, activation='relu', use_bias=False), L.Flatten(),
                            L.Dense(5, use_bias=False)])
    x, y = np.zeros((2, 4, 4, 1), np.float32), np.zeros(2, int)
    for attack in (FMN(net, steps=20), DDN(net, steps=20), L2Fast(net, steps=20, starts=2), PGD(net, [0.3], k=10),
                   IFGSM(net, [0.3]), FMN(net, steps=20, norm='Linf')):
        result = attack.attack(x, y, 0)
        assert result.success.all() and np.isfinite(result.images).all(), type(attack).__name__
    for attack in (L2BIM(net, search_steps=2), L2DeepFool(net, steps=5)):  # they follow gradients only
        result = attack.attack(x, y, 0)
        assert np.isfinite(result.images).all() and (result.success | result.doubts.no_gradient).all()
