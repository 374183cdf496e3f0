"""The large margin losses: closed forms, finite differences, and where gradients vanish."""

from __future__ import annotations

import itertools
import math

import keras
import numpy as np
import pytest
import tensorflow as tf

from models.objectives import (
    LargeMargin,
    ReleasedLargeMargin,
    boundary_distances,
    forward_pass,
    large_margin_losses,
    released_distances,
    released_large_margin_losses,
)
from models.objectives.gradients import rows_norm

L = keras.layers
NORMS = (1, 2, math.inf)
DUAL = {1: math.inf, 2: 2, math.inf: 1}
C = 4


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def linear(rng, size=6, classes=C, dtype='float64'):
    net = keras.Sequential([keras.Input((size,), dtype=dtype), L.Dense(classes, name='out', dtype=dtype)])
    net.set_weights([rng.normal(size=(size, classes)), rng.normal(size=classes)])
    return net


def two_halves(rng, activation='tanh'):
    """A body and a head in float64, which no functional model joins: one's own Keras code."""
    body = keras.Sequential([keras.Input((3, 3, 2)), L.Conv2D(3, 2, activation=activation), L.Flatten()])
    head = keras.Sequential([keras.Input((12,)), L.Dense(5, activation=activation), L.Dense(C)])
    for net in (body, head):
        net.set_weights([rng.normal(scale=0.7, size=w.shape) for w in net.get_weights()])
    return body, head


@pytest.fixture
def in_float64():
    keras.config.set_floatx('float64')  # of inputs
    keras.config.set_dtype_policy('float64')  # of layers
    yield
    keras.config.set_floatx('float32')
    keras.config.set_dtype_policy('float32')


def taped(body, head, x):
    with tf.GradientTape(persistent=True) as tape:
        x = tf.constant(x)
        tape.watch(x)
        h = body(x)
        logits = head(h)
    return tape, logits, [x, h]


def convolutional(rng, norm=True):
    """Convolution, ReLU, pooling, batch norm, dense: what a second derivative must pass, in float64."""
    x = h = keras.Input((6, 6, 1))
    h = L.MaxPooling2D(name='pool')(L.Conv2D(3, 3, padding='same', activation='relu')(h))
    h = L.BatchNormalization(name='bn')(h) if norm else h
    h = L.Dense(6, activation='relu', name='fc')(L.Flatten()(h))
    net = keras.Model(x, L.Dense(C, name='out')(h))
    for v in net.trainable_variables:
        v.assign(v + rng.normal(scale=0.3, size=v.shape))
    return net


# ---- the distance ----

@pytest.mark.parametrize('dtype, rtol', [('float64', 1e-12), ('float32', 1e-5)])
@pytest.mark.parametrize('norm', NORMS)
def test_of_a_linear_classifier_the_distance_is_exact(rng, norm, dtype, rtol):
    net, x, y = linear(rng, dtype=dtype), rng.normal(size=(20, 6)).astype(dtype), rng.integers(0, C, 20)
    run = forward_pass(net, x, y, False, ('input',))
    found = boundary_distances(run.tape, run.logits, y, [run.activations['input']], norm, eps=1e-30)
    kernel, logits = net.get_weights()[0].astype(np.float64), run.logits.numpy().astype(np.float64)
    for n, k in itertools.product(range(20), range(C - 1)):
        i = found.classes[n, k].numpy()
        w, gap = kernel[:, y[n]] - kernel[:, i], logits[n, y[n]] - logits[n, i]
        distance = found.distance[0, n, k].numpy()
        np.testing.assert_allclose(distance, gap / np.linalg.norm(w, DUAL[norm]), rtol=rtol)
        # The shortest way to the boundary is as long as that, and ends on it.
        step = {1: np.sign(w) * (np.abs(w) == np.abs(w).max()), 2: w / np.linalg.norm(w), math.inf: np.sign(w)}[norm]
        np.testing.assert_allclose(np.linalg.norm(distance * step, norm), abs(distance))
        bias = net.get_weights()[1].astype(np.float64)
        there = (x[n].astype(np.float64) - distance * step) @ w + bias[y[n]] - bias[i]
        np.testing.assert_allclose(there, 0, atol=10 * rtol)


@pytest.mark.long(after=1)
@pytest.mark.parametrize('activation', ['tanh', 'relu'])
@pytest.mark.parametrize('norm', NORMS)
def test_on_random_networks_the_distance_is_that_of_finite_differences(rng, in_float64, norm, activation):
    body, head = two_halves(rng, activation)
    x, y, h = rng.normal(size=(5, 3, 3, 2)), rng.integers(0, C, 5), 1e-6
    tape, logits, activations = taped(body, head, x)
    for found, scores in ((boundary_distances(tape, logits, y, activations, norm), lambda f: f),
                          (released_distances(tape, logits, y, activations, norm, 3, eps=1e-6), tf.nn.softmax)):
        for layer, (rest, a) in enumerate(((lambda a: head(body(a)), x), (head, activations[1].numpy()))):
            flat = a.reshape(5, -1)
            for n in range(5):
                steps = h * np.eye(flat.shape[1])
                ends = [scores(rest((flat[n] + s * steps).reshape(-1, *a.shape[1:]))).numpy() for s in (1, -1)]
                jacobian = (ends[0] - ends[1]) / (2 * h)
                values = scores(rest(a[n:n + 1])).numpy()[0]
                for k, i in enumerate(found.classes[n].numpy()):
                    gradient = np.linalg.norm(jacobian[:, y[n]] - jacobian[:, i], DUAL[norm])
                    distance = (values[y[n]] - values[i]) / (gradient + 1e-6)
                    np.testing.assert_allclose(found.distance[layer, n, k], distance, rtol=1e-5)


def test_competitors_are_those_with_the_highest_logits_not_the_nearest(rng):
    net = linear(rng, size=2, classes=3)
    net.set_weights([np.array([[0.0, 1.0, 100.0], [0, 0, 0]]), np.array([0.0, -1, -10])])
    run = forward_pass(net, np.zeros((1, 2)), [0], False, ('input',))
    found = boundary_distances(run.tape, run.logits, [0], [run.activations['input']])
    np.testing.assert_array_equal(found.classes, [[1, 2]])
    np.testing.assert_allclose(found.distance, [[[1, 0.1]]], rtol=1e-5)
    one = boundary_distances(run.tape, run.logits, [0], [*run.activations.values()], top_k=1)
    np.testing.assert_array_equal(one.classes, [[1]])
    np.testing.assert_allclose(one.distance, [[[1]]], rtol=1e-5)


def test_a_distance_is_negative_where_the_sample_is_misclassified(rng):
    net, x, y = linear(rng), rng.normal(size=(50, 6)), rng.integers(0, C, 50)
    run = forward_pass(net, x, y, False, ('input',))
    for found in (boundary_distances(run.tape, run.logits, y, [run.activations['input']], top_k=1),
                  released_distances(run.tape, run.logits, y, [run.activations['input']])):
        right = run.logits.numpy().argmax(axis=1) == y
        assert 0 < right.sum() < 50
        np.testing.assert_array_equal(found.distance[0, :, 0] > 0, right)


# ---- the losses ----

def test_a_loss_aggregates_over_classes_and_averages_over_weighted_layers(rng, in_float64):
    body, head = two_halves(rng)
    x, y = rng.normal(size=(7, 3, 3, 2)), rng.integers(0, C, 7)
    tape, logits, activations = taped(body, head, x)
    distance = boundary_distances(tape, logits, y, activations, math.inf, 2, eps=0.1).distance.numpy()
    penalties = np.maximum(0, 0.3 - distance)
    for aggregate, each in (('sum', penalties.sum(axis=2)), ('max', penalties.max(axis=2))):
        losses = large_margin_losses(tape, logits, y, activations, 0.3, 'inf', 2, aggregate, [0.5, 3], eps=0.1)
        np.testing.assert_allclose(losses, (0.5 * each[0] + 3 * each[1]) / 2, rtol=1e-12)


def test_the_released_loss_clips_and_takes_the_worst_or_the_sum(rng, in_float64):
    body, head = two_halves(rng)
    x, y = rng.normal(size=(40, 3, 3, 2)), rng.integers(0, C, 40)
    tape, logits, activations = taped(body, head, x)
    distance = released_distances(tape, logits, y, activations, 2, 3, [2, 0.5], eps=1e-3).distance.numpy()
    gamma, alpha = 0.2, 3
    assert (distance > gamma).any() and (distance < gamma * (1 - alpha)).any()
    each = -np.clip(distance, gamma * (1 - alpha), gamma)
    for worst, expected in ((True, each.max(axis=2)), (False, each.sum(axis=2))):
        losses = released_large_margin_losses(tape, logits, y, activations, gamma, alpha, 2, 3, worst, [2, 0.5],
                                              eps=1e-3)
        np.testing.assert_allclose(losses, expected.mean(axis=0), rtol=1e-12)


def test_at_the_lower_bound_itself_the_released_loss_still_trains(rng):
    net = linear(rng, classes=2)
    net.set_weights([np.zeros((6, 2)), np.zeros(2)])  # all distances are 0, and so is the bound if alpha is 1
    objective = ReleasedLargeMargin(alpha=1.0, eps=1.0)
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(objective.losses(net, rng.normal(size=(3, 6)), [1, 1, 1], True))
    np.testing.assert_allclose(tape.gradient(loss, net.trainable_variables)[1], [0.5, -0.5])


def test_the_released_loss_weighs_layers_by_their_sizes_under_the_inf_norm_alone(rng):
    keras.utils.set_random_seed(1)
    net = convolutional(rng)
    x, y = rng.normal(size=(5, 6, 6, 1)).astype(np.float32), rng.integers(0, C, 5)
    for norm, sizes in (('inf', [36, 27, 6]), (2, [1, 1, 1])):
        found, expected = (ReleasedLargeMargin('all', norm=norm, layer_weights=weights).losses(net, x, y, False)
                           for weights in (None, sizes))
        np.testing.assert_allclose(found, expected, rtol=1e-6)


@pytest.mark.long
@pytest.mark.parametrize('objective', [LargeMargin(), ReleasedLargeMargin(top_k=2)], ids=['paper', 'released'])
def test_losses_are_of_each_sample_alone_compiled_or_not_and_from_labels_of_any_kind(rng, objective):
    keras.utils.set_random_seed(1)
    net = convolutional(rng)
    x, y = rng.normal(size=(6, 6, 6, 1)).astype(np.float32), rng.integers(0, C, 6)
    losses = objective.losses(net, x, y, False)
    assert losses.dtype == tf.float64 and losses.shape == (6,)
    single = [objective.losses(net, x[n:n + 1], y[n:n + 1], False)[0] for n in range(6)]
    np.testing.assert_allclose(losses, single, rtol=1e-5, atol=1e-6)
    compiled = tf.function(lambda x, y: objective.losses(net, x, y, False), input_signature=[
        tf.TensorSpec([None, 6, 6, 1]), tf.TensorSpec([None], tf.int64)])
    np.testing.assert_allclose(compiled(x, y), losses, rtol=1e-5, atol=1e-6)
    for labels in (y.astype(np.uint8), y.astype(np.int16)[:, np.newaxis], y.tolist()):
        np.testing.assert_array_equal(objective.losses(net, x, labels, False), losses)


# ---- gradients ----

PAPER = [(LargeMargin, {'gamma': 2.0, 'norm': norm, 'aggregate': aggregate, 'layer_weights': [1.0, 2.0, 0.5]})
         for norm in NORMS for aggregate in ('sum', 'max')]
RELEASED = [(ReleasedLargeMargin, {'gamma': 2.0, 'norm': norm, 'worst_case': worst, 'top_k': k})
            for norm, worst, k in ((1, True, 1), (2, False, 3), (math.inf, True, 2))]


def along(net, direction, function, h=1e-6):
    """The central difference of a function of the weights, moved in a direction."""
    start = [v.numpy() for v in net.trainable_variables]
    ends = []
    for sign in (1, -1):
        for v, s, d in zip(net.trainable_variables, start, direction):
            v.assign(s + sign * h * d)
        ends.append(float(function()))
    for v, s in zip(net.trainable_variables, start):
        v.assign(s)
    return (ends[0] - ends[1]) / (2 * h)


@pytest.mark.long(after=1)
@pytest.mark.parametrize('make, args', PAPER + RELEASED, ids=lambda v: '-'.join(map(str, v.values())) if isinstance(
    v, dict) else v.__name__)
def test_the_gradient_of_the_weights_is_that_of_finite_differences(rng, in_float64, make, args):
    keras.utils.set_random_seed(3)
    net = convolutional(rng)
    x, y = rng.normal(size=(6, 6, 6, 1)), rng.integers(0, C, 6)
    directions = [[rng.normal(size=v.shape) for v in net.trainable_variables] for _ in range(3)]

    def gradient(objective):
        with tf.GradientTape() as tape:
            mean = tf.reduce_mean(objective.losses(net, x, y, True))
        return [g.numpy() for g in tape.gradient(mean, net.trainable_variables)]

    def inner(a, b):
        return sum(float((u * v).sum()) for u, v in zip(a, b))

    through = make(**args, second_order=True)
    loss = tf.function(lambda: tf.reduce_mean(through.losses(net, x, y, True)))
    analytic, held = gradient(through), gradient(make(**args))
    for direction in directions:
        numeric = along(net, direction, loss)
        np.testing.assert_allclose(inner(analytic, direction), numeric, rtol=1e-6, atol=1e-8)
        assert abs(inner(held, direction) - numeric) > 1e-3 * abs(numeric)  # the norm does depend on the weights


@pytest.mark.parametrize('norm', NORMS)
def test_held_constant_the_norm_is_a_number_to_the_gradient_and_the_difference_is_not(rng, in_float64, norm):
    keras.utils.set_random_seed(3)
    net = convolutional(rng)
    x, y = rng.normal(size=(6, 6, 6, 1)), rng.integers(0, C, 6)
    run = forward_pass(net, x, y, True, ('input', 'bn', 'fc'))
    start = boundary_distances(run.tape, run.logits, y, [*run.activations.values()], norm)

    def frozen():
        logits = net(x, training=True).numpy()
        rows = np.arange(6)
        difference = logits[rows, y][:, np.newaxis] - logits[rows[:, np.newaxis], start.classes]
        return np.maximum(0, 2 - difference / (start.gradient_norm + 1e-6)).sum(axis=2).mean()

    objective = LargeMargin('all', 2.0, norm, aggregate='sum')
    with tf.GradientTape() as tape:
        mean = tf.reduce_mean(objective.losses(net, x, y, True))
    gradients = tape.gradient(mean, net.trainable_variables)
    for _ in range(3):
        direction = [rng.normal(size=v.shape) for v in net.trainable_variables]
        analytic = sum(float(tf.reduce_sum(g * d)) for g, d in zip(gradients, direction))
        np.testing.assert_allclose(analytic, along(net, direction, frozen), rtol=1e-6)


# ---- where gradients vanish ----

BOTH = [make(layers, norm=norm, second_order=second, top_k=k)
        for make in (LargeMargin, ReleasedLargeMargin) for norm in NORMS for second in (False, True)
        for layers, k in (('all', 1), (['input', 'fc'], 3))]


def spoilt(net, how):
    """Weights for which gradients vanish, or are not what they seem."""
    weights = net.get_weights()
    if how == 'all weights zero':
        weights = [np.zeros_like(w) for w in weights]
    elif how == 'dead units':
        weights[1] -= 1000  # the biases of the convolution
    elif how == 'saturated probabilities':
        weights[-2] *= 1e4
    elif how == 'identical classes':
        weights[-2][:] = weights[-2][:, :1]
        weights[-1][:] = 0
    net.set_weights(weights)


@pytest.mark.long(after=1)
@pytest.mark.parametrize('how', ['all weights zero', 'dead units', 'saturated probabilities', 'identical classes'])
def test_losses_and_gradients_are_finite_where_gradients_vanish(rng, how):
    keras.utils.set_random_seed(3)
    net = convolutional(rng, norm=False)
    spoilt(net, how)
    x, y = rng.normal(size=(6, 6, 6, 1)).astype(np.float32), rng.integers(0, C, 6)
    x[0] = 0
    for objective in BOTH:
        with tf.GradientTape() as tape:
            losses = objective.losses(net, x, y, True)
            mean = tf.reduce_mean(losses)
        gradients = tape.gradient(mean, net.trainable_variables, unconnected_gradients='zero')
        assert np.isfinite(losses).all(), objective.options
        assert all(np.isfinite(g).all() for g in gradients), objective.options


@pytest.mark.parametrize('xla', [False, True], ids=['', 'xla'])
@pytest.mark.parametrize('norm', NORMS)
def test_the_norm_of_a_vanishing_gradient_has_the_derivative_zero(norm, xla):
    @tf.function(jit_compile=xla)
    def derivative(a):
        with tf.GradientTape() as tape:
            tape.watch(a)
            total = tf.reduce_sum(rows_norm(a, float(norm)))
        return tape.gradient(total, a)

    np.testing.assert_array_equal(derivative(tf.zeros([2, 3, 4])), np.zeros((2, 3, 4)))


def test_with_no_gradient_the_distance_is_the_difference_over_eps(rng):
    net = linear(rng)
    net.set_weights([np.zeros((6, C)), np.array([3.0, 1, 0, 0])])
    run = forward_pass(net, rng.normal(size=(1, 6)), [1], False, ('input',))
    found = boundary_distances(run.tape, run.logits, [1], [run.activations['input']], top_k=2, eps=1e-2)
    np.testing.assert_allclose(found.distance, [[[-200, 100]]])


def test_probabilities_keep_the_digits_of_their_gradient_when_they_saturate_in_float32(rng):
    x, y = rng.normal(size=(4, 6)), [0, 1, 2, 3]
    found = []
    for dtype in ('float32', 'float64'):
        net = linear(np.random.default_rng(5), dtype=dtype)
        net.set_weights([8 * w for w in net.get_weights()])
        run = forward_pass(net, x, y, False, ('input',))
        found.append(released_distances(run.tape, run.logits, y, [run.activations['input']], eps=1e-30))
    assert found[1].gradient_norm.numpy().min() < 1e-7  # 1 - p has no digit left in float32
    np.testing.assert_allclose(found[0].distance, found[1].distance, rtol=1e-4)


@pytest.mark.parametrize('objective', [LargeMargin(), ReleasedLargeMargin()], ids=['paper', 'released'])
def test_weights_that_are_not_numbers_show_in_the_loss(rng, objective):
    net = linear(rng)
    net.set_weights([np.full((6, C), np.nan), np.zeros(C)])
    assert np.isnan(objective.losses(net, rng.normal(size=(3, 6)), [0, 1, 2], True)).all()


# ---- use ----

def test_training_for_a_margin_widens_it(digits):
    (x, y), _ = digits
    x, y = tf.constant(x[:300]), tf.constant(y[:300])
    distances = {}
    for gamma in (0.1, 1.0):
        keras.utils.set_random_seed(0)
        net = keras.Sequential([keras.Input((8, 8, 1)), L.Flatten(), L.Dense(32, 'relu', name='fc'), L.Dense(10)])
        objective, optimizer = LargeMargin(['input'], gamma), keras.optimizers.Adam(0.01)

        @tf.function
        def step(net=net, objective=objective, optimizer=optimizer):
            with tf.GradientTape() as tape:
                loss = tf.reduce_mean(objective.losses(net, x, y, True))
            optimizer.apply_gradients(zip(tape.gradient(loss, net.trainable_variables), net.trainable_variables))

        optimizer.build(net.trainable_variables)
        for _ in range(60):
            step()
        run = forward_pass(net, x, y, False, ('input',))
        distance = boundary_distances(run.tape, run.logits, y, [run.activations['input']]).distance.numpy()
        distances[gamma] = distance.min(axis=2)[0]
        assert (distances[gamma] > 0).mean() > 0.95
    assert np.median(distances[1.0]) > 2 * np.median(distances[0.1])


@pytest.mark.parametrize('k', [1, 3])
def test_a_step_takes_one_forward_pass_and_a_backward_pass_for_each_competitor_whatever_the_layers(rng, k):
    passes = {'forward': 0, 'backward': 0}

    class Counting(L.Layer):
        def call(self, x):
            passes['forward'] += 1

            @tf.custom_gradient
            def same(x):
                def backward(upstream):
                    passes['backward'] += 1
                    return upstream
                return tf.identity(x), backward
            return same(x)

    net = keras.Sequential([keras.Input((6,)), L.Dense(5, name='fc1'), Counting(), L.Dense(5, name='fc2'), L.Dense(C)])
    objective = LargeMargin(['input', 'fc1', 'fc2'], top_k=k)
    x = rng.normal(size=(4, 6)).astype(np.float32)
    objective.losses(net, x, [0, 1, 2, 3], True)
    for name in passes:
        passes[name] = 0
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(objective.losses(net, x, [0, 1, 2, 3], True))
    assert passes == {'forward': 1, 'backward': k}
    tape.gradient(loss, net.trainable_variables)


# ---- arguments ----

WRONG = [({'gamma': 0}, 'gamma must be a finite number above 0'), ({'gamma': '1'}, 'gamma'),
         ({'gamma': math.nan}, 'gamma'), ({'norm': 3}, "norm must be 1, 2 or 'inf'"), ({'norm': True}, 'norm'),
         ({'norm': 'two'}, 'norm'), ({'top_k': 0}, 'top_k must be a whole number'), ({'top_k': 1.5}, 'top_k'),
         ({'eps': 0}, 'eps must be'), ({'eps': math.inf}, 'eps'), ({'second_order': 1}, 'second_order must be True or'),
         ({'layers': []}, 'layers must be'), ({'layers': ['input', 'input']}, 'input is there more than once'),
         ({'layers': 3}, 'layers must be'), ({'layer_weights': 2}, 'layer_weights must be None or a list'),
         ({'layer_weights': [0.0, 1.0]}, 'layer_weights must be a finite number above 0'),
         ({'layers': ['input'], 'layer_weights': [1, 2]}, 'must have 1 numbers, for input, not 2')]


@pytest.mark.parametrize('make', [LargeMargin, ReleasedLargeMargin])
@pytest.mark.parametrize('args, message', WRONG, ids=lambda v: str(v) if isinstance(v, dict) else '')
def test_wrong_arguments_are_answered(make, args, message):
    with pytest.raises(ValueError, match=message):
        make(**args)


@pytest.mark.parametrize('make, args, message', [
    (LargeMargin, {'aggregate': 'mean'}, "aggregate must be 'max' or 'sum'"),
    (LargeMargin, {'top_k': 'most'}, 'top_k must be'),
    (ReleasedLargeMargin, {'alpha': -1}, 'alpha must be a finite number above 0'),
    (ReleasedLargeMargin, {'worst_case': 'yes'}, 'worst_case must be True or False'),
    (ReleasedLargeMargin, {'top_k': 'all'}, 'top_k must be'),
])
def test_wrong_arguments_of_one_of_them_are_answered(make, args, message):
    with pytest.raises(ValueError, match=message):
        make(**args)


@pytest.mark.parametrize('objective, y, message', [
    (LargeMargin(top_k=4), [0, 1], 'top_k must be at most 3 with this network, not 4'),
    (ReleasedLargeMargin(top_k=5), [0, 1], 'top_k must be at most 4'),
    (LargeMargin(layer_weights=[1, 2]), [0, 1], 'must have 1 numbers, for input, not 2'),
    (LargeMargin(), np.eye(4)[:2], r'for one-hot labels give y\.argmax'),
    (ReleasedLargeMargin(), np.eye(4, dtype=int)[:2], r'for one-hot labels give y\.argmax'),
    (LargeMargin(), [0.0, 1.0], 'labels must be integers'),
])
def test_what_does_not_fit_the_network_or_the_labels_is_answered(rng, objective, y, message):
    with pytest.raises(ValueError, match=message):
        objective.losses(linear(rng), np.zeros((2, 6)), y, True)


def test_an_activation_that_does_not_feed_the_logits_is_answered(rng, in_float64):
    body, head = two_halves(rng)
    tape, logits, activations = taped(body, head, rng.normal(size=(2, 3, 3, 2)))
    with pytest.raises(ValueError, match='the logits do not depend on activation 1'):
        large_margin_losses(tape, logits, [0, 1], [activations[0], tf.zeros((2, 3))])
    with pytest.raises(ValueError, match='the logits must have the shape'):
        large_margin_losses(tape, activations[0], [0, 1], activations)
