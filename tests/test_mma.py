"""MMA training: margins that are the closed form's, state, several devices, and the truth that no code wrote."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf
from runs import FLAGS, Stop, die_in, train
from sklearn.svm import SVC

import core
from core.devices import use_device
from core.workdir import Workdir
from models import Model, SimpleSequential, TrainMode
from models.attacks import ANPGD, LossPGD
from models.attacks.advertorch import BoxFirstL2
from models.objectives import MMA, CrossEntropy

SHAPE = (4, 4, 1)
MMA_RUN = {'train_N': 90, 'test_N': 40, 'B': 15, 'E': 4, 'print': False, 'train_mode': TrainMode.NORMAL, 'lr': 0.3,
           'objective': {'type': 'mma', 'norm': 'L2', 'hinge': 0.5, 'k': 3, 'search_steps': 6}}


def linear(weights, bias) -> keras.Model:
    net = keras.Sequential([keras.Input(SHAPE), keras.layers.Flatten(), keras.layers.Dense(len(bias))])
    net.set_weights([np.asarray(weights, np.float32), np.asarray(bias, np.float32)])
    return net


@pytest.fixture(scope='module')
def two_classes():
    """A linear network of two classes, images far from the walls of the box, their labels, and w of its margin."""
    rng = np.random.default_rng(0)
    w = rng.normal(size=(16, 2)).astype(np.float32)
    x = rng.uniform(0.4, 0.6, size=(40, *SHAPE)).astype(np.float32)
    net = linear(w, [0.0, 0.0])
    bias = -np.median(net(x).numpy() @ [1, -1])
    net = linear(w, [bias, 0.0])
    return net, x, net(x).numpy().argmax(axis=1), w[:, 0] - w[:, 1]


def distances_of(net, x, y, w, norm):
    """Of images from the boundary of a linear network of two classes."""
    logits = net(x).numpy().astype(float)
    lead = np.abs(logits[:, 0] - logits[:, 1])
    return lead / (np.abs(w).sum() if norm == 'Linf' else np.linalg.norm(w))


@pytest.mark.long(after=1)
@pytest.mark.parametrize('first', ['half', 'end'])
@pytest.mark.parametrize('norm', ['Linf', 'L2'])
def test_on_a_linear_network_the_distance_is_the_closed_forms(norm, first, two_classes):
    net, x, y, w = two_classes
    want = distances_of(net, x, y, w, norm)
    eps = float(np.quantile(want, 0.9))
    attack = ANPGD(net, norm, eps, 2 * eps, k=20, a=0.5, search_steps=16, first=first)
    sizes, measured, _ = attack.measure(x, y, 0)
    inside = want < 0.99 * 2 * eps
    assert inside.mean() > 0.9
    np.testing.assert_allclose(sizes[inside], want[inside], rtol=0, atol=1e-3 * 2 * eps)
    np.testing.assert_allclose(measured[inside], want[inside], rtol=0, atol=1e-3 * 2 * eps)
    judged = attack.attack(x, y, 0)
    assert (judged.distances[inside] >= want[inside] * (1 - 1e-4)).all()
    np.testing.assert_allclose(judged.distances[inside], want[inside], rtol=0, atol=1e-3 * 2 * eps)


@pytest.mark.long
def test_as_released_the_search_reports_half_where_the_boundary_lies_beyond(two_classes):
    net, x, y, w = two_classes
    want = distances_of(net, x, y, w, 'L2')
    most = float(1.2 * np.median(want))
    right, released = (ANPGD(net, 'L2', most, most, 20, 0.5, first=first).measure(x, y, 0)[0]
                       for first in ('half', 'released'))
    beyond = (want > 1.02 * most / 2) & (want < 0.98 * most)
    assert beyond.sum() >= 5
    np.testing.assert_allclose(right[beyond], want[beyond], rtol=0, atol=2e-3 * most)
    np.testing.assert_allclose(released[beyond], most / 2, rtol=0, atol=most / 2 ** 10)


def test_a_random_start_in_l2_is_on_the_sphere_and_in_the_box_also_of_perturb(two_classes):
    net, x, y, _ = two_classes
    eps, ball = np.full(len(x), 0.3, np.float32), BoxFirstL2()
    delta = ball.random(tf.constant(x), tf.constant(eps), tf.constant([1, 2])).numpy()
    np.testing.assert_allclose(np.linalg.norm(delta.reshape(len(x), -1), axis=1), 0.3, rtol=1e-5)
    assert (x + delta).min() >= -1e-6 and (x + delta).max() <= 1 + 1e-6
    one = LossPGD(net, [0.3], k=1, a=1e-6, norm='L2', losses=['slm']).perturb(x, y, eps, [1, 2])
    np.testing.assert_allclose(one, x + delta, rtol=0, atol=1e-5)


def separable(norm):
    """Images of two classes, their labels, and the largest margin of a linear classifier."""
    rng = np.random.default_rng(1)
    y = np.arange(60) % 2
    direction = rng.choice([-1.0, 1.0], size=16)
    x = 0.5 + 0.15 * rng.uniform(-1, 1, size=(60, 16)) + 0.12 * (2 * y - 1)[:, None] * direction
    x = np.clip(x, 0.05, 0.95).astype(np.float32)
    if norm == 'L2':
        svm = SVC(kernel='linear', C=1e8).fit(x, y)
        margin = 1 / np.linalg.norm(svm.coef_)
    else:
        margin = largest_linf_margin(x.astype(float), 2 * y - 1)
    return x.reshape(-1, *SHAPE), y, margin


def largest_linf_margin(x, signs):
    """max t such that signs * (x w + b) >= t and ||w||_1 <= 1, by linear programming."""
    from scipy.optimize import linprog
    n, d = x.shape
    # variables: w+, w- of at least 0, b, t
    rows = np.hstack([-signs[:, None] * x, signs[:, None] * x, -signs[:, None], np.ones((n, 1))])
    one = np.concatenate([np.ones(2 * d), [0, 0]])
    found = linprog(np.concatenate([np.zeros(2 * d + 1), [-1]]), np.vstack([rows, one]),
                    np.concatenate([np.zeros(n), [1]]), bounds=[(0, None)] * (2 * d) + [(None, None)] * 2)
    return found.x[-1]


def margins_after(objective, x, y, norm):
    """Of a linear network trained by an objective."""
    keras.utils.set_random_seed(3)
    net = linear(0.1 * np.random.default_rng(2).normal(size=(16, 2)), [0, 0])
    model = Model(net)
    model.minimise(objective, len(x))
    for epoch in range(40):
        model.train_epoch(x, y, np.tile(np.arange(60), 20), 60, 1.0 if epoch < 30 else 0.1, seed=epoch)
    weights, bias = net.get_weights()
    w = weights[:, 1] - weights[:, 0]
    lead = (2 * y - 1) * (x.reshape(60, -1) @ w + bias[1] - bias[0])
    return lead / (np.abs(w).sum() if norm == 'Linf' else np.linalg.norm(w))


@pytest.mark.long
@pytest.mark.parametrize('norm', ['Linf', 'L2'])
def test_every_margin_reaches_a_hinge_below_the_hard_margin_and_not_by_the_cross_entropy(norm):
    """A hinge beyond it raises the mean, but not the least."""
    x, y, hard = separable(norm)
    below, beyond = (margins_after(MMA(hinge, norm, min_eps=hinge / 2, k=5, c=0.0), x, y, norm)
                     for hinge in (0.95 * hard, 3 * hard))
    entropy = margins_after(CrossEntropy(), x, y, norm)
    assert below.min() > 0.98 * 0.95 * hard, below.min() / hard
    assert entropy.min() < 0.95 * 0.95 * hard, entropy.min() / hard
    assert beyond.min() < 0.7 * hard and beyond.mean() > below.mean()


# ---- state ----

@pytest.mark.long
def test_margins_are_recorded_resumed_and_rolled_back(monkeypatch):
    whole, history = train(**MMA_RUN, log='whole')
    records = [line['objective']['margins'] for line in history if line['cmd'] == 'go']
    assert all(r['images'] == 90 and sum(r['histogram']) == 90 and len(r['histogram']) == 10 for r in records)
    assert records[0] != records[-1] and whole['raw'][4]['objective']['margins'] == records[-1]
    with monkeypatch.context() as patch, pytest.raises(Stop):
        die_in(patch, 'replace', 5, before=False)
        train(**MMA_RUN, log='killed')
    core.run({k: v for k, v in {**FLAGS, **MMA_RUN, 'resume': 'killed'}.items() if k != 'log'})
    for a, b in zip(history, Workdir('killed').read_history(), strict=True):
        assert {k: v for k, v in a.items() if k != 'time'} == {k: v for k, v in b.items() if k != 'time'}


@pytest.mark.long
def test_several_devices_agree_on_margins(digits):
    (x, y), _ = digits
    states = []
    for parts in (1, 2):
        with use_device(['cpu'] * parts).strategy.scope():
            model = SimpleSequential('net', (8, 8, 1), [['C', 4, [3, 3]], ['P'], ['F', 10, {'act': False}]],
                                     train_mode=TrainMode.NORMAL, init={'weight': 'he_normal'}, seed=1)
        model.minimise(MMA(0.5, 'L2', k=3, search_steps=8), 60)
        for epoch in range(6):
            model.train_epoch(x[:60], y[:60], np.random.default_rng(epoch).permutation(60), 15, 0.5, seed=epoch)
        states.append(model.state())
    (key,) = [k for k in states[0] if k.endswith('margins')]
    np.testing.assert_allclose(states[1][key], states[0][key], rtol=0, atol=2e-2 * 0.5)
    assert (states[0][key] > 0).sum() > 20
    for name in states[0]:
        np.testing.assert_allclose(states[1][name], states[0][name], rtol=0, atol=2e-2)


# ---- batch normalisation, and what costs nothing ----

class Counting(keras.layers.Layer):
    """Remembers how many images it was given, in training and in inference, when run eagerly."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def call(self, x, training=False):
        if hasattr(x, 'numpy'):
            self.seen.append((bool(training), len(x)))
        return x


def passes(x, y, normalised=True, **options):
    """How many images each pass had in training mode, and in inference, of the losses of a batch and their gradient."""
    keras.utils.set_random_seed(1)
    counting = Counting()
    net = keras.Sequential([keras.Input((8, 8, 1)), counting, keras.layers.Flatten(), keras.layers.Dense(10)])
    if normalised:
        net.add(keras.layers.BatchNormalization())
    net.compile(keras.optimizers.Adam(0.05), keras.losses.SparseCategoricalCrossentropy(from_logits=True),
                run_eagerly=True)
    net.fit(x, y, epochs=8, batch_size=10, verbose=0)
    y = np.where(np.arange(len(y)) < 7, (y + 1) % 10, y)  # some are wrong
    objective = MMA(0.5, 'L2', min_eps=0.05, k=4, search_steps=5, **options)
    objective.losses(net, x, y)  # looks at the network once, on noise
    counting.seen.clear()
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(objective.losses(net, x, y))
    tape.gradient(loss, net.trainable_variables)
    return [[n for training, n in counting.seen if training is kind] for kind in (True, False)]


@pytest.mark.long
def test_batch_normalisation_sees_one_pass_in_training_mode_and_as_released_many(digits):
    x, y = (a[:40] for a in digits.train)
    training, inference = passes(x, y)
    right = inference[1]
    assert training == [80] and inference == [40] + [right] * (4 + 5) and 0 < right < 40
    assert passes(x, y, c=0.0) == [[40], inference]
    training, inference = passes(x, y, batch_norm='released')
    assert training == [40] + [inference[0]] * 5 + [40] and len(inference) == 4


@pytest.mark.long
def test_images_that_are_done_cost_nothing(digits):
    x, y = (a[:40] for a in digits.train)
    (clean, kept), searched = passes(x, y, normalised=False)
    right = searched[0]
    assert clean == 40 and kept <= right < 40 and searched == [right] * (4 + 5)
    (clean, most), _ = passes(x, y, normalised=False, c=0.0)
    assert clean == 40 and most == kept + 40 - right, 'without the clean loss, wrong images are passed once more'


# ---- arguments ----

@pytest.mark.parametrize('arguments, message', [
    ({'hinge': 0.3, 'min_eps': 0.4}, 'min_eps must be at most 0.315, 1.05 times the hinge'),
    ({'hinge': 0.0}, 'hinge must be a finite number above 0, not 0.0'),
    ({'hinge': -1}, 'hinge must be a finite number above 0, not -1'),
    ({'hinge': 0.3, 'search_loss': 'xent'}, "search_loss must be 'slm' or 'lm': 'xent' is never below 0"),
    ({'hinge': 0.3, 'search_loss': 'cw'}, "search_loss must be 'slm' or 'lm': 'cw' is never below 0"),
    ({'hinge': 0.3, 'attack_loss': 'entropy'}, "attack_loss must be 'slm' or 'lm' or 'cw' or 'xent'"),
    ({'hinge': 0.3, 'norm': 'L1'}, "norm must be 'Linf' or 'L2'"), ({'hinge': 0.3, 'c': 1.5}, 'c must be a finite'),
    ({'hinge': 0.3, 'k': 0}, 'k must be a whole number of at least 1'),
    ({'hinge': 0.3, 'batch_norm': 'train'}, "batch_norm must be 'inference' or 'released'"),
    ({'hinge': 0.3, 'margin': 1}, "the objective 'mma' takes no 'margin'"), ({}, "'mma' takes hinge, norm='Linf'")])
def test_wrong_arguments_are_refused_in_a_sentence(arguments, message):
    with pytest.raises(core.UserError) as e:
        train(**{**MMA_RUN, 'objective': {'type': 'mma', **arguments}})
    assert message in str(e.value) and '\n' not in str(e.value)


def test_a_frame_and_a_hinge_beyond_the_box_are_refused():
    with pytest.raises(core.UserError, match='train_mode=USE_FRAME'):
        train(**{**MMA_RUN, 'train_mode': TrainMode.USE_FRAME})
    with pytest.raises(core.UserError, match='hinge is 8; pixels are in .*: was 8/255 meant'):
        train(**{**MMA_RUN, 'objective': {'type': 'mma', 'hinge': 8.0, 'norm': 'Linf'}})
