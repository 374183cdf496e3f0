"""The loss-based rate with every optimizer and every option that Keras has, and under every policy."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from test_keras_users import L, Recorder, same

from models import HPSparseSoftmaxCrossEntropy, LossBasedLR

O = keras.optimizers
N = 100
PROPORTIONAL = 'with a frame, steps must be proportional to the gradient'
OF_KERAS = sorted({name for name in dir(O) if isinstance(getattr(O, name), type) and name[0].isupper()}
                  - {'Optimizer', 'OptimizerMap', 'LossScaleOptimizer', 'MultiOptimizer'})

UNLIKE = ('Adafactor', 'Adam', 'Ftrl', 'Muon', 'SGD', 'ScheduleFreeAdamW')
"""The others differ from one of these in the formula of a step alone."""


@pytest.fixture(scope='module')
def data(digits):
    (x, y), _ = digits
    return x[:N] + np.float32(0.1), y[:N]  # at pixels that are always 0, Keras's Adafactor divides 0 by 0


def network(policy='float32'):
    keras.utils.set_random_seed(1)
    return keras.Sequential([keras.Input((8, 8, 1)), L.Flatten(), L.Dense(8, 'relu', dtype=policy),
                             L.Dense(10, use_bias=False, dtype=policy)])


def multi():
    return O.MultiOptimizer(O.OptimizerMap(O.SGD(), {'.*/kernel': O.SGD(momentum=0.5)}))


def framed():
    return HPSparseSoftmaxCrossEntropy(log_frame=0.0)


def unframed():
    return keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def fit(net, data, rate, epochs=1):
    return net.fit(*data, batch_size=50, epochs=epochs, shuffle=False, callbacks=[rate], verbose=0).history


class Spoiling(keras.callbacks.Callback):
    """Makes the loss rise in an epoch, whatever the optimizer did in it."""

    def __init__(self, spoilt):
        super().__init__()
        self.spoilt = spoilt

    def on_epoch_end(self, epoch, logs=None):
        if epoch == self.spoilt:
            for v in self.model.trainable_variables:
                v.assign(10 * np.random.default_rng(0).normal(size=v.shape))


def assert_rejected_epochs_leave_no_trace(net, data, lr, spoilt=1):
    before, rate, after = Recorder(), LossBasedLR(*data, lr=lr, eps=0.5), Recorder()
    history = net.fit(*data, batch_size=50, epochs=3, verbose=0,
                      callbacks=[Spoiling(spoilt), before, rate, after]).history
    assert history['accepted'] == [int(i != spoilt) for i in range(3)]
    for i, kept in enumerate(history['accepted']):
        assert not same(before.begun[i], before.ended[i])
        assert same(after.ended[i], before.ended[i] if kept else before.begun[i])
    assert same(after.ended[-1], after.state()), 'fit ends with the weights of the last accepted epoch'
    logits, y = net.predict(data[0], verbose=0).astype(np.float64), data[1]
    loss = np.mean(np.log(np.exp(logits - logits[np.arange(N), y][:, np.newaxis]).sum(axis=1)))
    np.testing.assert_allclose(history['log_loss'][-1], np.log(loss), atol=1e-3)


@pytest.mark.long(after=1)
@pytest.mark.parametrize('name', [pytest.param(name, marks=[] if name in UNLIKE else pytest.mark.long)
                                  for name in OF_KERAS])
def test_an_optimizer_goes_back_whole_and_takes_a_frame_only_if_its_steps_are_proportional(name, data):
    net = network()
    net.compile(getattr(O, name)(), unframed())
    assert_rejected_epochs_leave_no_trace(net, data, 1e-3)
    if name != 'SGD':
        net.compile(getattr(O, name)(), framed())
        with pytest.raises(ValueError, match=f'{PROPORTIONAL}.* not of {name}; use SGD'):
            fit(net, data, LossBasedLR(*data))


@pytest.mark.long(after=1)
@pytest.mark.parametrize('optimizer', [
    lambda: O.SGD(momentum=0.9, nesterov=True), lambda: O.SGD(gradient_accumulation_steps=2),
    lambda: O.LossScaleOptimizer(O.SGD(momentum=0.5), dynamic_growth_steps=3), multi,
    lambda: O.SGD(loss_scale_factor=128.0, weight_decay=0.0), lambda: 'sgd',
    lambda: {'class_name': 'SGD', 'config': {'momentum': 0.5}},
], ids=['nesterov', 'accumulation', 'loss scale', 'multi', 'options that cancel out', 'name', 'config'])
def test_options_and_wrappers_go_back_whole(optimizer, data):
    net = network()
    net.compile(optimizer(), framed())
    assert_rejected_epochs_leave_no_trace(net, data, 0.1)


@pytest.mark.long
@pytest.mark.parametrize('options', [{'steps_per_execution': 3}, {'run_eagerly': True}, {'jit_compile': True}], ids=str)
def test_however_it_is_compiled_it_goes_back_whole(options, data):
    net = network()
    net.compile(O.SGD(momentum=0.5), framed(), **options)
    assert_rejected_epochs_leave_no_trace(net, data, 0.1)


@pytest.mark.long(after=1)
@pytest.mark.parametrize('policy', ['mixed_float16', 'mixed_bfloat16', 'float64'])
def test_under_a_policy_compile_may_wrap_the_optimizer_and_it_goes_back_whole(policy, data):
    keras.config.set_dtype_policy(policy)
    try:
        net = network(policy)
    finally:
        keras.config.set_dtype_policy('float32')
    net.compile(O.SGD(momentum=0.5), framed())
    assert isinstance(net.optimizer, O.LossScaleOptimizer) == (policy == 'mixed_float16')
    assert_rejected_epochs_leave_no_trace(net, data, 0.1)
    net.compile(O.SGD(clipnorm=1.0), framed())
    with pytest.raises(ValueError, match=PROPORTIONAL):
        fit(net, data, LossBasedLR(*data))


class Subclassed(keras.Model):
    """Not built before ``fit``, which then builds neither it nor its optimizer before the callbacks begin."""

    def __init__(self):
        super().__init__()
        self.parts = [L.Flatten(), L.Dense(8, 'relu'), L.Dense(10)]

    def call(self, inputs):
        for part in self.parts:
            inputs = part(inputs)
        return inputs


@pytest.mark.long(after=1)
@pytest.mark.parametrize('make', [Subclassed, lambda: keras.Sequential([L.Flatten(), L.Dense(10)])])
def test_a_model_that_is_not_built_before_fit_goes_back_with_the_momentum_of_its_optimizer(make, data):
    keras.utils.set_random_seed(1)
    net = make()
    net.compile(O.SGD(momentum=0.9), framed())
    assert_rejected_epochs_leave_no_trace(net, data, 0.1, spoilt=0)


@pytest.mark.long(after=3)
@pytest.mark.parametrize('optimizer, error, match', [
    (lambda: O.SGD(use_ema=True), ValueError, 'averages of the weights instead'),
    (lambda: O.SGD(use_ema=True, ema_overwrite_frequency=2), ValueError, 'averages of the weights instead'),
    (lambda: O.LossScaleOptimizer(O.SGD(use_ema=True)), ValueError, 'averages of the weights instead'),
    (lambda: O.SGD(lambda: 0.1), TypeError, 'must be a number'),
    (lambda: O.LossScaleOptimizer(O.SGD(O.schedules.CosineDecay(0.1, 5))), TypeError, 'must be a number'),
    (lambda: O.LossScaleOptimizer(O.Adam()), ValueError, PROPORTIONAL),
    (lambda: O.LossScaleOptimizer(O.SGD(global_clipnorm=1.0)), ValueError, PROPORTIONAL),
    (lambda: O.SGD(clipvalue=1.0), ValueError, PROPORTIONAL),
    (lambda: O.MultiOptimizer(O.OptimizerMap(O.SGD(), {'.*/bias': O.Adam()})), ValueError, PROPORTIONAL),
    (lambda: (lambda adam: O.MultiOptimizer(lambda v: adam))(O.Adam()), ValueError, PROPORTIONAL),
    (lambda: None, TypeError, 'compiled with an optimizer'),
])
def test_what_would_end_with_other_weights_or_steps_is_refused(optimizer, error, match, data):
    net = network()
    net.compile(optimizer(), framed())
    start = net.get_weights()
    with pytest.raises(error, match=match):
        fit(net, data, LossBasedLR(*data))
    assert same(start, net.get_weights())


@pytest.mark.long
@pytest.mark.parametrize('options', [
    pytest.param({}, marks=pytest.mark.long), pytest.param({'momentum': 0.9}, marks=pytest.mark.long),
    {'momentum': 0.9, 'nesterov': True}, {'gradient_accumulation_steps': 3},
    pytest.param({'loss_scale_factor': 64.0}, marks=pytest.mark.long)], ids=str)
def test_training_with_a_frame_is_training_without_one(options, data):
    """While the loss is large enough for both; the frame moves, also between gradients that are accumulated."""
    histories, weights = [], []
    for loss in (framed(), HPSparseSoftmaxCrossEntropy()):
        net = network('float64')
        net.compile(O.SGD(**options), loss)
        histories.append(fit(net, data, LossBasedLR(*data, lr=4.0, alpha2=4.0), epochs=8))
        weights.append(net.get_weights())
    assert 0 < sum(histories[0]['accepted']) < 8 and histories[0]['log_loss'][-1] < histories[0]['log_loss'][0]
    assert histories[0]['accepted'] == histories[1]['accepted'] and histories[0]['alpha'] == histories[1]['alpha']
    np.testing.assert_allclose(histories[0]['log_loss'], histories[1]['log_loss'], rtol=1e-4)
    for a, b in zip(*weights):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4)
