"""Scans along directions, against the released code's numbers (see reference/README.md), NumPy, and plain
evaluation."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf
from conftest import ADVERSARIAL, reference_json, reference_npz
from test_adversarial_reference import lenet

from models import Model, margins
from models.attacks import LossPGD
from models.measures import scan as scans
from models.measures.directions import (
    filter_normalised,
    moved,
    principal,
    random_direction,
    towards,
    variables_of,
    weights_of,
)
from models.measures.scan import Scanner, grid, scan, scanned

SETTINGS, NUMBERS = reference_json('scan', ADVERSARIAL), reference_npz('scan', ADVERSARIAL)
DATA = reference_npz('data', ADVERSARIAL)
STORED = reference_npz('models', ADVERSARIAL)
LAYERS = {'lenet': ('conv1', 'conv2', 'fc1', 'fc2'), 'tiny': ('conv1', 'fc1', 'fc2')}
CASES = SETTINGS['cases']
FIRST, LAST = SETTINGS['images']
X, Y = DATA['x_u8'][FIRST:LAST].astype(np.float32) / np.float32(255), DATA['y'][FIRST:LAST]


def arrays(prefix, numbers=NUMBERS, of='lenet'):
    return [numbers[f'{prefix}.{layer}.{kind}'] for layer in LAYERS[of] for kind in ('kernel', 'bias')]


# ---- the released code ----

class Rows:
    """PGD that starts from the row of the stored random numbers that the seed names."""

    def __init__(self, net, case):
        step, threshold = case['attack']['step_size'], case['attack']['threshold']
        self._pgd = LossPGD(net, [threshold], case['attack']['iter_num'], step / threshold, 1, True, 'Linf', ['xent'],
                            start='step')
        self._rows = tf.constant(NUMBERS['rand01'])

    def perturb(self, x, y, eps, seed):
        start = self._pgd.ball.start(x, eps, self._rows[seed[0]][:tf.shape(x)[0]])
        return self._pgd.perturb_from(start, x, y, eps)


@pytest.fixture(scope='module')
def scanner():
    net = lenet(SETTINGS['model'])
    return Scanner(net, (X, Y), attack=Rows(net, CASES[0]), batch=SETTINGS['batches'][0])


@pytest.mark.long(after=1)
@pytest.mark.parametrize('case', CASES, ids=lambda case: case['name'])
def test_a_scan_has_the_numbers_of_the_released_code(case, scanner, monkeypatch):
    monkeypatch.setattr(scans, 'seeds', lambda seed, k, j: lambda i: [j * len(SETTINGS['batches']) + i, 0])
    directions = [arrays(f'{case[name]}.vec') for name in ('vec1', 'vec2') if case[name]]
    s = case['scan']
    found = scanned(scanner, directions, grid(s['min'], s['max'], s['step']), case['budgets'], s['adv_calc_freq'])
    assert found.images == len(Y) and not found.non_finite
    for k, rel in enumerate((1e-5, 1e-3)):
        want = NUMBERS[f"{case['name']}.loss_b{k}"]
        assert found.loss[k].shape == want.shape and found.loss[k] == pytest.approx(want, rel=rel)
        assert np.exp(found.log_loss[k]) == pytest.approx(found.loss[k])
        assert found.accuracy[k] == pytest.approx(NUMBERS[f"{case['name']}.acc_b{k}"], abs=1e-6)  # theirs are float32


@pytest.mark.parametrize('name', ['norm1', 'norm2', 'tiny'])
def test_filters_are_normalised_as_released(name):
    of = 'tiny' if name == 'tiny' else 'lenet'
    weights = arrays('tiny.weights', of='tiny') if of == 'tiny' else arrays(SETTINGS['model'], STORED)
    want = arrays(f'{name}.vec', of=of)
    scale = np.abs(want[-1][0] / weights[-1][0])
    found = filter_normalised(arrays(f'{name}.noise', of=of), weights, scale)
    for a, b in zip(found, want):
        np.testing.assert_allclose(a, b, rtol=5e-6, atol=5e-7 * np.abs(b).max())
        assert a.dtype == np.float32 and ((a == 0) == (b == 0)).all()


def test_random_directions_are_the_numbers_drawn_times_the_scale():
    noise, want = arrays('rand1.noise'), arrays('rand1.vec')

    class Drawn:
        left = [*noise]

        def normal(self, size):
            assert self.left[0].shape == tuple(size)
            return self.left.pop(0)
    for a, b in zip(random_direction(noise, Drawn(), want[0].flat[0] / noise[0].flat[0]), want):
        assert a == pytest.approx(b, rel=5e-6)


@pytest.mark.parametrize('case', SETTINGS['grids'], ids=lambda g: f"{g['min']}-{g['max']}-{g['step']}")
def test_grids_are_the_released_ones(case):
    if case['points']:
        assert grid(case['min'], case['max'], case['step']).tolist() == case['points']
    else:
        with pytest.raises(ValueError, match='holds no point'):
            grid(case['min'], case['max'], case['step'])


# ---- any Keras model ----

def small(seed=0):
    keras.utils.set_random_seed(seed)
    net = keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Conv2D(3, 3, activation='relu'),
                            keras.layers.BatchNormalization(), keras.layers.MaxPooling2D(), keras.layers.Flatten(),
                            keras.layers.Dense(10)])
    for w in net.non_trainable_weights:
        w.assign(np.random.default_rng(seed).uniform(0.5, 1.5, w.shape))
    return net


@pytest.fixture(scope='module')
def net():
    return small()


@pytest.fixture(scope='module')
def images(digits):
    x, y = digits.train
    return x[:50], y[:50]


@pytest.mark.long
def test_at_0_it_is_plain_evaluation_of_arrays_and_of_a_data_set_with_a_smaller_last_batch(net, images):
    weights = weights_of(net, trained=False)
    direction = random_direction(weights_of(net), np.random.default_rng(0))
    plain = Model(net).test(*images)
    found = scan(net, images, direction, [0.0, 0.5], batch=32)
    assert found.loss[0, 0] == pytest.approx(plain['loss'], rel=1e-6) and found.accuracy[0, 0] == plain['acc']
    data = tf.data.Dataset.from_tensor_slices(images).shuffle(50, seed=0).batch(7)
    keras_loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    for other in (scan(net, data, direction, [0.0, 0.5]), scan(net, images, direction, [0.0, 0.5], loss=keras_loss)):
        assert other.loss == pytest.approx(found.loss, rel=1e-5) and (other.accuracy == found.accuracy).all()
        assert other.log_loss == pytest.approx(found.log_loss, abs=1e-5)
    assert all((a == b).all() for a, b in zip(weights_of(net, trained=False), weights, strict=True))


def test_weights_are_put_back_when_an_attack_fails_and_losses_that_are_not_finite_are_gaps(net, images):
    weights = weights_of(net)

    def fails(x, y, eps, seed):
        raise RuntimeError('out of memory')
    direction = random_direction(weights, np.random.default_rng(0))
    with pytest.raises(RuntimeError, match='out of memory'):
        scan(net, images, direction, [1.0], attack=fails, budgets=[0.1])
    assert all((a == b).all() for a, b in zip(weights_of(net), weights))

    asked = []

    def brighter(x, y, eps, seed):
        asked.append(int(seed[0]))
        return tf.clip_by_value(x + tf.reshape(eps, [-1, 1, 1, 1]), 0, 1)
    steps = [0.0, 1e30, 1e30, 0.0]
    found = scan(net, images, direction, steps, attack=brighter, budgets=[0, 0.1], adv_calc_freq=2)
    assert np.isnan(found.log_loss[0]).tolist() == [False, True, True, False]
    assert np.isnan(found.loss[1]).tolist() == [False, True, True, True], 'nothing can be attacked at the third'
    assert found.non_finite == 5 and len(asked) == 1
    bright = np.clip(images[0] + np.float32(0.1), 0, 1)
    assert found.loss[1, 0] == pytest.approx(Model(net).test(bright, images[1])['loss'], rel=1e-6)


def test_losses_below_the_least_float_have_their_logarithms():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(40, 1, 3)).astype(np.float32)
    kernel = rng.normal(size=(3, 4)).astype(np.float32)
    y = (x[:, 0] @ kernel).argmax(axis=1)
    net = keras.Sequential([keras.Input((1, 3)), keras.layers.Flatten(), keras.layers.Dense(4, use_bias=False)])
    net.set_weights([kernel])
    found = scan(net, (x, y), [kernel], [-0.5, 0.0, 1e3, 1e6], batch=16)
    for step, log_loss in zip(found.axes[0], found.log_loss[0]):
        logits = x[:, 0] @ (kernel + np.float32(step) * kernel)
        want = margins.log_mean_exp(margins.log_losses(logits, y))
        assert log_loss == pytest.approx(want, rel=1e-4)
    assert found.log_loss[0, -1] < -1000 and found.loss[0, -1] == 0 and found.non_finite == 0


def test_a_step_towards_another_network_ends_there_with_its_moving_statistics(net, images):
    other = small(1)
    found = scan(net, images, towards(net, other), [0.0, 1.0])
    for model, loss in zip((net, other), found.loss[0]):
        assert loss == pytest.approx(Model(model).test(*images)['loss'], rel=1e-5)
    direction = filter_normalised(random_direction(weights_of(net), np.random.default_rng(0)), weights_of(net))
    gamma = [v for v in net.trainable_variables if v.name == 'gamma'][0]
    at = [v is gamma for v in net.trainable_variables].index(True)
    assert np.abs(direction[at]) == pytest.approx(np.abs(gamma.numpy())), 'each is a filter of its own'
    start = [v.numpy() for v in variables_of(net)]
    assert all((a == b).all() for a, b in zip(moved(start, [towards(net, other)], [0.0]), start))


def test_directions_of_another_network_are_refused_in_a_sentence(net, images):
    direction = weights_of(net)
    with pytest.raises(ValueError, match=r"direction 1 is not one of this network.*number 6 is \(9,\), not \(10,\)"):
        scan(net, images, [*direction[:-1], np.ones(9)], [0.0])
    with pytest.raises(ValueError, match='takes an attack'):
        scan(net, images, direction, [0.0], budgets=[0.1])
    with pytest.raises(ValueError, match='differ in the shapes'):
        towards(net, keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Flatten(), keras.layers.Dense(10)]))


# ---- principal components ----

def test_principal_components_are_those_of_a_singular_value_decomposition():
    rng = np.random.default_rng(0)
    epochs = [[rng.normal(size=(4, 3)).astype(np.float32) * 3 ** i, rng.normal(size=5).astype(np.float32)]
              for i in range(6)]
    flat = np.array([np.concatenate([a.ravel() for a in w]) for w in epochs], np.float64)
    _, s, vt = np.linalg.svd(flat - flat.mean(axis=0), full_matrices=False)
    found = principal(epochs, 3)
    assert found.variance == pytest.approx(s[:3] ** 2 / (s ** 2).sum())
    for i, direction in enumerate(found.directions):
        d = np.concatenate([a.ravel() for a in direction])
        assert [a.shape for a in direction] == [(4, 3), (5,)] and abs(d @ vt[i]) == pytest.approx(1)
        assert found.coordinates[:, i] == pytest.approx((flat - flat[-1]) @ d, abs=1e-6 * s[0])
        assert found.coordinates[np.abs(found.coordinates[:, i]).argmax(), i] > 0
    with pytest.raises(ValueError, match='have 5 principal components, not 6'):
        principal(epochs, 6)
    with pytest.raises(ValueError, match='differ in 1 directions only'):
        principal([epochs[0], epochs[0], epochs[1]], 2)
