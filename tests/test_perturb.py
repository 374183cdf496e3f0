"""Perturbations within a computation: the same eagerly, compiled and in a training step, of the weights as they are."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers as L
from nets import Made, subclassed

from core.devices import use_device
from models.attacks import APGD, FGSM, IFGSM, PGD, LinfPGDAttack, LossPGD
from models.attacks.within_budgets import BudgetAttack
from models.in_graphs import graph_function

KINDS = {
    'PGD': lambda net: PGD(net, k=7, a=0.3), 'PGD L2': lambda net: PGD(net, k=7, a=0.3, norm='L2'),
    'IFGSM': lambda net: IFGSM(net, k=5, a=0.3), 'IFGSM L2': lambda net: IFGSM(net, k=5, a=0.3, norm='L2'),
    'FGSM': lambda net: FGSM(net), 'FGSM L2': lambda net: FGSM(net, norm='L2'),
    'LinfPGDAttack': lambda net: LinfPGDAttack(net, k=7, a=0.3), 'LossPGD': lambda net: LossPGD(net, k=7, a=0.3),
    'APGD': lambda net: APGD(net, k=7), 'APGD L2, targeted': lambda net: APGD(net, k=7, norm='L2', loss='dlr-targeted')}
LARGEST = {'Linf': 0.4, 'L2': 2.0}
ORDERS = {'Linf': np.inf, 'L2': 2}
SEED = tf.constant([3, 4])


def layers(policy='float32'):
    return [L.Conv2D(6, 3, activation='relu', dtype=policy), L.BatchNormalization(dtype=policy),
            L.Dropout(0.5, dtype=policy), L.Flatten(dtype=policy), L.Dense(10, dtype=policy)]


def sequential(policy='float32'):
    return keras.Sequential([keras.Input((8, 8, 1)), *layers(policy)])


NETWORKS = {'float32': sequential, 'mixed_float16': lambda: sequential('mixed_float16'),
            'subclassed': lambda: subclassed(layers), 'float64': lambda: sequential('float64')}


@pytest.fixture(scope='module')
def trained(digits):
    """Weights of a small CNN, 20 images, and their labels, two of them wrong."""
    keras.utils.set_random_seed(1)
    (x, y), _ = digits
    net = sequential()
    net.compile('adam', keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    net.fit(x[:600], y[:600], epochs=6, verbose=0)
    labels = y[:20].copy()
    labels[-2:] = (labels[-2:] + 1) % 10
    return net.get_weights(), x[:20].astype(np.float32), labels.astype(np.int64)


@pytest.fixture(scope='module')
def net(trained):
    net = sequential()
    net.set_weights(trained[0])
    return net


@pytest.fixture(scope='module')
def compiled(trained, net):
    """Of each kind, the perturbation of 20 images as one computation, in which no variable is made."""
    x, y = map(tf.constant, trained[1:])

    def refuse(next_creator, **kwargs):
        raise AssertionError('a variable')

    def of(name):
        with tf.variable_creator_scope(refuse):
            return tf.function(KINDS[name](net).perturb).get_concrete_function(x, y, tf.fill([20], 0.2), SEED)
    return Made(of, KINDS)


def size(attack, a, b):
    return np.linalg.norm((np.asarray(a, float) - b).reshape(len(b), -1), ORDERS[attack.norm], axis=1)


def agree(a, b):
    """Rounding may turn the sign of a pixel whose gradient is all but none."""
    apart = np.abs(np.asarray(a) - np.asarray(b))
    assert (apart < 1e-5).mean() > 0.995 and (apart.max(axis=(1, 2, 3)) < 1e-5).mean() >= 0.8


@pytest.mark.long
@pytest.mark.parametrize('stop', [False, True])
@pytest.mark.parametrize('name', KINDS)
def test_each_image_has_a_budget_of_its_own(name, stop, trained, net, compiled):
    _, x, y = trained
    attack = KINDS[name](net)
    eps = np.linspace(0, LARGEST[attack.norm], 20).astype(np.float32)

    def perturb(eps):
        return compiled[name](tf.constant(x), tf.constant(y), tf.constant(eps), SEED)
    found = attack.perturb(x, y, eps, SEED, stop) if stop else perturb(eps)
    assert found.dtype == tf.float32 and found.shape == x.shape
    found = found.numpy()
    assert found.min() >= 0 and found.max() <= 1
    sizes = size(attack, found, x)
    assert (sizes <= eps * (1 + 1e-5) + 1e-6).all()
    np.testing.assert_array_equal(found[0], x[0])
    if not stop:
        share = 0.6 if attack.k == 1 else 0.8  # the box takes part of a single step
        assert (sizes >= share * eps).all(), 'all the steps of all images, of those that are fooled, too'
        one = attack.perturb(x, y, eps[7], SEED).numpy()
        agree(perturb(np.full(20, eps[7])), one)


@pytest.mark.long
@pytest.mark.parametrize('name', KINDS)
def test_it_is_the_same_eagerly_compiled_and_in_a_training_step(name, trained, net, compiled):
    _, x, y = trained
    attack = KINDS[name](net)
    eps = tf.constant(np.linspace(0, LARGEST[attack.norm], 20), tf.float32)
    found = compiled[name](tf.constant(x), tf.constant(y), eps, SEED)
    agree(attack.perturb(x, y, eps, SEED), found)

    def losses(images):
        logits = net(images, training=False)
        return tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(y, logits))

    @graph_function
    def step(x, y, eps, seed):
        with tf.GradientTape() as tape:
            images = tf.stop_gradient(attack.perturb(x, y, eps, seed))
            loss = losses(images)
        return images, tape.gradient(loss, net.trainable_variables)
    images, gradients = step(tf.constant(x), tf.constant(y), eps, SEED)
    agree(images, found)
    with tf.GradientTape() as tape:
        loss = losses(images)
    for ours, expected in zip(gradients, tape.gradient(loss, net.trainable_variables)):
        np.testing.assert_allclose(ours, expected, rtol=1e-3, atol=1e-5)


@pytest.mark.long(after=1)
@pytest.mark.parametrize('norm, order', [('Linf', 1), ('L2', 2)])
@pytest.mark.parametrize('scale', [1e-20, 1e20])
def test_of_a_linear_network_it_is_the_closed_form(norm, order, scale):
    """Of two classes, the worst within the ball is eps times the steepest direction, whatever the logits' scale."""
    rng = np.random.default_rng(0)
    net = keras.Sequential([keras.Input((4, 4, 1)), L.Flatten(), L.Dense(2)])
    kernel = rng.normal(size=(16, 2)).astype(np.float32)
    net.set_weights([kernel * np.float32(scale), np.zeros(2, np.float32)])
    x = rng.uniform(0.4, 0.6, (10, 4, 4, 1)).astype(np.float32)
    y, eps = rng.integers(0, 2, 10), rng.uniform(0, 0.3, 10).astype(np.float32)
    down = (kernel[:, 1] - kernel[:, 0]) * np.where(y == 0, 1, -1)[:, np.newaxis]
    worst = np.sign(down) if norm == 'Linf' else down / np.linalg.norm(down, axis=1, keepdims=True)
    expected = x + (eps[:, np.newaxis] * worst).reshape(x.shape)
    for attack in (PGD(net, k=25, a=0.3, norm=norm), IFGSM(net, k=9, a=0.2, norm=norm), FGSM(net, norm=norm)):
        found = attack.perturb(x, y, eps, SEED)
        np.testing.assert_allclose(found, expected, atol=2e-3 if attack.random_start else 1e-6)


def test_a_descent_stays_in_the_box_where_that_is_nearer_than_the_budget():
    net = keras.Sequential([keras.Input((4, 4, 1)), L.Flatten(), L.Dense(2)])
    kernel = np.random.default_rng(0).normal(size=(16, 2)).astype(np.float32)
    net.set_weights([kernel, np.zeros(2, np.float32)])
    x = np.random.default_rng(1).integers(0, 2, (10, 4, 4, 1)).astype(np.float32)
    expected = np.clip(x + 0.3 * np.sign(kernel[:, 1] - kernel[:, 0]).reshape(1, 4, 4, 1), 0, 1)
    found = PGD(net, k=20, a=0.2).perturb(x, np.zeros(10, int), np.full(10, 0.3), SEED)
    np.testing.assert_allclose(found, expected, atol=1e-6)


@pytest.mark.long
@pytest.mark.parametrize('kind', NETWORKS)
@pytest.mark.parametrize('name', ['PGD', 'PGD L2', 'LinfPGDAttack'])
def test_it_follows_the_weights_as_they_change_and_is_traced_once(name, kind, trained):
    weights, x, y = trained
    net, traced = NETWORKS[kind](), []
    net.set_weights(weights)
    attack = KINDS[name](net)

    @graph_function
    def perturb(x, y, eps, seed):
        traced.append(1)
        return attack.perturb(x, y, eps, seed)
    eps = tf.fill([20], np.float32(LARGEST[attack.norm] / 2))
    before = perturb(tf.constant(x), tf.constant(y), eps, SEED)
    rng = np.random.default_rng(0)
    net.set_weights([w + (0.3 * rng.normal(size=w.shape) if w.ndim > 1 else 0) for w in weights])
    after = perturb(tf.constant(x), tf.constant(y), eps, SEED)
    assert len(traced) == 1
    assert (np.abs(before - after) > 0.01).any(axis=(1, 2, 3)).all()
    fresh = NETWORKS[kind]()
    fresh.set_weights(net.get_weights())
    agree(after, KINDS[name](fresh).perturb(x, y, eps, SEED))


@pytest.mark.long
def test_in_training_each_step_sees_the_weights_of_the_step_before(trained):
    """Compiled steps, beside the same by hand: a new network and a new attack for every step."""
    weights, x, y = trained
    net, eps = sequential(), tf.fill([20], 0.1)
    net.set_weights(weights)
    attack = IFGSM(net, k=3, a=0.5, norm='L2')

    def gradients(net, images):
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(y, net(images, training=False)))
        return tape.gradient(loss, net.trainable_variables)

    @tf.function
    def train(x, y, n):
        for i in tf.range(n):
            images = tf.stop_gradient(attack.perturb(x, y, eps, tf.stack([0, i])))
            for v, g in zip(net.trainable_variables, gradients(net, images)):
                v.assign_sub(0.1 * g)
    train(tf.constant(x), tf.constant(y), tf.constant(4))
    for _ in range(4):
        fresh = sequential()
        fresh.set_weights(weights)
        images = IFGSM(fresh, k=3, a=0.5, norm='L2').perturb(x, y, eps, SEED)
        for v, g in zip(fresh.trainable_variables, gradients(fresh, images)):
            v.assign_sub(0.1 * g)
        weights = fresh.get_weights()
    for ours, expected in zip(net.get_weights(), weights):
        np.testing.assert_allclose(ours, expected, rtol=1e-3, atol=1e-4)


@pytest.mark.long(after=1)
@pytest.mark.parametrize('name', KINDS)
def test_it_is_a_function_of_its_seed_and_nothing_of_it_is_numpy_or_makes_a_variable(name, trained, net, compiled):
    _, x, y = trained
    attack, arguments = KINDS[name](net), (tf.constant(x), tf.constant(y), tf.fill([20], 0.2))
    perturb = compiled[name]
    names = {op.type for op in perturb.graph.get_operations()}
    names |= {node.op for function in perturb.graph.as_graph_def().library.function for node in function.node_def}
    assert 'Conv2D' in names and not {name for name in names if 'PyFunc' in name}
    state = np.random.get_state()[1].copy()
    one, two, other = (perturb(*arguments, tf.constant([9, s])).numpy() for s in (1, 1, 2))
    np.testing.assert_array_equal(one, two)
    moved = (one != other).any(axis=(1, 2, 3))
    assert moved.mean() > 0.9 if attack.random_start else not moved.any()  # APGD's long steps may end in one corner
    np.testing.assert_array_equal(np.random.get_state()[1], state)


@pytest.mark.long(after=1)
@pytest.mark.parametrize('name', ['IFGSM', 'IFGSM L2', 'FGSM'])
def test_evaluations_take_the_same_steps(name, trained, net):
    """From the clean image, where no random start differs: stopped where it first fools, it is what they find."""
    _, x, y = (a[:-2] if i else a for i, a in enumerate(trained))
    attack = KINDS[name](net)
    eps = LARGEST[attack.norm] / 2
    attack.eps_list = [eps]
    result = attack.attack(x, y, 0)
    found = attack.perturb(x, y, np.full(18, eps), SEED, stop=True).numpy()
    there = net(found).numpy().argmax(axis=1) != y
    assert there.sum() > 9
    np.testing.assert_allclose(found[there], result.images[there], atol=1e-6)
    further = attack.perturb(x, y, np.full(18, eps), SEED).numpy()
    assert attack.k == 1 or (size(attack, further, x) > size(attack, found, x) + 0.1 * eps)[there].mean() > 0.3


@pytest.mark.long
@pytest.mark.parametrize('name', ['PGD', 'LinfPGDAttack'])
def test_it_runs_on_several_replicas(name, trained):
    weights, x, y = trained
    strategy = use_device(['cpu', 'cpu']).strategy
    with strategy.scope():
        net = sequential()
        net.set_weights(weights)
        attack = KINDS[name](net)

    @graph_function
    def perturb(x, y, eps, seed):
        return strategy.gather(strategy.run(attack.perturb, (x, y, eps, seed)), axis=0)
    both = perturb(tf.constant(x), tf.constant(y), tf.fill([20], 0.2), SEED)
    one = sequential()
    one.set_weights(weights)
    expected = KINDS[name](one).perturb(x, y, 0.2, SEED)
    agree(both, tf.concat([expected, expected], axis=0))


def test_it_is_of_images_of_the_networks_size(trained, net):
    _, x, y = trained
    with pytest.raises((ValueError, tf.errors.InvalidArgumentError), match='hape'):
        PGD(net).perturb(x[:, :5], y, 0.1, SEED)
    empty = PGD(net).perturb(x[:0], y[:0], np.zeros(0, np.float32), SEED)
    assert empty.shape == (0, 8, 8, 1)


def test_attacks_within_budgets_are_those_that_perturb():
    from models.attacks import ATTACKS, AutoAttack, Square
    assert {kind for kind in ATTACKS.values() if kind.has_budgets} - {Square, AutoAttack} == {
        kind for kind in ATTACKS.values() if issubclass(kind, BudgetAttack)} == {
                PGD, IFGSM, FGSM, LinfPGDAttack, LossPGD, APGD}
