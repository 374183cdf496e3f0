"""The wide residual network: against PyTorch's numbers, and what it says of itself."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from conftest import OWN, reference_npz
from runs import FLAGS, train
from torch_peers import PLACES, STEPS, images_of, shapes_of, state_of

import core
from core import UserError
from models import TrainMode, build_model
from models.measures.homogeneity import degrees_of
from models.networks.wide_residual import standardisation
from models.torch_weights import network_of_state, state_dictionary

SMALL = {'depth': 10, 'widen': 1}
TORCH = reference_npz('torch', OWN)


@pytest.fixture(scope='module')
def x():
    return images_of((8, 8, 3))


@pytest.fixture(scope='module')
def torch_network():
    return network_of_state(state_dictionary(state_of(shapes_of(**PLACES['wrn-10-1'][0]))))


@pytest.fixture(scope='module')
def model(torch_network):
    model = build_model('wide_residual', (8, 8, 3), **SMALL)
    torch_network.put_into(model)
    return model


def test_images_are_standardised_with_the_unbiased_deviation_and_its_floor():
    x = images_of((4, 4, 3))
    floor, deviations = 48 ** -0.5, [image.std(ddof=1) for image in x]
    assert deviations[0] > floor > deviations[1]
    expected = [(image - image.mean()) / max(s, floor) for image, s in zip(x, deviations)]
    np.testing.assert_allclose(standardisation((4, 4, 3))(x), expected, rtol=1e-5, atol=1e-6)


def test_every_image_has_a_gradient_one_of_a_single_colour_too(model, x):
    x = tf.constant(x)
    with tf.GradientTape() as tape:
        tape.watch(x)
        loss = tf.reduce_sum(model.net(x)[:, 0])
    gradient = tape.gradient(loss, x).numpy()
    assert np.isfinite(gradient).all() and np.abs(gradient).max(axis=(1, 2, 3)).all()


def test_it_has_the_layers_of_the_paper():
    model = build_model('wide_residual', (32, 32, 3), seed=1)
    assert sum(int(np.prod(v.shape)) for v in model.vars) == sum(
        int(np.prod(s)) for k, s in shapes_of('wrn').items() if 'running' not in k and 'tracked' not in k) == 5_849_050
    assert [model.net.get_layer(f'stage{i}').output.shape[1:] for i in (1, 2, 3)] == [
        (32, 32, 64), (16, 16, 128), (8, 8, 256)]
    assert model.norms().order == 26 and len(model.norms().layers) == 29


def test_weights_start_as_the_released_ones_do():
    w = build_model('wide_residual', (32, 32, 3), depth=10, widen=4, seed=1).weights()
    for name in ('conv2_f', 'conv4_f', 'conv9_f'):
        height, width, _, out = w[name].shape
        assert w[name].std() == pytest.approx(np.sqrt(2 / (height * width * out)), rel=0.05)
    assert np.abs(w['fc11_W']).max() <= 1 / 16 and w['fc11_W'].std() == pytest.approx(1 / 16 / np.sqrt(3), rel=0.05)
    assert not w['fc11_b'].any() and (w['bn1_gamma'] == 1).all() and not w['bn1_beta'].any()
    given = build_model('wide_residual', (8, 8, 1), seed=1, init={'weight': 'zeros', 'bias': 'torch'}, **SMALL)
    assert not given.weights()['conv2_f'].any() and given.weights()['fc10_b'].any()


def test_training_steps_are_those_of_pytorch(torch_network):
    """Batch norm, momentum at rates that fall, and weight decay of every parameter, those of batch norm too."""
    factors = [rate / STEPS['rates'][0] for rate in STEPS['rates'][1:]]
    model = build_model('wide_residual', (8, 8, 3), weight_decay=STEPS['weight_decay'],
                        opt={'type': 'torch-sgd', 'momentum': STEPS['momentum']},
                        schedule={'type': 'piecewise', 'boundaries': [1, 2, 3], 'factors': factors}, **SMALL)
    torch_network.put_into(model)
    x, y = images_of((8, 8, 3), 8, seed=2), np.arange(8)
    losses = model.train_epoch(x, y, np.tile(np.arange(8), 4), 8, STEPS['rates'][0])
    weights = model.weights()
    trained = [k for k in weights if 'moving' not in k]
    assert len(trained) == len(model.vars) == 9 + 2 * 7 + 2
    for ours in (*trained, *(k for k in weights if 'moving_mean' in k)):
        theirs = torch_network.called[ours]
        value = weights[ours].transpose(3, 2, 0, 1) if weights[ours].ndim == 4 else weights[ours].T
        norm, first = TORCH[f'steps/norm/{theirs}'], TORCH[f'steps/first/{theirs}']
        assert np.linalg.norm(value) == pytest.approx(norm, rel=2e-4, abs=2e-5), theirs
        np.testing.assert_allclose(value.ravel()[:4], first, atol=2e-4, err_msg=theirs)
    decay = 0.005 * sum(np.square(torch_network.weights[k], dtype=np.float64).sum() for k in trained)
    assert losses[0] == pytest.approx(TORCH['steps/losses'][0] + decay, rel=1e-5)


@pytest.mark.long
def test_a_saved_model_opens_in_keras_alone_and_state_is_kept_rolled_back_and_restored(model, x):
    model.save('model-1.keras')
    assert b'"models' not in zipfile.ZipFile('model-1.keras').read('config.json'), 'no class of this package'
    np.testing.assert_allclose(keras.saving.load_model('model-1.keras')(x), model.predict(x), atol=1e-6)
    other = build_model('wide_residual', (8, 8, 3), seed=2, **SMALL)
    other.keep()
    kept = other.weights()
    other.train_epoch(x, np.arange(4), np.arange(4), 4, 0.1)
    assert not np.array_equal(other.weights()['bn3_moving_mean'], kept['bn3_moving_mean'])
    other.roll_back()
    assert all(np.array_equal(v, kept[k]) for k, v in other.weights().items())
    other.restore('model-1.keras')
    np.testing.assert_array_equal(other.predict(x), model.predict(x))


@pytest.mark.long
def test_it_is_not_homogeneous_and_says_so(model, x):
    assert not degrees_of(model.net, list(model.layer_vars.values()), x).is_homogeneous and not model.is_homogeneous


def test_norms_are_over_the_longest_path(model):
    w, norms = model.weights(), model.norms()
    path = [np.linalg.norm(w[f'conv{i}_f']) for i in (1, 2, 3, 4, 5, 7, 8)] + [np.linalg.norm(w['fc10_W'])]
    assert norms.order == len(path) == 8 and norms.prod == pytest.approx(np.prod(path, dtype=np.float64), rel=1e-6)


@pytest.mark.long
def test_a_run_trains_it_and_evaluations_take_it():
    flags = {'arch': 'wide_residual', 'model': {**SMALL, 'weight_decay': 2e-4}, 'lr': 0.1,
             'train_mode': TrainMode.NORMAL, 'E': 2}
    _, attempts = train(**flags)
    assert attempts[-1]['stats']['loss'] < attempts[0]['stats']['loss'] < 10
    assert json.loads(Path('run/flags.json').read_text())['network']['is_homogeneous'] is False
    evaluated = core.run({'task': 'transfer', 'log': 'run', 'attack_type': 'IFGSM', 'gpu': 'cpu', 'attack_N': 20,
                          'attack_eps_list': [0.1]})
    assert 0 <= evaluated[2]['accuracy'][0.1] <= 1


@pytest.mark.parametrize('model, message', [
    ({'depth': 27}, 'model: depth must be 6 k + 4, such as 28, and at most 1000, not 27'),
    ({'depth': 4}, 'model: depth must be a whole number of at least 10, not 4'),
    ({'widen': 0}, 'model: widen must be a whole number of at least 1, not 0'),
    ({'widen': 10 ** 6}, 'model: widen and num_labels must give no layer of more than'),
    ({'standardise': 1}, 'model: standardise must be True or False, not 1'),
    ({'init': {'weight': 'xavier'}, **SMALL}, "model: there is no initializer 'xavier'"),
    ({'bias_mode': 'ALL'}, "there is no flag 'model.bias_mode'")])
def test_what_describes_no_network_is_refused(model, message):
    with pytest.raises(UserError) as e:
        core.run({**FLAGS, 'arch': 'wide_residual', 'lr': 0.1, 'train_mode': 'NORMAL', 'model': model})
    assert message in str(e.value)


def test_a_frame_is_refused():
    with pytest.raises(ValueError, match='which batch normalisation and dropout train by another; use'):
        build_model('wide_residual', (8, 8, 1), TrainMode.USE_FRAME, **SMALL)


@pytest.mark.long
def test_a_process_may_build_several():
    keras.backend.clear_session()  # the names that Keras counts begin anew, and the first is that of the layer 'mean'
    for _ in range(2):
        build_model('wide_residual', (8, 8, 1), seed=1, **SMALL)
