"""What a training step gives its objective: images by number, state, numbers that follow schedules, random draws."""

from __future__ import annotations

import math

import keras
import numpy as np
import pytest
import tensorflow as tf
from runs import FLAGS, Stop, die_in, train

import core
from core.devices import use_device
from core.workdir import Workdir
from models import AUGMENTATIONS, SimpleSequential, TrainMode
from models.attacks import PGD
from models.batch import Batch
from models.objectives import OBJECTIVES, CrossEntropy, Objective, objective_of
from models.objectives.weighted import Weighted
from models.schedules import Control

DESCRIPTION = [['C', 4, [3, 3]], ['P'], ['F', 10, {'act': False}]]
N = 60


def network(parts: int = 1, objective=None, images: int = N, description=DESCRIPTION, **options) -> SimpleSequential:
    with use_device(['cpu'] * parts).strategy.scope():
        net = SimpleSequential('net', (8, 8, 1), description, train_mode=TrainMode.NORMAL,
                               init={'weight': 'he_normal'}, seed=1, **options)
    if objective is not None:
        net.minimise(objective, images)
    return net


class Remembering(CrossEntropy):
    """The cross entropy; it remembers of every image how often it was seen, at which step, and what was drawn for it,
    and of all together a running mean of the loss."""

    def __init__(self, rate: float = 0.5):
        self.rate = Control('rate', {'value': rate, 'schedule': {'type': 'cosine', 'decay_steps': 40}})

    def build(self, net: keras.Model, images: int) -> None:
        self.visits, self.draws = (tf.Variable(tf.zeros([images]), name=name) for name in ('visits', 'draws'))
        self.last = tf.Variable(-tf.ones([images], tf.int64), name='last')
        self.mean = tf.Variable(tf.zeros([], tf.float64), name='mean')

    def variables(self):
        return {'visits': self.visits, 'draws': self.draws, 'last': self.last, 'mean': self.mean}

    def controls(self, steps, per_epoch):
        return {'rate': self.rate(steps, per_epoch)}

    def losses_of(self, run):
        losses, batch = super().losses_of(run), run.batch
        batch.update_rows(self.visits, tf.gather(self.visits, batch.index) + 1)
        batch.update_rows(self.last, tf.fill(tf.shape(batch.index), batch.step))
        batch.update_rows(self.draws, batch.uniform())
        rate = batch.controls['rate']
        batch.update(self.mean, (1 - rate) * self.mean + rate * batch.mean(losses))
        return losses


@pytest.fixture(scope='module')
def data(digits):
    (x, y), _ = digits
    return x[:N], y[:N]


def state(net):
    return {k: v for k, v in net.state().items() if k.startswith('objective/')}


def order_of(seed: int):
    return np.random.default_rng(seed).permutation(N)


@pytest.mark.long
@pytest.mark.parametrize('parts, batch', [(1, 20), (1, 7), (3, 20), (3, 7), (3, 1)])
def test_state_of_each_image_is_updated_by_its_number_and_is_that_of_one_device_on_several(data, parts, batch):
    net, order = network(parts, Remembering()), order_of(0)
    losses = net.train_epoch(*data, order, batch, 0.1, seed=[1, 1, 0])
    steps = N // batch
    seen = order[:steps * batch]
    found, expected = state(net), {'visits': np.zeros(N), 'last': np.full(N, -1)}
    expected['visits'][seen], expected['last'][seen] = 1, np.repeat(np.arange(steps), batch)
    for name, values in expected.items():
        np.testing.assert_array_equal(found[f'objective/{name}'], values)
    mean, rates = 0.0, 0.5 * (1 + np.cos(math.pi * np.minimum(np.arange(steps) / 40, 1))) / 2
    for loss, rate in zip(losses, rates):
        mean = (1 - rate) * mean + rate * loss
    assert found['objective/mean'] == pytest.approx(mean, rel=1e-9)
    one = network(1, Remembering())
    one.train_epoch(*data, order, batch, 0.1, seed=[1, 1, 0])
    np.testing.assert_array_equal(found['objective/draws'], state(one)['objective/draws'])
    assert len(set(found['objective/draws'][seen])) == len(seen)
    for v in net.objective.variables().values():  # agreed on, bit for bit
        first, *others = (t.numpy() for t in net.replicas.strategy.experimental_local_results(v))
        assert len(others) == parts - 1 and all(np.array_equal(first, other) for other in others)


def test_state_is_taken_back_with_the_weights_and_restored_from_a_state(data):
    net = network(1, Remembering())
    net.train_epoch(*data, order_of(0), 20, 0.1)
    net.keep()
    kept = net.state()
    net.train_epoch(*data, order_of(1), 20, 0.1)
    assert not np.array_equal(net.state()['objective/visits'], kept['objective/visits'])
    net.roll_back()
    other = network(1, Remembering())
    other.restore_state(kept)
    for again in (net, other):
        assert all(np.array_equal(v, again.state()[k]) for k, v in kept.items())


@pytest.mark.long
def test_draws_are_those_of_the_epochs_seed_and_of_the_step_whatever_the_order(data):
    def draws(order, seed, epochs=1):
        net = network(1, Remembering())
        for epoch in range(epochs):
            net.train_epoch(*data, order, N, 1e-9, seed=None if seed is None else [*seed, epoch])
        return state(net)['objective/draws']
    first = draws(np.arange(N), [1, 1])
    np.testing.assert_array_equal(draws(np.arange(N), [1, 1]), first)
    np.testing.assert_array_equal(draws(order_of(0), [1, 1])[order_of(0)], first)  # by place in the batch
    for other in ([2, 1], [1, 2]):
        assert not np.isin(draws(np.arange(N), other), first).any()
    for seed in ([1, 1], None):  # full batches in a fixed order: the next epoch draws anew
        assert not np.isin(draws(np.arange(N), seed, epochs=2), draws(np.arange(N), seed)).any()


@pytest.mark.long(after=1)
@pytest.mark.parametrize('change', ['dropout', 'augmentation'])
def test_full_batches_in_a_fixed_order_repeat_no_dropout_and_no_augmentation(data, change):
    description = [DESCRIPTION[0], ['D', 0.5], *DESCRIPTION[1:]] if change == 'dropout' else DESCRIPTION

    def losses(seeds):
        net = network(description=description)
        net.augment = AUGMENTATIONS['crop-flip'] if change == 'augmentation' else None
        return [float(net.train_epoch(*data, np.arange(N), N, 1e-9, seed=seed)[0]) for seed in seeds]
    same, (first, second, retried) = losses([[1, 1, 0]] * 2), losses([[1, 1, 0], [1, 2, 0], [1, 2, 1]])
    assert same == pytest.approx([first] * 2, rel=1e-6)
    assert all(abs(a / b - 1) > 1e-4 for a, b in ((first, second), (second, retried), (retried, first)))


def test_a_control_follows_its_schedule_by_steps_or_by_epochs():
    schedule = {'type': 'piecewise', 'boundaries': [2, 3], 'factors': [0.5, 0.1]}
    steps = np.arange(3, 9)
    for description, expected in (
            (0.3, [0.3] * 6), ({'value': 2.0, 'schedule': schedule}, [0.2] * 6),
            ({'value': 2.0, 'schedule': schedule, 'by': 'epoch'}, [2.0, 1.0, 1.0, 0.2, 0.2, 0.2])):
        np.testing.assert_allclose(Control('eps', description)(steps, 2), expected, rtol=1e-15)


@pytest.mark.parametrize('description, message', [
    ('0.3', "eps must be a finite number of at least 0, not '0.3'"), ({'schedule': None}, "eps lacks its 'value'"),
    ({'value': 1, 'bye': 'step'}, "eps takes no 'bye'; did you mean 'by'"),
    ({'value': 1, 'by': 'day'}, "eps: 'by' must be 'step', 'epoch' or 'batch', not 'day'"),
    ({'value': 1, 'schedule': {'type': 'liner'}}, "there is no schedule 'liner'")])
def test_a_description_of_a_control_that_is_none_is_answered(description, message):
    with pytest.raises(ValueError, match=message):
        Control('eps', description)


def test_a_weight_that_follows_a_schedule_weighs_the_losses_of_each_step(data):
    weight = {'value': 2.0, 'schedule': {'type': 'exponential', 'decay_steps': 1, 'rate': 0.5}}
    net = network(1, objective_of([{'type': 'cross-entropy', 'weight': weight}]))
    plain = float(network().test(*data)['loss'])
    losses = net.train_epoch(*data, np.tile(np.arange(N), 3), N, 1e-12)
    np.testing.assert_allclose(losses, plain * np.array([2.0, 1.0, 0.5]), rtol=1e-6)
    assert float(tf.reduce_mean(net.objective.losses(net.net, *data, False))) == pytest.approx(2 * plain, rel=1e-6)


def test_the_parts_of_a_sum_have_their_own_state_and_controls(data):
    parts = [Remembering(0.5), Remembering(0.25)]
    net = network(1, Weighted([(1.0, parts[0]), (3.0, parts[1])]))
    losses = net.train_epoch(*data, np.arange(N), N, 1e-9)
    found = state(net)
    assert sorted(found) == sorted(f'objective/{i}.{name}' for i in (0, 1) for name in parts[0].variables())
    assert found['objective/0.mean'] == pytest.approx(0.5 * losses[0] / 4, rel=1e-9)
    assert found['objective/1.mean'] == pytest.approx(0.25 * losses[0] / 4, rel=1e-9)


class Moved(Objective):
    """The cross entropy of other images than the batch's, by a pass of its own."""

    def losses(self, batch, x=None, y=None, training=True):
        return CrossEntropy().losses(batch.net, batch.x + batch.uniform([1, 1, 1]), batch.y, True)


@pytest.mark.long
def test_an_objective_with_a_pass_of_its_own_is_a_part_of_a_sum(data):
    net = network(1, Weighted([(1.0, CrossEntropy()), (2.0, Moved())]))
    alone = network(1, Moved())
    seed = [1, 1, 0]
    found, moved = (n.train_epoch(*data, np.arange(N), N, 1e-12, seed=seed)[0] for n in (net, alone))
    assert found == pytest.approx(network().test(*data)['loss'] + 2 * moved, rel=1e-6)


def test_outside_of_a_training_step_there_is_nothing_to_draw_from_or_to_update(data):
    batch = Batch(network().net, *data)
    for use in (batch.uniform, lambda: batch.update(tf.Variable(0.0), 1.0), lambda: batch.mean(tf.zeros([N]))):
        with pytest.raises(ValueError, match='only the batch of a training step has random numbers'):
            use()


@pytest.mark.long
@pytest.mark.parametrize('number', [6, 8])
def test_a_run_whose_objective_has_state_is_resumed_bit_for_bit(number, tmp_path, monkeypatch):
    monkeypatch.setitem(OBJECTIVES, 'remembering', Remembering)
    flags = {'objective': {'type': 'remembering', 'rate': 0.3}, 'lr': 0.05, 'train_mode': TrainMode.NORMAL, 'E': 5,
             'B': 40, 'train_N': 200, 'test_N': 20, 'print': False}
    train(**flags, log='whole')
    with monkeypatch.context() as m:
        die_in(m, 'fsync', number, False)
        with pytest.raises(Stop):
            train(**flags)
    assert 0 < Workdir('run').last_epoch() < 5
    core.run({**FLAGS, **flags, 'log': None, 'resume': 'run'})
    runs = [Workdir('run'), Workdir('whole')]
    first, second = ([{k: v for k, v in x.items() if k != 'time'} for x in run.read_history()] for run in runs)
    assert first == second
    (_, first), (_, second) = (run.read_state() for run in runs)
    assert first.keys() == second.keys() and all(np.array_equal(first[k], second[k]) for k in first)
    assert (first['objective/visits'] == 5).all() and len(first['objective/visits']) == 200


class Adversarial(Objective):
    """The cross entropy of what PGD makes of the images, within a budget that grows from image to image and step to
    step."""

    def build(self, net, images):
        self.attack = PGD(net, k=3, a=0.5, random_start=False, norm='L2')
        self.budget = Control('eps', {'value': 0.5, 'schedule': {'type': 'cosine', 'decay_steps': 3, 'end': 0.5}})

    def controls(self, steps, per_epoch):
        return {'eps': self.budget(steps, per_epoch)}

    def losses(self, batch, x=None, y=None, training=True):
        eps = tf.cast(batch.controls['eps'], tf.float32) * (1 + tf.cast(batch.index, tf.float32) / N)
        moved = self.attack.perturb(batch.x, batch.y, eps, batch.seed)
        return CrossEntropy().losses(batch.net, tf.stop_gradient(moved), batch.y, True)


@pytest.mark.long
@pytest.mark.parametrize('parts', [1, 3])
def test_an_attack_runs_within_a_step_on_the_weights_of_that_step_and_each_image_has_its_budget(data, parts):
    net, by_hand, order = network(parts, Adversarial()), network(), order_of(0)
    losses = net.train_epoch(*data, order, 20, 0.1)
    x, y = (tf.convert_to_tensor(a) for a in data)
    attack = PGD(by_hand.net, k=3, a=0.5, random_start=False, norm='L2')
    for step, loss in enumerate(losses):
        rows = order[20 * step:20 * step + 20]
        eps = (0.5 * (1 + (1 + math.cos(math.pi * step / 3)) / 2) / 2) * (1 + rows / N)
        moved = attack.perturb(tf.gather(x, rows), tf.gather(y, rows), eps.astype(np.float32), [0, 0])
        assert loss == pytest.approx(by_hand.test(moved, y.numpy()[rows])['loss'], rel=1e-4)
        by_hand.train_epoch(moved, y.numpy()[rows], np.arange(20), 20, 0.1)
