"""The high-precision cross entropy, against the original's numbers at extreme logits."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf
from conftest import reference_npz
from stated import stated

from models import (
    HPSparseSoftmaxCrossEntropy,
    hp_sparse_softmax_cross_entropy_with_logits_v1 as v1,
    separate_logits,
)
from models.losses import hp_sparse_softmax_cross_entropy_with_logits_v2 as v2
from models.margins import log_losses, log_mean_exp, margins

REFERENCE = reference_npz('loss')
CASES = sorted({k.split('/')[0] for k in REFERENCE})
NUMBERS = {'loglog10': np.log(np.log(10))}
"""What names of variants say but for plain numbers, which have m for a minus."""


def number_of(name: str) -> float:
    return NUMBERS[name] if name in NUMBERS else float(name.replace('m', '-'))


VARIANTS = sorted({k.split('/')[1] for k in REFERENCE if k.endswith('/per_sample')})
LOG_FRAMES = {name: number_of(name.removeprefix('v2_lf_')) if name.startswith('v2') else None for name in VARIANTS}
RATES = {k.split('/')[2]: number_of(k.split('/grad_lr')[1]) for k in REFERENCE if '/grad_lr' in k}
LOWEST = min((name for name in VARIANTS if LOG_FRAMES[name] is not None), key=lambda name: LOG_FRAMES[name])


def loss_and_gradient(labels, logits, log_frame, lr):
    logits = tf.convert_to_tensor(logits)
    with tf.GradientTape() as tape:
        tape.watch(logits)
        loss = v1(labels, logits) if log_frame is None else v2(labels, logits, log_frame)
        scaled = tf.cast(lr, tf.float64) * tf.reduce_mean(loss)
    return loss, tape.gradient(scaled, logits)


COMPILED = tf.function(loss_and_gradient, reduce_retracing=True)


@pytest.mark.long(after=27)
@pytest.mark.parametrize('function', [loss_and_gradient, COMPILED], ids=['eager', 'compiled'])
@pytest.mark.parametrize('variant', LOG_FRAMES)
@pytest.mark.parametrize('case', CASES)
def test_loss_and_gradient_are_the_originals(case, variant, function):
    logits, labels = (tf.constant(REFERENCE[f'{case}/{name}']) for name in ('logits', 'labels'))
    log_frame = LOG_FRAMES[variant]
    log_frame = None if log_frame is None else tf.constant(log_frame, tf.float64)
    for key, lr in RATES.items():
        loss, gradient = function(labels, logits, log_frame, tf.constant(lr, tf.float64))
        expected = REFERENCE[f'{case}/{variant}/per_sample']
        finite = np.isfinite(expected)
        assert loss.dtype == tf.float64
        assert (np.isfinite(loss) == finite).all()
        np.testing.assert_allclose(loss.numpy()[finite], expected[finite], rtol=stated('float64 values rtol'))
        expected = REFERENCE[f'{case}/{variant}/{key}']
        finite = np.isfinite(expected)
        assert gradient.dtype == tf.float32
        assert (np.isfinite(gradient) == finite).all()
        np.testing.assert_allclose(gradient.numpy()[finite], expected[finite], rtol=stated('gradients rtol'),
                                   atol=stated('plus atol'))


def test_a_loss_of_1e_880_is_an_ordinary_number_in_its_frame():
    gap = 880 * np.log(10)
    logits = np.array([[gap / 2, -gap / 2, -gap]], np.float32)
    log_frame = -gap
    loss, gradient = loss_and_gradient([0], logits, log_frame, 1.0)
    assert v1([0], logits).numpy() == [0]
    np.testing.assert_allclose(loss, [np.exp(-(np.float64(logits[0, 0]) - logits[0, 1]) - log_frame)], rtol=1e-12)
    np.testing.assert_allclose(gradient.numpy()[0, :2], [-loss[0], loss[0]], rtol=1e-6)


def test_one_sample_at_exactly_minus_30_sends_the_whole_batch_the_exact_way():
    logits = np.array([[30, 0], [40, 0]], np.float32)
    below = v2([0, 0], logits + np.array([[1e-5, 0], [0, 0]], np.float32), 0.0).numpy()
    at = v2([0, 0], logits, 0.0).numpy()
    np.testing.assert_array_equal(at, np.log1p(np.exp([-30.0, -40.0])))
    assert below[1] == np.exp(-40.0)


def test_separate_logits_keeps_the_order_of_classes():
    logits = np.arange(12, dtype=np.float32).reshape(3, 4)
    correct, wrong = separate_logits([3, 0, 2], logits)
    np.testing.assert_array_equal(correct, [[3], [4], [10]])
    np.testing.assert_array_equal(wrong, [[0, 1, 2], [5, 6, 7], [8, 9, 11]])
    assert separate_logits([3, 0, 2], logits, dtype=tf.float64)[1].dtype == tf.float64


def test_v1_serves_as_the_loss_of_a_compiled_keras_model(digits):
    (x, y), _ = digits
    net = keras.Sequential([keras.layers.Flatten(), keras.layers.Dense(10)])
    net.compile(optimizer='sgd', loss=v1)
    before = net.evaluate(x[:200], y[:200], verbose=0)
    net.fit(x[:200], y[:200], epochs=3, verbose=0)
    np.testing.assert_allclose(net.evaluate(x[:200], y[:200], verbose=0),
                               np.mean(v1(y[:200], net.predict(x[:200], verbose=0))), rtol=1e-5)
    assert net.evaluate(x[:200], y[:200], verbose=0) < before


@pytest.mark.parametrize('case', CASES)
def test_the_logarithm_of_the_loss_agrees_with_the_loss_wherever_that_does_not_underflow(case):
    logits, labels = REFERENCE[f'{case}/logits'], REFERENCE[f'{case}/labels']
    per_sample = REFERENCE[f'{case}/v1/per_sample']
    found = log_losses(logits, labels)
    assert np.isfinite(found).all()
    seen = per_sample > 1e-300
    np.testing.assert_allclose(found[seen], np.log(per_sample[seen]), rtol=1e-12, atol=1e-14)
    framed = REFERENCE[f'{case}/{LOWEST}/mean']
    if np.isfinite(framed) and framed > 0:
        np.testing.assert_allclose(log_mean_exp(found), np.log(framed) + LOG_FRAMES[LOWEST], rtol=1e-12)


# ---- labels that are no class ----

OF_LABELS = {
    'separate_logits': lambda y, z: separate_logits(y, z)[0][:, 0],
    'v1': v1,
    'v2': lambda y, z: v2(y, z, 0.0),
    'class': HPSparseSoftmaxCrossEntropy(reduction=None),
    'class with a frame': HPSparseSoftmaxCrossEntropy(-3.0, reduction=None),
}
LOGITS = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)


@pytest.mark.long(after=2)
@pytest.mark.parametrize('function', OF_LABELS.values(), ids=OF_LABELS)
def test_a_label_that_is_no_class_raises_eagerly_and_has_no_finite_loss_where_compiled(function):
    y = np.array([0, 1, 2, 1])
    for jit_compile in (False, True):
        compiled = tf.function(function, jit_compile=jit_compile, autograph=False)
        right = compiled(tf.constant(y, tf.float64), LOGITS).numpy()
        np.testing.assert_allclose(right, function(y, LOGITS).numpy(), rtol=1e-14)
        for label in (-1, 3, 2 ** 32, -2 ** 31, 0.5, np.nan, np.inf):
            bad = np.array([0, 1, label, 1])
            with pytest.raises(ValueError, match='labels must be'):
                function(bad, LOGITS)
            found = compiled(tf.constant(bad, tf.float64), LOGITS).numpy()
            assert np.isnan(found[2])
            np.testing.assert_array_equal(np.delete(found, 2), np.delete(right, 2))


@pytest.mark.parametrize('dtype', [np.int8, np.uint8, np.uint64, np.float32])
def test_labels_may_be_of_any_type_and_their_classes_more_than_it_holds(dtype):
    logits, y = np.random.default_rng(0).normal(size=(4, 300)).astype(np.float32), np.array([0, 7, 120, 3])
    compiled = tf.function(v1)
    for function in (v1, compiled):
        np.testing.assert_array_equal(function(tf.constant(y.astype(dtype)), logits), v1(y, logits))
    if dtype != np.uint8:
        assert np.isnan(compiled(tf.constant((y - 1).astype(dtype)), logits)[0])


@pytest.mark.parametrize('function', [*OF_LABELS.values(), margins, log_losses])
def test_one_logit_is_no_network_without_loss_and_labels_fit_their_logits(function):
    y = np.zeros(4, int)
    with pytest.raises(ValueError, match='the model gives one logit'):
        function(y, LOGITS[:, :1]) if function not in (margins, log_losses) else function(LOGITS[:, :1], y)
    for wrong, match in ((y[1:], 'labels must be 4 integers'), (np.eye(4, 3), 'for one-hot labels'),
                         (y - 1, r'labels must be in 0\.\.2; these go from -1 to -1'), (y + 3, 'from 3 to 3')):
        with pytest.raises(ValueError, match=match):
            function(wrong, LOGITS) if function not in (margins, log_losses) else function(LOGITS, wrong)


def test_training_on_a_label_that_is_no_class_shows_as_nan(digits):
    (x, y), _ = digits
    net = keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Flatten(), keras.layers.Dense(10)])
    net.compile(keras.optimizers.SGD(0.0), HPSparseSoftmaxCrossEntropy())
    for wrong in (10, -1):
        history = net.fit(x[:20], np.where(np.arange(20) == 3, wrong, y[:20]), verbose=0).history
        assert np.isnan(history['loss'][0])
    net.compile(keras.optimizers.SGD(0.0), HPSparseSoftmaxCrossEntropy(), run_eagerly=True)
    with pytest.raises(ValueError, match=r'labels must be in 0\.\.9'):
        net.fit(x[:20], y[:20] + 5, verbose=0)
