"""Curves that are trained between two runs: the objective, the run, points on it, and what is measured along it."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from conftest import ADVERSARIAL, reference_json
from runs import Stop, die_in
from test_resume import contents

import core
import models
from core import AttackType, UserError
from core.tasks.curve import grid
from core.workdir import Workdir
from models.losses import hp_sparse_softmax_cross_entropy_with_logits_v1 as cross_entropies
from models.networks.curve import CurveLayer
from models.objectives import objective_of

NORMALISED = {'arch': 'simple_sequential', 'model': {'opt': 'torch-adam', 'description': [
    ['C', 4, [3, 3]], ['B', {'act': True}], ['P'], ['F', 16], ['F', 10, {'act': False}]]}}
RUN = {'dataset': 'digits', 'train_N': 300, 'test_N': 100, 'B': 50, 'gpu': 'cpu', 'print': False}
CURVE = {'arch': 'curve', 'model': {'opt': 'torch-adam'}, 'objective': 'curve', 'lr': 3e-3, 'B': 50, 'gpu': 'cpu',
         'seed': 3, 'print': False}
MEASURE = {'gpu': 'cpu', 'seed': 1}
FGSM = {**MEASURE, 'task': 'attack', 'attack_type': AttackType.FGSM, 'attack_eps_list': [0.1], 'attack_set': 'test',
        'attack_N': 20, 'attack_B': 20}
LENET = {'arch': 'lenet', 'model': {'width': 1}}


# ---- the objective ----

@pytest.fixture
def seen(monkeypatch, eagerly):
    """The t of every pass that is made."""
    found, original = [], CurveLayer.call

    def call(layer, images, training=None):
        if tf.executing_eagerly():
            found.append(float(layer.t.value))
        return original(layer, images, training)
    monkeypatch.setattr(CurveLayer, 'call', call)
    return found


def trained(digits, images, of):
    """A curve, and its weights before steps of gradient descent on 20 images each at a rate of 1."""
    model = models.build_model('curve', (8, 8, 1), of=LENET, seed=1, weight_decay=0.1)
    model.minimise(objective_of({'type': 'curve', 'of': of}), images, 20)
    before = model.weights()
    losses = model.train_epoch(*(a[:images] for a in digits.train), np.arange(images), 20, 1.0, seed=[5])
    return model, before, losses


def test_a_step_follows_the_gradient_at_one_random_t_and_the_ends_stay(digits, seen):
    model, before, (loss,) = trained(digits, 20, 'cross-entropy')
    after, t = model.weights(), seen[-1]
    bends = [name for name in before if name.startswith('p1.')]
    assert {name for name in before if (before[name] != after[name]).any()} == set(bends)
    assert after['t'] == 0.5 and 0 < t < 1 and abs(t - 0.5) > 0.01, 'between steps it is at 0.5'
    model.set_weights({**before, 't': np.float64(t)})
    x, y = (a[:20] for a in digits.train)
    with tf.GradientTape() as tape:
        want = tf.reduce_mean(cross_entropies(y, model.net(x, training=True)))
    decay = sum(np.square(before[name]).sum() for name in bends) * 0.1
    assert loss == pytest.approx(float(want) + decay / 2, rel=1e-6)
    by_name = dict(zip((id(v) for v in model.vars), tape.gradient(want, model.vars)))
    for name in bends:
        step = by_name[id(model.network.weights[name])].numpy() + 0.1 * before[name]
        np.testing.assert_allclose(after[name], before[name] - step, rtol=1e-4, atol=1e-6)


def test_each_batch_has_its_t_and_is_attacked_there(digits, seen):
    _, _, losses = trained(digits, 60, {'type': 'adversarial', 'eps': 0.2, 'k': 3})
    passes = seen[-3 * len(losses):]
    drawn = list(dict.fromkeys(passes))
    assert len(drawn) == len(losses) == 3 and 0.5 not in drawn
    assert passes == sorted(passes, key=drawn.index), 'one t in all passes of a step'


def test_other_networks_are_no_curves():
    model = models.build_model('lenet', (8, 8, 1), width=1)
    with pytest.raises(ValueError, match="'curve' trains a curve between"):
        objective_of('curve').layers(model.net)


# ---- the run ----

pytestmark = pytest.mark.usefixtures('networks_are_shared')


@pytest.fixture(scope='module')
def trained_runs(tmp_path_factory, networks_are_shared):
    """Two runs with batch norm, A and B, and a curve between them."""
    place = tmp_path_factory.mktemp('curve')
    with pytest.MonkeyPatch.context() as m:
        m.chdir(place)
        for seed, name in enumerate('AB'):
            core.run({**RUN, **NORMALISED, 'lr': 1e-2, 'E': 30, 'seed': seed, 'log': name})
        core.run({**CURVE, 'ends': ['A', 'B'], 'lr': 1e-2, 'E': 100, 'log': 'curve'})
    return place


@pytest.fixture
def runs(trained_runs):
    shutil.copytree(trained_runs, '.', dirs_exist_ok=True)


@pytest.fixture(scope='module')
def linear(tmp_path_factory, networks_are_shared):
    """Two runs of an epoch, of linear networks."""
    place = tmp_path_factory.mktemp('linear')
    model = {'description': [['F', 10, {'act': False}]]}
    for seed, name in enumerate('AB'):
        core.run({**RUN, 'model': model, 'lr': 0.1, 'E': 1, 'seed': seed, 'log': str(place / name)})
    return place


@pytest.fixture
def linear_runs(linear):
    shutil.copytree(linear, '.', dirs_exist_ok=True)


def measured(log, t=None, **changes):
    """Measures a point; returns what the summary says, and the directory that it is of."""
    core.run({**FGSM, 'log': log, 't': t, 'eval_log': 'out', **changes})
    summary = Workdir('out').read_summary()
    shutil.rmtree('out')
    (numbers,) = summary['epochs'].values()
    return {k: v for k, v in numbers.items() if k != 'seconds'}, Path(summary['run'])


def arrays(path):
    """The weights of a file that Keras loads."""
    return [v.numpy() for v in keras.saving.load_model(path).weights]


@pytest.mark.long
def test_along_a_trained_curve_the_loss_stays_orders_of_magnitude_below_the_straight_line_s(runs, capsys):
    options = {'step': 0.25}
    res = core.run({**MEASURE, 'task': 'curve', 'log': 'curve', 'eval_log': 'curve/eval-curve/1', 'options': options,
                    'attack_type': AttackType.FGSM, 'attack_set': 'test', 'attack_N': 20, 'eps': 0.1})[100]
    worst = {way: res[way]['train_log_loss'].max() / np.log(10) for way in ('curve', 'straight')}
    assert worst['curve'] < worst['straight'] - 2
    assert 'along the straight line: training loss at most' in capsys.readouterr().out
    for i, name in ((0, 'A'), (-1, 'B')):
        last = list(Workdir(name).read_history())[-1]['stats']
        for way in ('curve', 'straight'):
            assert res[way]['train_log_loss'][i] == pytest.approx(last['log_loss'], rel=1e-6)
            assert res[way]['test_acc'][i] == last['test_acc']
    assert res['curve']['robust_acc'][0] == [measured('A')[0]['robust_accuracy']['0.1']]
    middle, place = measured('curve', 0.5)
    assert middle['robust_accuracy']['0.1'] == res['curve']['robust_acc'][2, 0]
    stats = list(Workdir(place).read_history())[-1]['stats']
    assert (stats['log_loss'], stats['test_acc']) == pytest.approx(
        (res['curve']['train_log_loss'][2], res['curve']['test_acc'][2]), rel=1e-5)
    assert core.draw('figure-curve', 'curve').axes[0].lines[0].get_xdata().tolist() == [0, 0.25, 0.5, 0.75, 1]

    parts, before = sorted(Path('curve/eval-curve/1/parts').iterdir()), None
    parts[3].unlink()  # as if it had been stopped in the middle
    before = [p.stat().st_mtime_ns for p in parts if p.exists()]
    again = core.run({**MEASURE, 'task': 'curve', 'log': 'curve', 'eval_log': 'curve/eval-curve/1', 'options': options,
                      'attack_type': AttackType.FGSM, 'attack_set': 'test', 'attack_N': 20, 'eps': 0.1})[100]
    assert len(before) == 9 and before == [p.stat().st_mtime_ns for p in parts if p != parts[3]]
    assert all((again[way][name] == res[way][name]).all() for way in res if way != 't' for name in res[way])


@pytest.mark.long
def test_where_the_loss_is_not_finite_there_is_a_gap_and_a_line_says_so(runs, capsys):
    net = keras.saving.load_model('curve/model-100.keras')
    kernel = net.layers[-1].points[1][-1]
    kernel.assign(np.full(kernel.shape, np.nan))
    net.save('curve/model-100.keras')
    res = core.run({**MEASURE, 'task': 'curve', 'log': 'curve', 'options': {'step': 0.5, 'straight': False}})[100]
    assert np.isfinite(res['curve']['train_log_loss']).tolist() == [True, False, True]
    assert 'note: along the curve the loss is not finite at 1 of 3 points' in capsys.readouterr().out
    line = core.draw('figure-curve', 'curve').axes[0].lines[0].get_ydata()
    assert np.isfinite(line).tolist() == [True, False, True]


@pytest.mark.long
def test_the_points_at_the_ends_are_the_runs_bit_for_bit_and_those_between_have_statistics_of_their_own(runs, capsys):
    for t, name in ((0, 'A'), (1, 'B')):
        numbers, place = measured('curve', t)
        assert numbers == measured(name)[0] and place.name.startswith(f'point-{t}-')
        found, own = (arrays(path) for path in (place / 'model-100.keras', f'{name}/model-30.keras'))
        assert len(found) == 8 and all(a.tobytes() == b.tobytes() for a, b in zip(found, own))
    numbers, place = measured('curve', 0.3)
    net = keras.saving.load_model(place / 'model-100.keras')
    norm = next(layer for layer in net.layers if isinstance(layer, keras.layers.BatchNormalization))
    before = keras.Model(net.inputs[0], norm.input)(core.get_dataset('digits').train[0][:300]).numpy()
    np.testing.assert_allclose(norm.moving_mean, before.mean(axis=(0, 1, 2)), rtol=1e-4, atol=1e-5)
    capsys.readouterr()
    for name in ('A', 'B'):
        shutil.rmtree(name)
    assert measured('curve', 0.3) == (numbers, place)
    assert f'{place} is the point t = 0.3 of curve (epoch 100)' in capsys.readouterr().out
    assert measured(str(place)) == (numbers, place), 'it needs nothing but its directory'


@pytest.mark.long
def test_a_killed_curve_goes_on_bit_for_bit_without_its_ends_and_is_repeated_by_like(linear_runs, monkeypatch):
    short = {**CURVE, 'ends': ['A', 'B'], 'ends_eid': ['last', 1], 'E': 3, 'model': {**CURVE['model'], 'bends': 2}}
    core.run({**short, 'log': 'whole'})
    with monkeypatch.context() as m, pytest.raises(Stop):
        die_in(m, 'replace', 3, before=True, of='state.npz.tmp')
        core.run({**short, 'log': 'killed'})
    core.run({'like': 'whole', 'log': 'repeated', 'gpu': 'cpu'})
    shutil.rmtree('B')
    core.run({**CURVE, 'E': 3, 'model': short['model'], 'resume': 'killed'})
    whole = contents('whole')
    assert contents('killed') == whole == contents('repeated')
    ends = json.loads(Path('whole/flags.json').read_text())['ends']
    assert [end['run'] for end in ends] == ['A', 'B'] and len(ends[0]['sha256']) == 64
    shutil.copytree('A', 'B')
    for path in Path('B').glob('model-*'):
        path.write_bytes(Path('whole/model-3.keras').read_bytes())
    with pytest.raises(UserError, match='B .epoch 1. has other weights than when whole was trained'):
        core.run({'like': 'whole', 'log': 'other', 'gpu': 'cpu'})


@pytest.mark.long
def test_a_curve_is_trained_on_two_devices_as_on_one(linear_runs):
    found = [core.run({**CURVE, 'ends': ['A', 'B'], 'E': 2, 'gpu': gpu, 'log': f'on {gpu}', 'model': {'opt': 'gd'},
                       'lr': 0.1})['raw'][2]['stats'] for gpu in ('cpu', 'cpu,cpu')]
    assert found[0] == pytest.approx(found[1], rel=1e-4)


def test_the_grid_ends_at_1_and_the_released_one_where_it_did():
    for case in reference_json('curves', ADVERSARIAL)['t_grids']:
        step, points = case['step'], case['points']
        np.testing.assert_allclose(grid(step, released=True), points, rtol=1e-12)
        np.testing.assert_allclose(grid(step), [t for t in points if t < 1 - 1e-6] + [1], rtol=1e-12)


@pytest.mark.long
@pytest.mark.parametrize('flags, said', [
    ({}, 'name them: --ends logs/A --ends logs/B'), ({'ends': ['A']}, "ends must be a list of two runs' working"),
    ({'ends': ['A', 'A']}, r'A .epoch 30. and A .epoch 30. are the same'), ({'ends': ['A', 'none']}, 'none'),
    ({'ends': ['A', 'curve']}, 'curve is a curve itself'), ({'ends': ['A', 'B'], 'ends_eid': 7}, 'epoch 7 is not arc'),
    ({'ends': ['A', 'other']}, r'one architecture, but model.act_type of A is .relu., and of other .linear.'),
    ({'ends': ['A', 'elsewhere']}, 'one data set, but A was trained on digits, and elsewhere on mnist'),
    ({'ends': ['A', 'fewer']}, 'the same images, but train_N of A is 300, and of fewer 200'),
    ({'ends': ['A', 'B'], 'arch': 'lenet'}, "ends are those of a curve"),
    ({'ends': ['A', 'B'], 'model': {'bend': 1}}, "no 'bend'; did you mean 'bends'")])
def test_runs_that_no_curve_joins_are_refused_in_a_sentence(flags, said, runs):
    for name, flag, value in (('other', 'model', {'act_type': 'linear'}), ('elsewhere', 'dataset', 'mnist'),
                              ('fewer', 'train_N', 200)):
        shutil.copytree('B', name)
        record = json.loads(Path(name, 'flags.json').read_text())
        record['flags'][flag] = {**record['flags'][flag], **value} if isinstance(value, dict) else value
        record['dataset']['name'] = record['flags']['dataset']
        Path(name, 'flags.json').write_text(json.dumps(record))
    with pytest.raises(UserError, match=said):
        core.run({**CURVE, 'E': 1, 'log': 'new', **flags})
    assert not os.path.exists('new')


@pytest.mark.long
@pytest.mark.parametrize('flags, said', [
    ({'log': 'curve'}, 'curve is a curve: --set t=0.3'), ({'log': 'A', 't': 0.5}, 'curve, and A is none'),
    ({'log': 'curve', 't': 1.5}, 't must be a number from 0 to 1'),
    ({'log': ['A', 'curve'], 'ensemble': True}, 'curve is a curve; name points of it'),
    ({'log': 'curve', 't': 0.5, 'task': 'curve'}, 'all of a curve is measured'),
    ({'log': 'A', 'task': 'curve'}, 'A is no curve')])
def test_points_that_there_are_not_are_refused_in_a_sentence(flags, said, runs):
    with pytest.raises(UserError, match=said):
        core.run({**FGSM, 'attack_eps_list': None, **flags})
