"""A Keras model of one's own, with any layers of any names, as a Model; and networks as functions of a description."""

from __future__ import annotations

import math

import keras
import numpy as np
import pytest
import tensorflow as tf

from models import BiasMode, Model, SimpleSequential, TrainMode, build_model
from models.losses import hp_sparse_softmax_cross_entropy_with_logits_v1
from models.networks.keras_network import network_of
from models.networks.network import CountedLayer, norms_of
from models.networks.residual import residual
from models.networks.simple_sequential import simple_sequential

L = keras.layers
N = 40


@pytest.fixture(scope='module')
def data(digits):
    (x, y), _ = digits
    return x[:N], y[:N]


def own(seed=1, bias=False, norm=False, **options):
    """A network with a model within, and with names that Keras makes, anew for each."""
    keras.utils.set_random_seed(seed)
    body = keras.Sequential([keras.Input((8, 8, 1)), L.Conv2D(4, 3, use_bias=True, name='First-look'), L.ReLU(),
                             *([L.BatchNormalization()] if norm else []), L.Flatten()])
    h = inputs = keras.Input((8, 8, 1))
    h = L.Dense(12, use_bias=bias, **options)(body(h))
    return keras.Model(inputs, L.Dense(10, use_bias=bias)(L.ReLU()(h)))


def test_an_epoch_of_ones_own_network_is_gradient_descent(data):
    model, net = Model(own()), own()
    x, y = (tf.convert_to_tensor(a) for a in data)
    order = np.random.default_rng(0).permutation(N)
    losses = model.train_epoch(*data, order, 10, 0.1)
    for i in range(4):
        batch = order[10 * i:10 * i + 10]
        with tf.GradientTape() as tape:
            logits = net(tf.gather(x, batch), training=True)
            loss = tf.reduce_mean(hp_sparse_softmax_cross_entropy_with_logits_v1(tf.gather(y, batch), logits))
        for v, gradient in zip(net.trainable_variables, tape.gradient(loss, net.trainable_variables)):
            v.value.assign_sub(0.1 * gradient)
        assert losses[i] == pytest.approx(float(loss), rel=1e-6)
    for ours, theirs in zip(model.net.weights, net.weights):
        np.testing.assert_allclose(ours.numpy(), theirs.numpy(), rtol=1e-5, atol=1e-6)


def test_it_has_the_statistics_of_a_network_described_alike(data):
    described = SimpleSequential('m', (8, 8, 1), [['C', 4, 3], ['P'], ['F', 6], ['F', 10, {'act': False}]], seed=1,
                                 init={'weight': 'he_normal', 'bias': 'random_normal'}, train_mode=TrainMode.USE_FRAME)
    clone = keras.models.clone_model(described.net)
    clone.set_weights(described.net.get_weights())
    model = Model(clone, TrainMode.USE_FRAME)
    assert model.is_homogeneous and [layer.name for layer in model.network.layers] == ['conv1', 'fc3', 'fc4']
    sets = [data, data]
    (found, _), (expected, _) = (m.get_stats(sets, 0.5) for m in (model, described))
    assert found == expected


@pytest.mark.long(after=2)
@pytest.mark.parametrize('act_type, bias_mode', [
    ('relu', BiasMode.NONE), ('relu', BiasMode.FIRST_LAYER), ('relu', BiasMode.ALL), ('relu2', BiasMode.NONE),
    ('relu2', BiasMode.ALL), ('linear', BiasMode.FIRST_LAYER)])
def test_the_degrees_that_a_description_says_are_those_that_are_measured(act_type, bias_mode):
    described = simple_sequential((8, 8, 1), [['C', 4, 3], ['P'], ['F', 6], ['F', 5], ['F', 10, {'act': False}]],
                                  bias_mode, {'weight': 'he_normal'}, act_type, seed=1)
    measured = network_of(described.net)
    assert described.is_homogeneous == measured.is_homogeneous == (bias_mode is not BiasMode.ALL)
    if measured.is_homogeneous:
        assert [layer.degree for layer in described.layers] == [layer.degree for layer in measured.layers]
    for ours, theirs in zip(described.layers, measured.layers, strict=True):
        assert ours.name == theirs.name and [id(v) for v in ours.variables] == [id(v) for v in theirs.variables]


@pytest.mark.parametrize('degrees', [(1, 1, 1), (4, 2, 1), (8, 4, 2), (1, 0, 2), (3, 2, 1), (1, 2, 1)])
def test_the_product_of_norms_is_each_norm_to_its_degree(degrees):
    norms = [2.5, 0.3, 7.0]
    layers = [CountedLayer(str(i), [tf.Variable([[norm]])], k) for i, (norm, k) in enumerate(zip(norms, degrees))]
    found = norms_of(layers)
    assert found.prod == pytest.approx(math.prod(float(np.float32(n)) ** k for n, k in zip(norms, degrees)), rel=1e-12)
    assert found.order == sum(degrees) and found.rho == pytest.approx(np.linalg.norm(norms), rel=1e-6)


@pytest.mark.long
def test_its_state_and_its_file_are_taken_over_by_one_whose_layers_keras_named_otherwise(data, tmp_path):
    options = {'opt': {'type': 'sgd', 'momentum': 0.9}}
    first, second, third = Model(own(1), **options), Model(own(2), **options), Model(own(3), **options)
    assert first.net.layers[-1].name != second.net.layers[-1].name
    first.train_epoch(*data, np.arange(N), 10, 0.05)
    second.restore_state(first.state())
    first.save('m.keras')
    third.restore('m.keras')
    np.testing.assert_array_equal(first.predict(data[0]), third.predict(data[0]))
    for model in (first, second):
        model.train_epoch(*data, np.arange(N), 10, 0.05)
    np.testing.assert_array_equal(first.predict(data[0]), second.predict(data[0]))


def test_norms_leave_out_biases_where_it_is_not_homogeneous_and_batch_norm_is_trained_as_keras_does(data):
    model = Model(own(bias=True, norm=True))
    assert not model.is_homogeneous
    before = model.state()
    model.train_epoch(*data, np.arange(N), 10, 0.1)
    changed = [k for k, v in model.state().items() if not np.array_equal(v, before[k])]
    assert any('moving_mean' in k for k in changed) and len(model.vars) == 8
    kernels = [v.numpy() for v in model.net.trainable_variables if v.name in ('kernel', 'gamma')]
    bias = model.net.layers[1].layers[0].bias.numpy()
    assert model.norms().rho == pytest.approx(math.sqrt(sum((v ** 2).sum() for v in [*kernels, bias])), rel=1e-6)


@pytest.mark.parametrize('make, mode, message', [
    (lambda: keras.Sequential([L.Flatten(), L.Dense(10)]), TrainMode.NORMAL, 'has not been built'),
    (lambda: keras.Sequential([keras.Input((None, None, 1)), L.GlobalMaxPooling2D(), L.Dense(3)]), TrainMode.NORMAL,
     'needs a network of images of one known size'),
    (lambda: keras.Sequential([keras.Input((8, 8, 1)), L.Flatten(), L.Dense(3, 'softmax')]), TrainMode.NORMAL,
     'gives probabilities'),
    (lambda: keras.Sequential([keras.Input((8, 8, 1)), L.Flatten()]), TrainMode.NORMAL, 'no trainable variables'),
    (lambda: own(kernel_regularizer='l2'), TrainMode.NORMAL, 'adds losses of its own'),
    (lambda: own(norm=True), TrainMode.USE_FRAME, 'a frame follows the loss of the network itself'),
    (lambda: keras.Sequential([keras.Input((8, 8, 1)), L.Dropout(0.5), L.Flatten(), L.Dense(3)]), TrainMode.USE_FRAME,
     'a frame follows the loss of the network itself')])
def test_a_network_that_a_model_cannot_train_is_told_why(make, mode, message):
    with pytest.raises(ValueError, match=message):
        Model(make(), mode)


def test_an_architecture_is_a_function_to_a_network_and_a_model_is_made_of_it():
    description = {'widths': [4], 'repeats': 1}
    network = residual((8, 8, 1), **description, seed=3)
    assert not network.is_homogeneous and network.layers[-1].name == 'fc4'
    model = build_model('residual', (8, 8, 1), seed=3, **description, weight_decay=0.1, opt='adam')
    assert model.weight_decay == 0.1 and model.optimizer is not None
    np.testing.assert_array_equal(model.weights()['conv3_f'], network.weights['conv3_f'].numpy())
    with pytest.raises(ValueError, match="there is no architecture 'resnet'"):
        build_model('resnet', (8, 8, 1))
