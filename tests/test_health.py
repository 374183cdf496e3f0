"""Health of an evaluation: every defence that masks gradients is told of, and no sound run is."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers as L
from runs import train

import core
from core.tasks import health as of_evaluations
from core.workdir import Workdir
from models import TrainMode, build_model
from models.attacks import APGD, DDN, FMN, PGD, Attack, LossPGD
from models.attacks.results import Proposal
from models.health import NAMES, Health, health
from models.health.gradient_free import gradient_free_beats_gradient, searching
from models.health.planted import readout
from models.health.transfer import Surrogate

EPS = [0.05, 0.1, 0.2]


class Of(L.Layer):
    """A function of tensors."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def call(self, x):
        return self.function(x)


@pytest.fixture(scope='module')
def trained(digits):
    """A small CNN, 40 test images of which it gets each right, and others."""
    keras.utils.set_random_seed(1)
    (x, y), (others, labels) = digits
    net = keras.Sequential([keras.Input((8, 8, 1)), L.Conv2D(8, 3, activation='relu', padding='same'),
                            L.MaxPooling2D(), L.Flatten(), L.Dense(32, activation='relu'), L.Dense(10)])
    net.compile('adam', keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    net.fit(x, y, epochs=15, verbose=0)
    right = np.flatnonzero(net(others).numpy().argmax(axis=1) == labels)[:40]
    return net, others[right], labels[right], others[:300]


def with_input(function):
    return lambda net: _around(net, before=function)


def with_output(function):
    return lambda net: _around(net, after=function)


def _around(net, before=None, after=None):
    x = keras.Input((8, 8, 1))
    h = net(Of(before)(x) if before else x)
    return keras.Model(x, Of(after)(h) if after else h)


def _dead(z):
    """The class alone, by rectifiers none of which is at work."""
    gap = tf.reduce_max(z, axis=1, keepdims=True) - z
    return 10 * tf.nn.relu(1 - tf.nn.relu(1e3 * gap)) * tf.linspace(1.0, 1.9, 10)


@tf.custom_gradient
def _astray(x):
    return tf.identity(x), lambda upstream: tf.random.stateless_normal(tf.shape(upstream), [1, 2])


def _votes(net):
    """What three views of an image are taken for."""
    x = keras.Input((8, 8, 1))
    return keras.Model(x, Of(lambda x: sum(
        weight * tf.one_hot(tf.argmax(net(tf.roll(x, shift, 2)), axis=1), 10)
        for weight, shift in ((1.0, 0), (0.4, 1), (0.4, -1))) - 0.5)(x))


DEFENCES = {
    'quantised input': (with_input(lambda x: tf.round(4 * x) / 4), {'zero_gradients'}),
    'thermometer': (with_input(lambda x: tf.reduce_mean(tf.cast(
        x[..., tf.newaxis] > tf.linspace(0.05, 0.95, 10), tf.float32), axis=-1)), {'zero_gradients'}),
    'saturating logits': (with_output(lambda z: 30 * tf.tanh(5 * z) + 0.1 * tf.tanh(z)), {'probabilities'}),
    'randomised input': (with_input(lambda x: x + tf.random.normal(tf.shape(x), stddev=0.1)), {'random_output'}),
    'dropout at inference': (with_output(lambda z: tf.nn.experimental.stateless_dropout(
        z, 0.05, tf.random.uniform([2], maxval=2 ** 31 - 1, dtype=tf.int32))), {'random_output'}),
    'temperature': (with_output(lambda z: z / 1e-4), {'zero_gradients'}),
    'softmax, scaled': (with_output(lambda z: 20 * tf.nn.softmax(z) - 5), {'probabilities'}),
    'log of clipped probabilities': (with_output(lambda z: tf.math.log(tf.maximum(tf.nn.softmax(z), 3e-3))),
                                     {'probabilities'}),
    'dead rectifiers': (with_output(_dead), {'zero_gradients', 'probabilities'}),
    'gradient stopped': (with_input(tf.stop_gradient), {'zero_gradients'}),
    'votes of an ensemble': (_votes, {'zero_gradients', 'probabilities'}),
    'batch statistics': (with_output(lambda z: z - 3 * tf.reduce_mean(z, axis=0)), {'batch_dependent'}),
    'gradient astray': (with_input(_astray), {'gradient_free_beats_gradient', 'transfer_beats_white_box'}),
    'sawtooth': (with_input(lambda x: x + 0.1 * tf.sin(500 * x)),
                 {'gradient_free_beats_gradient', 'transfer_beats_white_box', 'planted'}),
}

ALL_CHECKED = ('quantised input', 'sawtooth')


@pytest.mark.long
@pytest.mark.parametrize('name', DEFENCES)
def test_a_defence_that_masks_gradients_is_told_of(name, trained, monkeypatch):
    """All checks of the first and the last; of the others, those that are to tell of it."""
    net, x, y, others = trained
    make, expected = DEFENCES[name]
    if name not in ALL_CHECKED:
        tried = Health._tried
        monkeypatch.setattr(Health, '_tried', staticmethod(
            lambda names, check: tried(names, check) if {*expected, 'random_output'} & {*names} else ()))
    attack = PGD(make(net), EPS, k=40, repeat=1)
    found = health(attack, x, y, pool=others)
    fired = {check for check, finding in found.items() if finding.fired}
    assert expected <= fired and list(found) == [check for check in NAMES if check in found], (fired, found)
    assert name not in ALL_CHECKED or list(found) == list(NAMES)
    assert all(found[check].says for check in fired)


@pytest.mark.parametrize('after', [tf.nn.softmax, lambda z: tf.where(z > 100, z, np.nan)])
def test_probabilities_and_no_numbers_are_refused_before(after, trained):
    net, x, y, _ = trained
    with pytest.raises(ValueError, match='gives probabilities|not all finite'):
        PGD(with_output(after)(net), EPS).attack(x, y)


class LastPoint(Attack):
    """Walks back and forth through the boundary, and returns where it ends."""

    norm, has_budgets = 'Linf', True

    def __init__(self, model, eps_list=(0.05, 0.1), k=4):
        super().__init__(model)
        self.eps_list, self.k = list(eps_list), k

    def _run(self, x, y, rng):
        gradient, _ = self._looked(x, y)
        size = self.eps_list[-1] if self.k % 4 else 0.0
        images = np.clip(x - size * gradient, 0, 1)
        return Proposal(images, self.logits(images).argmax(axis=1) != y)


@pytest.mark.long
def test_an_attack_that_loses_what_it_had_or_stops_too_early_is_told_of(trained):
    net, x, y, others = trained
    lost = health(LastPoint(net, EPS), x, y, pool=others)
    assert lost['best_not_returned'].fired and lost['not_zero_unbounded'].fired and lost['planted'].fired
    assert lost['single_step_beats_many'].fired and lost['transfer_beats_white_box'].fired
    early = health(PGD(net, EPS, k=20, a=0.005, repeat=1), x, y, pool=others)
    assert early['still_moving'].fired and early['still_moving'].numbers['pace'] > 0.9
    assert not any(early[name].fired for name in NAMES[:4])


def test_a_readout_parts_the_planted_point_from_all_others_and_is_none_where_it_cannot():
    rng = np.random.default_rng(0)
    around, planted = rng.normal(size=(20, 50)), rng.normal(size=50) * 3
    vector, offset = readout(around, planted)
    heights = around @ vector - offset
    assert heights.max() == pytest.approx(-1) and planted @ vector - offset == pytest.approx(1)
    assert readout(around, around.mean(axis=0)) is None and readout(np.ones((20, 5)), np.ones(5)) is None


RUN = {'train_N': 600, 'test_N': 200, 'E': 8, 'print': False, 'lr': 0.01, 'train_mode': TrainMode.NORMAL,
       'loss_ub': 1e9,
       'model': {'description': [['C', 8, [3, 3]], ['P'], ['F', 32], ['F', 10, {'act': False}]],
                 'init': {'weight': 'he_normal'}, 'opt': 'adam'}}
OBJECTIVES = {
    'cross entropy': {},
    'loss-based': {'train_mode': TrainMode.USE_FRAME, 'lr': ('loss-based-v1', 0.3, 2 ** (1 / 5), 2 ** (1 / 10)),
                   'log_frame0': 1.5, 'E': 20, 'model': {k: v for k, v in RUN['model'].items() if k != 'opt'}},
    'large margin': {'objective': {'type': 'large-margin', 'norm': 2, 'gamma': 2.0, 'top_k': 3, 'aggregate': 'sum'}},
    'MMA': {'objective': {'type': 'mma', 'norm': 'Linf', 'hinge': 0.3, 'k': 3, 'search_steps': 4}},
    'adversarial': {'objective': {'type': 'adversarial', 'norm': 'Linf', 'eps': 0.1, 'k': 3}},
}
ATTACKS = {
    'PGD': lambda net: PGD(net, EPS, k=40, repeat=2),
    'LossPGD': lambda net: LossPGD(net, EPS, k=40, a=1 / 16, repeat=4),
    'APGD': lambda net: APGD(net, [0.5, 1.0], k=50, norm='L2'),
    'FMN': lambda net: FMN(net, 100, norm='Linf'),
    'DDN': lambda net: DDN(net, 60),
}


@pytest.mark.long
def test_no_check_fires_on_twenty_five_sound_evaluations(digits):
    """Five objectives, and five attacks of each; what is compiled serves all."""
    net = build_model('simple_sequential', (8, 8, 1), TrainMode.NORMAL, 1, **RUN['model'])
    kept = {name: Health(make(net)) for name, make in ATTACKS.items()}
    surrogate = Surrogate((8, 8, 1), 10)  # whose training is the same for all
    searches = {checks.attack.norm: searching(checks.attack) for checks in kept.values()}
    for checks in kept.values():
        checks._keep('surrogate', lambda: surrogate)
        checks._keep('search', lambda search=searches[checks.attack.norm]: search)
    x, y = (a[:64] for a in digits.test)
    fired = {}
    for objective, changes in OBJECTIVES.items():
        train(**{**RUN, **changes}, log=objective)
        run = Workdir(objective)
        net.restore(run.find_model(run.archived_epochs()[-1]))
        assert (net.net(x).numpy().argmax(axis=1) == y).mean() > 0.75, objective
        for name, checks in kept.items():
            found = checks.check(x, y, seed=1, pool=digits.test[0][:300])
            fired |= {(objective, name, check): f.numbers for check, f in found.items() if f.fired}
            assert found['planted'].skipped is None, (objective, name)
    assert not fired


@pytest.mark.long
def test_an_evaluation_ends_with_its_checks_and_says_what_fired(capsys):
    """A run of weights that are 0 has no gradient; gone on with it says the same, and no number changes by it."""
    train(**{**RUN, 'E': 1, 'model': {'description': [['F', 4], ['F', 10, {'act': False}]],
                                      'init': {'weight': 'zeros'}}}, log='run')
    attack = {'task': 'attack', 'log': 'run', 'attack_type': 'FGSM', 'attack_N': 40, 'attack_B': 16, 'seed': 1,
              'gpu': 'cpu', 'attack_eps_list': [0.1]}
    capsys.readouterr()
    res = core.run({**attack, 'health': 20, 'eval_log': 'checked'})
    said = capsys.readouterr().out
    summary = json.loads(Path('checked/summary.json').read_text())
    (numbers,) = summary['epochs'].values()
    assert list(numbers['health']) == list(NAMES) and numbers['health']['zero_gradients']['fired']
    line = f"health: zero_gradients: {numbers['health']['zero_gradients']['says']}; see docs/health.md#zero_gradients"
    assert line in said.splitlines()
    core.run({**attack, 'health': 20, 'eval_log': 'checked'})
    assert json.loads(Path('checked/summary.json').read_text())['epochs'] == summary['epochs']
    Path('checked/summary.json').unlink()
    core.run({**attack, 'health': 20, 'eval_log': 'checked', 'gpu': 'cpu,cpu'})  # the first of several does it
    assert json.loads(Path('checked/summary.json').read_text())['epochs'] == summary['epochs']
    plain = core.run({**attack, 'health': False, 'eval_log': 'plain'})
    (without,) = json.loads(Path('plain/summary.json').read_text())['epochs'].values()
    assert {k: v for k, v in numbers.items() if k not in ('health', 'seconds')} == {
        k: v for k, v in without.items() if k != 'seconds'}
    (a,), (b,) = res.values(), plain.values()
    np.testing.assert_array_equal(a['images'], b['images'])


def test_square_is_compared_with_the_gradient_attacks_before_it_alone():
    def fires(*members):
        by, right = np.zeros(20, int) + members.index('square'), np.arange(20)
        return gradient_free_beats_gradient(SimpleNamespace(
            attack=SimpleNamespace(members=dict.fromkeys(members), norm='Linf'), result=SimpleNamespace(by=by),
            right=right > -1, standing=right[:0]), None).fired
    assert fires('apgd-ce', 'square') and not fires('square') and not fires('square', 'apgd-ce')


def test_a_check_that_fails_is_told_of(trained, monkeypatch):
    monkeypatch.setattr('models.health.batch_dependent', lambda e, fired: {}['nothing'] if fired else int('x'))
    net, x, y, _ = trained
    found = health(PGD(net, [0.1], k=2, repeat=1), x[:4], y[:4])['batch_dependent']
    assert found.failed and not found.fired and 'int()' in found.skipped
    assert of_evaluations.lines({'batch_dependent': found.plain()}) == [
        f'health: batch_dependent could not be checked: {found.skipped}']


def test_sixty_four_images_are_looked_at_unless_a_flag_says_otherwise(monkeypatch):
    monkeypatch.setattr(of_evaluations, 'IMAGES', 64)
    assert [of_evaluations.images(flag) for flag in (None, True, False, 0, 7)] == [64, 64, 0, 0, 7]


def test_every_check_has_its_section():
    page = (Path(__file__).resolve().parents[1] / 'docs/health.md').read_text()
    assert [line[3:] for line in page.splitlines() if line.startswith('## ')][:len(NAMES)] == list(NAMES)
