"""The KKT conditions against closed forms, support vector machines, and plain float arithmetic of greater range."""

from __future__ import annotations

import json

import keras
import numpy as np
import pytest
import tensorflow as tf
from nets import small_mnist
from runs import FLAGS, train

import core
from core import UserError
from core.workdir import Workdir
from models import BiasMode, SimpleSequential, hp_sparse_softmax_cross_entropy_with_logits_v1
from models.margins import log_losses, log_mean_exp, margins
from models.measures.kkt import KKTMeter, drift, samples_of_mass, wrong_class_weights

LINEAR = {'description': [['F', 10, {'act': False}]], 'bias_mode': BiasMode.NONE}


def linear(weights: np.ndarray) -> SimpleSequential:
    model = SimpleSequential('m', (8, 8, 1), **LINEAR)
    model.set_weights({'fc1_W': weights})
    return model


def classified_by(weights: np.ndarray, x: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray]:
    """The images that a linear network is surest of, and the classes it gives them."""
    logits = x.reshape(len(x), -1).astype(np.float64) @ weights
    labels = logits.argmax(axis=1)
    keep = np.argsort(margins(logits, labels))[-n:]
    return x[keep], labels[keep]


@pytest.mark.long(after=1)
@pytest.mark.parametrize('log10_loss', [-1, -30, -880])
def test_the_residuals_of_a_linear_network_are_those_of_the_definition_at_any_loss(log10_loss, digits):
    """The definition, written out in long doubles, which reach down to 1e-4932."""
    weights = np.random.default_rng(0).normal(size=(64, 10)).astype(np.float32)
    x, y = classified_by(weights, digits.train[0], 100)
    q_min = margins(x.reshape(100, -1) @ weights, y).min()
    weights *= np.float32(-log10_loss * np.log(10) / q_min)
    point = KKTMeter(linear(weights)).measure(x, y)
    assert abs(point.log_loss / np.log(10) - log10_loss) < 2.5

    theta, flat = weights.astype(np.longdouble), x.reshape(100, -1).astype(np.longdouble)
    logits = flat @ theta
    s = logits[np.arange(100), y][:, None] - logits
    wrong = np.arange(10) != y[:, None]
    p = np.where(wrong, np.exp(-s), 0)
    p /= 1 + p.sum(axis=1, keepdims=True)
    of_logits = -p
    of_logits[np.arange(100), y] = p.sum(axis=1)
    minus_gradient = flat.T @ of_logits
    rho, q_min = np.sqrt((theta ** 2).sum()), s[wrong].min()
    assert log10_loss > -400 or minus_gradient.astype(np.float64).max() == 0, 'far below the range of float64'
    size = rho / q_min / np.sqrt((minus_gradient ** 2).sum())  # L = 1
    np.testing.assert_allclose(point.multipliers, (size * p.sum(axis=1)).astype(float), rtol=1e-3, atol=1e-9)
    epsilon = np.sqrt(((theta / q_min - size * minus_gradient) ** 2).sum())
    slack = np.where(wrong, size * p * (s / q_min - 1), 0)
    for got, expected in ((point.epsilon, epsilon), (point.delta, slack.max()), (point.delta_sum, slack.sum()),
                          (point.one_minus_cosine, 1 - (theta * minus_gradient).sum() * size * q_min / rho ** 2)):
        np.testing.assert_allclose(got, float(expected), rtol=1e-3)


@pytest.mark.long
def test_on_a_linear_network_the_residuals_vanish_as_the_direction_goes_to_the_support_vector_machines(digits):
    """For feasible theta~ and multipliers of the dual, epsilon^2 / 2 + sum(delta) is the duality gap, which bounds
    ||theta~ - theta_svm||^2 / 2: the problem is strongly convex."""
    from sklearn.svm import LinearSVC

    x, y = (part[:60] for part in digits.train)
    svm = LinearSVC(multi_class='crammer_singer', fit_intercept=False, C=1e6, tol=1e-8, max_iter=10 ** 6,
                    random_state=0).fit(x.reshape(60, -1).astype(np.float64), y).coef_.T
    svm /= margins(x.reshape(60, -1) @ svm, y).min()
    model = SimpleSequential('m', (8, 8, 1), **LINEAR, init={'weight': 'zeros'})
    meter, log_frame, found = KKTMeter(model), np.log(np.log(10)), []
    for epoch in range(1, 601):  # of ten steps of gradient descent at a relative rate far below instability
        model.train_epoch(x, y, np.tile(np.arange(60), 10), 60, 0.1, log_frame)
        log_frame = log_mean_exp(log_losses(model.predict(x).numpy(), y))
        if epoch in (75, 150, 300, 600):
            point = meter.measure(x, y)
            feasible = model.weights()['fc1_W'].astype(np.float64) / point.q_min
            size, away = np.sum(svm ** 2), np.sum((feasible - svm) ** 2)
            gap = point.epsilon ** 2 / 2 + point.delta_sum
            assert away / 2 <= gap * (1 + 1e-4)
            found.append((point.epsilon, point.delta, point.one_minus_cosine, gap / size, away / size))
    assert (np.diff(found, axis=0) < 0).all(), 'each falls'
    assert found[-1][3] < 0.04 and found[-1][4] < 0.004 and found[-1][2] < 0.001


@pytest.mark.long
def test_the_gradient_is_that_of_the_loss_in_a_deep_network(mnist_images):
    model = small_mnist()
    x, y = (part[:400] for part in mnist_images.train)
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(hp_sparse_softmax_cross_entropy_with_logits_v1(y, model.predict(x)))
    descent = -np.concatenate([g.numpy().ravel() for g in tape.gradient(loss, model.vars)]).astype(np.float64)
    theta = np.concatenate([v.numpy().ravel() for v in model.vars]).astype(np.float64)
    meter = KKTMeter(model)
    meter._batch = 130  # more than one batch, the last one smaller
    point = meter.measure(x, y)
    cosine = theta @ descent / np.linalg.norm(theta) / np.linalg.norm(descent)
    np.testing.assert_allclose(1 - point.one_minus_cosine, cosine, atol=1e-5)
    np.testing.assert_allclose(point.direction, theta / np.linalg.norm(theta), rtol=1e-12)
    np.testing.assert_allclose(point.log_loss, np.log(loss), rtol=1e-6)
    np.testing.assert_allclose(point.rho, model.norms().rho, rtol=1e-12)
    feasible = point.rho / point.q_min ** (1 / model.norms().order)
    np.testing.assert_allclose(point.epsilon, feasible * point.epsilon_relative, rtol=1e-9)
    np.testing.assert_allclose(point.epsilon_relative ** 2 / 2, point.one_minus_cosine, rtol=1e-9)
    assert point.euler_error < 1e-5


@pytest.mark.long(after=1)
@pytest.mark.parametrize('act_type', ['relu', 'relu2'])
def test_epsilon_and_delta_are_the_definitions_at_the_feasible_point_of_a_deep_network(act_type, digits):
    """theta~ - sum lambda_nj grad s_nj(theta~), with the gradient taken at theta~ itself."""
    model = SimpleSequential('m', (8, 8, 1), [['C', 4, [3, 3]], ['P'], ['F', 12], ['F', 10, {'act': False}]], seed=3,
                             act_type=act_type, init={'weight': 'he_normal', 'bias': 'random_normal'})
    logits = model.predict(digits.train[0]).numpy()
    y = logits.argmax(axis=1)  # the network's own, so that it is right
    keep = np.argsort(margins(logits, y))[-400::5]
    x, y = digits.train[0][keep], y[keep]
    point, order = KKTMeter(model).measure(x, y), model.norms().order
    _, weights, _ = wrong_class_weights(model.predict(x).numpy(), y)
    multipliers = point.multipliers.sum() * weights
    np.testing.assert_allclose(point.multipliers, multipliers.sum(axis=1), rtol=1e-9)

    model.set_weights({k: v / np.float32(point.q_min ** (1 / order)) for k, v in model.weights().items()})
    with tf.GradientTape() as tape:
        logits = tf.cast(model.net(x), tf.float64)
        s = tf.gather(logits, y, axis=1, batch_dims=1)[:, None] - logits
        total = tf.reduce_sum(multipliers * s)
    theta = np.concatenate([v.numpy().ravel() for v in model.vars])
    combined = np.concatenate([g.numpy().ravel() for g in tape.gradient(total, model.vars)])
    assert s.numpy()[weights > 0].min() == pytest.approx(1, rel=1e-4), 'feasible, and tight'
    assert np.linalg.norm(theta - combined) == pytest.approx(point.epsilon, rel=1e-4)
    slack = multipliers * (s.numpy() - 1) * (weights > 0)
    assert slack.max() == pytest.approx(point.delta, rel=1e-4)
    assert slack.sum() == pytest.approx(point.delta_sum, rel=1e-4)


def test_samples_whose_share_is_negligible_change_nothing(mnist_images, monkeypatch):
    model = small_mnist()
    x, y = (part[:200] for part in mnist_images.train)
    model.set_weights({k: 2 * v for k, v in model.weights().items()})
    point = KKTMeter(model).measure(x, y)
    assert (point.shares < 1e-20).sum() > 100, 'the others are left out'
    monkeypatch.setattr('models.kkt.NEGLIGIBLE', 0.0)
    whole = KKTMeter(model).measure(x, y)
    np.testing.assert_allclose(point.one_minus_cosine, whole.one_minus_cosine, rtol=1e-6)


def test_shares_sum_to_one_and_right_classes_have_none():
    logits = np.random.default_rng(0).normal(size=(20, 5)).astype(np.float32) * 400
    labels = np.arange(20) % 5
    gaps, weights, _ = wrong_class_weights(logits, labels)
    np.testing.assert_allclose(weights.sum(), 1)
    assert (weights[np.arange(20), labels] == 0).all() and (gaps[np.arange(20), labels] == np.inf).all()


def test_support_vectors_are_counted_by_mass():
    shares = np.array([0.1, 0.5, 0.0, 0.4])
    assert [samples_of_mass(shares, m) for m in (0.3, 0.5, 0.6, 0.9, 0.95, 1.0)] == [1, 1, 2, 2, 3, 3]
    assert drift(np.array([1.0, 0]), np.array([0, 1.0])) == pytest.approx(2 ** 0.5)


def test_a_network_that_is_not_homogeneous_or_not_fitted_has_no_residuals_but_a_cosine(digits):
    x, y = (part[:50] for part in digits.train)
    biased = SimpleSequential('m', (8, 8, 1), [['F', 16], ['F', 10, {'act': False}]], BiasMode.ALL, seed=1,
                              init={'weight': 'he_normal', 'bias': 'random_normal'})
    fresh = SimpleSequential('m', (8, 8, 1), [['F', 16], ['F', 10, {'act': False}]], seed=1)
    for model, labels in ((biased, biased.predict(x).numpy().argmax(axis=1)), (fresh, y)):
        point = KKTMeter(model).measure(x, labels)
        assert np.isnan([point.epsilon, point.delta, point.delta_sum]).all() and np.isnan(point.multipliers).all()
        assert 0 < point.one_minus_cosine < 2 and abs(point.shares.sum() - 1) < 1e-9
    assert KKTMeter(biased).measure(x, y).euler_error > 1e-3 > KKTMeter(fresh).measure(x, y).euler_error


def test_weights_without_a_direction_are_refused(digits):
    with pytest.raises(ValueError, match='no direction'):
        KKTMeter(linear(np.zeros((64, 10), np.float32))).measure(digits.train[0][:9], digits.train[1][:9])
    with pytest.raises(ValueError, match='not finite'):
        KKTMeter(linear(np.full((64, 10), np.nan, np.float32))).measure(digits.train[0][:9], digits.train[1][:9])


@pytest.mark.long(after=2)
@pytest.mark.parametrize('change, message', [
    (lambda x, y: (x, y + 10), r'labels must be in 0..9'), (lambda x, y: (x, y - 9), r'labels must be in 0..9'),
    (lambda x, y: (x, y[:-1]), 'labels must be 9 integers'), (lambda x, y: (x, y.astype(float)), '9 integers'),
    (lambda x, y: (x[:0], y[:0]), 'one image at least'), (lambda x, y: (x * np.nan, y), 'images must be finite')])
def test_the_conditions_are_those_of_images_and_of_labels_that_are_classes(change, message, digits):
    x, y = (part[:9] for part in digits.train)
    meter = KKTMeter(linear(np.random.default_rng(0).normal(size=(64, 10)).astype(np.float32)))
    assert meter.measure(x, y[:, np.newaxis]).log_loss == meter.measure(x, y).log_loss
    with pytest.raises(ValueError, match=message):
        meter.measure(*change(x, y))


def test_a_network_of_one_logit_or_of_probabilities_has_no_kkt_point(digits):
    with pytest.raises(ValueError, match='not a Sequential'):
        KKTMeter(keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)]))
    model = linear(np.zeros((64, 10), np.float32))
    inputs, logits = model.net.inputs, model.net.outputs[0]
    for outputs, message in ((keras.layers.Softmax()(logits), 'the model gives probabilities; a KKT point needs'),
                             (keras.layers.Dense(1)(logits), 'the model gives one logit; a KKT point needs two')):
        model.net = keras.Model(inputs, outputs)
        with pytest.raises(ValueError, match=message):
            KKTMeter(model)
    model.net = keras.Model(inputs, logits)
    meter = KKTMeter(model)
    model.net = keras.Model(inputs, keras.layers.Softmax()(logits))  # which only the values tell by now
    with pytest.raises(ValueError, match='the model gives probabilities; a KKT point needs'):
        meter.measure(*(part[:9] for part in digits.train))


@pytest.mark.parametrize('logits, labels, message', [
    (np.zeros((2, 1)), [0, 0], 'the model gives one logit'), (np.zeros((2, 3)), [0, 3], r'labels must be in 0..2'),
    (np.zeros((2, 3)), [0, -1], r'labels must be in 0..2'), (np.zeros((0, 3)), np.zeros(0, int), 'one image at least'),
    (np.full((2, 3), np.nan), [0, 1], 'all of them finite'), (np.zeros(3), [0], r'shape \[N, C\]')])
def test_shares_are_those_of_logits_and_classes(logits, labels, message):
    with pytest.raises(ValueError, match=message):
        wrong_class_weights(logits, np.array(labels))


@pytest.mark.parametrize('shares, mass', [([], 0.5), ([0.0], 0.5), ([np.nan, 1], 0.5), ([-1, 2], 0.5), ([1.0], 2),
                                          ([1.0], np.nan), ([1.0], -1)])
def test_masses_are_shares_of_something(shares, mass):
    with pytest.raises(ValueError, match='shares must be|mass must be'):
        samples_of_mass(np.array(shares), mass)


def measure_run(**flags) -> tuple[dict, dict]:
    res = core.run({'task': 'kkt', 'eid': 'all', 'log': 'run', 'eval_log': 'kkt', 'gpu': 'cpu', **flags})
    return res, json.loads((Workdir('kkt').summary_path).read_text())


@pytest.mark.long
def test_an_evaluation_records_each_archived_epoch_in_order_and_the_drift_between(capsys):
    train(E=12, archive=5)
    capsys.readouterr()
    res, summary = measure_run()
    assert list(res) == [5, 10, 12] and summary['order'] == 2 and summary['is_homogeneous']
    model = SimpleSequential('m', (8, 8, 1), **FLAGS['model'])
    (x, y), _ = core.get_dataset('digits')
    directions = []
    for eid in res:
        model.restore(Workdir('run').find_model(eid))
        point = KKTMeter(model).measure(x[:300], y[:300])
        directions.append(point.direction)
        numbers = summary['epochs'][str(eid)]
        assert numbers['one_minus_cosine'] == pytest.approx(point.one_minus_cosine, rel=1e-5)
        assert numbers['cosine'] == 1 - numbers['one_minus_cosine'] and numbers['images'] == 300
        assert numbers['support_vectors'] == {f'{m:g}': samples_of_mass(point.shares, m) for m in (0.5, 0.9, 0.99)}
        np.testing.assert_allclose(res[eid]['shares'], point.shares, rtol=1e-3, atol=1e-9)
    assert summary['epochs']['5']['drift'] is None
    assert summary['epochs']['12']['drift'] == pytest.approx(drift(directions[1], directions[2]), rel=1e-6)
    lines = capsys.readouterr().out.split('\n')
    assert sum(line.startswith('epoch #') for line in lines) == 3 and 'cos(theta, -grad)=' in ''.join(lines)


@pytest.mark.long
def test_a_network_that_is_not_homogeneous_is_said_to_be_so(capsys):
    train(E=2, model={**FLAGS['model'], 'bias_mode': BiasMode.ALL})
    _, summary = measure_run()
    assert 'not homogeneous' in capsys.readouterr().out and summary['is_homogeneous'] is False
    assert summary['epochs']['2']['epsilon'] is None and summary['epochs']['2']['cosine'] is not None


@pytest.mark.long
def test_the_conditions_are_those_of_the_whole_training_set():
    train(E=1)
    for flags in ({'attack_N': 10}, {'attack_set': 'test'}, {'attack': [1, 2]}, {'attack_K': 3}, {'lr': 0.1}):
        with pytest.raises(UserError, match='whole training set'):
            measure_run(**flags)
    assert not (Workdir('kkt').path).exists()
    measure_run()
    with pytest.raises(UserError, match='kkt already holds results'):
        measure_run()
