"""What objectives make of any Keras model, and of labels that are no classes: right numbers, or a sentence."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from models.objectives import (
    CrossEntropy,
    LargeMargin,
    ReleasedLargeMargin,
    Weighted,
    boundary_distances,
    large_margin_losses,
    objective_of,
    released_distances,
    released_large_margin_losses,
)

L = keras.layers
OBJECTIVES = {
    'cross-entropy': CrossEntropy(), 'large-margin': LargeMargin(['input']),
    'large-margin-released': ReleasedLargeMargin(['input']),
    'weighted': Weighted([(0.5, CrossEntropy()), (1.0, LargeMargin(['input'])), (2.0, ReleasedLargeMargin(['input']))])}
FUNCTIONS = [large_margin_losses, released_large_margin_losses,
             lambda *a: boundary_distances(*a).distance, lambda *a: released_distances(*a).distance]


@pytest.fixture(scope='module')
def batch(digits):
    x, y = digits.train
    return x[:6], y[:6] % 3


def sequential(*layers, shape=(8, 8, 1), **options):
    keras.utils.set_random_seed(0)
    return keras.Sequential([keras.Input(shape, **options), *layers])


def small():
    return sequential(L.Flatten(), L.Dense(6, activation='relu', name='h'), L.Dense(3))


# ---- networks ----

def one_logit():
    return sequential(L.Flatten(), L.Dense(1))


def nested_softmax():
    return sequential(keras.Sequential([L.Flatten(), L.Dense(3), L.Softmax()]))


def softmax_operation():
    x = keras.Input((8, 8, 1))
    return keras.Model(x, keras.ops.softmax(L.Dense(3)(L.Flatten()(x))))


def softmax_of_ones_own():
    return sequential(L.Flatten(), L.Dense(3), L.Lambda(lambda z: tf.exp(z) / tf.reduce_sum(tf.exp(z), 1, True)))


def two_inputs():
    a, b = keras.Input((8, 8, 1)), keras.Input((8, 8, 1))
    return keras.Model([a, b], L.Dense(3)(L.Flatten()(L.Add()([a, b]))))


def two_outputs():
    x = keras.Input((8, 8, 1))
    h = L.Flatten()(x)
    return keras.Model(x, [L.Dense(3)(h), L.Dense(3)(h)])


class Own(keras.Model):
    def __init__(self, act=None):
        super().__init__()
        self.flat, self.dense, self.act = L.Flatten(), L.Dense(3), act

    def call(self, x):
        z = self.dense(self.flat(x))
        return z if self.act is None else self.act(z)


def own(act=None):
    net = Own(act)
    net(np.zeros((1, 8, 8, 1), np.float32))
    return net


@pytest.mark.parametrize('net, message', [
    (one_logit, 'one logit; an objective needs two at least'),
    (nested_softmax, 'gives probabilities; an objective needs'),
    (softmax_operation, 'gives probabilities; an objective needs'),
    (softmax_of_ones_own, 'gives probabilities; an objective needs'),
    (lambda: own(tf.nn.softmax), 'gives probabilities; an objective needs|functions that take a tape'),
    (two_inputs, 'one input'), (two_outputs, 'one output'),
    (lambda: own(lambda z: [z, z]), 'not a list|functions that take a tape'),
    (lambda: sequential(L.Dense(3)), r'logits of shape \[N, C\]'),
    (lambda: 3, 'needs a Keras model|cannot be reached')])
@pytest.mark.parametrize('compiled', [False, True])
@pytest.mark.parametrize('name', ['cross-entropy', 'large-margin'])
def test_a_network_that_gives_no_logits_is_refused(name, compiled, net, message, batch):
    net, objective = net(), OBJECTIVES[name]
    losses = lambda: objective.losses(net, *batch, True)  # noqa: E731
    with pytest.raises(ValueError, match=message):
        (tf.function(losses, autograph=False) if compiled else losses)()


def test_a_network_is_run_on_noise_once_only(batch):
    runs = []

    class Counting(L.Layer):
        def call(self, x):
            runs.append(x.shape)
            return x

    net = sequential(Counting(), L.Flatten(), L.Dense(3))
    del runs[:]
    for _ in range(3):
        CrossEntropy().losses(net, *batch, True)
    assert [shape[0] for shape in runs] == [8, 6, 6, 6]


def test_an_unbuilt_network_is_built_by_its_images_but_not_within_a_compiled_function(batch):
    assert np.isfinite(CrossEntropy().losses(Own(), *batch, True)).all()
    with pytest.raises(ValueError, match='probabilities'):
        CrossEntropy().losses(Own(tf.nn.softmax), *batch, True)
    with pytest.raises(ValueError, match='has not been built'):
        tf.function(lambda: CrossEntropy().losses(Own(), *batch, True))()


def test_layers_of_a_network_with_a_call_of_its_own_are_refused(batch):
    class Halved(keras.Model):
        def call(self, x, training=None):
            return super().call(x, training=training) / 2

    x = keras.Input((8, 8, 1))
    net = Halved(x, L.Dense(3)(L.Flatten()(x)))
    assert np.isfinite(CrossEntropy().losses(net, *batch, True)).all()
    with pytest.raises(ValueError, match='Halved has a call of its own'):
        LargeMargin(['input']).losses(net, *batch, True)


@pytest.mark.long(after=4)
@pytest.mark.parametrize('policy, tolerance', [('mixed_float16', 2e-2), ('mixed_bfloat16', 1e-1), ('float64', 1e-5)])
@pytest.mark.parametrize('name', OBJECTIVES)
def test_a_network_of_another_precision_gives_the_same_losses(name, policy, tolerance, batch):
    def net(policy):
        keras.utils.set_random_seed(0)
        layers = [L.Conv2D(4, 3, dtype=policy), L.ReLU(dtype=policy), L.Flatten(dtype=policy),
                  L.Dense(3, dtype=policy)]
        return keras.Sequential([keras.Input((8, 8, 1), dtype='float64' if policy == 'float64' else None), *layers])

    expected, other = net('float32'), net(policy)
    other.set_weights(expected.get_weights())
    objective = {'large-margin': LargeMargin(), 'large-margin-released': ReleasedLargeMargin()}.get(
        name, OBJECTIVES[name])
    losses = [objective.losses(n, *batch, True) for n in (expected, other)]
    assert losses[1].dtype == tf.float64
    np.testing.assert_allclose(losses[1], losses[0], rtol=tolerance, atol=tolerance)


def test_gradients_beyond_the_squares_of_half_precision_are_measured(batch):
    """A gradient of 1,000 has a square of 1e6, beyond float16."""
    net = sequential(L.Flatten(dtype='mixed_float16'), L.Dense(3, dtype='mixed_float16', use_bias=False))
    kernel = np.zeros((64, 3), np.float32)
    kernel[0] = [1000, -1000, 0]
    net.set_weights([kernel])
    with tf.GradientTape(persistent=True) as tape:
        x = tf.constant(batch[0])
        tape.watch(x)
        logits = net(x)
    found = boundary_distances(tape, logits, np.zeros(6, int), [x]).gradient_norm
    np.testing.assert_allclose(np.sort(found, axis=-1), np.broadcast_to([1000.0, 2000.0], (1, 6, 2)))


@pytest.mark.parametrize('name', OBJECTIVES)
def test_channels_first_gives_what_channels_last_gives(name, batch):
    x, y = np.repeat(batch[0], 2, axis=3) * np.float32([1, 0.5]), batch[1]
    last = sequential(L.BatchNormalization(), L.Permute((3, 1, 2)), L.Flatten(), L.Dense(3), shape=(8, 8, 2))
    first = sequential(L.BatchNormalization(axis=1), L.Flatten(), L.Dense(3), shape=(2, 8, 8))
    first.set_weights(last.get_weights())
    expected = OBJECTIVES[name].losses(last, x, y, True)
    np.testing.assert_allclose(OBJECTIVES[name].losses(first, np.moveaxis(x, 3, 1), y, True), expected, rtol=1e-4)


@pytest.mark.skipif(bool(tf.config.list_physical_devices('GPU')), reason='a GPU runs it')
def test_a_network_that_cannot_be_run_here_is_refused(batch):
    net = sequential(L.Conv2D(2, 3, data_format='channels_first'), L.Flatten(), L.Dense(3), shape=(1, 8, 8))
    with pytest.raises(ValueError, match='the model does not run here: .*Conv2D op currently only supports the NHWC'):
        CrossEntropy().losses(net, np.moveaxis(batch[0], 3, 1), batch[1], True)


# ---- competitors ----

@pytest.mark.parametrize('kind, most', [('large-margin', 2), ('large-margin-released', 3)])
def test_more_competitors_than_the_network_has_are_refused_before_it_runs(kind, most):
    net = small()
    assert objective_of({'type': kind, 'layers': ['input'], 'top_k': most}).layers(net) == ('input',)
    for terms in ({'type': kind, 'layers': ['input'], 'top_k': most + 1},
                  ['cross-entropy', {'type': kind, 'layers': ['input'], 'top_k': most + 1}]):
        with pytest.raises(ValueError, match=f'top_k must be at most {most} with this network, not {most + 1}'):
            objective_of(terms).layers(net)


# ---- labels ----

@pytest.mark.long(after=1)
@pytest.mark.parametrize('label', [3, -1, -2 ** 33])
@pytest.mark.parametrize('name', OBJECTIVES)
def test_a_label_that_is_no_class_is_refused_and_compiled_never_has_a_finite_loss(name, label, batch):
    net, (x, y) = small(), batch
    y = np.where(np.arange(6) == 2, label, y)
    with pytest.raises(ValueError, match=r'labels must be in 0\.\.2'):
        OBJECTIVES[name].losses(net, x, y, True)
    compiled = tf.function(lambda x, y: OBJECTIVES[name].losses(net, x, y, True))
    try:
        losses = compiled(x, y).numpy()
    except tf.errors.InvalidArgumentError:  # on the CPU, the cross entropy can refuse it
        return
    assert np.isnan(losses[2])
    valid = np.arange(6) != 2
    np.testing.assert_array_equal(losses[valid], compiled(x[valid], y[valid])[:5])


@pytest.mark.long(after=2)
@pytest.mark.parametrize('function', FUNCTIONS, ids=['margin', 'released', 'distances', 'released distances'])
@pytest.mark.parametrize('label', [3, -1])
def test_the_functions_that_take_a_tape_do_likewise(function, label, batch):
    net, (x, y) = small(), batch

    def losses(x, y):
        with tf.GradientTape(persistent=True) as tape:
            tape.watch(x)
            logits = net(x)
        return function(tape, logits, y, [x])

    x, bad = tf.constant(x), tf.constant(np.where(np.arange(6) == 2, label, y))
    with pytest.raises(ValueError, match=r'labels must be in 0\.\.2'):
        losses(x, bad)
    compiled = tf.function(losses)
    of_bad, of_good = (compiled(x, tf.cast(labels, tf.int64)).numpy() for labels in (bad, tf.constant(y)))
    samples = 0 if of_bad.ndim == 1 else 1
    assert np.isnan(np.take(of_bad, 2, samples)).all()
    np.testing.assert_array_equal(np.delete(of_bad, 2, samples), np.delete(of_good, 2, samples))
    assert np.isfinite(of_good).all()


@pytest.mark.long
def test_a_label_that_is_no_class_leaves_the_gradients_of_the_others_alone(batch):
    net, (x, y) = small(), batch

    @tf.function
    def gradients(y, weights):
        with tf.GradientTape() as tape:
            losses = LargeMargin(['input', 'h'], gamma=50.0).losses(net, x, y, True)
            total = tf.reduce_sum(tf.where(weights > 0, losses, tf.zeros_like(losses)))
        return tape.gradient(total, net.trainable_variables)

    weights = np.array([1.0, 1, 0, 1, 1, 1])
    for a, b in zip(gradients(y, weights), gradients(np.where(weights > 0, y, 7), weights)):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize('y, message', [
    ([0, 1], 'labels must be as many as there are images, 6, not 2'), (np.eye(3, dtype=int)[[0] * 6], 'one-hot'),
    (np.zeros(6), 'labels must be integers'), (np.zeros(6, bool), 'labels must be integers')])
@pytest.mark.parametrize('name', OBJECTIVES)
def test_labels_of_another_kind_are_refused_compiled_or_not(name, y, message, batch):
    net = small()
    for losses in (OBJECTIVES[name].losses, tf.function(OBJECTIVES[name].losses, autograph=False)):
        with pytest.raises(ValueError, match=message):
            losses(net, batch[0], y, True)


# ---- arguments ----

NO_NUMBERS = [float('inf'), float('nan'), 10 ** 400, True, '1', None, [1.0], b'1', {1.0}, np.float32('inf')]

FITS = [('layers', "'1'"), ('layer_weights', 'None'), ('norm', 'inf'), ('norm', 'np.float32(inf)'),
        ('worst_case', 'True'), ('second_order', 'True')]


@pytest.mark.parametrize('value', NO_NUMBERS, ids=lambda v: repr(v)[:20])
@pytest.mark.parametrize('kind, argument', [
    ('large-margin', 'gamma'), ('large-margin', 'eps'), ('large-margin', 'top_k'), ('large-margin', 'layers'),
    ('large-margin-released', 'alpha'), ('large-margin-released', 'worst_case'), ('large-margin', 'second_order'),
    ('large-margin', 'aggregate'), ('large-margin', 'norm'), ('large-margin', 'layer_weights')])
def test_arguments_of_another_kind_are_refused(kind, argument, value):
    if (argument, repr(value)) in FITS:
        return
    if argument == 'layer_weights' and repr(value) == '[1.0]':
        value = [value]
    with pytest.raises(ValueError, match=argument) as e:
        objective_of({'type': kind, 'layers': ['input'], argument: value})
    assert len(str(e.value)) < 200


def test_numbers_of_numpy_are_numbers():
    objective = objective_of([{'type': 'large-margin', 'gamma': np.float32(0.5), 'top_k': np.int64(2),
                               'norm': np.int32(1), 'layers': ['input'], 'layer_weights': [np.float64(2)],
                               'weight': np.float32(1)}])
    ((weight, margin),) = objective.terms
    assert (weight, margin.options['gamma'], margin.options['top_k'], margin.options['norm']) == (1, 0.5, 2, 1)
