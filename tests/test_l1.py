"""L1: the ball within the box, and the attacks in it, beside bisection and linear programs."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy.optimize import linprog

from models.attacks import APGD, FAB, AutoAttack
from models.attacks.balls import BALLS
from models.attacks.sparse import sparse_direction
from models.attacks.squares import SQUARES

L1 = BALLS['L1']


def nearest(delta, room, eps):
    """Of one perturbation: what is above a threshold, which bisection finds, up to the walls."""
    size = np.abs(delta)

    def lowered(t):
        return np.clip(size - t, 0, room)
    low, high = 0.0, size.max()
    for _ in range(100 if lowered(0).sum() > eps else 0):
        middle = (low + high) / 2
        low, high = (middle, high) if lowered(middle).sum() > eps else (low, middle)
    return np.sign(delta) * lowered(0 if lowered(0).sum() <= eps else high)


@pytest.mark.parametrize('scale', [1e-3, 0.1, 1.0, 30.0])
def test_the_projection_is_the_nearest_point_of_the_ball_and_the_box(scale):
    """Not that of the ball, clipped. Budgets differ, and some are 0."""
    rng = np.random.default_rng(0)
    x = np.clip(rng.uniform(-0.3, 1.3, (60, 4, 3, 3)), 0, 1).astype(np.float32)
    far = (x + scale * rng.normal(size=x.shape) * (rng.uniform(size=x.shape) < 0.7)).astype(np.float32)
    eps = (rng.uniform(0, 20, 60) * rng.choice([0, 0.01, 0.1, 1], 60)).astype(np.float32)
    found = L1.onto(tf.constant(far), tf.constant(x), tf.constant(eps)).numpy()
    a, b = x.astype(float), far.astype(float)
    want = np.array([i + nearest(j - i, np.where(j > i, 1 - i, i), e) for i, j, e in zip(a, b, eps)])
    np.testing.assert_allclose(found, want, atol=2e-6)
    assert (found[eps == 0] == x[eps == 0]).all() and found.min() >= 0 and found.max() <= 1
    if scale == 1.0:
        clipped = np.clip(x + L1.project(tf.constant(far - x), tf.constant(eps)).numpy(), 0, 1)
        assert (L1.distance(clipped, x) < 0.9 * L1.distance(found, x)).sum() > 10


def test_a_sparse_step_changes_the_steepest_pixels_by_as_much():
    up = np.random.default_rng(0).normal(size=(3, 5, 2, 2)).astype(np.float32)
    up[2] = 0
    step = sparse_direction(tf.constant(up), tf.constant([0.2, 0.0, 0.5])).numpy().reshape(3, -1)
    order = np.argsort(-abs(up.reshape(3, -1)), axis=1)
    for k, count in ((0, 4), (1, 1)):
        assert set(np.flatnonzero(step[k])) == set(order[k, :count])
        np.testing.assert_allclose(step[k][order[k, :count]], np.sign(up[k].ravel()[order[k, :count]]) / count)
    assert (step[2] == 0).all()


@pytest.fixture(scope='module')
def linear():
    """Five classes, images of which half of the pixels are at walls, and how far away the nearest other class is."""
    rng = np.random.default_rng(1)
    net = keras.Sequential([keras.Input((6, 6, 1)), keras.layers.Flatten(), keras.layers.Dense(5)])
    w, b = rng.normal(size=(36, 5)).astype(np.float32), rng.normal(size=5).astype(np.float32)
    net.set_weights([w, b])
    x = np.clip(rng.uniform(-0.4, 1.4, (24, 6, 6, 1)), 0, 1).astype(np.float32)
    y = net(x).numpy().argmax(axis=1)
    least = []
    for image, label in zip(x.reshape(len(x), -1).astype(float), y):
        ways = [(w[:, label] - w[:, other]).astype(float) for other in range(5) if other != label]
        gaps = [float(b[label] - b[other]) + image @ way for way, other in zip(
            ways, (other for other in range(5) if other != label))]
        found = [linprog(np.ones(72), A_eq=np.r_[way, -way][np.newaxis], b_eq=[-gap],
                         bounds=[*((0, 1 - v) for v in image), *((0, v) for v in image)])
                 for way, gap in zip(ways, gaps)]
        least.append(min(f.fun for f in found if f.success))
    return net, x, y, np.array(least)


def test_fab_finds_the_least_distance_of_a_linear_network(linear):
    net, x, y, least = linear
    result = FAB(net, k=15, norm='L1', target_classes=4).attack(x, y, 0)
    assert result.success.all() and (result.distances >= least * (1 - 1e-4)).all()
    np.testing.assert_allclose(result.distances, least, rtol=0.02)


@pytest.mark.long
@pytest.mark.parametrize('larger_first', [True, False])
def test_apgd_reaches_the_boundary_of_a_linear_network_and_no_further(larger_first, linear):
    """Each image within a budget of its own. A step is a tenth of the budget at least: not all images are found close
    to the least distance."""
    net, x, y, least = linear
    attack = APGD(net, [1.0], k=60, norm='L1', loss='dlr-targeted', target_classes='all', larger_first=larger_first)
    noise = attack.ball.noise(x.shape, np.random.default_rng(0))

    def fooled(factor):
        eps = (factor * least).astype(np.float32)
        start = attack.ball.start(x, attack._start_size * eps, noise).numpy()
        found = np.zeros(len(x), bool)
        for rank in range(4):
            end, wrong, _ = attack._towards(start, x, y, eps, np.full(len(x), rank))
            distances = L1.distance(end, x)[wrong]
            assert (distances <= eps[wrong] * (1 + 1e-5)).all() and end.min() >= 0 and end.max() <= 1
            found |= wrong
        return found
    assert not fooled(0.98).any()
    assert fooled(1.06).mean() > 0.7 and fooled(2.0).all()


def test_bumps_are_held_to_the_budget_and_the_box():
    squares = SQUARES['L1']((9, 7, 3), np.array([0.2]), False)
    rng = np.random.default_rng(0)
    x = np.clip(rng.uniform(-0.3, 1.3, (50, 9, 7, 3)), 0, 1).astype(np.float32)
    eps = np.full(50, 6, np.float32)
    start = squares.start(x, eps, tf.constant(rng.uniform(size=(50, sum(squares.at_start))), tf.float32)).numpy()
    new = squares.moved(0, start, x, eps, tf.constant(rng.uniform(size=(50, sum(squares.each))), tf.float32)).numpy()
    for images in (start, new):
        assert (L1.distance(images, x) <= 6 + 1e-4).all() and images.min() >= 0 and images.max() <= 1
        assert np.median(L1.distance(images, x)) > 5.9
    assert (new != start).any(axis=(1, 2, 3)).all()


def test_autoattack_has_the_standard_attacks_of_l1(linear):
    attack = AutoAttack(linear[0], 'L1', 12)
    assert list(attack.members) == ['apgd-ce', 'apgd-t', 'fab-t', 'square']
    ce, towards = attack.members['apgd-ce'], attack.members['apgd-t']
    assert ce.repeat == 5 and towards.repeat == 1 and towards.target_classes == 5
    assert ce._climbing is towards._climbing and {m.norm for m in attack.members.values()} == {'L1'}
