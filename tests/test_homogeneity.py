"""Homogeneity, measured: against scaling by hand, closed forms, and the networks whose description says it."""

from __future__ import annotations

import runpy
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from models import BiasMode, SimpleSequential
from models.measures.homogeneity import degrees_of, euler_error, euler_products, split_biases, trained_layers

ROOT = Path(__file__).resolve().parents[1]
DESCRIPTIONS = [
    [['F', 10, {'act': False}]],
    [['F', 12], ['F', 10, {'act': False}]],
    [['C', 4, [3, 3]], ['P'], ['F', 12], ['F', 10, {'act': False}]],
    [['C', 4, [3, 3]], ['A'], ['C', 6, [3, 3]], ['F', 12], ['F', 10, {'act': False}]],
]
INIT = {'weight': 'he_normal', 'bias': 'random_normal'}
L = keras.layers


def build(description, bias_mode=BiasMode.NONE, act_type='relu', init=INIT):
    model = SimpleSequential('m', (8, 8, 1), description, bias_mode, act_type=act_type, init=init, seed=1)
    return model, list(model.layer_vars.values())


def plain(*layers):
    net = keras.Sequential([keras.Input((8, 8, 1)), *layers, L.Flatten(), L.Dense(10, use_bias=False)])
    return net, list(trained_layers(net).values())


@pytest.fixture(scope='module')
def x(digits):
    return digits.train[0][:16]


@pytest.mark.long(after=3)
@pytest.mark.parametrize('description', DESCRIPTIONS, ids=lambda d: f'{len(d)} layers')
@pytest.mark.parametrize('act_type', ['relu', 'relu2'])
@pytest.mark.parametrize('bias_mode', [BiasMode.NONE, BiasMode.FIRST_LAYER], ids=lambda b: b.name)
def test_eulers_identity_holds_to_the_rounding_of_float32(bias_mode, act_type, description, x):
    model, layers = build(description, bias_mode, act_type)
    logits, products = (t.numpy() for t in euler_products(model.net, model.vars, tf.constant(x)))
    order = model.norms().order
    assert euler_error(logits, products, order) < 1e-5
    assert euler_error(logits, products, order + 1) > 0.9 / (order + 1)
    # The definition, rather than its derivative: parameters times c, logits times c^order.
    model.set_weights({k: np.float32(1.25) * v for k, v in model.weights().items()})
    np.testing.assert_allclose(model.predict(x), 1.25 ** order * logits, rtol=1e-4, atol=1e-4 * np.abs(logits).max())
    found = degrees_of(model.net, layers, x)
    assert found.is_homogeneous and found.order == order


@pytest.mark.long
def test_eulers_identity_holds_in_a_network_of_16_layers():
    flags = runpy.run_path(str(ROOT / 'experiments' / 'exper-final-cifar-vgg-loss-based-lr.py'))['FLAGS']
    model = SimpleSequential('m', (32, 32, 3), train_mode=flags['train_mode'], seed=1, **flags['model'])
    images = np.random.default_rng(0).uniform(size=(4, 32, 32, 3)).astype(np.float32)
    logits, products = (t.numpy() for t in euler_products(model.net, model.vars, tf.constant(images)))
    assert model.norms().order == model.nL >= 14 and euler_error(logits, products, model.nL) < 1e-5


def test_a_layer_beneath_squares_has_the_degree_of_all_of_them(x):
    model, layers = build(DESCRIPTIONS[3], act_type='relu2')
    assert degrees_of(model.net, layers, x).layers == (8, 4, 2, 1)
    before = model.predict(x).numpy()
    for layer, degree in zip(layers, (8, 4, 2, 1)):
        layer[0].assign(1.25 * layer[0])
        after = model.predict(x).numpy()
        np.testing.assert_allclose(after, 1.25 ** degree * before, rtol=1e-4, atol=1e-4 * np.abs(after).max())
        before = after


@pytest.mark.long(after=1)
@pytest.mark.parametrize('biases', ['zeros', 'beside large kernels', 'beside large inputs'])
@pytest.mark.parametrize('act_type, degrees', [('relu', (1, 1, 1, 1)), ('relu2', (8, 4, 2, 1))])
def test_biases_above_the_first_layer_are_found_even_where_they_do_nothing_yet(act_type, degrees, biases, x):
    model, layers = build(DESCRIPTIONS[3], BiasMode.ALL, act_type, {'weight': 'he_normal', 'bias': 'zeros'})
    if biases != 'zeros':  # kernels that training has enlarged, or pixels up to 255
        x, factor = (100 * x, 1) if 'inputs' in biases else (x, 100)
        model.set_weights({k: factor * v if v.ndim > 1 else v + np.float32(1e-3) for k, v in model.weights().items()})
        logits, products = euler_products(model.net, model.vars, tf.constant(x))
        assert euler_error(logits.numpy(), products.numpy(), sum(degrees)) < 1e-4, 'or the case is no case'
    assert degrees_of(model.net, layers, x) == (degrees, sum(degrees), False)
    assert sum(degrees) == model.norms().order, 'the order without these biases, as in the original'


def test_a_network_that_starts_at_zero_is_measured_all_the_same(x):
    model, layers = build(DESCRIPTIONS[1], init={'weight': 'zeros'})
    assert degrees_of(model.net, layers, x) == ((1, 1), 2, True)


@pytest.mark.parametrize('center', [True, False])
@pytest.mark.parametrize('is_trained', [True, False])
def test_batch_normalisation_is_not_homogeneous_its_moving_mean_being_a_bias(is_trained, center, x):
    net, layers = plain(L.Conv2D(4, 3, use_bias=False), L.BatchNormalization(center=center), L.ReLU())
    if is_trained:
        for _ in range(3):
            net(x, training=True)
    assert degrees_of(net, layers, x) == ((1, 1, 1), 3, False)


def test_two_kernels_in_one_layer_give_it_degree_2_and_only_its_bias_spoils_it(x):
    net, layers = plain(L.Conv2D(4, 3, use_bias=False), L.SeparableConv2D(4, 3, use_bias=False), L.ReLU())
    assert degrees_of(net, layers, x) == ((1, 2, 1), 4, True)
    net, layers = plain(L.Conv2D(4, 3), L.SeparableConv2D(4, 3), L.ReLU())
    assert degrees_of(net, layers, x) == ((1, 2, 1), 4, False)
    assert [len(part) for part in split_biases(layers[1])] == [2, 1]


def test_a_skip_connection_and_a_saturating_activation_are_not_homogeneous(x):
    inputs = h = keras.Input((8, 8, 1))
    for _ in range(2):
        h = L.Add()([h, L.Conv2D(1, 3, padding='same', use_bias=False)(h)])
    net = keras.Model(inputs, L.Dense(10, use_bias=False)(L.Flatten()(h)))
    assert not degrees_of(net, list(trained_layers(net).values()), x).is_homogeneous
    assert degrees_of(*plain(L.Conv2D(4, 3, use_bias=False, activation='tanh')), x) == ((1, 1), 2, False)


def test_every_variable_has_its_value_back(x):
    net, layers = plain(L.Conv2D(4, 3), L.BatchNormalization(), L.ReLU())
    net(x, training=True)
    before = net.get_weights()
    degrees_of(net, layers, x)
    for a, b in zip(before, net.get_weights()):
        np.testing.assert_array_equal(a, b)


def test_layers_are_found_in_the_order_of_the_network_nested_ones_too_and_shared_ones_once():
    shared, inputs = L.Dense(8, name='a'), keras.Input((8,))
    inner = keras.Sequential([keras.Input((8,)), L.Dense(8, name='b'), shared, L.Dense(8, name='c')])
    net = keras.Model(inputs, L.Dense(10, use_bias=False, name='b')(inner(shared(inputs))))
    found = trained_layers(net)
    assert list(found) == ['a', 'b', 'c', 'b (2)']
    assert found['a'][0] is shared.kernel.value and [len(v) for v in found.values()] == [2, 2, 2, 1]
    net.layers[-1].trainable = False
    assert list(trained_layers(net)) == ['a', 'b', 'c']


@pytest.mark.parametrize('cut', ['relu6', lambda z: tf.clip_by_value(z, -30, 30)], ids=['relu6', 'clip'])
def test_what_is_cut_off_above_some_size_is_not_homogeneous(cut, x):
    net, layers = plain(L.Dense(12, activation=cut, use_bias=False))
    assert not degrees_of(net, layers, x).is_homogeneous


def test_there_is_no_degree_at_inputs_that_are_none_not_finite_or_all_zero(x):
    net, layers = plain(L.Dense(4, use_bias=False))
    for inputs, message in ((x[:0], 'one input at least'), (0 * x, 'all zero'), (x * np.nan, 'finite numbers'),
                            (np.full_like(x, np.inf), 'finite numbers')):
        with pytest.raises(ValueError, match=message):
            degrees_of(net, layers, inputs)
    tokens = keras.Sequential([keras.Input((3,), dtype='int32'), L.Embedding(5, 4), L.Flatten(),
                               L.Dense(2, use_bias=False)])
    assert degrees_of(tokens, list(trained_layers(tokens).values()), np.zeros((2, 3), np.int32)).order == 2


def test_eulers_identity_is_one_of_finite_numbers():
    logits = np.ones((2, 3), np.float32)
    assert euler_error(logits, 2 * logits, 2) == 0
    for a, b, message in ((logits * np.nan, logits, 'not finite'), (logits, logits * np.inf, 'not finite'),
                          (logits[:0], logits[:0], 'one sample at least'), (logits, logits[:1], 'as many products')):
        with pytest.raises(ValueError, match=message):
            euler_error(a, b, 1)
