"""Certificates by relaxation against exact distances, points of the ball, attacks, and the rounding of float32."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy.optimize import linprog, nnls

import core
from core.errors import UserError
from core.tasks import sandwich
from models import BiasMode, Model, SimpleSequential, build_model
from models.certificates.balls import BALLS
from models.certificates.certifier import Crown, Local
from models.certificates.local import local_margins
from models.certificates.methods import make_method
from models.certificates.relaxation import Relaxation
from models.certificates.slopes import best_margins

L = keras.layers
NORMS = pytest.mark.parametrize('norm', list(BALLS))


def eager(certifier: type, *args, **options):
    """Not compiled, which takes longer than a few small batches do."""
    found = certifier(*args, **options)
    found._compiled = found.bound
    return found


def sequential(*layers: keras.Layer, shape: tuple[int, ...], classes: int = 3) -> keras.Sequential:
    keras.utils.set_random_seed(1)
    return keras.Sequential([keras.Input(shape), *layers, L.Flatten(), L.Dense(classes)])


def drawn(net: keras.Model, seed: int = 0) -> keras.Model:
    """With biases and statistics that are not 0."""
    rng = np.random.default_rng(seed)
    for v in net.weights:
        if 'variance' in v.name:
            v.assign(rng.uniform(0.5, 2, size=v.shape))
        elif v.name in ('bias', 'beta', 'moving_mean'):
            v.assign(0.2 * rng.normal(size=v.shape))
    return net


def images(net: keras.Model, n: int, low: float = 0.0, high: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    x = np.random.default_rng(3).uniform(low, high, size=(n, *net.input_shape[1:])).astype(np.float32)
    return x, net(x, training=False).numpy().argmax(axis=1)


# ---- exact truth ----

@NORMS
@pytest.mark.parametrize('kind', [Crown, Local])
def test_the_radius_of_a_linear_network_is_the_distance(kind, norm):
    net = sequential(shape=(3, 4, 1))
    net.layers[-1].bias.assign([0.1, -0.1, 0.0])
    x, y = images(net, 5, 0.45, 0.55)
    kernel, bias = (v.numpy().astype(float) for v in net.layers[-1].weights)
    logits = x.reshape(5, -1).astype(float) @ kernel + bias
    found = eager(kind, net, norm, images=5).radii(x, y, precision=5e-5)
    for i in range(5):
        others = [j for j in range(3) if j != y[i]]
        lengths = [np.linalg.norm(kernel[:, y[i]] - kernel[:, j], 2 if norm == 'L2' else 1) for j in others]
        distance = min((logits[i, y[i]] - logits[i, j]) / length for j, length in zip(others, lengths))
        if distance < 0.4:  # within the box
            np.testing.assert_allclose(found[i], distance, rtol=1e-4)
            assert found[i] <= distance
    assert ((found > 0) & (found < 0.4)).any()


def nearest_l2(rows: np.ndarray, most: np.ndarray, x: np.ndarray) -> float:
    """The L2 distance of a point from {z: rows z <= most}, by Lawson and Hanson's least distance programming."""
    h = -(most - rows @ x)
    u, _ = nnls(np.vstack([-rows.T, h]), np.append(np.zeros(len(x)), 1.0), maxiter=1000)
    rest = np.vstack([-rows.T, h]) @ u - np.append(np.zeros(len(x)), 1.0)
    return np.inf if abs(rest[-1]) < 1e-9 else float(np.linalg.norm(rest[:-1] / rest[-1]))


def nearest_linf(rows: np.ndarray, most: np.ndarray, x: np.ndarray) -> float:
    """The same in L-infinity, by a linear program in z and the distance."""
    n, eye, one = len(x), np.eye(len(x)), np.ones((len(x), 1))
    a = np.vstack([np.hstack([rows, np.zeros((len(rows), 1))]), np.hstack([eye, -one]), np.hstack([-eye, -one])])
    found = linprog([0] * n + [1], a, np.concatenate([most, x, -x]), bounds=[(None, None)] * n + [(0, None)])
    return float(found.x[-1]) if found.status == 0 else np.inf


def exact_distance(net: keras.Model, x: np.ndarray, y: int, norm: str) -> float:
    """The least over the states of the hidden units, and classes, of the distance of the polyhedron in which they are
    theirs and the class has taken over, within the box. Each is no nearer than the half spaces that it is made of, of
    all states at once; those that are nearest are looked at first, until the rest are too far."""
    (w, b), (v, c) = ([t.numpy().astype(float) for t in layer.weights] for layer in net.layers[-2:])
    x, n = x.ravel().astype(float), x.size
    states = np.array(list(itertools.product((0, 1), repeat=w.shape[1])))
    dual = 2 if norm == 'L2' else 1
    at = x @ w + b
    missed = np.where((at > 0) == states, 0, np.abs(at) / np.linalg.norm(w, dual, axis=0)).max(axis=1)
    best = np.inf
    for j in range(v.shape[1]):
        if j == y:
            continue
        d, rest = v[:, y] - v[:, j], c[y] - c[j]
        slopes, gaps = (states * d) @ w.T, states @ (d * at) + rest
        with np.errstate(divide='ignore', invalid='ignore'):
            crossed = np.where(gaps > 0, gaps / np.linalg.norm(slopes, dual, axis=1), 0)
        least = np.maximum(missed, crossed)
        for k in np.argsort(least):
            if least[k] >= best:
                break
            s = states[k]
            sign = 1 - 2 * s  # an active unit has w x + b >= 0
            rows = np.vstack([sign[:, np.newaxis] * w.T, slopes[k], np.eye(n), -np.eye(n)])
            most = np.concatenate([-sign * b, [-(b * s) @ d - rest], np.ones(n), np.zeros(n)])
            best = min(best, (nearest_l2 if norm == 'L2' else nearest_linf)(rows, most, x))
    return best


@NORMS
def test_radii_of_two_layers_are_below_the_exact_distance_and_above_half_of_it(norm):
    """By enumeration of what the hidden units can be."""
    keras.utils.set_random_seed(4)
    net = drawn(keras.Sequential([keras.Input((1, 3, 1)), L.Flatten(), L.Dense(12, activation='relu'), L.Dense(2)]))
    x, y = images(net, 4)
    exact = np.array([exact_distance(net, *pair, norm) for pair in zip(x, y)])
    assert np.isfinite(exact).sum() > 1, 'there is something to find'
    found = {'crown': eager(Crown, net, norm, images=4), 'alpha': eager(Crown, net, norm, alpha=3, images=4),
             'local': eager(Local, net, norm, images=4)}
    radii = {name: certifier.radii(x, y) for name, certifier in found.items()}
    for name, own in radii.items():
        assert (own <= exact * (1 + 1e-6)).all(), name
        assert name == 'local' or np.median(own / np.minimum(exact, own.max())) > 0.5, name
    assert (radii['alpha'] >= radii['crown'] * 0.97).all()


def test_the_bound_of_a_linear_function_in_ball_and_box_is_its_least_value():
    rng = np.random.default_rng(0)
    rows, low, high = rng.normal(size=(40, 8)), -rng.uniform(0, 0.3, size=(40, 8)), rng.uniform(0, 0.3, size=(40, 8))
    low[rng.uniform(size=low.shape) < 0.4] = 0
    radius = rng.uniform(0.05, 0.8, size=40)
    found = BALLS['L2'].step(*(t[:, np.newaxis, np.newaxis] for t in (rows, low, high)), radius[:, None, None], [3])
    for i in range(40):
        a, b = 1e-9, 1e9  # of the multiplier, until the step is as long as the radius
        for _ in range(200):
            m = np.sqrt(a * b)
            step = np.clip(-rows[i] / m, low[i], high[i])
            a, b = (m, b) if np.linalg.norm(step) > radius[i] else (a, m)
        least = rows[i] @ step
        assert least - 0.01 * abs(least) - 1e-9 <= found.numpy()[i, 0, 0] <= least + 1e-7


@pytest.mark.parametrize('norm, radius, name', [('Linf', 0.03, 'lb-inf'), ('L2', 0.2, 'lb-2.0')])
def test_bounds_are_those_of_auto_lirpa_but_for_rounding(norm, radius, name):
    """See data/README.md. Here they allow for the rounding of float32, so they are lower."""
    with np.load(Path(__file__).parent / 'data/auto-lirpa.npz') as f:
        peer = dict(f)
    net = sequential(L.Conv2D(4, 3, activation='relu'), L.Conv2D(6, 3, strides=2, activation='relu'), L.Flatten(),
                     L.Dense(16, activation='relu'), shape=(8, 8, 1), classes=5)
    first = peer['w/5.weight'].reshape(16, 6, 2, 2).transpose(2, 3, 1, 0).reshape(24, 16)  # flattened channels last
    kernels = [peer[f'w/{i}.weight'].transpose(2, 3, 1, 0) for i in (0, 2)] + [first, peer['w/7.weight'].T]
    net.set_weights([w for k, i in zip(kernels, (0, 2, 5, 7)) for w in (k, peer[f'w/{i}.bias'])])
    x, y = peer['x'].transpose(0, 2, 3, 1), np.zeros(3, int)
    found = eager(Crown, net, norm, images=3).margins(x, y, [radius] * 3)[:, 1:]
    assert (found <= peer[name]).all()
    np.testing.assert_allclose(found, peer[name], atol=1e-4)


# ---- all layers ----

def networks():
    """Of small networks that have all kinds of layers, one after the other."""
    yield sequential(L.Conv2D(3, 3, strides=2, padding='same', activation='relu'), L.Conv2D(4, 2), L.ReLU(),
                     L.AveragePooling2D(2, 1), shape=(7, 6, 2))
    yield sequential(L.Conv2D(4, 3), L.BatchNormalization(), L.Activation('relu'),
                     L.MaxPooling2D(3, 2, padding='same'), L.Dropout(0.5), L.Conv2D(3, 2, padding='same'),
                     L.MaxPooling2D(2, 1), L.Dense(3, activation='relu'), L.AveragePooling2D((2, 3), 2, padding='same'),
                     shape=(8, 7, 1))
    yield sequential(L.MaxPooling2D(2), L.ZeroPadding2D(((1, 2), (0, 1))),
                     L.Conv2D(4, 3, groups=2, dilation_rate=2, activation='relu'), L.MaxPooling2D(1, 2),
                     shape=(9, 9, 2))
    yield SimpleSequential('m', (6, 6, 1), [['C', 3, [3, 3]], ['P'], ['F', 6], ['F', 3, {'act': False}]],
                           act_type='relu2', bias_mode=BiasMode.ALL, seed=1).net
    yield build_model('residual', (6, 6, 1), widths=[3, 4], repeats=1, num_labels=3, batch_norm=True, seed=1).net


@pytest.mark.long(after=2)
@NORMS
@pytest.mark.parametrize('which', range(5))
def test_bounds_hold_at_10000_points_of_the_ball_and_where_an_attack_leads(which, norm):
    net = drawn(next(itertools.islice(networks(), which, None)))
    x, y = images(net, 2)
    radius = np.array([0.4, 0.2]) / (1 if norm == 'L2' else 6)
    relaxation = Relaxation(net, BALLS[norm], numbers=3000)  # so few that there are several parts
    at = tf.constant(x, tf.float64), tf.constant(y), tf.constant(radius, tf.float64)
    known = relaxation.know(at[0], at[2])
    bounds = {'crown': relaxation.margins(known, *at), 'alpha': best_margins(relaxation, known, *at, steps=2),
              'local': local_margins(relaxation, net(x, training=False), *at)}
    rng = np.random.default_rng(0)
    for i in range(2):
        step = rng.normal(size=(10000, *x.shape[1:]))
        if norm == 'L2':
            step *= radius[i] / np.sqrt(np.square(step).sum(axis=(1, 2, 3), keepdims=True))
        else:
            step = radius[i] * np.sign(step)
        points = (x[i] + step * rng.uniform(0, 1, size=(10000, 1, 1, 1)) ** 0.1).clip(0, 1).astype(np.float32)
        points = np.concatenate([points, attacked(net, x[i:i + 1], y[i:i + 1], radius[i], norm)])
        logits = net(points, training=False).numpy().astype(float)
        low, high = (side[i].numpy() for side in known.intervals[-1])
        assert (logits >= low).all() and (logits <= high).all()
        gaps = (logits[:, [y[i]]] - logits).min(axis=0)
        others = np.arange(3) != y[i]
        for name, bound in bounds.items():
            assert (bound[i].numpy()[others] <= gaps[others]).all(), name
        assert (bounds['alpha'][i] >= bounds['crown'][i] - 1e-12).numpy().all()


def attacked(net: keras.Model, x: np.ndarray, y: np.ndarray, radius: float, norm: str) -> np.ndarray:
    """Where 20 steps down the margin lead that stay in the ball."""
    moved, found = tf.constant(x), []
    for _ in range(20):
        with tf.GradientTape() as tape:
            tape.watch(moved)
            logits = net(moved, training=False)
            gap = tf.gather(logits, y, axis=1, batch_dims=1) - tf.reduce_max(
                logits - 1e9 * tf.one_hot(y, logits.shape[1]), axis=1)
        slope = tape.gradient(gap, moved).numpy()
        unit = slope / (np.linalg.norm(slope) + 1e-12) if norm == 'L2' else np.sign(slope)
        step = (moved - 0.3 * radius * unit - x).numpy()
        step *= min(1, 0.999999 * radius / (np.linalg.norm(step) + 1e-12)) if norm == 'L2' else 1
        moved = tf.constant((x + step.clip(-radius, radius)).clip(0, 1))
        found.append(moved.numpy())
    return np.concatenate(found)


# ---- rounding ----

def worst(steps: np.ndarray, x: np.ndarray, radius: float, n: int, rng: np.random.Generator) -> np.ndarray:
    """Images of float32 at most a radius away, in float64, just within it, in directions of length 1 that are drawn."""
    step = steps[rng.integers(len(steps), size=n)]
    near = (x + radius * step * (1 - 1e-7 * rng.uniform(0, 10, size=(n, 1, 1, 1)))).astype(np.float32)
    near += np.float32(2.0 ** -24) * rng.integers(-1, 2, size=near.shape).astype(np.float32)
    return near[np.sqrt(np.square(near - x.astype(float)).sum(axis=(1, 2, 3))) <= radius]


@pytest.mark.parametrize('layers, total', [
    (list, 20_000), pytest.param(list, 1_000_000, marks=pytest.mark.long),
    pytest.param(lambda: [L.Conv2D(3, 3, activation='relu')], 200_000, marks=pytest.mark.long)])
def test_no_float32_image_within_a_radius_is_misclassified(layers, total):
    """Of networks that are linear, or so within the radius: their logits are hundreds, the gap is a thousandth, and the
    distance that real numbers have does not hold, as in arXiv 2205.10159."""
    tried = broken = certified = 0
    for seed in itertools.count():
        if tried >= total:
            break
        rng = np.random.default_rng(seed)
        net = sequential(*layers(), shape=(10, 10, 1))
        x = rng.uniform(0.3, 0.7, size=(1, 10, 10, 1)).astype(np.float32)
        last = net.layers[-1]
        last.kernel.assign(rng.normal(scale=30, size=last.kernel.shape))
        last.bias.assign(300 - net(x)[0] + [3e-2, 0, 0])
        with tf.GradientTape() as tape:
            pixels = tf.constant(x)
            tape.watch(pixels)
            logits = net(pixels, training=False)
        slopes = tape.jacobian(logits, pixels)[0, :, 0].numpy().astype(float)
        logits, y = logits.numpy().astype(float), logits.numpy().argmax(axis=1)
        others = [j for j in range(3) if j != y[0]]
        steps = slopes[others] - slopes[y]
        lengths = np.sqrt(np.square(steps).sum(axis=(1, 2, 3), keepdims=True))
        real_radius = ((logits[0, y] - logits[0, others]) / lengths.ravel()).min()
        radius = eager(Crown, net, images=1).radii(x, y, precision=1e-4)[0]
        assert radius < real_radius
        near = worst(steps / lengths, x[0], radius, min(total, 200_000), rng)
        tried, certified = tried + len(near), certified + (radius > 0)
        assert (net(near, training=False).numpy().argmax(axis=1) == y).all()
        beyond = worst(steps / lengths, x[0], real_radius, 2000, rng)
        broken += (net(beyond, training=False).numpy().argmax(axis=1) != y).any()
    assert broken and certified, 'such images there are within the distance of real numbers'


# ---- the task ----

DIGITS = {'task': 'train', 'dataset': 'digits', 'train_N': 300, 'E': 6, 'B': 50, 'lr': 0.5, 'train_mode': 'NORMAL',
          'model': {'description': [['C', 2, [3, 3]], ['P'], ['F', 10, {'act': False}]]}, 'gpu': 'cpu', 'seed': 1}


@pytest.fixture(scope='module')
def digits_run(tmp_path_factory):
    place = tmp_path_factory.mktemp('certified') / 'run'
    core.run({**DIGITS, 'log': str(place)})
    return str(place)


CERTIFY = {'task': 'certify', 'gpu': 'cpu', 'attack_N': 12, 'attack_B': 8, 'eval_log': 'out'}


def test_a_method_is_an_option_of_the_task_whose_parts_go_on(digits_run):
    flags = {**CERTIFY, 'log': digits_run, 'options': {'method': 'crown'}}
    (res,) = core.run(flags).values()
    kept = json.loads(Path('out/summary.json').read_text())
    (numbers,) = kept['epochs'].values()
    assert kept['method'] == 'crown' and numbers['certified_by'] == {'crown': 12}
    Path(next(Path('out/parts').glob('*-8.npz'))).unlink()
    (again,) = core.run(flags).values()
    np.testing.assert_array_equal(again['radii'], res['radii'])
    plain = core.run({**CERTIFY, 'log': digits_run, 'eval_log': None})
    (below,) = plain.values()
    assert (below['radii'] > 0).any() and (below['by'] == 'lipschitz').all() and below['lipschitz']
    assert res['radii'].sum() > below['radii'].sum()


@pytest.mark.long
def test_the_best_is_of_each_image_the_larger_radius_of_those_that_fit_the_time():
    model = Model(drawn(sequential(L.Conv2D(2, 3, activation='relu'), shape=(4, 4, 1))))
    x, y = images(model.net, 3)
    found = {}
    for name, options in (('local', {}), ('crown', {}), ('best', {'seconds_per_image': 1e-9}), ('best', {'steps': 0})):
        method = make_method(name, model, **options)
        for own in (method.local, *method.others) if name == 'best' else (method,):
            own.certifier.images, own.certifier._compiled = 3, own.certifier.bound
        found[name, *options] = method.certify(x, y)
    np.testing.assert_array_equal(found['best', 'seconds_per_image'].radii, found['local',].radii)
    larger = np.maximum(found['local',].radii, found['crown',].radii)
    np.testing.assert_array_equal(found['best', 'steps'].radii, larger)
    assert set(found['best', 'seconds_per_image'].by) == {'local'} and 'alpha' in found['best', 'steps'].by


def test_a_margin_is_measured_from_both_sides_and_a_contradiction_ends_it(digits_run, monkeypatch):
    flags = {**CERTIFY, 'task': 'sandwich', 'attack_type': 'L_2_FAST', 'attack_E': 1, 'attack_K': 5, 'health': 0,
             'log': digits_run, 'options': {'method': 'lipschitz'}}
    (res,) = core.run(flags).values()
    (numbers,) = json.loads(Path('out/summary.json').read_text())['epochs'].values()
    right = numbers['rightly_classified']
    assert 0 < right < 12 and (res['radii'] > 0).sum() == right and numbers['ratio']['quantiles']['0.01'] > 1
    figure = core.draw('figure-sandwich', 'out')
    assert f"median {numbers['ratio']['median']:.3g}" in figure.axes[0].get_title()
    found = sandwich.make_method

    def wrong(*args, **options):
        method = found(*args, **options)
        inner = method.radii
        method.radii = lambda x, y, logits: (2e3 * inner(x, y, logits)[0], *inner(x, y, logits)[1:])
        return method
    monkeypatch.setattr(sandwich, 'make_method', wrong)
    with pytest.raises(UserError, match='the certified radius of image .* is larger than the distance'):
        core.run({**flags, 'eval_log': 'wrong'})
    with pytest.raises(UserError, match='wrong: the certified radius of image .* is larger than the distance'):
        core.draw('figure-sandwich', 'wrong')


@pytest.mark.parametrize('changes, message', [
    ({'options': {'method': 'crwn'}}, "options: method must be 'lipschitz' or 'local' or"),
    ({'options': {'method': 'crown', 'seconds_per_image': 1}}, "chooses among the methods of 'best'"),
    ({'norm': 'Linf'}, 'by the methods local, crown, alpha and best in Linf'),
    ({'norm': 'L1', 'options': {'method': 'crown'}}, 'norm is L1')])
def test_what_cannot_be_certified_is_said(changes, message, digits_run):
    with pytest.raises(UserError) as e:
        core.run({**CERTIFY, 'log': digits_run, **changes})
    assert message in str(e.value)


def test_of_a_layer_without_relaxation_its_name_is_said_and_what_works():
    leaky = Model(sequential(L.Conv2D(2, 3), L.ReLU(negative_slope=0.1, name='leaky'), shape=(6, 6, 1)))
    with pytest.raises(ValueError, match='^leaky: there is no linear relaxation of .*; lipschitz can certify it$'):
        make_method('crown', leaky)
    squared = SimpleSequential('m', (6, 6, 1), [['F', 4], ['F', 3, {'act': False}]], act_type='relu2')
    with pytest.raises(ValueError, match='a chain of layers.*; local or crown or alpha or best can certify it$'):
        make_method('lipschitz', squared)
    odd = Model(sequential(L.Conv2D(2, 3, activation='tanh', name='odd'), shape=(6, 6, 1)))
    with pytest.raises(ValueError, match='^odd: .* tanh, only of relu$'):
        make_method('best', odd)
