"""An attack that could not work does not say "robust": results say where a search failed, and summaries pass it on."""

from __future__ import annotations

import json
from pathlib import Path

import keras
import numpy as np
import pytest
from keras import layers as L
from nets import Made, scaled

import core
from core import AttackType
from models.attacks import DDN, FGSM, FMN, IFGSM, L2BIM, PGD, CarliniL2, L2DeepFool, L2Fast, LinfPGDAttack
from models.attacks.doubts import sentence

EPS = [0.05, 0.1, 0.15, 0.2, 0.3, 0.5]


@pytest.fixture(scope='module')
def trained(digits):
    """A small CNN, and 32 images of which it gets each right."""
    keras.utils.set_random_seed(1)
    (x, y), _ = digits
    net = keras.Sequential([keras.Input((8, 8, 1)), L.Conv2D(8, 3, activation='relu', padding='same'),
                            L.MaxPooling2D(), L.Flatten(), L.Dense(10)])
    net.compile('adam', keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    net.fit(x[:600], y[:600], epochs=8, verbose=0)
    right = np.flatnonzero(net(x[:64]).numpy().argmax(axis=1) == y[:64])[:32]
    return net, x[right], y[right]


def saturated():
    """A network whose hidden units are so far out that float32 has no gradient, though a step flips them."""
    net = keras.Sequential([keras.Input((2, 2, 1)), L.Flatten(), L.Dense(1, activation='tanh', use_bias=True),
                            L.Dense(2, use_bias=False)])
    net.set_weights([np.full((4, 1), 1e4, np.float32), np.array([-1.5e4], np.float32),
                     np.array([[1.0, -1.0]], np.float32)])
    x = np.full((3, 2, 2, 1), 0.5, np.float32)
    return net, x, net(x).numpy().argmax(axis=1)


DEPENDING = {
    'LinfPGDAttack': lambda net: LinfPGDAttack(net, EPS, k=20, repeat=2),
    'CarliniL2': lambda net: CarliniL2(net, max_iterations=100, learning_rate=0.05, binary_search_steps=5)}


@pytest.fixture(scope='module')
def attacks(trained):
    """Of the small CNN, compiled once for logits of any scale."""
    kinds = {**DEPENDING, 'FGSM': lambda net: FGSM(net, EPS)}
    return Made(lambda name: kinds[name](trained[0]), kinds)


@pytest.mark.long
@pytest.mark.parametrize('factor', [1e-30, 1e3, 1e30])
@pytest.mark.parametrize('name', DEPENDING)
def test_where_an_attack_depends_on_the_scale_of_the_logits_what_it_misses_is_doubtful(name, factor, trained, attacks):
    net, x, y = trained
    attack = attacks[name]
    one_step = attacks['FGSM'].attack(x, y)
    with scaled(net, factor):
        result = attack.attack(x, y, 0)
        single = attacks['FGSM'].attack(x, y)
    assert attack.depends_on_scale and 'depends on the scale of the logits' in type(attack).__doc__
    np.testing.assert_array_equal(single.eps, one_step.eps)  # the single step does not depend on it
    if attack.norm == 'Linf':
        np.testing.assert_array_equal(result.doubts.single_step, single.eps < result.eps)
    assert result.doubts.any[~result.success].all()
    if (attack.norm, factor) not in (('Linf', 1e-30), ('L2', 1e3)):
        assert result.doubts.any.sum() > 3, 'the weakness is there'


@pytest.mark.long(after=1)
@pytest.mark.parametrize('make', [
    lambda net: L2DeepFool(net, steps=20), lambda net: L2BIM(net, search_steps=3, iterations=3),
    lambda net: CarliniL2(net, max_iterations=20), lambda net: LinfPGDAttack(net, [0.01, 0.02], k=3, repeat=1),
    lambda net: IFGSM(net, [0.01], k=3)])
def test_where_the_gradient_vanishes_a_search_that_fails_is_doubtful(make, attacks_eagerly):
    net, x, y = saturated()
    result = make(net).attack(x, y, 0)
    assert not result.success.any() and result.doubts.no_gradient.all()


@pytest.mark.long(after=1)
@pytest.mark.parametrize('make', [
    lambda net: L2Fast(net, steps=20, starts=2), lambda net: DDN(net, steps=20), lambda net: FMN(net, steps=20),
    lambda net: FMN(net, steps=20, norm='Linf')])
def test_searches_for_the_least_distance_leave_a_place_without_a_gradient(make, attacks_eagerly):
    net, x, y = saturated()
    result = make(net).attack(x, y, 0)
    assert result.success.all() and not result.doubts.any.any()


@pytest.mark.long
def test_nothing_found_in_the_whole_box_is_doubtful_and_within_a_small_budget_it_is_not(attacks_eagerly):
    net = keras.Sequential([keras.Input((2, 2, 1)), L.Flatten(), L.Dense(2)])
    net.set_weights([np.full((4, 2), [0.0, 0.1], np.float32), np.array([1.0, 0.0], np.float32)])  # class 0 everywhere
    x, y = np.full((2, 2, 2, 1), 0.25, np.float32), np.zeros(2, int)
    for attack in (FMN(net, steps=5), CarliniL2(net, max_iterations=10), PGD(net, [0.75], k=3, repeat=1)):
        result = attack.attack(x, y, 0)
        assert not result.success.any() and result.doubts.whole_box.all(), type(attack).__name__
        assert not result.doubts.single_step.any() and not result.doubts.no_gradient.any()
    result = PGD(net, [0.1, 0.7], k=3, repeat=1).attack(x, y, 0)
    assert not result.success.any() and not result.doubts.any.any()


@pytest.mark.long
def test_no_attack_within_budgets_is_below_a_single_gradient_step(trained, attacks):
    """Steps of a hundred times the budget jump about; the single step of the budget's size is looked at too."""
    net, x, y = trained
    single = attacks['FGSM'].attack(x, y)
    wild = PGD(net, EPS, k=1, a=100.0, repeat=1).attack(x, y, 0)
    assert (wild.eps <= single.eps).all() and not wild.doubts.single_step.any()


@pytest.mark.long
def test_logits_that_are_not_finite_are_no_success(attacks_eagerly):
    x = keras.Input((2, 2, 1))
    net = keras.Model(x, L.Dense(2)(keras.ops.sqrt(L.Flatten()(x) - 0.25)))  # nan where a pixel is below 0.25
    net.set_weights([np.tile([[1.0, -1.0]], (4, 1)).astype(np.float32), np.zeros(2, np.float32)])
    images = np.full((2, 2, 2, 1), 0.5, np.float32)
    with pytest.raises(ValueError, match='not all finite|does not run'):
        FGSM(net, [0.1]).attack(np.zeros_like(images), np.zeros(2, int))
    result = FGSM(net, [0.5]).attack(images, np.zeros(2, int))
    assert not result.success.any() and (result.distances == np.inf).all()


@pytest.mark.long
def test_a_summary_counts_the_doubtful_and_a_line_tells_of_them(capsys):
    flags = {'dataset': 'digits', 'train_N': 100, 'lr': 0.1, 'E': 1, 'B': 50, 'seed': 1, 'gpu': 'cpu', 'print': False,
             'log': 'run', 'model': {'description': [['F', 10, {'act': False}]]}}
    core.run(flags)
    attack = {'task': 'attack', 'log': 'run', 'attack_type': AttackType.L_2, 'attack_N': 20, 'attack_K': 2,
              'attack_options': {'binary_search_steps': 1}, 'seed': 1, 'gpu': 'cpu', 'eval_log': 'cw'}
    capsys.readouterr()
    core.run(attack)
    summary = json.loads(Path('cw/summary.json').read_text())
    (numbers,) = summary['epochs'].values()
    lost = round(20 * (1 - numbers['success_rate']))
    assert summary['depends_on_scale'] and numbers['doubtful']['images'] == numbers['doubtful']['whole_box'] == lost > 0
    assert f"note: {sentence(numbers['doubtful'])}\n" in capsys.readouterr().out
    core.run({**attack, 'attack_type': AttackType.FMN, 'attack_options': {}, 'attack_K': 30, 'eval_log': 'fmn'})
    summary = json.loads(Path('fmn/summary.json').read_text())
    assert not summary['depends_on_scale'] and set(summary['epochs']['1']['doubtful'].values()) == {0}
    assert 'note:' not in capsys.readouterr().out


def test_images_that_do_not_move_for_want_of_a_gradient_are_told_of(monkeypatch, capsys):
    """A network whose weights are all 0, and stay so."""
    core.run({'dataset': 'digits', 'train_N': 100, 'lr': 0.1, 'E': 1, 'B': 50, 'seed': 1, 'gpu': 'cpu', 'log': 'run',
              'print': False,
              'model': {'description': [['F', 4], ['F', 10, {'act': False}]], 'init': {'weight': 'zeros'}}})
    core.run({'task': 'transfer', 'log': 'run', 'attack_type': AttackType.FGSM, 'attack_N': 20, 'gpu': 'cpu',
              'attack_eps_list': [0.1], 'eval_log': 'white'})
    unmoved = json.loads(Path('white/summary.json').read_text())['epochs']['1']['unmoved']
    assert unmoved == (core.get_dataset('digits').train[1][:20] == 0).sum() > 0
    assert f'note: {unmoved} images, counted as right, stayed as they were' in capsys.readouterr().out


def test_the_sentence_names_reasons_and_their_counts():
    assert sentence({'images': 0, 'single_step': 0}) is None
    assert sentence({'images': 3, 'single_step': 2, 'no_gradient': 0, 'whole_box': 1}) == (
        '3 images may be less robust than that: a single gradient step does better (2), '
        'nothing was found in all of the box (1)')
