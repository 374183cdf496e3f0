"""The loss and the callbacks, with plain Keras models and ``fit``, on the digits."""

from __future__ import annotations

import csv
import math
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy.optimize import brentq
from scipy.special import logsumexp

from models import BiasMode, HPSparseSoftmaxCrossEntropy, LossBasedLR, LossBasedLRv1, MarginMonitor, SimpleSequential
from models.losses import (
    hp_sparse_softmax_cross_entropy_with_logits_v1 as v1,
    hp_sparse_softmax_cross_entropy_with_logits_v2 as v2,
)

L = keras.layers
N = 400
CNN = [['C', 4, [3, 3]], ['P'], ['F', 12], ['F', 10, {'act': False}]]


@pytest.fixture(scope='module')
def data(digits):
    (x, y), _ = digits
    return x[:N], y[:N]


def network(*layers, seed=1):
    keras.utils.set_random_seed(seed)
    return keras.Sequential([keras.Input((8, 8, 1)), *layers, L.Flatten(), L.Dense(10, use_bias=False)])


def dense():
    return L.Dense(32, 'relu', use_bias=False, kernel_initializer='he_normal')


@pytest.fixture(scope='module')
def fitted(data):
    """Weights of a homogeneous network of order 2 that fits its data."""
    keras.utils.set_random_seed(0)
    net = network(L.Flatten(), dense())
    net.compile(keras.optimizers.Adam(0.01), keras.losses.SparseCategoricalCrossentropy(True), steps_per_execution=20)
    net.fit(*data, batch_size=20, epochs=30, verbose=0)
    assert (gaps_of(net, *data) < 0).all()
    return net.get_weights()


def gaps_of(net, x, y):
    """Logits less that of the right class, float64 [N, C]; -inf at the right class."""
    logits = net.predict(x, verbose=0).astype(np.float64)
    gaps = logits - logits[np.arange(len(y)), y][:, np.newaxis]
    gaps[np.arange(len(y)), y] = -np.inf
    return gaps


def first_order(gaps):
    """The logarithm of the mean loss, to first order in the loss, which is all there is of it below 1e-16."""
    return logsumexp(gaps) - np.log(len(gaps))


def at_log_loss(fitted, log_loss, data):
    """The network of ``fitted``, scaled to a loss of exp(log_loss)."""
    net = network(L.Flatten(), dense())
    net.set_weights(fitted)
    gaps = gaps_of(net, *data)
    scale = brentq(lambda c: first_order(c * gaps) - log_loss, 1, 1e6)
    net.set_weights([np.float32(np.sqrt(scale)) * w for w in fitted])
    return net


class Recorder(keras.callbacks.Callback):
    """Copies all the state of a model at the beginning of every epoch and at the end, as its place in the list sees."""

    def __init__(self):
        super().__init__()
        self.begun, self.ended = [], []

    def state(self):
        variables = [*self.model.weights, *self.model.optimizer.variables]
        return [v.value.numpy() for v in variables if v.name != 'learning_rate']

    def on_epoch_begin(self, epoch, logs=None):
        self.begun.append(self.state())

    def on_epoch_end(self, epoch, logs=None):
        self.ended.append(self.state())


def same(a, b):
    return all(np.array_equal(p, q) for p, q in zip(a, b, strict=True))


# ---- the loss ----

def value_and_gradient(loss, y, logits, **kwargs):
    logits = tf.constant(logits)
    with tf.GradientTape() as tape:
        tape.watch(logits)
        value = loss(y, logits, **kwargs)
    return value.numpy(), tape.gradient(value, logits).numpy()


@pytest.mark.long(after=1)
@pytest.mark.parametrize('log_frame', [None, 0.0, -40.0, -2000.0])
@pytest.mark.parametrize('size', [1.0, 50.0, 2000.0])
def test_loss_and_gradient_are_those_of_the_functions(size, log_frame):
    rng = np.random.default_rng(0)
    y, logits = rng.integers(0, 7, 30), rng.normal(size=(30, 7)).astype(np.float32)
    logits[np.arange(30), y] += size * (1 if log_frame is None else 3)
    function = v1 if log_frame is None else lambda y, z: v2(y, z, log_frame)
    for reduction, reduce in (('sum_over_batch_size', tf.reduce_mean), ('sum', tf.reduce_sum), (None, tf.identity)):
        loss = HPSparseSoftmaxCrossEntropy(log_frame, reduction=reduction)
        for labels in (y, y[:, np.newaxis]):
            value, gradient = value_and_gradient(loss, labels, logits)
            expected = value_and_gradient(lambda y, z, r=reduce: r(function(y, z)), y, logits)
            assert value.dtype == np.float64 and gradient.dtype == np.float32
            np.testing.assert_allclose(value, expected[0], rtol=1e-14)
            np.testing.assert_allclose(gradient, expected[1], rtol=1e-6)


@pytest.mark.parametrize('log_frame', [None, 0.0])
def test_at_ordinary_logits_it_is_keras_cross_entropy(log_frame, data):
    (x, y), net = data, network(dense())
    logits, weights = net.predict(x, verbose=0), np.linspace(0, 2, N)
    kwargs = {'sample_weight': weights}
    ours = value_and_gradient(HPSparseSoftmaxCrossEntropy(log_frame), y, logits, **kwargs)
    keras_own = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    expected = value_and_gradient(keras_own, y, logits, **kwargs)
    np.testing.assert_allclose(ours[0], expected[0], rtol=1e-6)
    np.testing.assert_allclose(ours[1], expected[1], rtol=1e-4, atol=1e-9)


@pytest.mark.long
@pytest.mark.parametrize('jit_compile', [False, True])
def test_a_step_of_fit_at_a_loss_of_1e_300_is_the_one_of_float64(jit_compile, fitted, data):
    (x, y), net = data, at_log_loss(fitted, math.log(1e-300), data)
    h = keras.Sequential(net.layers[:-1]).predict(x, verbose=0).astype(np.float64)
    relative = np.exp(gaps_of(net, x, y) - math.log(1e-300))  # gradients of the losses, in units of the mean loss
    relative[np.arange(N), y] = -relative.sum(axis=1)
    expected = h.T @ relative / N
    net.compile(keras.optimizers.SGD(1e-2), HPSparseSoftmaxCrossEntropy(math.log(1e-300)), jit_compile=jit_compile)
    before = net.get_weights()[-1].astype(np.float64)
    history = net.fit(x, y, batch_size=N, verbose=0).history
    np.testing.assert_allclose(history['loss'], [1.0], rtol=2e-3)
    largest = np.abs(expected).max()
    assert largest > 1
    np.testing.assert_allclose((before - net.get_weights()[-1]) / 1e-2, expected, atol=2e-3 * largest)


def test_a_new_frame_reaches_the_compiled_training_without_tracing_it_again(data):
    traced = []

    class Counting(HPSparseSoftmaxCrossEntropy):
        def call(self, y_true, y_pred):
            traced.append(1)
            return super().call(y_true, y_pred)

    net, loss = network(dense()), Counting(log_frame=0.0)
    net.compile(keras.optimizers.SGD(0.0), loss)
    before = net.fit(*data, verbose=0).history['loss'][0]
    count = len(traced)
    loss.log_frame = 2.0
    after = net.fit(*data, verbose=0).history['loss'][0]
    assert len(traced) == count
    np.testing.assert_allclose(after, before * math.exp(-2), rtol=1e-5)


@pytest.mark.long
@pytest.mark.parametrize('log_frame, reduction', [(None, 'sum_over_batch_size'), (-3.5, 'sum')])
def test_it_is_saved_and_loaded_with_the_model(log_frame, reduction, data):
    net, loss = network(dense()), HPSparseSoftmaxCrossEntropy(0.0 if log_frame else log_frame, reduction=reduction)
    net.compile(keras.optimizers.SGD(), loss)
    if log_frame:
        loss.log_frame = log_frame  # changed after compile
    net.save('m.keras')
    loaded = keras.saving.load_model('m.keras')
    assert type(loaded.loss) is HPSparseSoftmaxCrossEntropy
    assert (loaded.loss.log_frame, loaded.loss.reduction) == (log_frame, reduction)
    assert loaded.loss.dtype == 'float64'
    assert loaded.evaluate(*data, verbose=0) == net.evaluate(*data, verbose=0)
    loaded.fit(*data, epochs=2, callbacks=[LossBasedLR(*data)], verbose=0)


def test_a_loss_refuses_what_it_cannot_mean():
    for log_frame in (math.nan, -math.inf, True):
        with pytest.raises(ValueError, match='log_frame must be a finite number'):
            HPSparseSoftmaxCrossEntropy(log_frame)
    with pytest.raises(ValueError, match='made without a frame'):
        HPSparseSoftmaxCrossEntropy().log_frame = 1.0
    with pytest.raises(ValueError, match='one-hot'):
        HPSparseSoftmaxCrossEntropy()(np.eye(3), np.zeros((3, 3), np.float32))
    with pytest.raises(ValueError, match=r'shape \[N, C\], a column for each class, not \[3\]'):
        HPSparseSoftmaxCrossEntropy()(np.zeros(3), np.zeros(3, np.float32))


# ---- the loss-based rate ----

@pytest.mark.long
def test_fit_goes_on_where_float64_ends_and_the_loss_of_accepted_epochs_never_rises(fitted, data):
    net, start = at_log_loss(fitted, -735, data), []
    net.compile(keras.optimizers.SGD(), HPSparseSoftmaxCrossEntropy(log_frame=0.0), steps_per_execution=20)
    rate = LossBasedLR(*data, lr=3e-6, alpha2=2 ** 0.2)
    begin = keras.callbacks.LambdaCallback(on_train_begin=lambda logs: start.append(rate.log_loss))
    history = net.fit(*data, batch_size=20, epochs=30, callbacks=[rate, begin], verbose=0).history
    np.testing.assert_allclose(start, [-735], rtol=1e-5)
    assert history['log_loss'][-1] < math.log(5e-324)
    before = np.array([*start, *history['log_loss']])
    accepted = np.array(history['accepted'], bool)
    assert 4 < accepted.sum() < 30
    assert (np.diff(before)[accepted] <= 0).all() and (np.diff(before)[~accepted] == 0).all()
    assert rate.log_loss == history['log_loss'][-1] == net.loss.log_frame
    np.testing.assert_allclose(rate.log_loss, first_order(gaps_of(net, *data)), rtol=1e-6)


@pytest.mark.long
def test_its_decisions_are_those_of_the_projects_own_training_loop(data):
    """The same network, batches and rule, in ``SimpleSequential.train_epoch`` and ``LossBasedLRv1``."""
    attempts, (x, y) = 25, data
    model = SimpleSequential('m', (8, 8, 1), CNN, BiasMode.FIRST_LAYER, seed=1)
    net = keras.models.clone_model(model.net)
    net.set_weights(model.net.get_weights())
    log_loss = math.log(model.test(x, y)['loss'])
    scheduler, expected = LossBasedLRv1(0.5), []
    scheduler.use_frame(log_loss)
    alpha = scheduler.get().lr
    for _ in range(attempts):
        model.keep()
        model.train_epoch(x, y, np.arange(N), N, alpha, log_loss)
        loss = model.test(x, y, log_frame=log_loss)['loss']
        decision = scheduler.get({'stats': {'loss': loss}, 'log_frame': log_loss})
        if decision.cmd == 'go':
            log_loss += math.log(loss)
        else:
            model.roll_back()
        expected.append((alpha, decision.cmd == 'go', log_loss))
        alpha = decision.lr
    net.compile(keras.optimizers.SGD(), HPSparseSoftmaxCrossEntropy(log_frame=0.0))
    history = net.fit(x, y, batch_size=N, shuffle=False, epochs=attempts, callbacks=[LossBasedLR(x, y, 0.5)],
                      verbose=0).history
    alphas, accepted, log_losses = zip(*expected)
    assert 5 < sum(accepted) < attempts - 3, 'or there is nothing to agree upon'
    assert history['accepted'] == list(accepted)
    assert history['alpha'] == list(alphas)
    np.testing.assert_allclose(history['log_loss'], log_losses, rtol=1e-4)


@pytest.mark.long
@pytest.mark.parametrize('jit_compile', [False, pytest.param(True, marks=pytest.mark.long)])
def test_a_rejected_epoch_leaves_no_trace_in_weights_moving_statistics_or_optimizer(jit_compile, data):
    net = network(L.Conv2D(4, 3), L.BatchNormalization(), L.ReLU())
    net.compile(keras.optimizers.SGD(momentum=0.5), HPSparseSoftmaxCrossEntropy(log_frame=0.0), jit_compile=jit_compile)
    before, rate, after = Recorder(), LossBasedLR(*data, lr=3.0), Recorder()
    history = net.fit(*data, batch_size=100, epochs=12, callbacks=[before, rate, after], verbose=0).history
    accepted = history['accepted']
    assert 1 < sum(accepted) < 11
    for i, kept in enumerate(accepted):
        assert not same(before.begun[i], before.ended[i]), 'an epoch moves the model'
        assert same(after.ended[i], before.ended[i] if kept else before.begun[i])
    assert same(after.ended[-1], after.state())
    net.fit(*data, batch_size=100, verbose=0)  # as if the last call had been interrupted here
    rate.roll_back()
    assert same(after.ended[-1], after.state())


def test_weights_that_are_not_finite_are_a_rejected_epoch(data):
    net = network(dense())
    net.compile(keras.optimizers.SGD(), HPSparseSoftmaxCrossEntropy(log_frame=0.0))
    start = net.get_weights()
    history = net.fit(*data, epochs=2, callbacks=[LossBasedLR(*data, lr=1e30, alpha2=1e33)], verbose=0).history
    assert history['accepted'] == [0, 1] and np.isfinite(history['log_loss']).all()
    assert history['alpha'] == [1e30, 1e30 / 1e33] and not same(start, net.get_weights())


@pytest.mark.long
def test_without_a_frame_the_rate_is_alpha_over_the_loss_and_training_ends_with_float32(fitted, data):
    keras.utils.set_random_seed(0)
    net, rates = at_log_loss(fitted, -77, data), []
    net.compile(keras.optimizers.SGD(), keras.losses.SparseCategoricalCrossentropy(from_logits=True),
                steps_per_execution=20)
    rate = LossBasedLR(*data, lr=1e-5)
    watch = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: rates.append(
        (float(net.optimizer.learning_rate), rate.alpha / math.exp(logs['log_loss']))))
    with pytest.warns(UserWarning, match=r'the loss is 10\^-3.*HPSparseSoftmaxCrossEntropy\(log_frame=0.0\)'):
        history = net.fit(*data, batch_size=20, epochs=100, callbacks=[rate, watch], verbose=0).history
    np.testing.assert_allclose(*zip(*rates), rtol=1e-6)
    assert 1 < len(history['log_loss']) < 100 and history['log_loss'][-1] < -80 <= history['log_loss'][-2]
    with pytest.raises(ValueError, match='compile the model with HPSparseSoftmaxCrossEntropy'):
        net.fit(*data, verbose=0, callbacks=[rate])


def refusing(match, error=ValueError):
    return pytest.raises(error, match=match)


@pytest.mark.long
def test_a_model_or_samples_of_the_wrong_kind_are_refused_in_a_sentence(data):
    x, y = data
    for callback in (LossBasedLR, MarginMonitor):
        with refusing('for one-hot labels give y.argmax'):
            callback(x, np.eye(10)[y])
        with refusing('x has 400 samples, y has 399 labels'):
            callback(x, y[1:])
        with refusing('not a dataset', TypeError):
            callback(tf.data.Dataset.from_tensor_slices(x), y)

        def fit(net, y=y, optimizer='sgd', callback=callback):
            net.compile(optimizer, HPSparseSoftmaxCrossEntropy(log_frame=0.0))
            net.fit(x, data[1], verbose=0, callbacks=[callback(x, y)])

        with refusing('gives probabilities.* without softmax'):
            fit(keras.Sequential([keras.Input((8, 8, 1)), L.Flatten(), L.Dense(10), L.Softmax()]))
        with refusing(r'labels must be in 0\.\.9; these go from 0 to 19'):
            fit(network(), np.where(y == 9, 19, y))
        net = keras.Sequential([keras.Input((8, 8, 1)), L.Dense(10)])
        net.compile('sgd', keras.losses.MeanSquaredError())
        with refusing(r'shape \[N, C\], a column for each class, not \[None, 8, 8, 10\]'):
            net.fit(x, np.zeros((N, 8, 8, 10)), verbose=0, callbacks=[callback(x, y)])
    with refusing('alpha2 must be a finite number above 1'):
        LossBasedLR(x, y, alpha2=1)
    schedule = keras.optimizers.schedules.ExponentialDecay(0.1, 10, 0.9)
    with refusing('must be a number, as in keras.optimizers.SGD', TypeError):
        fit(network(), optimizer=keras.optimizers.SGD(schedule), callback=LossBasedLR)
    for option in ({'weight_decay': 0.1}, {'clipnorm': 1.0}):
        with refusing('steps must be proportional to the gradient'):
            fit(network(), optimizer=keras.optimizers.SGD(**option), callback=LossBasedLR)
    with refusing('such as those of regularizers'):
        fit(network(L.Dense(4, kernel_regularizer='l2')), callback=LossBasedLR)
    net = network()
    net.set_weights([np.full_like(w, np.nan) for w in net.get_weights()])
    with refusing('not finite before the first epoch'):
        fit(net, callback=LossBasedLR)


# ---- the statistics ----

def assert_same_stats(stats, expected):
    missing = {'loss', 'test_loss', 'test_acc'}  # what Keras itself reports
    assert list(stats) == [k for k in expected if k not in missing]
    for key, value in stats.items():
        np.testing.assert_allclose(value, expected[key], rtol=1e-5, atol=1e-12, err_msg=key)


@pytest.mark.long
@pytest.mark.parametrize('bias_mode, act_type', [
    pytest.param(BiasMode.NONE, 'relu', marks=pytest.mark.long), (BiasMode.FIRST_LAYER, 'relu'),
    pytest.param(BiasMode.ALL, 'relu', marks=pytest.mark.long), (BiasMode.NONE, 'relu2')])
def test_the_statistics_are_those_of_the_projects_own_model(bias_mode, act_type, data):
    model = SimpleSequential('m', (8, 8, 1), CNN, bias_mode, act_type=act_type, seed=1)
    expected = [model.get_stats((data, data))[0]]
    model.net.compile(keras.optimizers.SGD(0.01), HPSparseSoftmaxCrossEntropy())
    monitor, start = MarginMonitor(*data, batch_size=150), []
    model.net.fit(*data, epochs=2, verbose=0, callbacks=[
        monitor, keras.callbacks.LambdaCallback(
            on_train_begin=lambda logs: start.append(monitor.stats),
            on_epoch_end=lambda epoch, logs: expected.append(model.get_stats((data, data))[0]))])
    assert (monitor.order, monitor.is_homogeneous) == (model.norms().order, model.is_homogeneous)
    assert monitor.layers == ('conv1', 'fc3', 'fc4')
    assert_same_stats(start[0], expected[0])
    for i in (0, 1):
        assert_same_stats({k: v[i] for k, v in monitor.history.items()}, expected[i + 1])
    assert monitor.stats['rho'] != start[0]['rho']


class Subclassed(keras.Model):
    """The network of CNN, in parts, and without an argument ``training``."""

    def __init__(self, parts):
        super().__init__()
        self.parts = parts

    def call(self, inputs):
        for part in self.parts:
            inputs = part(inputs)
        return inputs


@pytest.mark.long
@pytest.mark.parametrize('kind', ['nested', 'subclassed'])
def test_however_a_network_is_put_together_its_statistics_are_the_same(kind, data):
    model = SimpleSequential('m', (8, 8, 1), CNN, BiasMode.ALL, init={'weight': 'he_normal', 'bias': 'random_normal'},
                             seed=1)
    expected = model.get_stats((data, data))[0]
    layers = [layer for layer in model.net.layers if not isinstance(layer, L.InputLayer)]
    inner = keras.Sequential([keras.Input((8, 8, 1)), *layers[:4]])
    if kind == 'nested':
        inputs = keras.Input((8, 8, 1))
        net = keras.Model(inputs, keras.Sequential(layers[4:])(inner(inputs)))
    else:
        net = Subclassed([inner, *layers[4:]])
    net.compile(keras.optimizers.SGD(0.0), HPSparseSoftmaxCrossEntropy())
    monitor = MarginMonitor(*data)
    net.fit(*data, batch_size=N, verbose=0, callbacks=[monitor])
    assert monitor.layers == ('conv1', 'fc3', 'fc4')
    assert_same_stats(monitor.stats, expected)


@pytest.mark.long
def test_batch_normalisation_is_measured_with_its_moving_statistics_and_its_gammas_are_a_layer(data):
    x, y = data
    net = network(L.Conv2D(4, 3), L.BatchNormalization(), L.ReLU())
    net.compile(keras.optimizers.SGD(0.1), HPSparseSoftmaxCrossEntropy())
    monitor = MarginMonitor(x, y)
    net.fit(x, y, epochs=2, verbose=0, callbacks=[monitor])
    logits = net.predict(x, verbose=0)
    right = logits[np.arange(N), y].copy()
    logits[np.arange(N), y] = -np.inf
    np.testing.assert_allclose(monitor.stats['q_min'], (right - logits.max(axis=1)).min(), rtol=1e-5)
    conv, bn, dense = net.layers[0], net.layers[1], net.layers[-1]
    norms = [np.linalg.norm(np.concatenate([v.numpy().ravel() for v in vs]))
             for vs in (conv.weights, [bn.gamma], [dense.kernel])]
    assert not monitor.is_homogeneous and monitor.degrees == (1, 1, 1)
    np.testing.assert_allclose([monitor.stats[f'rho_{i}'] for i in range(3)], norms, rtol=1e-6)
    np.testing.assert_allclose(monitor.stats['norm_prod'], np.prod(norms), rtol=1e-6)


@pytest.mark.long
def test_after_the_rate_it_measures_the_weights_kept_and_both_are_in_keras_logs(data, capsys):
    net = network(dense())
    net.compile(keras.optimizers.SGD(), HPSparseSoftmaxCrossEntropy(log_frame=0.0))
    monitor = MarginMonitor(*data, log=('q_min', 'rho_1'))
    history = net.fit(*data, batch_size=50, epochs=12, verbose=1, callbacks=[
        LossBasedLR(*data, lr=1.0), monitor, keras.callbacks.CSVLogger('log.csv')]).history
    assert 0 < sum(history['accepted']) < 12
    assert list(history) == ['loss', 'log_loss', 'alpha', 'accepted', 'q_min', 'rho_1']
    assert monitor.history['log_loss'] == history['log_loss'] and monitor.history['q_min'] == history['q_min']
    for i in range(1, 12):
        if not history['accepted'][i]:
            assert all(values[i] == values[i - 1] for values in monitor.history.values())
    with open('log.csv') as f:
        rows = list(csv.DictReader(f))
    assert [float(row['q_min']) for row in rows] == history['q_min']
    assert [row['accepted'] for row in rows] == list(map(str, history['accepted']))
    bar = capsys.readouterr().out
    assert bar.count('Epoch ') == 12 and 'rho_1' in bar and 'norm_prod' not in bar


@pytest.mark.long
def test_measuring_is_traced_once_and_not_again_in_every_epoch(data):
    traced = []

    class Counting(L.Layer):
        def call(self, inputs):
            traced.append(1)
            return inputs

    net, counts = network(Counting(), dense()), []
    net.compile(keras.optimizers.SGD(), HPSparseSoftmaxCrossEntropy(log_frame=0.0))
    callbacks = [LossBasedLR(*data, batch_size=150), MarginMonitor(*data, batch_size=150),
                 keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: counts.append(len(traced)))]
    net.fit(*data, epochs=4, verbose=0, callbacks=callbacks)
    assert len(set(counts)) == 1, counts


@pytest.mark.long
def test_inputs_may_be_a_dictionary_of_tensors_and_labels_a_column(data):
    x, y = data
    inputs = {'left': keras.Input((8, 4, 1), name='left'), 'right': keras.Input((8, 4, 1), name='right')}
    h = L.Flatten()(L.Concatenate(axis=2)([inputs['left'], inputs['right']]))
    net = keras.Model(inputs, L.Dense(10, use_bias=False)(h))
    whole = keras.Sequential([keras.Input((8, 8, 1)), L.Flatten(), L.Dense(10, use_bias=False)])
    whole.set_weights(net.get_weights())
    parts = {'left': tf.constant(x[:, :, :4]), 'right': tf.constant(x[:, :, 4:])}
    monitors = MarginMonitor(parts, y[:, np.newaxis]), MarginMonitor(x.astype(np.float64), y.astype(np.uint8))
    for model, samples, monitor in ((net, parts, monitors[0]), (whole, x, monitors[1])):
        model.compile(keras.optimizers.SGD(0.0), HPSparseSoftmaxCrossEntropy())
        model.fit(samples, y, verbose=0, callbacks=[monitor])
    assert_same_stats(monitors[0].stats, monitors[1].stats)


def test_a_statistic_that_there_is_not_is_refused_and_so_is_a_model_with_nothing_to_train(data):
    net = network()
    net.compile('sgd', HPSparseSoftmaxCrossEntropy())
    with refusing(r"there is no statistic 'q_bar_mni'; did you mean 'q_bar_min'\?"):
        net.fit(*data, verbose=0, callbacks=[MarginMonitor(*data, log=['q_bar_mni'])])
    net.trainable = False
    net.compile('sgd', HPSparseSoftmaxCrossEntropy())
    with refusing('no trainable variables'):
        net.fit(*data, verbose=0, callbacks=[MarginMonitor(*data)])


@pytest.mark.long
def test_the_example_runs_from_anywhere_and_draws(tmp_path):
    example = Path(__file__).resolve().parents[1] / 'examples/keras-margin.py'
    command = [sys.executable, example, '--epochs', '4', '--out', 'margin.png']
    run = subprocess.run(command, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert run.stdout.splitlines()[0].startswith('4 attempts, ') and run.stdout.endswith('margin.png written\n')
    assert (tmp_path / 'margin.png').read_bytes().startswith(b'\x89PNG')
