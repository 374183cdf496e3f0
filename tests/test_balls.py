"""Balls against closed forms in NumPy and brute force; that of L1 has more in test_l1."""

from __future__ import annotations

import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings, strategies as st
from keras import layers as L

from models.attacks import FMN, PGD
from models.attacks.balls import BALLS, L2, ball_of

ORDERS = {'Linf': np.inf, 'L2': 2, 'L1': 1}
DUALS = {'Linf': 1, 'L2': 2, 'L1': np.inf}
SHAPE = (3, 2, 2)


KINDS = BALLS


def flat(a) -> np.ndarray:
    return np.asarray(a, np.float64).reshape(len(a), -1)


def norm_of(name: str, a) -> np.ndarray:
    return np.linalg.norm(flat(a), ORDERS[name], axis=1)


@pytest.mark.long(after=2)
@pytest.mark.parametrize('name', KINDS)
@settings(max_examples=30, deadline=None)
@given(scale=st.sampled_from([1e-4, 0.1, 1.0, 30.0]), seed=st.integers(0, 10 ** 6))
def test_a_projection_is_the_nearest_point_of_the_ball(name, scale, seed):
    """Of a convex set, p is nearest to d if and only if no point q of it has (d - p) . (q - p) > 0; here random q."""
    rng = np.random.default_rng(seed)
    d = (scale * rng.normal(size=(8, *SHAPE))).astype(np.float32)
    eps = rng.uniform(0, 2, 8).astype(np.float32)
    p = KINDS[name].project(tf.constant(d), tf.constant(eps)).numpy()
    assert (norm_of(name, p) <= eps * (1 + 1e-5) + 1e-7).all()
    inside = norm_of(name, d) < eps * (1 - 1e-6)
    np.testing.assert_allclose(p[inside], d[inside], rtol=1e-6)
    q = rng.normal(size=(200, 8, flat(d).shape[1])) ** 3
    q *= (eps / np.linalg.norm(q, ORDERS[name], axis=2))[..., np.newaxis]
    gains = ((flat(d) - flat(p)) * (q - flat(p))).sum(axis=2)
    assert (gains <= 1e-5 * np.linalg.norm(flat(d), axis=1) * np.maximum(eps, 1)).all()


@pytest.mark.parametrize('name, closed_form', [
    ('Linf', lambda d, eps: np.clip(d, -eps, eps)),
    ('L2', lambda d, eps: d * np.minimum(1, eps / np.sqrt(np.square(d).sum(axis=1, keepdims=True))))])
def test_a_projection_is_that_of_the_closed_form(name, closed_form):
    d = np.random.default_rng(0).normal(size=(50, *SHAPE)).astype(np.float32)
    eps = np.linspace(0, 8, 50).astype(np.float32)
    ball = BALLS[name]
    found = ball.project(tf.constant(d), tf.constant(eps))
    np.testing.assert_allclose(flat(found), closed_form(flat(d), eps[:, np.newaxis].astype(float)), atol=1e-6)
    clean = np.random.default_rng(1).uniform(size=d.shape).astype(np.float32)
    around = ball.onto(tf.constant(clean + d), tf.constant(clean), tf.constant(eps))
    np.testing.assert_allclose(around - clean, found, atol=1e-6)


@pytest.mark.parametrize('name', KINDS)
def test_a_direction_is_the_steepest_of_its_size(name):
    g = np.random.default_rng(0).normal(size=(20, *SHAPE)).astype(np.float32)
    ball = KINDS[name]
    steepest = ball.direction(tf.constant(g))
    np.testing.assert_allclose(norm_of(name, steepest), 1, rtol=1e-5)
    dual = np.linalg.norm(flat(g), DUALS[name], axis=1)
    np.testing.assert_allclose((flat(steepest) * flat(g)).sum(axis=1), dual, rtol=1e-5)
    np.testing.assert_allclose(ball.dual_size(tf.constant(g)), dual, rtol=1e-5)
    assert (ball.direction(tf.zeros([1, *SHAPE])).numpy() == 0).all()


@pytest.mark.parametrize('name', KINDS)
def test_sizes_and_distances_are_numpys_norms(name):
    rng, ball = np.random.default_rng(0), KINDS[name]
    a, b = (rng.uniform(size=(20, *SHAPE)).astype(np.float32) for _ in range(2))
    np.testing.assert_allclose(ball.size(tf.constant(a)), norm_of(name, a), rtol=1e-6)
    distances = ball.distance(a, b)
    assert distances.dtype == np.float64
    np.testing.assert_allclose(distances, norm_of(name, a.astype(np.float64) - b), rtol=1e-15)
    if name in BALLS:
        for factor in (1e-30, 1e30):
            np.testing.assert_allclose(ball.size(tf.constant(np.float32(factor) * a)), factor * norm_of(name, a),
                                       rtol=1e-5, err_msg='float32 does not hold its square')


@pytest.mark.parametrize('name', KINDS)
def test_nothing_in_the_box_is_further_than_the_furthest_corner(name):
    x = np.random.default_rng(0).uniform(-1, 2, (5, 2, 2, 1)).astype(np.float32)
    corners = np.array(list(itertools.product([-1, 2], repeat=4)), np.float32).reshape(-1, 2, 2, 1)
    expected = [norm_of(name, corners - image).max() for image in x]
    ball = KINDS[name]
    np.testing.assert_allclose(ball.furthest(x, (-1, 2)), expected, rtol=1e-6)
    assert (ball.reach(tf.constant(x), (-1.0, 2.0)).numpy() >= np.array(expected) * (1 - 1e-6)).all()
    assert ball.diagonal(4) == pytest.approx(norm_of(name, np.ones((1, 2, 2, 1)))[0])


@pytest.mark.parametrize('draw', ['random', 'draw'])
@pytest.mark.parametrize('name', BALLS)
def test_random_points_are_uniform_in_the_ball(name, draw):
    """A share s ** d of a ball of d dimensions is within s of its radius; no direction is preferred."""
    n, d, ball = 4000, int(np.prod(SHAPE)), BALLS[name]
    if draw == 'random':
        found = ball.random(tf.zeros([n, *SHAPE]), tf.fill([n], 0.3), tf.constant([5, 6])).numpy()
    else:
        found = ball.draw((n, *SHAPE), 0.3, np.random.default_rng(0))
    share = norm_of(name, found) / 0.3
    assert share.max() <= 1 + 1e-6
    quantiles = np.quantile(share ** d, [0.1, 0.25, 0.5, 0.75, 0.9])
    np.testing.assert_allclose(quantiles, [0.1, 0.25, 0.5, 0.75, 0.9], atol=0.03)
    spread = flat(found).std(axis=0)
    assert np.abs(flat(found).mean(axis=0)).max() < 5 * spread.mean() / np.sqrt(n)
    np.testing.assert_allclose(spread / spread.mean(), 1, atol=0.06)
    together = np.corrcoef(flat(found).T) - np.eye(d)
    assert np.abs(together).max() < 6 / np.sqrt(n)


@pytest.mark.parametrize('name', KINDS)
def test_random_points_are_a_function_of_the_seed_and_have_a_budget_each(name):
    like, eps = tf.zeros([6, *SHAPE]), tf.constant([0.0, 0.1, 0.2, 1.0, 2.0, 5.0])
    ball = KINDS[name]
    one, two, other = (ball.random(like, eps, tf.constant(s)).numpy() for s in ([1, 2], [1, 2], [1, 3]))
    np.testing.assert_array_equal(one, two)
    assert (one[1:] != other[1:]).any(axis=(1, 2, 3)).all() and (one[0] == 0).all()
    assert (norm_of(name, one) <= eps.numpy() * (1 + 1e-5)).all()
    assert len({tuple(row) for row in np.round(flat(one[1:]) / eps.numpy()[1:, np.newaxis], 5)}) == 5, 'not all alike'


@pytest.mark.parametrize('name', KINDS)
@pytest.mark.parametrize('eps', [1e-6, 0.03, 2.0])
def test_what_is_projected_in_float32_is_within_its_budget_up_to_the_rounding_that_is_allowed_for(name, eps):
    rng, ball = np.random.default_rng(0), KINDS[name]
    clean = rng.uniform(size=(200, 8, 8, 1)).astype(np.float32)
    far = tf.constant((clean + rng.choice([-9, 9], clean.shape)).astype(np.float32))
    distances = ball.distance(ball.onto(far, tf.constant(clean), tf.fill([200], np.float32(eps))).numpy(), clean)
    allowed = ball.rounding(eps, 64)
    assert (distances <= eps + allowed).all() and allowed < 1e-5 + 1e-5 * eps
    assert distances.max() > eps - allowed, 'it is on the sphere'


def test_a_ball_has_a_name_or_is_one():
    assert ball_of('L2') is BALLS['L2'] and ball_of('Linf') is BALLS['Linf']
    own = L2()
    assert ball_of(own) is own
    for norm in ('L0', 'l2', 2, None):
        with pytest.raises(ValueError, match="norm must be 'Linf' or 'L2' or 'L1', not"):
            ball_of(norm)


@pytest.fixture(scope='module')
def linear():
    """Two classes, images far from the walls of the box, and the gap of their logits with its gradient."""
    keras.utils.set_random_seed(0)
    net = keras.Sequential([keras.Input((4, 4, 1)), L.Flatten(), L.Dense(2)])
    kernel = np.random.default_rng(1).normal(size=(16, 2)).astype(np.float32)
    x = np.random.default_rng(2).uniform(0.45, 0.55, (12, 4, 4, 1)).astype(np.float32)
    net.set_weights([kernel, -0.5 * kernel.sum(axis=0)])
    logits = net(x).numpy().astype(float)
    return net, x, logits.argmax(axis=1), np.abs(logits[:, 0] - logits[:, 1]), kernel[:, 0] - kernel[:, 1]


@pytest.mark.long
@pytest.mark.parametrize('name', KINDS)
def test_attacks_find_the_distance_of_a_linear_network_in_any_norm(name, linear):
    """It is the gap over the dual norm of its gradient: a new norm is a new class, and nothing else changes."""
    net, x, y, gap, slope = linear
    least = gap / np.linalg.norm(slope, DUALS[name])
    budgets = np.quantile(least, [0.3, 0.5, 0.7, 1.0]) * 1.02
    pgd = PGD(net, budgets, k=60, a=0.1, repeat=2, norm=KINDS[name])
    result = pgd.attack(x, y, 0)
    assert pgd.norm == name and result.success.all()
    np.testing.assert_array_equal(result.eps, budgets[np.searchsorted(budgets, least)])
    assert (result.distances >= least * (1 - 1e-4)).all()
    found = FMN(net, steps=200, alpha=0.2, norm=KINDS[name]).attack(x, y, 0)
    np.testing.assert_allclose(found.distances, least, rtol=0.05)
