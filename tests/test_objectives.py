"""Objectives by name, their sums, and the layers they look at."""

from __future__ import annotations

import gc
import weakref

import keras
import numpy as np
import pytest
import tensorflow as tf

from models import SimpleSequential
from models.losses import hp_sparse_softmax_cross_entropy_with_logits_v1 as v1
from models.objectives import (
    OBJECTIVES,
    CrossEntropy,
    LargeMargin,
    Objective,
    ReleasedLargeMargin,
    Weighted,
    forward_pass,
    layers_of,
    objective_of,
)

L = keras.layers
CNN = [['C', 4, [3, 3]], ['P'], ['C', 4, [3, 3]], ['A'], ['F', 8], ['F', 3, {'act': False}]]


@pytest.fixture(scope='module')
def batch():
    rng = np.random.default_rng(0)
    return rng.random((5, 8, 8, 1), np.float32), rng.integers(0, 3, 5)


def cnn(**options):
    return SimpleSequential('cnn', (8, 8, 1), CNN, seed=0, **options).net


def sequential(*layers):
    keras.utils.set_random_seed(0)
    return keras.Sequential([keras.Input((8, 8, 1)), *layers])


# ---- layers ----

@pytest.mark.parametrize('net, hidden', [
    (lambda: cnn(), ('pool2', 'pool4', 'relu5')),
    (lambda: cnn(act_type='relu2'), ('pool2', 'pool4', 'square5')),
    (lambda: cnn(act_type='linear'), ('pool2', 'pool4', 'fc5')),
    (lambda: sequential(L.Rescaling(2.0), L.Conv2D(2, 3, activation='relu', name='c'), L.MaxPooling2D(name='p'),
                        L.BatchNormalization(name='b'), L.Dropout(0.5), L.Flatten(), L.Dense(4, name='d'),
                        L.PReLU(name='a'), L.Dense(3)), ('b', 'a')),
], ids=['relu', 'relu2', 'linear', 'batch norm'])
def test_hidden_layers_are_the_ends_of_all_blocks_but_the_last(net, hidden):
    net = net()
    assert layers_of(net, 'hidden') == hidden
    assert layers_of(net, 'all') == ('input', *hidden)


def test_activations_are_those_of_the_layers_in_the_order_asked_for(batch):
    net = cnn()
    run = forward_pass(net, *batch, False, ('relu5', 'input', 'conv1'))
    assert list(run.activations) == ['relu5', 'input', 'conv1']
    np.testing.assert_array_equal(run.activations['input'], batch[0])
    np.testing.assert_allclose(run.activations['conv1'], net.get_layer('conv1')(batch[0]), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(run.logits, net(batch[0]), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(run.logits, net.layers[-1](run.activations['relu5']), rtol=1e-5, atol=1e-6)


def test_an_unknown_layer_is_answered_with_those_there_are(batch):
    with pytest.raises(ValueError, match=r"no layer 'pool3'; did you mean 'pool\d'\? \(known: input, conv1, relu1"):
        LargeMargin(['pool3']).losses(cnn(), *batch, True)


def test_a_linear_network_has_no_hidden_layers(batch):
    net = sequential(L.Flatten(), L.Dense(3))
    assert layers_of(net, 'all') == ('input',)
    with pytest.raises(ValueError, match=r"no hidden layers; give layers=\['input'\]"):
        LargeMargin('hidden').losses(net, *batch, True)


def branched():
    x = keras.Input((8, 8, 1))
    a = L.Flatten(name='flat')(x)
    shared = L.Dense(64, activation='relu', name='shared')
    b = L.Add(name='sum')([shared(a), shared(shared(a))])
    return keras.Model(x, L.Dense(3)(b))


def test_of_a_network_that_is_no_chain_layers_go_by_name(batch):
    net = branched()
    with pytest.raises(ValueError, match="layers='all' needs a network whose layers form a chain"):
        LargeMargin('all').losses(net, *batch, True)
    with pytest.raises(ValueError, match="'shared' is used several times"):
        LargeMargin(['shared']).losses(net, *batch, True)
    assert np.isfinite(LargeMargin(['input', 'sum']).losses(net, *batch, True)).all()


def test_a_network_without_an_inside_is_answered_but_serves_the_cross_entropy(batch):
    class Own(keras.Model):
        def __init__(self):
            super().__init__()
            self.dense = L.Dense(3)

        def call(self, x):
            return self.dense(tf.reshape(x, [-1, 64]))

    net = Own()
    assert np.isfinite(CrossEntropy().losses(net, *batch, True)).all()
    with pytest.raises(ValueError, match='functions that take a tape'):
        LargeMargin(['input']).losses(net, *batch, True)


@pytest.mark.parametrize('last', [L.Dense(3, activation='softmax'), L.Softmax()])
@pytest.mark.parametrize('objective', [CrossEntropy(), LargeMargin()])
def test_a_network_that_gives_probabilities_is_refused(batch, last, objective):
    with pytest.raises(ValueError, match='without softmax'):
        objective.losses(sequential(L.Flatten(), L.Dense(3), last), *batch, True)


def test_the_network_is_left_as_it_was_and_can_be_forgotten(batch):
    net = cnn()
    layers, objective = [layer.name for layer in net.layers], LargeMargin()
    objective.losses(net, *batch, True)
    assert [layer.name for layer in net.layers] == layers
    assert layers_of(net, 'all') == ('input', 'pool2', 'pool4', 'relu5')
    gone = weakref.ref(net)
    del net
    gc.collect()
    assert gone() is None


def test_images_of_another_type_are_converted(batch):
    x, y = (batch[0] * 255).round(), batch[1]
    net, objective = cnn(), LargeMargin()
    expected = objective.losses(net, x, y, True)
    for dtype in ('float64', 'uint8'):
        np.testing.assert_array_equal(objective.losses(net, x.astype(dtype), y, True), expected)


# ---- sums ----

def test_cross_entropy_is_that_of_the_project(batch):
    net = cnn()
    losses = CrossEntropy().losses(net, *batch, True)
    assert losses.dtype == tf.float64
    np.testing.assert_array_equal(losses, v1(batch[1], net(batch[0])))


def test_a_weighted_sum_is_the_sum_of_its_terms_in_one_pass(batch):
    passes = []

    class Counting(L.Layer):
        def call(self, x):
            passes.append(1)
            return x

    net = sequential(Counting(), L.Conv2D(2, 3, activation='relu', name='c'), L.BatchNormalization(name='b'),
                     L.Flatten(), L.Dense(3))
    terms = [(0.5, CrossEntropy()), (2, LargeMargin(['input'])), (3.0, ReleasedLargeMargin(['b', 'input'], norm=2))]
    expected = sum(w * objective.losses(net, *batch, False) for w, objective in terms)
    del passes[:]
    np.testing.assert_allclose(Weighted(terms).losses(net, *batch, False), expected, rtol=1e-6)
    assert len(passes) == 1
    before = net.get_layer('b').moving_mean.numpy()
    Weighted(terms).losses(net, *batch, True)
    mean = net.get_layer('c')(batch[0]).numpy().mean(axis=(0, 1, 2))
    np.testing.assert_allclose(net.get_layer('b').moving_mean, 0.99 * before + 0.01 * mean, rtol=1e-4)


def test_a_weighted_sum_differentiates_its_terms_as_they_would_alone(batch):
    net = sequential(L.Conv2D(2, 3, activation='relu'), L.BatchNormalization(), L.Flatten(), L.Dense(3))
    alone = LargeMargin(['input'], gamma=50.0, second_order=True)

    def gradients(objective):
        with tf.GradientTape() as tape:
            mean = tf.reduce_mean(objective.losses(net, *batch, True))
        return tape.gradient(mean, net.trainable_variables)

    for a, b in zip(gradients(Weighted([(2, alone)])), gradients(alone)):
        np.testing.assert_allclose(a, 2 * b, rtol=1e-4, atol=1e-4)


@pytest.mark.long
def test_objectives_train_within_a_compiled_loop(batch, caplog):
    x, y = (tf.constant(a) for a in batch)
    net = cnn()
    objective = objective_of(['cross-entropy', {'type': 'large-margin', 'second_order': True}, 'large-margin-released'])

    @tf.function
    def descend(steps):
        losses = tf.TensorArray(tf.float64, steps)
        for i in tf.range(steps):
            with tf.GradientTape() as tape:
                loss = tf.reduce_mean(objective.losses(net, x, y, True))
            for v, g in zip(net.trainable_variables, tape.gradient(loss, net.trainable_variables)):
                v.assign_sub(1e-3 * g)
            losses = losses.write(i, loss)
        return losses.stack()

    losses = descend(tf.constant(5)).numpy()
    assert (np.diff(losses) < 0).all()
    assert 'AutoGraph' not in caplog.text  # it warns of what it cannot compile


def test_a_term_of_weight_zero_is_not_computed(batch):
    class Broken(Objective):
        def losses_of(self, run):
            raise AssertionError

    net = cnn()
    objective = Weighted([(1.0, CrossEntropy()), (0, Broken())])
    np.testing.assert_array_equal(objective.losses(net, *batch, True), CrossEntropy().losses(net, *batch, True))


@pytest.mark.parametrize('terms, message', [
    ([], 'at least one objective must have a weight above 0'),
    ([(0.0, CrossEntropy())], 'at least one objective'),
    ([(-1.0, CrossEntropy())], 'the weight of an objective must be a finite number of at least 0'),
    ([('1', CrossEntropy())], 'the weight of an objective'),
    ([CrossEntropy()], 'a pair of a weight and an objective'),
    ([(1.0, 'cross-entropy')], 'a pair of a weight and an objective'),
])
def test_a_weighted_sum_of_other_things_is_answered(terms, message):
    with pytest.raises(ValueError, match=message):
        Weighted(terms)


# ---- names ----

def test_every_objective_is_made_from_its_name_and_runs(batch):
    net = cnn()
    needed = {'mma': {'hinge': 0.1, 'k': 3}, 'adversarial': {'eps': 0.1, 'k': 3},
              **dict.fromkeys(('fgsm-rs', 'n-fgsm', 'free', 'certified'), {'eps': 0.1})}
    for name, make in OBJECTIVES.items():
        objective = objective_of({'type': name, **needed[name]} if name in needed else name)
        assert type(objective) is make
        if name != 'curve':  # which needs one: tests/test_curve_training.py
            assert objective.losses(net, *batch, True).shape == (5,)


def test_a_description_in_plain_data_becomes_an_objective():
    objective = objective_of({'type': 'large-margin', 'layers': ['input', 'pool2'], 'norm': 'inf', 'gamma': 2})
    assert objective.wanted == ('input', 'pool2') and objective.options['gamma'] == 2
    both = objective_of([{'type': 'cross-entropy', 'weight': 0.5}, 'large-margin-released'])
    assert [(w, type(o)) for w, o in both.terms] == [(0.5, CrossEntropy), (1.0, ReleasedLargeMargin)]


@pytest.mark.parametrize('description, message', [
    ('large-margins', r"no objective 'large-margins'; did you mean 'large-margin'\?"),
    ({'type': 'large-margin', 'gama': 1}, r"the objective 'large-margin' takes no 'gama'; did you mean 'gamma'\?"),
    ({'type': 'cross-entropy', 'gamma': 1}, "'cross-entropy' takes no arguments"),
    ({'gamma': 1}, "a dictionary with a 'type'"),
    (3, 'an objective is a name'),
    ([3], 'each objective must be a name or a dictionary'),
    ([], 'at least one objective'),
])
def test_a_description_of_no_objective_is_answered(description, message):
    with pytest.raises(ValueError, match=message):
        objective_of(description)
