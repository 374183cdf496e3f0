"""The judge believes no attack: what is outside the box or its ball is put back and asked again, and budgets and robust
accuracy come from distances that it measures."""

from __future__ import annotations

import json
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from core.attacking import robust_accuracy
from keras import layers as L
from runs import FLAGS, train

import core
from models.attacks import FGSM, PGD
from models.attacks.balls import BALLS, L2, Linf
from models.attacks.base import Attack, Proposal

NORMS = ('Linf', 'L2')
EPS = [0.05, 0.1, 0.2, 0.4]
ORDERS = {'Linf': np.inf, 'L2': 2}


@pytest.fixture(scope='module')
def linear():
    """Two classes; images; their classes; and the gradient, by its signs for L-infinity, away from them."""
    net = keras.Sequential([keras.Input((4, 4, 1)), L.Flatten(), L.Dense(2, use_bias=False)])
    kernel = np.random.default_rng(1).normal(size=(16, 2)).astype(np.float32)
    net.set_weights([kernel - kernel.mean(axis=0)])
    x = np.random.default_rng(2).uniform(0.42, 0.58, (30, 4, 4, 1)).astype(np.float32)
    y = net(x).numpy().argmax(axis=1)
    w = net.get_weights()[0].astype(float)
    slope = (w[:, 1] - w[:, 0]) * np.where(y == 0, 1, -1)[:, np.newaxis]
    gap = np.abs(np.diff(x.reshape(30, -1) @ w, axis=1)[:, 0])
    return net, x, y, slope.reshape(x.shape), gap


class Liar(Attack):
    """Proposes images at a distance from the clean ones, along the steepest way, and claims what it likes."""

    has_budgets = True

    def __init__(self, model, slope, distance, claims, norm='Linf', eps_list=EPS):
        super().__init__(model, norm)
        self.eps_list, self.slope, self.distances, self.claims = list(eps_list), slope, distance, claims

    def _run(self, x, y, rng):
        step = self.ball.direction(tf.constant(self.slope, tf.float32)).numpy()[:len(x)]
        claims = None if self.claims is None else np.full(len(x), self.claims)
        return Proposal(x + np.float32(self.distances) * step, np.ones(len(x), bool), claims)


def least(norm, gap, slope):
    """Distances from the boundary: all images can be moved so far without meeting a wall."""
    dual = np.linalg.norm(slope.reshape(len(slope), -1), {'Linf': 1, 'L2': 2}[norm], axis=1)
    return gap / dual


def measured(norm, a, b):
    return np.linalg.norm((a.astype(float) - b).reshape(len(a), -1), ORDERS[norm], axis=1)


@pytest.mark.long(after=17)
@pytest.mark.parametrize('claim', EPS)
@pytest.mark.parametrize('times', [1, 2, 1.01], ids=['honest', 'twice the budget', 'a hundredth beyond it'])
@pytest.mark.parametrize('norm', NORMS)
def test_a_proposal_outside_its_ball_is_put_back_and_asked_again(norm, times, claim, linear):
    """Whatever is proposed beyond the budget, what counts is the point of the ball below it."""
    net, x, y, slope, gap = linear
    if norm == 'Linf' and claim == 0.4:
        claim = 0.3  # 2 x 0.4 would meet the walls
    nearest = least(norm, gap, slope)
    result = Liar(net, slope, times * claim, claim, norm, [*EPS[:3], claim] if claim == 0.3 else EPS).attack(x, y)
    certain = np.abs(nearest / claim - 1) > 1e-3
    np.testing.assert_array_equal(result.success[certain], (nearest < claim)[certain])
    assert 0 < result.success.sum()
    found = result.success
    assert (measured(norm, result.images, x)[found] <= claim * (1 + 1e-5)).all()
    np.testing.assert_allclose(result.distances[found], claim, rtol=1e-5)
    assert (result.eps[found] == claim).all() and np.isinf(result.eps[~found]).all()


@pytest.mark.parametrize('norm', NORMS)
def test_a_budget_that_is_smaller_than_the_one_used_is_held_to(norm, linear):
    net, x, y, slope, gap = linear
    nearest = least(norm, gap, slope)
    used = 0.3 if norm == 'Linf' else 1.0
    eps = sorted([*np.quantile(nearest, [0.25, 0.5]), used])
    result = Liar(net, slope, used, eps[0], norm, eps).attack(x, y)
    assert Liar(net, slope, used, used, norm, eps).attack(x, y).success.all(), 'the images that it proposes do fool'
    np.testing.assert_array_equal(result.success, nearest < eps[0])
    assert (result.eps[result.success] == eps[0]).all() and 0 < result.success.mean() < 0.5


def test_a_budget_that_is_larger_than_needed_is_not_what_counts(linear):
    """The smallest that holds the image is, so that no network seems more robust than it is."""
    net, x, y, slope, gap = linear
    nearest = least('Linf', gap, slope)
    result = Liar(net, slope, 0.1, 0.4).attack(x, y)
    np.testing.assert_array_equal(result.success, nearest < 0.1)
    assert (result.eps[result.success] == 0.1).all()


@pytest.mark.parametrize('claim', [None, np.nan, np.inf, -1.0, 7.0])
def test_a_claim_of_no_budget_is_held_to_the_largest_or_to_none(claim, linear):
    net, x, y, slope, gap = linear
    result = Liar(net, slope, 0.39, claim, eps_list=EPS[:3]).attack(x, y)
    nearest = least('Linf', gap, slope)
    holds = 0.2 if claim is None or claim > 0 else 0
    np.testing.assert_array_equal(result.success, nearest < holds)
    assert (result.distances[result.success] <= 0.2 + 1e-6).all()


@pytest.mark.long(after=1)
@pytest.mark.parametrize('outside', [50.0, -50.0, np.inf, np.nan])
@pytest.mark.parametrize('norm', NORMS)
def test_a_proposal_outside_the_box_is_put_back_into_the_box_and_the_ball(norm, outside, linear):
    net, x, y, _, _ = linear

    class Outside(Liar):
        def _run(self, x, y, rng):
            return Proposal(np.full_like(x, outside), np.ones(len(x), bool), np.full(len(x), self.claims))
    for claim in (0.05, 0.4):
        result = Outside(net, None, None, claim, norm).attack(x, y)
        assert result.images.min() >= 0 and result.images.max() <= 1 and np.isfinite(result.images).all()
        assert (measured(norm, result.images, x)[result.success] <= claim * (1 + 1e-5)).all()
        target = np.clip(np.nan_to_num(np.full_like(x, outside)), 0, 1) - x
        inside = np.clip(target, -claim, claim) if norm == 'Linf' else target * np.minimum(
            1, claim / measured('L2', target, 0 * x))[:, np.newaxis, np.newaxis, np.newaxis]
        logits = net((x + inside).astype(np.float32)).numpy()
        certain = np.abs(np.diff(logits, axis=1)[:, 0]) > 1e-4
        np.testing.assert_array_equal(result.success[certain], (logits.argmax(axis=1) != y)[certain])


class TwiceLinf(Linf):
    def project(self, delta, eps):
        return super().project(delta, 2 * eps)


class TwiceL2(L2):
    def project(self, delta, eps):
        return super().project(delta, 2 * eps)


@pytest.mark.long
@pytest.mark.parametrize('ball', [TwiceLinf(), TwiceL2()], ids=['Linf', 'L2'])
def test_a_wrong_projection_makes_no_network_seem_less_robust(ball, linear):
    """The judge measures; where it cannot put an image back either, a larger budget is what holds it, or none."""
    net, x, y, slope, gap = linear
    nearest = least(ball.name, gap, slope)
    budgets = np.quantile(nearest, [0.2, 0.4, 0.6, 0.8])
    wrong = PGD(net, budgets, k=20, a=1.0, repeat=1, norm=ball).attack(x, y, 0)
    right = PGD(net, budgets, k=20, a=1.0, repeat=1, norm=ball.name).attack(x, y, 0)
    for eps in budgets:
        fooled = wrong.eps <= eps
        assert (measured(ball.name, wrong.images, x)[fooled] <= eps * (1 + 1e-5)).all()
        assert (nearest[fooled] <= eps * (1 + 1e-5)).all(), 'which is possible, as a linear network tells'
    assert (wrong.eps >= right.eps).all() and (wrong.eps > right.eps).any(), 'it costs the attack something'


def test_distances_of_an_attack_without_budgets_are_of_the_image_in_the_box(linear):
    net, x, y, slope, _ = linear

    class Far(Liar):
        has_budgets = False
    result = Far(net, slope, 30.0, None, 'L2', []).attack(x, y)
    assert result.eps is None and result.images.min() == 0 and result.images.max() == 1
    np.testing.assert_allclose(result.distances[result.success], measured('L2', result.images, x)[result.success])


# ---- evaluations ----


def test_an_image_is_fooled_at_a_size_if_it_is_no_further_by_measurement_whatever_was_claimed():
    found = {'distances': np.array([0, 0.05, np.float32(0.1), 0.3, np.inf]),
             'eps': np.array([0, 0.1, 0.1, 0.1, np.inf])}
    grid = [0.05, 0.1, 0.2, 0.3]
    assert robust_accuracy(found, grid, BALLS['Linf'], 64) == {'0.05': 0.8, '0.1': 0.4, '0.2': 0.4, '0.3': 0.2}
    assert robust_accuracy({'distances': found['distances']}, grid, BALLS['Linf'], 64) == {
        '0.05': 0.6, '0.1': 0.6, '0.2': 0.4, '0.3': 0.2}, 'without budgets, distances are what they are'


@pytest.mark.long
@pytest.mark.parametrize('norm', NORMS)
def test_robust_accuracy_of_a_run_is_that_of_the_measured_images_of_an_attack_that_goes_too_far(norm, monkeypatch):
    train(archive=6, log='run')
    budgets = {'Linf': [0.01, 0.02, 0.05, 0.1], 'L2': [0.1, 0.2, 0.5, 1.0]}[norm]
    flags = {'task': 'attack', 'log': 'run', 'attack_type': 'PGD', 'attack_N': 40, 'attack_K': 10, 'attack_E': 1,
             'attack_eps_list': budgets, 'attack_options': {'norm': norm}, 'seed': 1, 'gpu': 'cpu', 'eid': 12}
    honest = core.run({**flags, 'eval_log': 'honest'})[12]
    project = type(BALLS[norm]).project
    with monkeypatch.context() as m:
        m.setattr(type(BALLS[norm]), 'project', lambda self, delta, eps: project(self, delta, 3 * eps))
        liar = core.run({**flags, 'eval_log': 'liar'})[12]
    x, _ = (a[:40] for a in core.get_dataset('digits').train)
    accuracy = {}
    for name, res in (('honest', honest), ('liar', liar)):
        distances = np.where(res['images'].any(axis=(1, 2, 3)), measured(norm, res['images'], x), np.inf)
        accuracy[name] = json.loads(Path(name, 'summary.json').read_text())['epochs']['12']['robust_accuracy']
        for eps in budgets:
            assert accuracy[name][f'{eps:g}'] == (distances > eps * (1 + 1e-5)).mean(), (name, eps)
    assert all(accuracy['liar'][k] >= accuracy['honest'][k] for k in accuracy['liar'])
    assert liar['errors'].max() == 1 and FLAGS['dataset'] == 'digits'


@pytest.mark.long
@pytest.mark.parametrize('norm', NORMS)
def test_an_attack_whose_steps_go_too_far_is_put_back(norm, linear):
    """Twice as far as it says: it loses those whom twice its budget fools, and the budget does not."""
    net, x, y, slope, gap = linear
    nearest = least(norm, gap, slope)

    class Leaping(FGSM):
        def _evaluated(self, start, clean, y, eps):
            return super()._evaluated(start, clean, y, 2 * eps)
    small, large = np.quantile(nearest, [0.3, 0.7])
    leaping, honest = (make(net, [small, large], norm=norm).attack(x, y) for make in (Leaping, FGSM))
    expected = np.where(nearest < small, small, np.where(nearest < large, large, np.inf))
    np.testing.assert_array_equal(honest.eps, expected)
    np.testing.assert_array_equal(leaping.eps, np.where((nearest > small) & (nearest < 2 * small), np.inf, honest.eps))
    assert 0 < leaping.success.sum() < honest.success.sum()
    assert (measured(norm, leaping.images, x) <= leaping.eps * (1 + 1e-5))[leaping.success].all()
