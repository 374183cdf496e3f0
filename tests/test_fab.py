"""FAB, and the ways to hyperplanes that it takes, beside closed forms, linear programs and other attacks."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import layers as L
from nets import small_mnist
from scipy.optimize import linprog, minimize
from test_attacks_box import images as boxed_images, least_distances, linear  # noqa: F401  (a fixture)

from models.attacks import DDN, FAB, FMN
from models.attacks.hyperplanes import to_hyperplane

ORDER = {'Linf': np.inf, 'L2': 2, 'L1': 1}


def hyperplanes():
    """Points of the box, some at its walls, normals, some of them 0, and values."""
    rng = np.random.default_rng(0)
    x = np.clip(rng.uniform(-0.4, 1.4, (40, 2, 3, 1)), 0, 1).astype(np.float32)
    w = (rng.normal(size=x.shape) * (rng.uniform(size=x.shape) < 0.8)).astype(np.float32)
    return x, w, rng.normal(size=len(x)).astype(np.float32)


def least_way(norm, x, w, value):
    """By linear or quadratic programming, one image; None if the box does not reach the hyperplane."""
    x, w, n = x.ravel().astype(float), w.ravel().astype(float), x.size
    if norm == 'L2':
        gain = np.where(-np.sign(value) * w > 0, 1 - x, -x) @ w
        if abs(gain) < abs(value):
            return None
        found = minimize(lambda d: d @ d / 2, np.zeros(n), jac=lambda d: d, bounds=list(zip(-x, 1 - x)),
                         constraints={'type': 'eq', 'fun': lambda d: w @ d + value, 'jac': lambda d: w},
                         options={'ftol': 1e-14, 'maxiter': 500})
        return found.x
    # d = p - q, and t is the largest (or sum) of p + q
    cost = np.r_[np.zeros(2 * n), 1] if norm == 'Linf' else np.r_[np.ones(2 * n), 0]
    within = np.c_[np.eye(n), np.eye(n), -np.ones(n)]
    found = linprog(cost, within if norm == 'Linf' else None, np.zeros(n) if norm == 'Linf' else None,
                    np.r_[w, -w, 0][np.newaxis], [-value],
                    [*((0, 1 - v) for v in x), *((0, v) for v in x), (0, None)])
    return found.x[:n] - found.x[n:2 * n] if found.success else None


@pytest.mark.parametrize('norm', ORDER)
def test_the_way_to_a_hyperplane_is_the_shortest_in_the_box(norm):
    x, w, value = hyperplanes()
    ways = to_hyperplane(norm, x, w, value, (0.0, 1.0)).numpy().astype(float)
    assert (x + ways >= -1e-6).all() and (x + ways <= 1 + 1e-6).all() and (ways[w == 0] == 0).all()
    unreached = 0
    for at, normal, v, way in zip(x, w, value, ways):
        want = least_way(norm, at, normal, v)
        if want is None:
            unreached += 1
            corner = np.where(normal * v < 0, 1, np.where(normal * v > 0, 0, at))
            np.testing.assert_allclose(at + way, corner, atol=1e-6)
            continue
        assert (normal * way).sum() == pytest.approx(-v, abs=1e-5)
        assert np.linalg.norm(way.ravel(), ORDER[norm]) == pytest.approx(np.linalg.norm(want, ORDER[norm]), abs=1e-4)
    assert 0 < unreached < 20


@pytest.mark.parametrize('norm', ORDER)
def test_the_way_to_a_hyperplane_does_not_depend_on_the_scale_of_its_normal(norm):
    x, w, value = hyperplanes()
    ways = to_hyperplane(norm, x, w, value, (0.0, 1.0)).numpy()
    for factor in (1e-30, 1e30):
        scaled = to_hyperplane(norm, x, w * np.float32(factor), value * np.float32(factor), (0.0, 1.0)).numpy()
        np.testing.assert_allclose(scaled, ways, atol=1e-5)
    assert (to_hyperplane(norm, x, 0 * w, value, (0.0, 1.0)).numpy() == 0).all()


@pytest.fixture(scope='module')
def ten():
    """A linear network of ten classes, images inside the box, and their labels."""
    net = keras.Sequential([keras.Input((6, 6, 1)), L.Flatten(), L.Dense(10)])
    net.layers[-1].set_weights([np.random.default_rng(1).normal(size=(36, 10)).astype(np.float32),
                                np.linspace(-0.1, 0.1, 10).astype(np.float32)])
    x = np.random.default_rng(0).uniform(0.3, 0.7, (8, 6, 6, 1)).astype(np.float32)
    return net, x, net(x).numpy().argmax(axis=1)


def gaps(net, x, y):
    """By how much each class is behind, and the normals of the boundaries, of a linear network."""
    w, b = (v.astype(float) for v in net.layers[-1].get_weights())
    logits = x.reshape(len(x), -1).astype(float) @ w + b
    return (logits[np.arange(len(x)), y][:, np.newaxis] - logits, w[:, y].T[:, np.newaxis] - w.T[np.newaxis])


@pytest.mark.long(after=1)
@pytest.mark.parametrize('norm, dual', [('Linf', 1), ('L2', 2)])
@pytest.mark.parametrize('target_classes', [9, pytest.param(None, marks=pytest.mark.long)])
def test_on_a_linear_network_it_finds_the_nearest_of_nine_boundaries(target_classes, norm, dual, ten):
    net, x, y = ten
    behind, normals = gaps(net, x, y)
    size = np.linalg.norm(normals, dual, axis=2)
    distances = np.where(size > 0, behind / np.where(size > 0, size, 1), np.inf).min(axis=1)
    assert distances.max() < 0.3 or norm == 'L2'
    found = FAB(net, 20, norm=norm, target_classes=target_classes).attack(x, y)
    np.testing.assert_allclose(found.distances, distances, rtol=1e-3)
    assert (found.distances >= distances * (1 - 1e-5)).all()


@pytest.mark.long(after=1)
@pytest.mark.parametrize('kind', ['clipped', 'black and white'])
@pytest.mark.parametrize('norm', ['Linf', pytest.param('L2', marks=pytest.mark.long)])
def test_where_the_box_is_in_the_way_it_finds_the_least_distance(kind, norm, linear):  # noqa: F811
    x = boxed_images(kind, 6)
    y = linear(x).numpy().argmax(axis=1)
    least = least_distances(linear, x, y, ORDER[norm])
    for eta, rtol in ((1.05, 3e-3), (1.01, 1e-3)):  # what goes beyond the boundary goes beyond it along the walls, too
        found = FAB(linear, 60, eta=eta, norm=norm).attack(x, y).distances
        np.testing.assert_allclose(found, least, rtol=rtol)
        assert (found >= least * (1 - 1e-5)).all()


@pytest.mark.long
def test_of_ten_classes_in_corners_of_the_box_it_finds_the_least_distance(ten):
    net, x, _ = ten
    x = np.round(x)
    y = net(x).numpy().argmax(axis=1)
    behind, normals = gaps(net, x, y)
    least = []
    for image, label, behinds, normal in zip(x, y, behind, normals):
        ways = [least_way('Linf', image, n, v) for k, (n, v) in enumerate(zip(normal, behinds)) if k != label]
        least.append(min(abs(way).max() for way in ways if way is not None))
    np.testing.assert_allclose(FAB(net, 40, norm='Linf').attack(x, y).distances, least, rtol=2e-3)


@pytest.mark.long
@pytest.mark.parametrize('norm', ['Linf', 'L2'])
def test_on_a_small_cnn_it_comes_as_near_as_other_attacks_do(norm, mnist_images):
    x, y = (a[:10] for a in mnist_images.train)
    net = small_mnist()
    others = [FMN(net, 100, norm=norm), *([DDN(net, 100)] if norm == 'L2' else [])]
    best = np.min([attack.attack(x, y, 0).distances for attack in others], axis=0)
    plain, targeted = (FAB(net, 40, norm=norm, target_classes=n).attack(x, y, 0).distances for n in (None, 9))
    assert np.median(plain / best) < (1.02 if norm == 'L2' else 1.05) and (plain / best).max() < 1.15
    assert (targeted <= plain * 1.01).all()


@pytest.mark.parametrize('arguments, message', [
    ({'norm': 'L3'}, "norm must be 'Linf' or 'L2'"), ({'target_classes': 0}, 'target_classes must be a whole number'),
    ({'eta': 0.9}, 'eta must be a finite number of at least 1'),
    ({'beta': 1.1}, 'beta must be a finite number above 0 and at most 1'),
    ({'alpha_max': 2}, 'alpha_max must be a finite number above 0 and at most 1'),
    ({'search_steps': 0}, 'search_steps must be a whole number')])
def test_wrong_arguments_are_refused_in_a_sentence(arguments, message, ten):
    with pytest.raises(ValueError, match=message):
        FAB(ten[0], **arguments)
