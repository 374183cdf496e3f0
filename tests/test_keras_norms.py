"""What the callbacks take for kernels, logits, labels and numbers."""

from __future__ import annotations

import math

import keras
import numpy as np
import pytest
from test_keras_users import L

from models import HPSparseSoftmaxCrossEntropy, LossBasedLR, MarginMonitor

N = 60


@pytest.fixture(scope='module')
def data(digits):
    (x, y), _ = digits
    return x[:N], y[:N]


def network(*layers, outputs=10, policy='float32'):
    keras.utils.set_random_seed(1)
    return keras.Sequential([keras.Input((8, 8, 1)), *layers, L.Flatten(),
                             L.Dense(outputs, use_bias=False, dtype=policy)])


def monitor_of(net, data):
    """The monitor, having measured the weights as they are."""
    net.compile(keras.optimizers.SGD(0.0), HPSparseSoftmaxCrossEntropy())
    monitor = MarginMonitor(*data)
    monitor.set_model(net)
    monitor.on_train_begin()
    return monitor


def norm(*variables):
    return math.sqrt(sum(float(np.sum(np.square(v.numpy(), dtype=np.float64))) for v in variables))


def conv(**options):
    return L.Conv2D(4, 3, bias_initializer='ones', **options)


@pytest.mark.long(after=1)
@pytest.mark.parametrize('make, kernels, degrees, is_homogeneous', [
    (lambda: [conv(), L.BatchNormalization(scale=False), L.ReLU()], lambda n: [n[0].weights, n[-1].weights], (1, 1),
     False),
    (lambda: [L.BatchNormalization(scale=False), conv()], lambda n: [n[1].weights, n[-1].weights], (1, 1), False),
    (lambda: [conv(), L.LayerNormalization(), L.ReLU()], lambda n: [n[0].weights, [n[1].gamma], n[-1].weights], None,
     False),
    (lambda: [conv(), L.GroupNormalization(2, scale=False)], lambda n: [n[0].weights, n[-1].weights], None, False),
    (lambda: [conv(use_bias=False), L.Flatten(), L.RMSNormalization()],
     lambda n: [n[0].weights, [n[2].scale], n[-1].weights], (0, 1, 1), True),
    (lambda: [conv(use_bias=False), L.Flatten(), L.UnitNormalization()], lambda n: [n[0].weights, n[-1].weights],
     (0, 1), True),
    (lambda: [L.Normalization(mean=0.5, variance=4.0), conv()], lambda n: [n[1].weights, n[-1].weights], (1, 1), True),
    (lambda: [conv(), L.SpectralNormalization(conv()), L.ReLU()],
     lambda n: [n[0].weights, [n[1].layer.kernel], n[-1].weights], (1, 1, 1), False),
    (lambda: [L.SpectralNormalization(conv()), L.ReLU()], lambda n: [n[0].layer.weights, n[-1].weights], (1, 1), True),
    (lambda: [conv(), L.PReLU(alpha_initializer='ones')], lambda n: [n[0].weights, n[-1].weights], (1, 1), False),
    (lambda: [conv(), L.PReLU()], lambda n: [n[0].weights, n[-1].weights], (1, 1), False),
    (lambda: [L.SeparableConv2D(4, 3, use_bias=False)], lambda n: [n[0].weights, n[-1].weights], (2, 1), True),
    (lambda: [conv(kernel_constraint='non_neg'), conv(trainable=False, use_bias=False)],
     lambda n: [n[0].weights, n[-1].weights], (1, 1), True),
    (lambda: [L.Reshape((8, 8)), L.Bidirectional(L.SimpleRNN(3))],
     lambda n: [n[1].forward_layer.weights, n[1].backward_layer.weights[:2], n[-1].weights], None, False),
    (lambda: [L.Reshape((8, 8)), L.TimeDistributed(L.EinsumDense('ab,bc->ac', 5, bias_axes='c'))],
     lambda n: [n[1].layer.weights, n[-1].weights], (1, 1), True),
])
def test_norms_are_of_what_acts_as_a_kernel(make, kernels, degrees, is_homogeneous, data):
    keras.utils.set_random_seed(1)
    net = network(*make())
    monitor = monitor_of(net, data)
    expected = [norm(*vs) for vs in kernels(net.layers)]
    np.testing.assert_allclose([monitor.stats[f'rho_{i}'] for i in range(len(monitor.layers))], expected, rtol=1e-6)
    assert monitor.degrees == (degrees or (1,) * len(expected)) and monitor.is_homogeneous == is_homogeneous
    np.testing.assert_allclose(monitor.stats['norm_prod'], np.prod(np.power(expected, monitor.degrees)), rtol=1e-6)


@pytest.mark.long
@pytest.mark.parametrize('policy', ['mixed_float16', 'mixed_bfloat16', 'float64', 'float16', 'bfloat16'])
def test_degrees_do_not_depend_on_the_precision_of_the_network(policy, data):
    keras.utils.set_random_seed(1)
    hidden = [L.Dense(32, 'relu', use_bias=False, dtype=policy) for _ in range(3)]
    net = network(conv(dtype=policy), L.ReLU(dtype=policy), *hidden, policy=policy)
    net.layers[0].bias.assign(np.full(4, 0.5))
    before = [layer.dtype_policy.name for layer in net.layers]
    monitor = monitor_of(net, data)
    assert (monitor.degrees, monitor.is_homogeneous) == ((1,) * 5, True)
    assert [layer.dtype_policy.name for layer in net.layers] == before
    np.testing.assert_allclose(monitor.stats['rho_0'], norm(*net.layers[0].weights), rtol=1e-6)
    np.testing.assert_allclose(monitor.stats['log_loss'], math.log(net.evaluate(*data, verbose=0)), rtol=2e-2)
    net = network(conv(dtype=policy), conv(dtype=policy), policy=policy)
    assert monitor_of(net, data).degrees == (1, 1, 1) and not monitor_of(net, data).is_homogeneous


def low_rank():
    net = network(L.Flatten(), L.Dense(6))
    net.layers[1].enable_lora(2)
    return net


def quantised():
    net = network(L.Flatten(), L.Dense(6))
    net.layers[1].quantize('int8')
    return net


@pytest.mark.long(after=2)
@pytest.mark.parametrize('make, match', [
    (low_rank, r"layer 'dense.*' has LoRA"), (quantised, r"layer 'dense.*' is quantised to int8"),
    (lambda: keras.Sequential([keras.Input((8, 8, 1)), L.Dense(10, trainable=False), L.Flatten(),
                               L.Dense(10, trainable=False), L.BatchNormalization(scale=False)]), 'are kernels'),
    (lambda: network(outputs=1), 'the model gives one logit'),
    (lambda: keras.Sequential([network(), L.Softmax(), L.Activation('linear')]), 'gives probabilities'),
    (lambda: network(outputs=7), r'labels must be in 0\.\.6; these go from 0 to 9'),
])
def test_a_network_without_kernels_or_logits_is_refused_before_training(make, match, data):
    with pytest.raises(ValueError, match=match):
        monitor_of(make(), data)


def test_averaged_weights_are_not_those_of_the_last_statistics(data):
    net = network()
    net.compile(keras.optimizers.SGD(use_ema=True), HPSparseSoftmaxCrossEntropy())
    with pytest.warns(UserWarning, match='with use_ema, fit ends with averages of the weights'):
        net.fit(*data, verbose=0, callbacks=[MarginMonitor(*data)])


@pytest.mark.long
@pytest.mark.filterwarnings('ignore:Model doesn.t support `jit_compile')
def test_what_only_xla_runs_is_measured_with_xla(data):
    x, y = data[0].transpose(0, 3, 1, 2), data[1]
    for jit_compile in (True, False):
        net = keras.Sequential([keras.Input((1, 8, 8)), conv(data_format='channels_first'), L.Flatten(), L.Dense(10)])
        net.compile('sgd', HPSparseSoftmaxCrossEntropy(0.0), jit_compile=jit_compile)
        try:
            history = net.fit(x, y, verbose=0, callbacks=[LossBasedLR(x, y)]).history
            assert jit_compile and np.isfinite(history['log_loss'][0])
        except ValueError as e:
            assert not jit_compile and 'channels_last' in str(e)


# ---- arguments ----

NAN = math.nan


@pytest.mark.parametrize('options, match', [
    *[({'batch_size': b}, 'batch_size must be a whole number of at least 1') for b in (0, -1, 2.5, True, NAN, '8')],
    *[({'lr': b}, 'lr must be a finite number above 0') for b in (0, NAN, math.inf, True, 'fast')],
    *[({'alpha1': b}, 'alpha1 must be a finite number') for b in (NAN, math.inf, 0.9)],
    *[({'eps': b}, 'eps must be a finite number') for b in (NAN, -1, math.inf)],
    *[({'log': b}, 'log must be a list of names') for b in ('q_min', [3], None, 3)],
])
def test_a_number_that_is_none_is_refused_when_the_callback_is_made(options, match, data):
    kinds = [LossBasedLR] if set(options) & {'lr', 'alpha1', 'eps'} else [MarginMonitor]
    for callback in [*kinds, *([LossBasedLR] if 'batch_size' in options else [])]:
        with pytest.raises(ValueError, match=match):
            callback(*data, **options)


def test_samples_that_are_none_are_refused_when_the_callback_is_made(data):
    x, y = data
    spoilt = x.copy()
    spoilt[3, 2, 2] = NAN
    for callback in (LossBasedLR, MarginMonitor):
        for a, b, match in ((x, y - 1, 'these go from -1 to 8'), (x, y.astype(float), 'not float64'),
                            (x[:0], y[:0], 'have no samples'), (x, y[:-1], 'x has 60 samples, y has 59 labels'),
                            ([x, x[1:]], y, 'x has 59 and 60 samples'), (spoilt, y, 'x must be finite'),
                            (x, np.eye(10, dtype=int)[y], r'give y.argmax\(axis=1\)'),
                            (x, [[1], [1, 2]], 'labels must be integers')):
            with pytest.raises(ValueError, match=match):
                callback(a, b)
        for a in ((i for i in range(3)), keras.utils.PyDataset(), object()):
            with pytest.raises(TypeError, match='x must be arrays or tensors, not a'):
                callback(a, y)
