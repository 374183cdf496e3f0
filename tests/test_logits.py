"""Networks that give logits, and labels that are classes, told from those that are not."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers as L

from models.logits import class_labels, require_logits

PROBABILITIES = 'the model gives probabilities; a test needs one that gives logits, without softmax'


def ending(*layers, dtype=None):
    """A network whose last layers are these, after a dense layer of 10 outputs."""
    x = h = keras.Input((8, 8, 1))
    for layer in (L.Flatten(), L.Dense(10, dtype=dtype), *layers):
        h = layer(h)
    return keras.Model(x, h)


class Subclassed(keras.Model):
    def __init__(self, last):
        super().__init__()
        self.flat, self.dense, self.last = L.Flatten(), L.Dense(10, kernel_initializer=keras.initializers.Ones()), last

    def call(self, x):
        return self.last(self.dense(self.flat(x)))


def built(net):
    net(np.zeros((2, 8, 8, 1), np.float32))
    return net


@pytest.mark.parametrize('make', [
    lambda: ending(L.Softmax()),
    lambda: ending(L.Dense(10, activation='softmax')),
    lambda: ending(L.Dense(10, activation='sigmoid')),
    lambda: ending(L.Dense(10, activation=tf.nn.softmax)),
    lambda: ending(keras.ops.softmax),
    lambda: ending(keras.ops.sigmoid),
    lambda: ending(keras.Sequential([keras.Input((10,)), L.Dense(10), L.Softmax()])),
    lambda: keras.Sequential([keras.Input((8, 8, 1)), ending(L.Softmax())]),
    lambda: ending(L.Softmax(), L.Activation('linear', dtype='float32')),
    lambda: ending(L.Softmax(), L.Dropout(0.5), L.Reshape((10,)), L.Rescaling(7.0)),
    lambda: ending(L.Softmax(), keras.Sequential([keras.Input((10,)), L.Identity()])),
    lambda: ending(L.Lambda(lambda z: tf.nn.softmax(z) * 1.0)),
    lambda: ending(L.Lambda(lambda z: tf.nn.softmax(z)), dtype='mixed_float16'),
    lambda: ending(L.Lambda(tf.nn.softmax), dtype='mixed_bfloat16'),
    lambda: ending(L.Lambda(lambda z: tf.cast(tf.nn.softmax(z), tf.float32), dtype='float32'), dtype='mixed_bfloat16'),
    lambda: ending(L.Lambda(lambda z: 30 * tf.nn.softmax(z))),
    lambda: ending(L.Lambda(lambda z: tf.square(z) / tf.reduce_sum(tf.square(z), axis=1, keepdims=True))),
])
def test_probabilities_are_found_by_structure_and_by_value(make):
    with pytest.raises(ValueError) as e:
        require_logits(make(), 'a test')
    assert str(e.value) == PROBABILITIES


@pytest.mark.parametrize('make', [
    lambda: ending(),
    lambda: ending(L.Dense(10, activation='log_softmax')),
    lambda: ending(L.Dense(7, activation='softmax'), L.Dense(10)),  # attention inside
    lambda: ending(L.Dense(10, kernel_initializer='zeros')),
    lambda: ending(L.Dense(10, kernel_initializer='zeros', bias_initializer='ones')),  # constant logits
    lambda: ending(L.ReLU()),
    lambda: ending(keras.Sequential([keras.Input((10,)), L.Dropout(0.5)])),
    lambda: built(keras.Sequential([L.Flatten(), L.Dense(10)])),
    lambda: built(Subclassed(L.Identity())),
    lambda: ending(dtype='float64'),
])
def test_logits_are_logits(make):
    require_logits(make(), 'a test')


@pytest.mark.parametrize('make, message', [
    (lambda: ending(L.Dense(1)), 'the model gives one logit; a test needs two at least'),
    (lambda: keras.Sequential([L.Flatten(), L.Dense(10)]), 'the model has not been built'),
    (lambda: keras.Sequential([keras.Input((8, 8, 1)), L.Conv2D(3, 3)]), 'logits of shape [N, C]'),
    (lambda: keras.Model(i := keras.Input((4,)), [i, i]), 'one input and one output, not of 1 and 2'),
    (lambda: L.Dense(3), 'needs a Keras model that gives logits, not a Dense'),
])
def test_what_gives_no_logits_of_two_classes_is_refused(make, message):
    with pytest.raises(ValueError) as e:
        require_logits(make(), 'a test')
    assert message in str(e.value)


def test_labels_are_integers_that_count_classes_from_0():
    np.testing.assert_array_equal(class_labels(np.array([[2], [0]], np.uint8), 3, 2), [2, 0])
    for y, message in (([0, 3], 'labels must be in 0..2; these go from 0 to 3'), ([-1, 2], 'these go from -1 to 2'),
                       ([1, 2, 3], 'labels count from 0'), ([0.0, 1.0], 'not float64'), ([0, 1, 2, 0], None),
                       (np.eye(3, dtype=int), 'for one-hot labels give y.argmax(axis=1)')):
        with pytest.raises(ValueError, match='labels must be') as e:
            class_labels(np.array(y), 3, 3 if message is None else None)
        assert (message or 'must be 3 integers') in str(e.value)
