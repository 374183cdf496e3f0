"""The residual network: against the same network written out in Keras's operations, and what it says of itself."""

from __future__ import annotations

import json
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from runs import FLAGS, train

import core
from core import UserError
from models import BiasMode, Residual, TrainMode
from models.measures.homogeneity import degrees_of
from models.objectives import LargeMargin

SMALL = {'widths': [4, 6], 'repeats': 2, 'init': {'weight': 'he_normal', 'bias': 'random_normal'}}


@pytest.fixture(scope='module')
def x():
    return np.random.default_rng(0).uniform(size=(3, 8, 8, 1)).astype(np.float32)


@pytest.fixture(scope='module')
def model():
    return Residual('m', (8, 8, 1), seed=1, bias_mode=BiasMode.ALL, **SMALL)


def test_the_network_is_the_one_that_it_says(model, x):
    w = model.weights()

    def conv(h, i, stride=1):
        return tf.nn.conv2d(h, w[f'conv{i}_f'], stride, 'SAME') + w[f'conv{i}_b']

    def unit(h, i, stride=1, shortcut=None):
        beside = h if shortcut is None else conv(h, shortcut, stride)
        return tf.nn.relu(beside + conv(tf.nn.relu(conv(h, i, stride)), i + 1))
    h = tf.nn.relu(conv(x, 1))
    first = unit(unit(h, 2), 4)
    second = unit(unit(first, 6, 2, shortcut=8), 9)
    logits = tf.reduce_mean(second, axis=[1, 2]) @ w['fc11_W'] + w['fc11_b']
    np.testing.assert_allclose(model.predict(x), logits, rtol=1e-4, atol=1e-5)
    stages = keras.Model(model.net.inputs[0], [model.net.get_layer(f'stage{i}').output for i in (1, 2)])(x)
    for found, expected in zip(stages, (first, second)):
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_by_default_it_is_the_network_of_the_paper():
    model = Residual('m', (32, 32, 3), seed=1)
    convolutions = [v.shape for name, vs in model.layer_vars.items() for v in vs[:1] if name.startswith('conv')]
    assert sum(shape[0] == 3 for shape in convolutions) == 1 + 3 * 3 * 2 and len(model.layer_vars) == 22
    assert [model.net.get_layer(f'stage{i}').output.shape[1:] for i in (1, 2, 3)] == [
        (32, 32, 16), (16, 16, 32), (8, 8, 64)]
    assert model.net.output_shape == (None, 10) and [len(vs) for vs in model.layer_vars.values()] == [2] + 21 * [1]


@pytest.mark.long
def test_batch_norm_follows_each_convolution_and_is_kept_rolled_back_and_saved(x):
    model = Residual('m', (8, 8, 1), seed=1, batch_norm=True, **SMALL)
    w, y = model.weights(), np.array([0, 1, 2])
    assert [name for name in model.layer_vars][:4] == ['conv1', 'bn1', 'conv2', 'bn2'] and 'bn10' in model.layer_vars

    def conv(h, i, stride=1):
        h = tf.nn.conv2d(h, w[f'conv{i}_f'], stride, 'SAME') + w.get(f'conv{i}_b', 0)
        mean, variance = tf.nn.moments(h, [0, 1, 2])
        return (h - mean) / tf.sqrt(variance + 1e-5)

    def unit(h, i, stride=1, shortcut=None):
        beside = h if shortcut is None else conv(h, shortcut, stride)
        return tf.nn.relu(beside + conv(tf.nn.relu(conv(h, i, stride)), i + 1))
    h = unit(unit(unit(unit(tf.nn.relu(conv(x, 1)), 2), 4), 6, 2, shortcut=8), 9)
    logits = tf.reduce_mean(h, axis=[1, 2]) @ w['fc11_W']
    np.testing.assert_allclose(model.net(x, training=True), logits, rtol=1e-3, atol=1e-4)
    model.keep()
    kept = model.weights()
    model.train_epoch(x, y, np.tile(np.arange(3), 5), 3, 0.01)
    assert not np.array_equal(model.weights()['bn3_moving_mean'], kept['bn3_moving_mean'])
    model.roll_back()
    assert all(np.array_equal(v, kept[k]) for k, v in model.weights().items())
    model.save('model-1.keras')
    np.testing.assert_allclose(keras.saving.load_model('model-1.keras')(x), model.predict(x), atol=1e-5)
    assert model.norms().order == 10 and len(model.norms().layers) == 11


def test_it_is_not_homogeneous_and_says_so(x):
    model = Residual('m', (8, 8, 1), seed=1, bias_mode=BiasMode.NONE, **{**SMALL, 'repeats': 1})
    assert not degrees_of(model.net, list(model.layer_vars.values()), x).is_homogeneous and not model.is_homogeneous


def test_norms_are_over_the_longest_path(model):
    w, norms = model.weights(), model.norms()
    path = [np.sqrt(np.sum(w['conv1_f'] ** 2) + np.sum(w['conv1_b'] ** 2)),
            *(np.linalg.norm(w[f'conv{i}_f']) for i in (2, 3, 4, 5, 6, 7, 9, 10)), np.linalg.norm(w['fc11_W'])]
    assert norms.order == len(path) == 10 and norms.prod == pytest.approx(np.prod(path, dtype=np.float64))
    assert len(norms.layers) == model.nL == 11 and norms.layers[7] == pytest.approx(np.linalg.norm(w['conv8_f']))
    assert norms.rho == pytest.approx(np.linalg.norm(norms.layers))


@pytest.mark.long
def test_the_seed_sets_the_weights_and_logits_do_not_grow_with_depth(x):
    first, again, other = (Residual('m', (8, 8, 1), seed=seed, **SMALL).predict(x).numpy() for seed in (1, 1, 2))
    assert np.array_equal(first, again) and not np.array_equal(first, other)
    deep = Residual('m', (8, 8, 1), widths=[8], repeats=24, seed=1, init={'weight': 'he_normal'}).predict(x).numpy()
    assert deep.std() < 10


@pytest.mark.long
def test_a_saved_model_opens_in_keras_and_its_objective_trains(model, x):
    model.save('model-1.keras')
    np.testing.assert_allclose(keras.saving.load_model('model-1.keras')(x), model.predict(x), atol=1e-6)
    y = np.array([0, 1, 2])
    losses = LargeMargin(['input', 'stage1', 'stage2'], top_k=1, eps=0.01).losses
    trained = Residual('m', (8, 8, 1), seed=1, **{**SMALL, 'repeats': 1})
    trained.minimise(losses)
    found = trained.train_epoch(x, y, np.tile(np.arange(3), 30), 3, 1e-3)
    assert found[-1] < found[0] - 0.01
    with pytest.raises(ValueError, match="needs a network whose layers form a chain, and .* name the layers"):
        LargeMargin('all').losses(trained.net, x, y, True)


@pytest.mark.long
def test_a_run_trains_it_and_evaluations_take_it():
    flags = {'arch': 'residual', 'model': {**SMALL, 'repeats': 1}, 'lr': 0.1, 'train_mode': TrainMode.NORMAL, 'E': 2}
    _, attempts = train(**flags)
    assert attempts[-1]['stats']['loss'] < attempts[0]['stats']['loss'] < 10
    record = json.loads(Path('run/flags.json').read_text())
    assert record['network'] == {'order': 6, 'is_homogeneous': False, 'parameters': 40 + 2 * 144 + 216 + 324 + 24 + 60}
    evaluated = core.run({'task': 'transfer', 'log': 'run', 'attack_type': 'IFGSM', 'gpu': 'cpu', 'attack_N': 20,
                          'attack_eps_list': [0.1]})
    assert 0 <= evaluated[2]['accuracy'][0.1] <= 1
    with pytest.raises(UserError, match='certificate: a certificate needs a network that is a chain of layers'):
        core.run({'task': 'certify', 'log': 'run', 'gpu': 'cpu'})


@pytest.mark.parametrize('model, message', [
    ({'widths': []}, 'model: widths must be a list of numbers of channels, one for each stage, not []'),
    ({'widths': [16, 0]}, 'model: each of widths must be a whole number of at least 1, not 0'),
    ({'repeats': 0}, 'model: repeats must be a whole number of at least 1, not 0'),
    ({'batch_norm': 1}, 'model: batch_norm must be True or False, not 1'),
    ({'num_labels': True}, 'model: num_labels must be a whole number of at least 2, not True'),
    ({'num_labels': 5}, 'model: the network has 5 outputs, but the data set has the label 9'),
    ({'description': []}, "there is no flag 'model.description'")])
def test_what_describes_no_network_is_refused(model, message):
    with pytest.raises(UserError) as e:
        core.run({**FLAGS, 'arch': 'residual', 'lr': 0.1, 'train_mode': 'NORMAL', 'model': model})
    assert message in str(e.value)


def test_batch_norm_with_a_frame_is_refused():
    with pytest.raises(ValueError, match='which batch normalisation and dropout train by another; use'):
        Residual('m', (8, 8, 1), batch_norm=True, train_mode=TrainMode.USE_FRAME)
