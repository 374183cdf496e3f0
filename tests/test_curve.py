"""Curves between the weights of two networks, against numbers of the released code of arXiv 2006.08403 (tolerances are
its README's) and against formulas."""

from __future__ import annotations

import re

import keras
import numpy as np
import pytest
import tensorflow as tf
from conftest import ADVERSARIAL, reference_json, reference_npz
from test_adversarial_reference import NAMES, WEIGHTS, X, Y, lenet, pgd

import models
from models.measures.moving_statistics import MovingStatistics
from models.networks.curve import between, coefficients, curve_in, curve_network, point
from models.networks.keras_network import network_of

OF, SETTINGS = reference_npz('curves', ADVERSARIAL), reference_json('curves', ADVERSARIAL)
CHAINS = {'bezier': 'bezier', 'poly_chain': 'released-polygon'}
IMAGES = slice(*SETTINGS['images'])
POINTS = len(SETTINGS['fix_points'])
LENET = {'arch': 'lenet', 'model': {'width': 1}}
X8 = reference_npz('data', ADVERSARIAL)['x8']


def ours(arrays, start):
    """Weights of the reference by our names."""
    return {name: arrays[f'{start}.{theirs}'] for name, theirs in NAMES.items()}


def curve(kind, chain, start='released'):
    ends = [lenet(name) for name in SETTINGS['end_points']]
    network = curve_network([end.network for end in ends], POINTS - 2, chain, start)
    if kind == 'bent':
        k, other = re.match(r'point (\d+) replaced by (\w+)', SETTINGS['bent']).groups()
        for name, value in ours(WEIGHTS, other).items():
            network.weights[f'p{k}.{name}'].assign(value)
    return network


def test_shares_of_the_points_are_bezier_s_and_the_released_chain_s():
    for case in SETTINGS['coefficients']:
        for theirs, chain in CHAINS.items():
            np.testing.assert_allclose(coefficients(chain, case['points'], case['t']), case[theirs], rtol=1e-12,
                                       atol=1e-15)


def test_a_polygon_goes_from_point_to_point_in_straight_lines():
    corners = np.array([[0.0, 0], [1, 2], [4, 2], [5, -1]])
    for t in np.linspace(0, 1, 13):
        want = [np.interp(3 * t, range(4), corners[:, i]) for i in range(2)]
        np.testing.assert_allclose(coefficients('polygon', 4, t).numpy() @ corners, want, atol=1e-12)


def test_bends_begin_evenly_on_the_straight_line_and_as_released_backwards():
    wanted = SETTINGS['interpolation_direction']
    ends = [{'w': np.float64(wanted[name])} for name in ('start', 'end')]
    names = [f'p{k}.w' for k in range(wanted['points'])]
    found = {start: [between(ends, dict.fromkeys(names), start)[name] for name in names]
             for start in ('straight', 'released')}
    np.testing.assert_allclose(found['released'], wanted['interpolated'])
    np.testing.assert_allclose(found['straight'], sorted(wanted['interpolated']))
    network = curve('init', 'bezier')
    for k in sorted({key.split('.')[1].removeprefix('point') for key in OF if key.startswith('init.point')}):
        for name, value in ours(OF, f'init.point{k}').items():
            np.testing.assert_allclose(network.weights[f'p{k}.{name}'], value, rtol=2e-6, atol=2e-7)


@pytest.mark.long(after=1)
@pytest.mark.parametrize('kind', ['init', 'bent'])
@pytest.mark.parametrize('theirs', CHAINS)
def test_logits_along_a_curve_are_the_released_ones_and_those_of_the_network_with_its_weights(kind, theirs, eagerly):
    network, alone = curve(kind, CHAINS[theirs]), lenet(SETTINGS['end_points'][0])
    for t, want in zip(OF['t'], OF[f'{kind}.{theirs}.logits']):
        network.weights['t'].assign(t)
        logits = network.net(X[IMAGES]).numpy()
        np.testing.assert_allclose(logits, want, rtol=5e-5, atol=5e-5)
        alone.set_weights(point({name: v.numpy() for name, v in network.weights.items()}, CHAINS[theirs], t))
        np.testing.assert_allclose(alone.predict(X[IMAGES]), logits, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize('kind, norm', [('init', 'linf'), ('bent', 'l2')])
def test_pgd_on_a_point_of_a_curve_ends_where_the_released_one_does(kind, norm, eagerly):
    network, settings = curve(kind, 'bezier'), SETTINGS[f'attack_{norm}']
    start, t = next(m.groups() for m in (
        re.fullmatch(rf'({kind}\.bezier_t([\d.]+)\.pgd_{norm}\.)adv', key) for key in OF) if m)
    network.weights['t'].assign(float(t))
    n, eps = len(OF['rand01']), settings['threshold']
    x, y, budgets = tf.constant(X[IMAGES]), tf.constant(Y[IMAGES]), tf.fill([n], np.float32(eps))
    attack = pgd(network.net, eps, settings['step_size'], settings['iter_num'], settings['order'], n)
    end = attack.perturb_from(attack.ball.start(x, budgets, tf.constant(OF['rand01'])), x, y, budgets).numpy()
    of = {name: OF[f'{start}{name}'] for name in ('adv', 'logits')}
    off = np.abs(end - of['adv'])
    assert (off <= 1e-5).mean() >= 0.995 and off.max() <= 2 * eps
    np.testing.assert_allclose(network.net(end), of['logits'], rtol=1e-4, atol=1e-4 * np.abs(of['logits']).max())


def normalising():
    return keras.Sequential([
        keras.Input(X8.shape[1:]), keras.layers.Conv2D(3, 3, padding='same', use_bias=False),
        keras.layers.BatchNormalization(epsilon=1e-5), keras.layers.ReLU(), keras.layers.MaxPooling2D(),
        keras.layers.Flatten(), keras.layers.Dense(10)])


def test_moving_statistics_at_a_point_are_the_released_ones():
    (case,) = [case for case in SETTINGS['batch_norm'] if case['attack'] is None]
    chain, t, points = re.match(r'(\w+) t=([\d.]+), (\d+) points', case['coefficients']).groups()
    network = curve_network([network_of(normalising()) for _ in range(2)], int(points) - 2)
    stored = [[OF[f'bn.point{k}.{name}'] for name in ('conv.kernel', 'bn.gamma', 'bn.beta', 'fc.kernel', 'fc.bias')]
              for k in range(int(points))]
    for variables, values in zip(curve_in(network.net).points, stored):
        for v, value in zip(variables, values):
            v.assign(value)
    at = {name: v.numpy() for name, v in network.weights.items()}
    alone = models.Model(normalising(), models.TrainMode.NORMAL)
    alone.set_weights(point(at, chain, float(t)))
    MovingStatistics(alone.net, unbiased=True).refresh(X8[:sum(case['batches'])], case['batches'][0])
    norm = alone.net.layers[1]
    np.testing.assert_allclose(norm.moving_mean, OF['bn.clean.running_mean'], rtol=1e-5)
    np.testing.assert_allclose(norm.moving_variance, OF['bn.clean.running_var'], rtol=1e-5)
    want = OF['bn.clean.eval_logits']
    np.testing.assert_allclose(alone.predict(X8[:len(want)]), want, rtol=5e-5, atol=5e-5)


def test_moving_statistics_of_deeper_layers_are_the_mean_over_batches_whatever_they_were_before():
    net = keras.Sequential([keras.Input((4, 4, 2)), keras.layers.Conv2D(3, 3), keras.layers.BatchNormalization(),
                            keras.layers.Flatten(), keras.layers.Dense(4), keras.layers.BatchNormalization(),
                            keras.layers.Dense(2)])
    x = np.random.default_rng(0).normal(size=(10, 4, 4, 2)).astype(np.float32)
    until = keras.Model(net.inputs[0], net.layers[3].output)
    batches = [until(x[i:i + 4], training=True).numpy() for i in range(0, 10, 4)]
    kept = net.layers[0].get_weights()
    net.layers[1].moving_mean.assign(np.full(3, 1e6))
    MovingStatistics(net).refresh(x, 4)
    shares = [len(b) / 10 for b in batches]
    np.testing.assert_allclose(net.layers[4].moving_mean, sum(s * b.mean(0) for s, b in zip(shares, batches)),
                               rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(net.layers[4].moving_variance, sum(s * b.var(0) for s, b in zip(shares, batches)),
                               rtol=1e-4, atol=1e-5)
    assert net.layers[1].momentum == 0.99 and all((a == b).all() for a, b in zip(kept, net.layers[0].get_weights()))


def test_the_ends_of_a_curve_are_exactly_its_networks_moving_statistics_included_and_a_file_keeps_all(tmp_path):
    rng = np.random.default_rng(1)
    ends = [network_of(normalising()) for _ in range(2)]
    for end in ends:
        for v in end.weights.values():
            v.assign(rng.normal(size=v.shape) * 10.0 ** rng.integers(-30, 1))
        end.net.layers[-1].bias.assign(np.full(10, -0.0))
    model = models.Model(curve_network(ends, 2, 'polygon', t=0.25), models.TrainMode.NORMAL)
    for t, end in enumerate(ends):
        at = point(model.weights(), 'polygon', t)
        assert {name: v.tobytes() for name, v in at.items()} == {
            name: v.numpy().tobytes() for name, v in end.weights.items()}
    assert {name for name in model.weights() if name.startswith('p1.')} == {
        f'p1.{name}' for name, v in ends[0].weights.items() if 'moving' not in name}
    assert len(model.vars) == 2 * len(ends[0].net.trainable_variables), 'the bends alone are trained'
    model.save(str(tmp_path / 'curve.keras'))
    loaded = keras.saving.load_model(tmp_path / 'curve.keras')
    np.testing.assert_array_equal(loaded(X8[:4]), model.predict(X8[:4]))


def test_a_network_within_a_curve_counts_for_memory_and_for_frames():
    with pytest.raises(ValueError, match='batch normalisation'):
        models.Model(curve_network([network_of(normalising()) for _ in range(2)]), models.TrainMode.USE_FRAME)
    model = models.build_model('curve', (8, 8, 1), of={'arch': 'lenet', 'model': {'width': 2}}, seed=1)
    assert model.eval_batch == models.build_model('lenet', (8, 8, 1), width=2).eval_batch


DRAWING = {'arch': 'simple_sequential', 'model': {'description': [['D', 0.5], ['F', 10, {'act': False}]]}}


@pytest.mark.parametrize('arguments, said', [
    ({'bends': 0}, 'bends must be a whole number of at least 1'), ({'chain': 'spline'}, 'chain must be'),
    ({'t': 1.5}, 't must be'), ({'of': {'arch': 'curve', 'model': {'of': LENET}}}, 'not curves'),
    ({'of': 'lenet'}, "dictionary such as {'arch'"), ({'of': DRAWING}, 'draws no random')])
def test_what_is_no_curve_is_refused_in_a_sentence(arguments, said):
    with pytest.raises(ValueError, match=said):
        models.build_model('curve', (8, 8, 1), **{'of': LENET, **arguments})
