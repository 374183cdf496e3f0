"""Optimizers, schedules by step, clipping, batch norm, dropout and augmentation: one step, whole runs, going on."""

from __future__ import annotations

import pickle

import keras
import numpy as np
import pytest
import tensorflow as tf
from conftest import LARGE_MARGIN, reference_npz
from runs import FLAGS, Stop, die_in, train

import core
from core import UserError
from core.devices import use_device
from core.workdir import Workdir
from models import BiasMode, SimpleSequential, TrainMode
from models.augmentation import PADDING, crop_and_flip
from models.objectives import objective_of
from models.optimizers import Optimizer, schedule_of

STEPS = reference_npz('train_step', LARGE_MARGIN)
DESCRIPTION = [['C', 8, [3, 3]], ['P'], ['B'], ['F', 16], ['D', 0.3], ['F', 10, {'act': False}]]
PLAIN = [['C', 8, [3, 3]], ['P'], ['F', 10, {'act': False}]]
EVERYTHING = {
    'train_mode': 'NORMAL', 'lr': 0.01, 'loss_ub': 1e9, 'E': 6, 'archive': 2, 'augment': 'crop-flip',
    'objective': [{'type': 'large-margin', 'top_k': 1}, {'type': 'cross-entropy', 'weight': 0.5}],
    'model': {'description': DESCRIPTION, 'opt': 'adam', 'clip_norm': 1.0, 'weight_decay': 1e-4,
              'schedule': {'type': 'exponential', 'decay_steps': 9, 'rate': 0.5}, 'init': {'weight': 'he_normal'}}}
"""All that beside gradient descent has a state, or draws."""


def network(parts: int = 1, description=PLAIN, **options) -> SimpleSequential:
    with use_device(['cpu'] * parts).strategy.scope():
        return SimpleSequential('net', (8, 8, 1), description, train_mode=TrainMode.NORMAL, seed=1,
                                init={'weight': 'he_normal'}, **options)


# ---- the released training script of Large Margin Deep Networks ----


@pytest.mark.long
@pytest.mark.parametrize('mode', ['default', 'l2k2'])
def test_four_steps_are_those_of_the_released_training_script(mode):
    """Margin, cross entropy and weight decay, clipping, RMSprop from ones, a staircase; with batch norm."""
    net = SimpleSequential(
        'release', (28, 28, 1), [['C', 3, [5, 5], {'bias': False}], ['P'], ['B'], ['C', 4, [5, 5], {'bias': False}],
                                 ['P'], ['B'], ['F', 8], ['F', 10, {'act': False}]],
        bias_mode=BiasMode.ALL, train_mode=TrainMode.NORMAL, weight_decay=5e-4, clip_norm=5.0,
        opt={'type': 'rmsprop', 'rho': 0.9, 'epsilon': 1e-2, 'mean_square0': 1.0},
        schedule={'type': 'exponential', 'decay_steps': 2, 'rate': 0.96})
    names = {'conv1_f': 'conv_layer0_kernel', 'conv4_f': 'conv_layer1_kernel', 'fc7_W': 'fc_layer0_kernel',
             'fc7_b': 'fc_layer0_bias', 'fc8_W': 'output_layer_kernel', 'fc8_b': 'output_layer_bias',
             **{f'bn{i}_{v}': f'conv_layer{k}_bn_{v}' for i, k in ((3, 0), (6, 1))
                for v in ('gamma', 'beta', 'moving_mean', 'moving_variance')}}
    net.set_weights({ours: STEPS[f'w0/{theirs}'] for ours, theirs in names.items()})
    margin = {'type': 'large-margin-released', 'layers': ['input', 'bn3', 'bn6'], 'eps': 1e-6}
    margin |= {'gamma': 1e4, 'alpha': 4.0, 'top_k': 1, 'norm': 'inf'} if mode == 'default' else {
        'gamma': 0.05, 'alpha': 3.0, 'top_k': 2, 'norm': 2}
    net.minimise(objective_of([margin, {'type': 'cross-entropy', 'weight': 0.0 if mode == 'default' else 0.5}]).losses)
    for t in range(4):
        x, y = STEPS['images'][t].astype(np.float32) / np.float32(255), STEPS['labels'][t]
        loss = net.train_epoch(x, y, np.arange(8), 8, 0.1)
        expected = float(STEPS[f'{mode}/step{t}/total'])
        assert loss[0] == pytest.approx(expected, abs=2e-3 if mode == 'default' else 4e-4)
        if t in (0, 3):
            state = net.state()
            slots = [v for k, v in state.items() if k.startswith('optimizer/') and 'velocity' in k]
            trained = [k for k in net.weights() if 'moving' not in k]
            for (ours, theirs), slot in zip(((k, names[k]) for k in trained), slots, strict=True):
                for value, kind, atol in ((state[ours], 'after', 5e-6), (slot, 'rms_after', 5e-5)):
                    there = STEPS[f'{mode}/step{t}/{kind}/{theirs}']
                    np.testing.assert_allclose(value, there, atol=atol, rtol=1e-4, err_msg=f'{ours} {kind}')
            for i, k in ((3, 0), (6, 1)):  # Keras keeps the biased variance, the release the unbiased one
                there = STEPS[f'{mode}/step{t}/after/conv_layer{k}_bn_moving_mean']
                np.testing.assert_allclose(state[f'bn{i}_moving_mean'], there, atol=5e-6)


# ---- one step ----


@pytest.mark.long
def test_a_step_is_that_of_keras_with_its_own_optimizer(digits):
    (x, y), _ = digits
    for opt, theirs in (('adam', keras.optimizers.Adam(0.01)),
                        ({'type': 'sgd', 'momentum': 0.9, 'nesterov': True}, keras.optimizers.SGD(0.01, 0.9, True)),
                        ({'type': 'rmsprop', 'rho': 0.8}, keras.optimizers.RMSprop(0.01, 0.8))):
        net, other = network(opt=opt), network()
        net.train_epoch(x[:60], y[:60], np.arange(60), 20, 0.01)
        other.net.compile(theirs, keras.losses.SparseCategoricalCrossentropy(from_logits=True))
        other.net.fit(x[:60], y[:60], batch_size=20, shuffle=False, verbose=0)
        for name, value in other.weights().items():
            np.testing.assert_allclose(net.weights()[name], value, rtol=1e-4, atol=1e-5, err_msg=f'{opt} {name}')


@pytest.mark.long(after=1)
@pytest.mark.parametrize('parts', [1, 2])
def test_the_norm_of_all_gradients_together_is_clipped(digits, parts):
    (x, y), _ = digits
    net = network(parts, clip_norm=0.01)
    before = net.weights()
    net.train_epoch(x, y, np.arange(50), 50, 0.5)
    moved = [net.weights()[k] - v for k, v in before.items()]
    assert np.sqrt(sum(np.square(m).sum() for m in moved)) == pytest.approx(0.5 * 0.01, rel=1e-4)


@pytest.mark.long
@pytest.mark.parametrize('options', [
    {'opt': 'adam'}, {'opt': {'type': 'sgd', 'momentum': 0.9}, 'clip_norm': 0.3},
    {'clip_norm': 0.3, 'weight_decay': 0.1}])
def test_several_devices_take_the_steps_of_one_with_any_optimizer(digits, options):
    (x, y), order = digits.train, np.random.default_rng(0).permutation(200)
    nets = [network(parts, **options) for parts in (1, 3)]
    losses = [net.train_epoch(x, y, order, 40, 0.01) for net in nets]
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-5)
    for name, value in nets[0].weights().items():
        np.testing.assert_allclose(nets[1].weights()[name], value, atol=2e-5, err_msg=name)


@pytest.mark.parametrize('description, steps, factors', [
    ({'type': 'exponential', 'decay_steps': 2000, 'rate': 0.96}, [0, 1999, 2000, 4001], [1, 1, 0.96, 0.96 ** 2]),
    ({'type': 'exponential', 'decay_steps': 10, 'rate': 0.5, 'staircase': False}, [5, 20], [0.5 ** 0.5, 0.25]),
    ({'type': 'piecewise', 'boundaries': [3, 5], 'factors': [0.1, 0.01]}, [2, 3, 4, 5, 99], [1, 0.1, 0.1, 0.01, 0.01]),
    ({'type': 'cosine', 'decay_steps': 4, 'end': 0.2}, [0, 2, 4, 9], [1, 0.6, 0.2, 0.2])])
def test_schedules_are_their_formulas(description, steps, factors):
    np.testing.assert_allclose(schedule_of(description)(np.array(steps)), factors, rtol=1e-12)


def test_the_rates_of_mma_training_change_with_the_step_that_its_table_names():
    """The released table, 0: 0.3, 20,000: 0.09, 30,000: 0.03, 40,000: 0.009; steps are counted from 0."""
    schedule = schedule_of({'type': 'piecewise', 'boundaries': [20_000, 30_000, 40_000], 'factors': [0.3, 0.1, 0.03]})
    steps = [0, 19_999, 20_000, 29_999, 30_000, 39_999, 40_000, 49_999]
    np.testing.assert_allclose(0.3 * schedule(np.array(steps)), np.repeat([0.3, 0.09, 0.03, 0.009], 2), rtol=1e-12)


@pytest.mark.long
@pytest.mark.parametrize('parts', [1, 2])
def test_momentum_of_torch_is_free_of_the_rates_of_earlier_steps(digits, parts):
    (x, y), _ = digits
    nets = {opt: network(parts, opt={'type': opt, 'momentum': 0.9}) for opt in ('torch-sgd', 'sgd')}
    plain = network(parts)
    start = plain.weights()['fc3_W']
    for net in nets.values():
        net.train_epoch(x, y, np.arange(20), 20, 0.1)
    first = {opt: net.weights() for opt, net in nets.items()}
    np.testing.assert_allclose(first['torch-sgd']['fc3_W'], first['sgd']['fc3_W'], atol=1e-6)
    buffer = (start - first['sgd']['fc3_W']) / 0.1
    for opt, net in nets.items():
        plain.set_weights(net.weights())
        plain.train_epoch(x, y, np.arange(20, 40), 20, 1.0)
        gradient = net.weights()['fc3_W'] - plain.weights()['fc3_W']
        net.train_epoch(x, y, np.arange(20, 40), 20, 0.001)
        moved = 0.001 * (0.9 * buffer + gradient) if opt == 'torch-sgd' else 0.9 * 0.1 * buffer + 0.001 * gradient
        np.testing.assert_allclose(net.weights()['fc3_W'], first[opt]['fc3_W'] - moved, atol=1e-6, err_msg=opt)


def test_a_schedule_goes_on_from_epoch_to_epoch_and_a_roll_back_takes_its_steps_back(digits):
    (x, y), _ = digits
    steps = {'type': 'piecewise', 'boundaries': [4, 6], 'factors': [0.0, 1.0]}
    net = network(schedule=steps)
    net.train_epoch(x, y, np.arange(40), 10, 0.1)
    net.keep()
    for _ in range(2):  # the same two steps, at rate 0, twice
        before = net.weights()
        net.train_epoch(x, y, np.arange(20), 10, 0.1)
        assert all(np.array_equal(before[k], v) for k, v in net.weights().items())
        net.roll_back()
    net.train_epoch(x, y, np.arange(30), 10, 0.1)
    assert not np.array_equal(before['fc3_W'], net.weights()['fc3_W'])


@pytest.mark.long
def test_a_roll_back_takes_back_moments_and_moving_statistics(digits):
    (x, y), _ = digits
    net = network(description=DESCRIPTION, opt='adam')
    net.train_epoch(x, y, np.arange(200), 50, 0.01)
    net.keep()
    kept = net.state()
    first = net.train_epoch(x, y, np.arange(500), 50, 0.01)
    changed = [k for k, v in net.state().items() if not np.array_equal(v, kept[k])]
    assert {'bn3_moving_mean', 'bn3_gamma', 'conv1_f', 'steps'} <= set(changed) and len(changed) > 15
    net.roll_back()
    assert all(np.array_equal(v, kept[k]) for k, v in net.state().items())
    np.testing.assert_array_equal(net.train_epoch(x, y, np.arange(500), 50, 0.01), first)  # dropout's draws too


# ---- layers and augmentation ----


def test_dropout_and_batch_norm_are_as_in_training_in_steps_and_not_in_evaluations(digits):
    (x, y), _ = digits
    net = network(description=DESCRIPTION)
    a, b = net.test(x, y), net.test(x, y)
    np.testing.assert_array_equal(a['y_'], b['y_'])
    orders = [np.arange(100), np.arange(100), np.roll(np.arange(100), 1)]
    net.keep()
    losses = []
    for order in orders:
        losses.append(net.train_epoch(x, y, order, 100, 1e-9)[0])
        net.roll_back()
    assert losses[0] == losses[1] != losses[2], 'draws are a function of the order'
    assert not net.is_homogeneous


def test_crops_and_flips_are_exactly_those_that_the_draws_say():
    x = np.random.default_rng(0).uniform(size=(5, 6, 7, 3)).astype(np.float32)
    draws = [[0, 0, 0.9], [0.999, 0.999, 0.9], [0.45, 0.45, 0.9], [0.45, 0.45, 0.1], [0.2, 0.7, 0.1]]
    found = crop_and_flip(tf.constant(x), tf.constant(draws, tf.float32)).numpy()
    padded = np.pad(x, [(0, 0), (PADDING, PADDING), (PADDING, PADDING), (0, 0)])
    for i, (top, left, flip) in enumerate([(0, 0, 0), (8, 8, 0), (4, 4, 0), (4, 4, 1), (1, 6, 1)]):
        cut = padded[i, top:top + 6, left:left + 7]
        np.testing.assert_array_equal(found[i], cut[:, ::-1] if flip else cut)
    np.testing.assert_array_equal(found[2], x[2])


@pytest.mark.long
def test_augmentation_is_that_of_the_order_on_any_number_of_devices(digits):
    (x, y), order = digits.train, np.arange(90)
    losses = []
    for parts, augment in ((1, crop_and_flip), (1, crop_and_flip), (3, crop_and_flip), (1, None)):
        net = network(parts)
        net.augment = augment
        losses.append(net.train_epoch(x, y, order, 30, 0.05))
    np.testing.assert_array_equal(losses[0], losses[1])
    np.testing.assert_allclose(losses[2], losses[0], rtol=1e-6)
    assert np.abs(losses[3] / losses[0] - 1).max() > 0.01


# ---- whole runs ----


@pytest.fixture(scope='module')
def whole(tmp_path_factory):
    path = tmp_path_factory.mktemp('whole') / 'run'
    _, lines = train(**EVERYTHING, log=str(path))
    assert lines[-1]['rt_loss'] < lines[0]['rt_loss']
    return path


@pytest.mark.long
@pytest.mark.parametrize('number', [6, 11])
def test_a_run_with_an_optimizer_dropout_and_augmentation_is_resumed_bit_for_bit(number, whole, monkeypatch):
    with monkeypatch.context() as m:
        die_in(m, 'fsync', number, False)
        with pytest.raises(Stop):
            train(**EVERYTHING)
    assert 0 < Workdir('run').last_epoch() < 6
    core.run({**FLAGS, **EVERYTHING, 'log': None, 'resume': 'run'})
    runs = [Workdir('run'), Workdir(whole)]
    a, b = ([{k: v for k, v in x.items() if k != 'time'} for x in run.read_history()] for run in runs)
    assert a == b
    (_, first), (_, second) = (run.read_state() for run in runs)
    assert first.keys() == second.keys() and all(np.array_equal(first[k], second[k]) for k in first)
    assert set(pickle.loads(runs[0].res_path.read_bytes())['raw']) == set(range(1, 7))


@pytest.mark.long
def test_an_archived_model_has_the_moving_statistics_and_predicts_what_the_run_recorded(whole):
    net = keras.saving.load_model(whole / 'model-6.keras')
    x, y = core.get_dataset('digits').test
    last = list(Workdir(whole).read_history())[-1]
    assert (net.predict(x[:100], verbose=0).argmax(axis=1) == y[:100]).mean() == last['stats']['test_acc']


@pytest.mark.parametrize('changes, message', [
    ({'objective': 'hinge'}, "objective: there is no objective 'hinge'"),
    ({'objective': {'type': 'large-margin', 'gama': 1}}, "objective: the objective 'large-margin' takes no 'gama'"),
    ({'objective': {'type': 'large-margin', 'layers': ['pool9']}}, "objective: the network has no layer 'pool9'"),
    ({'objective': 'large-margin', 'train_mode': TrainMode.USE_FRAME}, 'objective: the frame of train_mode=USE_FRAME'),
    ({'objective': 'large-margin', 'lr': ('loss-based-v1', 0.1)}, 'objective does not go with lr='),
    ({'model': {'opt': 'adam'}, 'lr': ('loss-based-v1', 0.1)}, "model.opt does not go with lr=('loss-based-v1', 0.1)"),
    ({'augment': 'crop-flip', 'lr': ('loss-based-v1', 0.1)}, 'augment does not go with lr='),
    ({'augment': 'mixup'}, "augment must be None, or 'crop-flip', not 'mixup'"),
    ({'model': {'opt': 'adam'}, 'train_mode': TrainMode.USE_FRAME}, 'model: opt belongs to train_mode=NORMAL'),
    ({'model': {'clip_norm': 1.0}, 'train_mode': TrainMode.USE_FRAME}, 'model: clip_norm belongs to train_mode=NORMAL'),
    ({'model': {'description': DESCRIPTION}, 'train_mode': TrainMode.USE_FRAME}, 'model: a frame follows the loss of'),
    ({'model': {'opt': 'adamw'}}, "model: there is no optimizer 'adamw'"),
    ({'model': {'opt': {'type': 'adam', 'beta1': 0.9}}}, "model: the optimizer 'adam' takes no 'beta1'"),
    ({'model': {'opt': {'type': 'sgd', 'momentum': 2}}}, "model: the optimizer 'sgd'"),
    ({'model': {'opt': [3]}}, "model: optimizer must be a name, or a dictionary with a 'type'"),
    ({'model': {'clip_norm': 0}}, 'model: clip_norm must be a finite number above 0'),
    ({'model': {'schedule': {'type': 'exponential', 'rate': 0.5}}}, "model: the schedule 'exponential'"),
    ({'model': {'schedule': {'type': 'linear', 'start_v': 0}}}, "model: the schedule 'linear' lacks slope"),
    ({'model': {'opt': {'type': 'torch-sgd', 'momentum': 2}}}, "model: the optimizer 'torch-sgd': momentum must be"),
    ({'model': {'schedule': {'type': 'piecewise', 'boundaries': [5, 3], 'factors': [1, 1]}}}, 'model: piecewise takes'),
    ({'model': {'description': [['D', 1.0], ['F', 10]]}}, "model: layer 1, ['D', 1.0]: D is dropout")])
def test_what_makes_no_sense_together_is_refused_in_one_sentence(changes, message):
    model = {'description': PLAIN, **changes.get('model', {})}
    with pytest.raises(UserError) as e:
        train(**{'train_mode': 'NORMAL', 'lr': 0.1, **changes, 'model': model})
    assert message in str(e.value) and '\n' not in str(e.value)


def test_an_optimizer_without_arguments_is_a_name():
    with pytest.raises(ValueError, match="'gd' takes no arguments"):
        Optimizer({'type': 'gd', 'momentum': 0.9})
