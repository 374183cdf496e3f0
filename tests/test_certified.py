"""Certified training: its bounds against those of certificates and against points of the ball, its loss, its record."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from core.devices import use_device
from models import BiasMode, Model, SimpleSequential, TrainMode, build_model
from models.certificates.balls import BALLS
from models.certificates.bounds import Bounds
from models.certificates.methods import make_method
from models.certificates.relaxation import Relaxation
from models.measures.certificate import lipschitz
from models.networks.orthogonal import OrthogonalConv2D, OrthogonalDense
from models.objectives import Certified, objective_of

L = keras.layers
NORMS = pytest.mark.parametrize('norm', list(BALLS))


def networks():
    """With all that is bounded: overlapping pools, relu2, padding, batch normalisation, sums."""
    keras.utils.set_random_seed(1)
    yield keras.Sequential([keras.Input((6, 5, 2)), L.ZeroPadding2D(((0, 1), (1, 0))), L.Conv2D(3, 3, strides=2),
                            L.ReLU(), L.MaxPooling2D(2, 1), L.AveragePooling2D(2, 1, padding='same'), L.Flatten(),
                            L.Dense(3)])
    yield SimpleSequential('m', (6, 6, 1), [['C', 3, [3, 3]], ['P'], ['F', 6], ['F', 3, {'act': False}]],
                           act_type='relu2', bias_mode=BiasMode.ALL, seed=1).net
    yield build_model('residual', (6, 6, 1), widths=[3, 4], repeats=1, num_labels=3, batch_norm=True, seed=1).net


@NORMS
@pytest.mark.parametrize('which', range(3))
def test_bounds_of_training_are_those_of_certificates_and_hold_at_points_of_the_ball(which, norm):
    """In L-infinity they are CROWN-IBP's, and intervals', but for rounding; in L2 a first layer's are no tighter."""
    net = list(networks())[which]
    rng = np.random.default_rng(2)
    for v in net.weights:
        if v.name in ('bias', 'beta', 'moving_mean'):
            v.assign(0.2 * rng.normal(size=v.shape))
    x = rng.uniform(size=(2, *net.input_shape[1:])).astype(np.float32)
    y, radius = np.array([0, 2]), np.array([0.3, 0.1]) / (1 if norm == 'L2' else 6)
    bounds = Bounds(net, norm)
    at = tf.constant(x), tf.constant(y), tf.constant(radius, tf.float32)
    intervals = bounds.intervals(at[0], at[2])
    relaxed, plain = (bounds.margins(intervals, *at, relaxed=r).numpy() for r in (True, False))
    exact = Relaxation(net, BALLS[norm])
    images = tf.constant(x, tf.float64)
    known = exact.know(images, tf.constant(radius, tf.float64), tighten=False)
    others = np.arange(3) != y[:, np.newaxis]
    wanted = exact.margins(known, images, at[1], tf.constant(radius, tf.float64)).numpy()
    scale = 1e-4 * max(1, np.abs(wanted[others]).max())
    assert (wanted >= relaxed - scale)[others].all() and not relaxed[~others].any() and not plain[~others].any()
    if norm == 'Linf':
        np.testing.assert_allclose(relaxed[others], wanted[others], atol=scale)
        for own, other in zip(intervals, known.intervals):
            np.testing.assert_allclose(np.array(own), np.array(other), atol=scale)
    for i in range(2):
        step = rng.normal(size=(4000, *x.shape[1:]))
        step = radius[i] * (np.sign(step) if norm == 'Linf' else step / np.sqrt(
            np.square(step).sum(axis=(1, 2, 3), keepdims=True)))
        logits = net((x[i] + step).clip(0, 1).astype(np.float32), training=False).numpy()
        gaps = (logits[:, [y[i]]] - logits).min(axis=0)[others[i]]
        assert (relaxed[i][others[i]] <= gaps + 1e-5).all() and (plain[i][others[i]] <= gaps + 1e-5).all()


# ---- the objective ----

def small(parts: int = 1, layers=(('F', 5),)) -> Model:
    with use_device(['cpu'] * parts).strategy.scope():
        return SimpleSequential('m', (2, 3, 1), [list(entry) for entry in layers] + [['F', 3, {'act': False}]],
                                bias_mode=BiasMode.ALL, train_mode=TrainMode.NORMAL, seed=3)


def data(n: int = 8) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    x = rng.uniform(size=(n, 2, 3, 1)).astype(np.float32)
    x[:, 0, 0], x[::2, 1, 1] = 0, 1  # at the walls of the box
    return x, rng.integers(0, 3, n)


@NORMS
def test_of_a_linear_network_the_loss_is_that_of_the_worst_image(norm):
    """Pair by pair of classes, which is exact; in L2 without the box, of images that are far enough from its walls."""
    model, (x, y), eps = small(layers=()), data(), 0.05
    x = 0.2 + 0.6 * x
    weights, bias = (v.numpy().astype(float) for v in model.net.layers[-1].weights)
    logits, rows = x.reshape(8, 6).astype(float) @ weights + bias, np.arange(8)
    pairs = weights[:, y].T[:, :, np.newaxis] - weights[np.newaxis]
    falls = eps * (np.abs(pairs).sum(axis=1) if norm == 'Linf' else np.sqrt(np.square(pairs).sum(axis=1)))

    def entropy(z: np.ndarray) -> np.ndarray:
        return np.log(np.exp(z - z[rows, y][:, np.newaxis]).sum(axis=1))
    wanted = 0.3 * entropy(logits) + 0.7 * entropy(logits + falls)
    for beta in (0.0, 0.5):
        found = Certified(eps, norm, kappa=0.3, beta=beta).losses(model.net, x, y)
        np.testing.assert_allclose(found, wanted, rtol=1e-4)


@NORMS
def test_gradients_are_those_of_the_loss(norm):
    """By differences, in a network of float64, which has a digit for that."""
    keras.utils.set_random_seed(2)
    net = keras.Sequential([keras.Input((4, 4, 1), dtype='float64'), L.Conv2D(3, 2, activation='relu', dtype='float64'),
                            L.Flatten(dtype='float64'), L.Dense(3, dtype='float64')])
    x, y = np.random.default_rng(1).uniform(size=(4, 4, 4, 1)), np.array([0, 1, 2, 0])
    objective = Certified(0.2 if norm == 'L2' else 0.05, norm, kappa=0.2, beta=0.5)
    values = net.trainable_variables
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(objective.losses(net, x, y))
    gradients = tape.gradient(loss, [v.value for v in values])
    kept = [v.numpy() for v in values]
    way = [np.random.default_rng(i).normal(size=v.shape) for i, v in enumerate(values)]
    at = []
    for step in (1e-6, -1e-6):
        for v, k, w in zip(values, kept, way):
            v.assign(k + step * w)
        at.append(float(tf.reduce_mean(objective.losses(net, x, y))))
    slope = sum(float(tf.reduce_sum(g * w)) for g, w in zip(gradients, way))
    assert abs(slope) > 0.01 and (at[0] - at[1]) / 2e-6 == pytest.approx(slope, rel=1e-2)


RAMP = {'by': 'batch', 'schedule': {'type': 'linear', 'start_v': -0.05, 'slope': 0.1, 'min': 0.0, 'max': 0.1}}
SHARE = {'by': 'batch', 'schedule': {'type': 'linear', 'start_v': 1.5, 'slope': -1.0, 'min': 0.0, 'max': 1.0}}


@pytest.mark.long(after=1)
@pytest.mark.parametrize('parts', [1, 2])
def test_schedules_state_and_record_are_resumed_and_those_of_one_device(parts):
    (x, y), order = data(), np.random.default_rng(5).permutation(8)

    def made(parts: int) -> tuple[Model, Certified]:
        model, objective = small(parts), Certified(RAMP, 'L2', kappa=SHARE, beta=SHARE)
        model.minimise(objective, 8, 4)
        return model, objective
    model, objective = made(parts)
    by_hand = small()
    np.testing.assert_allclose(objective.controls(np.array([0, 1, 2, 4]), 2)['eps'], [0, 0, 0.05, 0.1])
    first = model.train_epoch(x, y, order, 4, 0.1)
    entropies = by_hand.train_epoch(x, y, order, 4, 0.1)
    np.testing.assert_allclose(first, entropies, rtol=1e-5, err_msg='without a budget both are the cross entropy')
    kept, recorded = model.state(), model.objective_record()
    losses = model.train_epoch(x, y, order, 4, 0.1)
    said = model.objective_record()['certified']
    assert said['images'] == 8 and said['at_final_eps']['eps'] == pytest.approx(0.1)
    assert said['at_eps']['eps'] == pytest.approx(0.1), 'of the last step'
    again, _ = made(parts)
    again.restore_state(kept)
    assert again.objective_record() == recorded
    np.testing.assert_array_equal(again.train_epoch(x, y, order, 4, 0.1), losses)
    assert again.objective_record() == model.objective_record()
    if parts > 1:
        single, _ = made(1)
        single.train_epoch(x, y, order, 4, 0.1)
        np.testing.assert_allclose(single.train_epoch(x, y, order, 4, 0.1), losses, rtol=1e-5)
        assert single.objective_record()['certified']['at_eps']['bound'] == pytest.approx(said['at_eps']['bound'], 1e-4)


@pytest.mark.parametrize('arguments, message', [
    ({'eps': 8}, 'final is 8; pixels are in .*was 8/255 meant'), ({'eps': 0.1, 'kappa': 1.5}, 'kappa must be'),
    ({'eps': {'schedule': {'type': 'linear', 'start_v': 0, 'slope': 1e-4}}}, 'final is 100000; pixels are in'),
    ({'eps': 0.1, 'norm': 'L1'}, "norm must be 'Linf' or 'L2'")])
def test_what_cannot_be_trained_is_said(arguments, message):
    with pytest.raises(ValueError, match=message):
        objective_of({'type': 'certified', **arguments}).layers(small().net)


def test_a_layer_that_cannot_be_bounded_and_a_schedule_that_leaves_its_range_are_named():
    net = keras.Sequential([keras.Input((2, 3, 1)), L.Flatten(), L.Dense(3, activation='tanh', name='odd'), L.Dense(2)])
    with pytest.raises(ValueError, match='^odd: there is no linear relaxation of the activation tanh'):
        Certified(0.1).layers(net)
    falls = Certified(0.1, beta={'schedule': {'type': 'linear', 'start_v': 1, 'slope': -0.4}})
    with pytest.raises(ValueError, match="^beta must be from 0 to 1 in every step.*give it a 'min' and a 'max'"):
        falls.controls(np.arange(5), 10)


# ---- orthogonal layers ----

ORTHOGONAL = [['OC', 4, [2, 2]], ['OC', 20, [2, 1]], ['OF', 10], ['F', 3, {'act': False}]]


def orthogonal(act_type: str = 'maxmin', scale: float = 1.0) -> Model:
    model = SimpleSequential('m', (8, 6, 1), ORTHOGONAL, act_type=act_type, bias_mode=BiasMode.ALL, seed=1)
    rng = np.random.default_rng(2)
    model.set_weights({name: scale * rng.normal(size=v.shape) for name, v in model.weights().items()})
    return model


@pytest.mark.parametrize('scale', [1e-3, 1.0, 1e3])
def test_an_orthogonal_layer_has_the_singular_value_1_alone_whatever_its_weights(scale, tmp_path):
    """Of the whole linear map, by what it does to each unit image."""
    model = orthogonal(scale=scale)
    for layer in model.net.layers:
        if isinstance(layer, (OrthogonalDense, OrthogonalConv2D)):
            layer.bias.assign(tf.zeros_like(layer.bias))
            shape = layer.input.shape[1:]
            units = np.eye(int(np.prod(shape)), dtype=np.float32).reshape(-1, *shape)
            values = np.linalg.svd(layer(units).numpy().reshape(len(units), -1).astype(float), compute_uv=False)
            ones = np.isclose(values, 1, atol=1e-5)
            assert ones.any() and np.isclose(values[~ones], 0, atol=1e-5).all()
    _, constants = lipschitz(model)
    assert all(c == pytest.approx(1, abs=1e-5) for c in constants.values())
    model.net.save(tmp_path / 'net.keras')
    x = np.random.default_rng(0).uniform(size=(3, 8, 6, 1)).astype(np.float32)
    np.testing.assert_array_equal(keras.saving.load_model(tmp_path / 'net.keras')(x), model.net(x))


def test_certificates_take_an_orthogonal_layer_by_the_kernel_that_it_has():
    model = orthogonal('relu')
    bounds = Bounds(model.net, 'L2')
    x = np.random.default_rng(0).uniform(size=(1, 8, 6, 1)).astype(np.float32)
    y = model.net(x).numpy().argmax(axis=1)
    at = tf.constant(x), tf.constant(y), tf.constant([0.6], tf.float32)
    found = bounds.margins(bounds.intervals(at[0], at[2]), *at, relaxed=True).numpy()[0]
    step = np.random.default_rng(1).normal(size=(4000, 8, 6, 1))
    points = (x + 0.6 * step / np.sqrt(np.square(step).sum(axis=(1, 2, 3), keepdims=True))).clip(0, 1)
    logits = model.net(points.astype(np.float32)).numpy()
    assert (found <= (logits[:, y] - logits).min(axis=0) + 1e-5).all() and found.any()
    with pytest.raises(ValueError, match='^maxmin1: there is no linear relaxation of a MaxMin; lipschitz can certify'):
        make_method('crown', orthogonal())


def test_margins_of_a_network_with_orthogonal_layers_are_over_the_norms_of_the_others():
    model = orthogonal()
    norms = model.norms()
    assert not model.is_homogeneous and len(norms.layers) == norms.order == 1
    assert norms.prod == pytest.approx(np.linalg.norm(model.net.layers[-1].kernel))
    alone = SimpleSequential('m', (8, 6, 1), [['OF', 4], ['OF', 3, {'act': False}]], seed=1).norms()
    assert (alone.prod, alone.order, alone.layers) == (1, 0, ())


@pytest.mark.parametrize('description, message', [
    ([['OC', 4, [3, 9]], ['F', 2]], 'a patch of it does not fit an image of 8x6'),
    ([['OF', 5], ['F', 2, {'act': False}]], 'maxmin sorts pairs of channels, and 5 is an odd number'),
    ([['OC', 4, [2, 2], {'pad': False}], ['F', 2]], "there is no layer option 'pad'")])
def test_layers_that_cannot_be_orthogonal_are_refused(description, message):
    with pytest.raises(ValueError, match=message):
        SimpleSequential('m', (8, 6, 1), description, act_type='maxmin')
