"""Auto-PGD, against numbers of the released code (see reference/README.md) and closed forms."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf
from conftest import ADVERSARIAL as REFERENCE, reference_json, reference_npz
from nets import Made, scaled

from models.attacks import APGD, adaptive, ops

SETTINGS = reference_json('apgd', REFERENCE)
NUMBERS = reference_npz('apgd', REFERENCE)
DATA = reference_npz('data', REFERENCE)
FIRST, LAST = SETTINGS['images']
IMAGES = DATA['x_u8'][FIRST:LAST].astype(np.float32) / np.float32(255)
LABELS = DATA['y'][FIRST:LAST]
SINGLE = {case['name']: case for case in SETTINGS['cases'] if case['n_restarts'] == 1}
NAMES = {'ce': 'xent', 'dlr': 'dlr'}


@pytest.fixture(scope='module')
def net():
    """The network of the reference: two convolutions, each pooled, and two dense layers."""
    prefix = SETTINGS['model'] + '.'
    weights = {k.removeprefix(prefix): v for k, v in reference_npz('models', REFERENCE).items() if k.startswith(prefix)}
    net = keras.Sequential([keras.Input(IMAGES.shape[1:])])
    for name in ('conv1', 'conv2'):
        h, w, _, filters = weights[f'{name}.kernel'].shape
        net.add(keras.layers.Conv2D(filters, (h, w), padding='same', activation='relu'))
        net.add(keras.layers.MaxPooling2D(2))
    net.add(keras.layers.Flatten())
    for name, activation in (('fc1', 'relu'), ('fc2', None)):
        net.add(keras.layers.Dense(weights[f'{name}.kernel'].shape[1], activation=activation))
    net.set_weights([weights[f'{name}.{v}'] for name in ('conv1', 'conv2', 'fc1', 'fc2') for v in ('kernel', 'bias')])
    return net


@pytest.fixture(scope='module')
def attacks(net):
    """By their losses; each is compiled once."""
    return Made(lambda loss: APGD(net, [0.2], k=20, loss=loss, target_classes=2), ('xent', 'dlr', 'dlr-targeted'))


def attack_of(case, net, **changed):
    return APGD(net, [case['eps']], **{'k': case['n_iter'], 'norm': case['norm'], 'loss': NAMES[case['loss']],
                                       'rho': case['rho'], 'stop': False, **changed})


def path(attack, x, y, eps, noise, monkeypatch):
    """Where a climb of all the images stands at first and after each step; step by step, eagerly."""
    seen = []

    def loop(step, state, fixed, iterations, compact=True):
        for i in range(iterations):
            seen.append(adaptive.Climb(*(t.numpy() for t in state)))
            state, _ = step(tf.constant(i), state, fixed)
        seen.append(adaptive.Climb(*(t.numpy() for t in state)))
        return state
    monkeypatch.setattr(ops, 'compacting_loop', loop)
    x, y, eps = tf.constant(x), tf.constant(y), tf.fill([len(x)], np.float32(eps))
    attack._climb(attack.ball.start(x, eps, tf.constant(noise)), x, y, eps, attack._known(x, y), False)
    return seen


@pytest.mark.long
@pytest.mark.parametrize('name, released', [
    *((name, False) for name in sorted(SINGLE, key=lambda name: SINGLE[name]['norm'])),
    *((name, True) for name, case in SINGLE.items() if case['loss'] == 'ce')])
def test_a_climb_is_that_of_the_released_code(name, released, net, monkeypatch):
    """Of the cross entropy: climbed by SLM's twin, and by itself."""
    case, want = SINGLE[name], {k[len(name) + 1:]: v for k, v in NUMBERS.items() if k.startswith(name + '.')}
    rows = np.arange(len(IMAGES)) if 'best_loss' in want else np.flatnonzero(want['clean_correct'])
    attack = attack_of(case, net, released=released)
    assert attack.repeat == (5 if released else 1)
    seen = path(attack, IMAGES[rows], LABELS[rows], case['eps'], want['rand'], monkeypatch)
    unstable = [image['column'] for image in case['unstable_attacked_images']]
    stable = np.setdiff1d(np.arange(len(rows)), unstable)

    np.testing.assert_array_equal(~np.array([at.wrong for at in seen]), want['acc_steps'])
    lengths = np.array([at.length for at in seen])
    np.testing.assert_array_equal(lengths[:-1, stable], want['step_size'][:, stable])
    np.testing.assert_array_equal(lengths[-1, stable], want['step_size_final'][stable])
    losses, bests = (np.array([getattr(at, key) for at in seen[1:]]) for key in ('loss', 'best_loss'))
    if case['loss'] == 'ce' and not released:
        losses, bests = (np.logaddexp(0, a + np.log(9)) for a in (losses, bests))
    np.testing.assert_allclose(losses[:, stable], want['loss_steps'][:, stable], rtol=1e-3)
    np.testing.assert_allclose(bests[:, stable], want['loss_best_steps'][:, stable], rtol=1e-3)
    np.testing.assert_allclose(bests[-1], want['loss_best'], rtol=0.15)
    end = seen[-1]
    assert (np.abs(end.best - want['x_best'])[stable] < 1e-5).mean() > 0.995
    if 'best_loss' not in want:
        found = np.intersect1d(stable, np.flatnonzero(end.wrong))
        np.testing.assert_allclose(end.found[found], want['adv'][rows][found], atol=1e-5)
        np.testing.assert_array_equal(end.wrong, ~want['acc'][rows])
    assert (attack.distance(end.best, IMAGES[rows]) <= case['eps'] + 1e-6).all()


@pytest.mark.parametrize('name', SINGLE)
def test_checks_are_those_of_the_released_code(name):
    """Its table has, for each step, the length of the period that the step ends in, after a check the next one's."""
    current, window = [], None
    for window in reversed(adaptive.windows(SINGLE[name]['n_iter'])):
        current.append(window or (current[-1] if current else None))
    ours, theirs = np.array(current[::-1], float), NUMBERS[f'{name}.window']
    known = ~np.isnan(ours)
    np.testing.assert_array_equal(ours[known], theirs[known])


def test_restarts_are_those_of_the_released_wrapper(net):
    """Five, each of the images that are left; what is random is the reference's."""
    case = next(case for case in SETTINGS['cases'] if case['n_restarts'] > 1)
    name = case['name']
    attack, calls = attack_of(case, net, released=True, loss='dlr'), []
    keys = ['rand', *(f'rand_restart{i}' for i in range(1, case['n_restarts']))]

    def starts(x, active, budget, rng):
        noise = NUMBERS[f'{name}.{keys[len(calls)]}']
        calls.append(len(active))
        assert len(noise) == len(active)
        return attack.ball.start(x[active], np.full(len(active), budget, np.float32), noise).numpy()
    attack._starts = starts
    result = attack.attack(IMAGES, LABELS, 0)
    assert calls == case['images_attacked_per_restart']
    np.testing.assert_array_equal(result.success, ~NUMBERS[f'{name}.robust'])
    rows = result.success & (result.distances > 0)
    same = np.abs(result.images - NUMBERS[f'{name}.adv'])[rows].max(axis=(1, 2, 3)) < 1e-5
    assert same.mean() > 0.6  # of some, rounding decides where they go


@pytest.mark.long
def test_stopping_early_fools_the_same_images(net, attacks):
    stopped = attacks['xent'].attack(IMAGES, LABELS, 3)
    to_the_end = APGD(net, [0.2], k=20, stop=False).attack(IMAGES, LABELS, 3)
    np.testing.assert_array_equal(to_the_end.success, stopped.success)
    assert (np.abs(to_the_end.images - stopped.images).max(axis=(1, 2, 3)) > 0.01).any()
    assert 0 < stopped.success.mean() < 1


# ---- networks ----

@pytest.mark.long
@pytest.mark.parametrize('norm, dual', [('Linf', 1), ('L2', 2)])
def test_targets_find_the_nearest_boundary_of_a_linear_network(norm, dual):
    """The nearest of nine need not be that of the strongest other class; budgets are a ladder of 10 %."""
    rng = np.random.default_rng(2)
    net = keras.Sequential([keras.Input((5, 5, 1)), keras.layers.Flatten(), keras.layers.Dense(10)])
    w = rng.normal(size=(25, 10)) * rng.uniform(0.2, 2, 10)
    net.set_weights([w.astype(np.float32), np.zeros(10, np.float32)])
    x = rng.uniform(0.4, 0.6, (20, 5, 5, 1)).astype(np.float32)
    logits = x.reshape(20, -1).astype(float) @ w
    y = logits.argmax(axis=1)
    others = np.arange(10) != y[:, np.newaxis]
    gaps = (logits[np.arange(20), y][:, np.newaxis] - logits)[others].reshape(20, 9)
    slopes = np.linalg.norm(w[:, y].T[:, :, np.newaxis] - w[np.newaxis], dual, axis=1)[others].reshape(20, 9)
    exact = (gaps / slopes).min(axis=1)
    assert (gaps.argmin(axis=1) != (gaps / slopes).argmin(axis=1)).any()
    ladder = exact.min() * 0.95 * 1.1 ** np.arange(60)
    ladder = ladder[ladder < (0.4 if norm == 'Linf' else 2)]
    up = np.searchsorted(ladder, exact)
    clear = (up < len(ladder)) & (ladder[np.minimum(up, len(ladder) - 1)] > 1.01 * exact)
    result = APGD(net, ladder, k=25, norm=norm, loss='dlr-targeted', target_classes='all').attack(x, y, 0)
    assert clear.sum() > 10
    np.testing.assert_allclose(result.eps[clear], ladder[up[clear]], rtol=1e-9)


@pytest.mark.long
def test_of_the_targets_only_so_many_are_tried(net, attacks, monkeypatch):
    """Each of the images that the ones before have left."""
    attack, calls = attacks['dlr-targeted'], []
    towards = attack._towards
    monkeypatch.setattr(attack, '_towards', lambda *a: calls.append((int(a[-1][0]), len(a[0]))) or towards(*a))
    monkeypatch.setattr(attack, 'repeat', 2)
    monkeypatch.setattr(attack, 'eps_list', [0.1])
    result = attack.attack(IMAGES, LABELS, 0)
    assert attack.target_classes == 2 and [rank for rank, _ in calls] == [0, 0, 1, 1]
    counts = [n for _, n in calls]
    assert counts == sorted(counts, reverse=True) and counts[-1] >= (~result.success).sum() > 0
    monkeypatch.setattr(attack, 'target_classes', 99)
    assert attack._restarts(IMAGES) == 2 * 9


@pytest.mark.long(after=1)
@pytest.mark.parametrize('loss', ['xent', 'dlr'])
def test_larger_budgets_fool_more_images(loss, attacks, monkeypatch):
    attack, budgets = attacks[loss], [0.05, 0.15, 0.3]

    def attacked(eps_list):
        monkeypatch.setattr(attack, 'eps_list', eps_list)
        return attack.attack(IMAGES, LABELS, 0)
    fooled = [set(np.flatnonzero(attacked([eps]).success)) for eps in budgets]
    assert fooled[0] <= fooled[1] <= fooled[2] and len(fooled[2]) > len(fooled[0])
    result = attacked(budgets)
    assert [len(found) for found in fooled] == [(result.eps <= eps).sum() for eps in budgets]


@pytest.mark.parametrize('loss', ['xent', 'dlr', pytest.param('dlr-targeted', marks=pytest.mark.long)])
@pytest.mark.parametrize('factor', [1e-30, 1e30])
def test_enormous_and_tiny_logits_hide_no_image(factor, loss, net, attacks):
    """DLR does not depend on the scale. The cross entropy goes up the mean of the other logits as it falls, up the
    largest as it rises: from 1e-6 and 1e6 on it changes no more."""
    attack = attacks[loss]
    assert attack.depends_on_scale == (loss == 'xent')
    with scaled(net, factor ** 0.2 if loss == 'xent' else 1.0):
        plain = attack.attack(IMAGES, LABELS, 0)
    with scaled(net, factor):
        result = attack.attack(IMAGES, LABELS, 0)
    assert (plain.success & (plain.distances > 0)).sum() > 5
    assert (plain.success != result.success).sum() <= (loss == 'xent'), 'by rounding'


@pytest.mark.long
def test_the_released_form_stands_still_where_the_cross_entropy_vanishes(net, attacks):
    with scaled(net, 1e10):
        ours = attacks['xent'].attack(IMAGES, LABELS, 0)
        released = APGD(net, [0.2], k=20, released=True).attack(IMAGES, LABELS, 0)
    assert ours.success.sum() > released.success.sum() + 5
    assert (released.doubts.any | released.success).all()


def few(classes):
    return keras.Sequential([keras.Input((4, 4, 1)), keras.layers.Flatten(), keras.layers.Dense(classes)])


@pytest.mark.parametrize('classes, loss, needed', [(2, 'dlr', 3), (3, 'dlr-targeted', 4), (2, 'dlr-targeted', 4)])
def test_a_loss_of_more_classes_than_there_are_is_refused(classes, loss, needed):
    with pytest.raises(ValueError, match=f'{loss}.* needs a network of {needed} classes at least, not of {classes}'):
        APGD(few(classes), loss=loss)


@pytest.mark.long
@pytest.mark.parametrize('classes, loss', [(4, 'dlr-targeted'), (3, 'dlr'), (2, 'slm')])
def test_a_loss_of_as_few_classes_as_it_can_have(classes, loss):
    x = np.random.default_rng(0).uniform(size=(6, 4, 4, 1)).astype(np.float32)
    net = few(classes)
    result = APGD(net, [0.9], k=10, loss=loss).attack(x, net(x).numpy().argmax(axis=1), 0)
    assert result.success.mean() > 0.6


@pytest.mark.parametrize('changed, message', [
    ({'loss': 'cw'}, "loss must be 'xent' or 'slm' or 'dlr' or 'dlr-targeted', not 'cw'"),
    ({'norm': 'L7'}, 'norm must be'), ({'rho': 1.5}, 'rho must be a finite number above 0 and at most 1'),
    ({'target_classes': 0}, "target_classes must be a whole number of at least 1, not 0; or 'all'"),
    ({'target_classes': 'most'}, "or 'all'"), ({'stop': 1}, 'stop must be True or False'),
    ({'released': None}, 'released must be True or False'), ({'repeat': 0}, 'repeat must be')])
def test_arguments_that_are_none_are_refused(changed, message):
    with pytest.raises(ValueError) as e:
        APGD(few(4), **changed)
    assert message in str(e.value)
