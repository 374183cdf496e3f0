"""The quick network against the network: the same function with the same gradient, whatever the network is."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from models.attacks.quick_gradient import quick_to_differentiate

L = keras.layers


class Twice(L.Conv2D):
    def call(self, inputs):
        return 2 * super().call(inputs)


class Sure(keras.Sequential):
    def call(self, inputs, **kwargs):
        return 5 * super().call(inputs, **kwargs)


class OnlyStart(L.Conv2D):
    def convolution_op(self, inputs, kernel):
        return super().convolution_op(inputs - 0.5, kernel)


def network(first: keras.Layer, *others: keras.Layer, kind=keras.Sequential, channels: int = 2, dtype: str = 'float32'):
    keras.utils.set_random_seed(3)
    net = kind([keras.Input((9, 10, channels), dtype=dtype), first, *others, L.Flatten(), L.Dense(4)])
    first.bias.assign(np.linspace(-1, 1, first.bias.shape[0]))
    return net


def functional(call) -> keras.Model:
    x = keras.Input((9, 10, 2))
    return keras.Model(x, L.Dense(4)(L.Flatten()(call(L.Conv2D(6, 3)(x)))))


def check(net: keras.Model, quick) -> None:
    """Logits and the gradient of their weighted sum; once traced, too."""
    x = tf.constant(np.random.default_rng(0).uniform(size=(5, 9, 10, net.input_shape[-1])), tf.float32)
    found = []
    for function in (lambda x: net(x, training=False), quick, tf.function(quick)):
        with tf.GradientTape() as tape:
            tape.watch(x)
            logits = function(x)
            total = tf.reduce_sum(logits * tf.cast([1, -2, 3, -4], logits.dtype))
        found.append((logits.numpy(), tape.gradient(total, x).numpy()))
    rtol = 1e-4 if net.compute_dtype in ('float32', 'float64') else 1e-2
    for logits, gradient in found[1:]:
        assert logits.dtype == found[0][0].dtype
        np.testing.assert_allclose(logits, found[0][0], rtol=rtol, atol=rtol * np.abs(found[0][0]).max())
        np.testing.assert_allclose(gradient, found[0][1], rtol=rtol, atol=rtol * np.abs(found[0][1]).max())


@pytest.mark.long(after=1)
@pytest.mark.parametrize('make', [
    lambda: network(L.Conv2D(6, (3, 5), padding='same', activation='relu'), L.MaxPooling2D(), channels=1),
    lambda: network(L.Conv2D(6, (4, 2), activation=None), channels=3), lambda: network(L.Conv2D(6, 3), L.Dropout(0.5)),
    lambda: network(L.Conv2D(6, 3), L.BatchNormalization(), Twice(3, 3), L.ReLU()),
    lambda: network(L.Conv2D(6, 3, activation='gelu'), L.Dense(4, dtype='float64')),
    lambda: functional(lambda h: L.Dropout(0.5)(h, training=False))])
def test_a_network_that_begins_with_a_plain_convolution_is_quick(make):
    net = make()
    quick = quick_to_differentiate(net)
    assert quick.__name__ == 'call', 'the quick way was taken'
    check(net, quick)


@pytest.mark.long(after=3)
@pytest.mark.parametrize('make', [
    lambda: network(Twice(6, 3)), lambda: network(OnlyStart(6, 3)), lambda: network(L.Conv2D(6, 3), kind=Sure),
    lambda: network(L.Conv2D(6, 3, groups=2, strides=1)), lambda: network(L.Conv2D(6, 3, strides=2)),
    lambda: network(L.Conv2D(6, 3, dilation_rate=2)), lambda: network(L.Conv2D(6, 3), channels=5),
    lambda: network(L.Conv2D(6, 3, dtype='mixed_float16')), lambda: network(L.Conv2D(6, 3, dtype='bfloat16')),
    lambda: network(L.Conv2D(6, 3, dtype='float64')), lambda: network(L.Conv2D(6, 3), dtype='float16'),
    lambda: network(L.Conv2D(6, 3, lora_rank=2)), lambda: functional(lambda h: 2 * h),
    lambda: functional(lambda h: L.Add()([h, h])), lambda: functional(lambda h: L.Dropout(0.5)(h, training=True)),
    lambda: network(L.SeparableConv2D(6, 3)), lambda: network(L.Conv2DTranspose(6, 3))])
def test_any_other_network_is_itself(make):
    net = make()
    quick = quick_to_differentiate(net)
    assert quick.__name__ == '<lambda>'
    check(net, quick)


def adapt(net):
    net.layers[0].enable_lora(2)
    net.layers[0].lora_kernel_b.assign(np.ones(net.layers[0].lora_kernel_b.shape))


def replace_call(net):
    net.layers[0].call = lambda x: L.Conv2D.call(net.layers[0], x) ** 2


def replace_net(net):
    net.call = lambda x, **kwargs: 3 * keras.Sequential.call(net, x, **kwargs)


@pytest.mark.long(after=2)
@pytest.mark.parametrize('change', [
    adapt, replace_call, replace_net, lambda net: setattr(net.layers[0], 'activation', None),
    lambda net: setattr(net.layers[0], 'activation', keras.activations.gelu),
    lambda net: setattr(net.layers[-1], 'dtype_policy', 'float64')])
def test_what_becomes_of_a_network_afterwards_counts(change):
    net = network(L.Conv2D(6, 3))
    quick = quick_to_differentiate(net)
    check(net, quick)
    change(net)
    check(net, quick)


def test_with_channels_first_the_network_is_itself():
    net = keras.Sequential([keras.Input((2, 9, 10)), L.Conv2D(6, 3, data_format='channels_first'), L.Flatten(),
                            L.Dense(4)])
    assert quick_to_differentiate(net).__name__ == '<lambda>'
