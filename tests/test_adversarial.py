"""Adversarial training: the loss is the closed form's, the budget follows its schedule, killed runs go on."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf
from runs import FLAGS, Stop, die_in, train
from test_mma import Counting, linear, two_classes  # noqa: F401  (a fixture)

import core
from core.devices import use_device
from core.workdir import Workdir
from models import Model, SimpleSequential, TrainMode
from models.objectives import Adversarial, objective_of

GROWING = {'value': 0.3, 'schedule': {'type': 'linear', 'start_v': 0.0, 'slope': 0.1, 'max': 1.0}}
RUN = {'train_N': 90, 'test_N': 40, 'B': 15, 'E': 4, 'print': False, 'train_mode': TrainMode.NORMAL, 'lr': 0.1,
       'objective': {'type': 'adversarial', 'eps': GROWING, 'norm': 'L2', 'k': 3}, 'include_all_rt_loss_in_res': True}


@pytest.mark.long(after=1)
@pytest.mark.parametrize('norm', ['Linf', 'L2'])
def test_on_a_linear_network_the_loss_is_the_closed_forms(norm, two_classes):  # noqa: F811
    """ln(1 + exp(-(lead - eps |w|))), |w| in the dual norm, of right images and of wrong ones."""
    net, x, y, w = two_classes
    y = np.where(np.arange(len(y)) < 5, 1 - y, y)
    logits = net(x).numpy().astype(float)
    lead = (logits[:, 0] - logits[:, 1]) * np.where(y == 0, 1, -1)
    eps = 0.1
    want = np.log1p(np.exp(-(lead - eps * (np.abs(w).sum() if norm == 'Linf' else np.linalg.norm(w)))))
    found = Adversarial(eps, norm, k=40, step=10.0).losses(net, x, y).numpy()
    np.testing.assert_allclose(found, want, rtol=1e-4)


def test_the_budget_follows_its_schedule_and_steps_follow_the_budget(two_classes):  # noqa: F811
    net, x, y, w = two_classes
    objective = objective_of({'type': 'adversarial', 'eps': GROWING, 'k': 1, 'step': 1.0, 'random_start': False})
    np.testing.assert_allclose(objective.controls(np.arange(0, 15, 5), 7)['eps'], [0, 0.15, 0.3])
    lead = np.abs(net(x).numpy().astype(float) @ [1, -1])
    model = Model(linear(*net.get_weights()))
    model.minimise(objective, len(x))
    losses = [model.train_epoch(x, y, np.arange(len(x)), len(x), 1e-12)[0] for _ in range(12)]
    for step in (0, 4, 10, 11):
        eps = 0.3 * min(step / 10, 1)
        assert losses[step] == pytest.approx(np.log1p(np.exp(-(lead - eps * np.abs(w).sum()))).mean(), rel=1e-5)


@pytest.mark.long
def test_batch_normalisation_sees_one_pass_in_training_mode(digits):
    x, y = (a[:30] for a in digits.train)
    counting = Counting()
    net = keras.Sequential([keras.Input((8, 8, 1)), counting, keras.layers.Flatten(), keras.layers.Dense(10),
                            keras.layers.BatchNormalization()])
    objective = Adversarial(0.2, k=4)
    objective.losses(net, x, y)  # looks at the network once, on noise
    counting.seen.clear()
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(objective.losses(net, x, y))
    tape.gradient(loss, net.trainable_variables)
    assert counting.seen == [(False, 30)] * 4 + [(True, 30)]


@pytest.mark.long
def test_a_killed_run_is_gone_on_with_as_if_it_had_not_been(monkeypatch):
    whole, history = train(**RUN, log='whole')
    with monkeypatch.context() as patch, pytest.raises(Stop):
        die_in(patch, 'replace', 5, before=False)
        train(**RUN, log='killed')
    core.run({k: v for k, v in {**FLAGS, **RUN, 'resume': 'killed'}.items() if k != 'log'})
    for a, b in zip(history, Workdir('killed').read_history(), strict=True):
        assert {k: v for k, v in a.items() if k != 'time'} == {k: v for k, v in b.items() if k != 'time'}


@pytest.mark.long
def test_several_devices_take_the_same_steps(digits):
    (x, y), _ = digits
    losses = []
    for parts in (1, 2):
        with use_device(['cpu'] * parts).strategy.scope():
            model = SimpleSequential('net', (8, 8, 1), [['C', 4, [3, 3]], ['P'], ['F', 10, {'act': False}]],
                                     train_mode=TrainMode.NORMAL, init={'weight': 'he_normal'}, seed=1)
        model.minimise(Adversarial(0.1, k=3), 60)
        losses.append(np.concatenate([model.train_epoch(
            x[:60], y[:60], np.random.default_rng(e).permutation(60), 15, 0.1, seed=e) for e in range(3)]))
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-3)


@pytest.mark.parametrize('arguments, message', [
    ({'eps': 0}, 'eps must be a finite number above 0, not 0'), ({'eps': -0.1}, 'eps must be a finite number above 0'),
    ({'eps': 0.1, 'k': 0}, 'k must be a whole number'), ({'eps': 0.1, 'norm': 'L1'}, "norm must be 'Linf' or 'L2'"),
    ({'eps': {'value': 0.1, 'schedul': {}}}, "eps takes no 'schedul'; did you mean 'schedule'?"),
    ({'eps': 0.1, 'start': 'cube'}, "start must be 'ball' or 'step', not 'cube'"),
    ({'eps': 0.1, 'shift': 1e-8}, "floor is of start='ball', and shift of start='step'"),
    ({'eps': 0.1, 'floor': 1e-8, 'start': 'step'}, "floor is of start='ball', and shift of start='step'"),
    ({'eps': 0.1, 'loss': 'hinge'}, "loss must be 'slm' or"), ({}, "'adversarial' takes eps, norm='Linf'")])
def test_wrong_arguments_are_refused_in_a_sentence(arguments, message):
    with pytest.raises(ValueError, match=message):
        objective_of({'type': 'adversarial', **arguments})


def test_a_budget_in_grey_levels_is_refused(two_classes):  # noqa: F811
    with pytest.raises(ValueError, match='eps is 8; pixels are in .*: was 8/255 meant'):
        Adversarial(8).layers(two_classes[0])
