"""An ensemble is the mean of its members' probabilities at any scale of the logits; its directory is as a run's."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from conftest import ADVERSARIAL, reference_json, reference_npz
from runs import FLAGS, Stop, train
from scipy.special import log_softmax, logsumexp, softmax
from test_adversarial_reference import X, Y, lenet, pgd

import core
import models
from core import AttackType, UserError
from core.ensembles import Ensemble
from core.workdir import Workdir
from models.losses import hp_sparse_softmax_cross_entropy_with_logits_v1 as cross_entropies
from models.networks.ensemble import log_mean_softmax

OF = reference_npz('ensemble', ADVERSARIAL)
SETTINGS = reference_json('ensemble', ADVERSARIAL)
CASES = {case['name']: case for case in SETTINGS['cases'] if len(case['models']) > 1 or 'times' in case['models'][0]}
FACTOR = 200
FGSM = {'task': 'attack', 'attack_type': AttackType.FGSM, 'attack_eps_list': [0.1], 'attack_set': 'test',
        'attack_N': 20, 'attack_B': 20, 'seed': 1, 'gpu': 'cpu', 'ensemble': True}


# ---- the network ----

@pytest.mark.parametrize('scale', [1.0, 60.0, 1e4, 1e30])
def test_logits_and_their_gradients_are_those_of_the_mean_softmax_at_any_scale(scale):
    z = scale * np.random.default_rng(1).normal(size=(3, 6, 5)).astype(np.float32)
    z[:, :3, 0] = scale * 4  # all members are sure of one class
    given = tf.constant(z)
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(given)
        logits = log_mean_softmax(tf.unstack(given))
        parts = tf.unstack(logits, axis=1)
    exact = log_softmax(z.astype(np.float64), axis=2)
    want = logsumexp(exact, axis=0) - np.log(3)
    np.testing.assert_allclose(logits, want, rtol=1e-6, atol=1e-12)
    share = np.exp(exact - logsumexp(exact, axis=0))  # of each member in the probability of each class
    for c in range(5):
        p = np.exp(exact)
        own = np.where(np.arange(5) == c, np.delete(p, c, axis=2).sum(axis=2, keepdims=True), -p)  # 1 - p_c, exactly
        gradient = tape.gradient(parts[c], given).numpy()
        np.testing.assert_allclose(gradient, share[:, :, c:c + 1] * own, rtol=1e-4, atol=1e-37)


@pytest.fixture(scope='module')
def nets():
    a, b = lenet('A'), lenet('B')
    sure = [lenet(name) for name in 'AB']
    for net in sure:
        net.set_weights({k: v * (FACTOR if k.startswith('fc6') else 1) for k, v in net.weights().items()})
    return {'A, B': models.ensemble([a, b]), 'sure': models.ensemble(sure), 'members': sure}


def attacked(net, case, labels):
    """The images of the released code's PGD on an ensemble, of its own random numbers, batch by batch."""
    settings, ends, first = case['kwargs'], [], SETTINGS['images'][0]
    for k, n in enumerate(SETTINGS['batches']):
        rows = slice(first, first + n)
        attack = pgd(net, settings['threshold'], settings['step_size'], settings['iter_num'], settings['order'], n)
        eps = tf.fill([n], np.float32(settings['threshold']))
        start = attack.ball.start(tf.constant(X[rows]), eps, tf.constant(OF['rand01'][k][:n]))
        ends.append(attack.perturb_from(start, tf.constant(X[rows]), tf.constant(labels[rows]), eps).numpy())
        first += n
    return np.concatenate(ends)


ROWS = slice(*SETTINGS['images'])


@pytest.mark.long
@pytest.mark.parametrize('name', ['linf', 'l2'])
def test_pgd_on_an_ensemble_ends_where_the_released_one_does(name, nets, eagerly):
    net, case = nets['A, B'], CASES[name]
    adv = attacked(net, case, Y)
    off = np.abs(adv - OF[f'{name}.adv'])
    assert (off <= 1e-4).mean() >= 0.99 and off.max() <= 2 * case['kwargs']['threshold'] + 1e-6
    np.testing.assert_allclose(softmax(net(X[ROWS]).numpy(), axis=1), OF[f'{name}.clean_prob'], rtol=2e-4, atol=1e-6)
    found = []
    for images in (X[ROWS], adv):
        logits = net(images).numpy()
        np.testing.assert_allclose(logsumexp(logits, axis=1), 0, atol=1e-6)
        found += [(logits.argmax(axis=1) == Y[ROWS]).mean(), cross_entropies(Y[ROWS], logits).numpy().mean()]
    np.testing.assert_allclose(found, OF[f'{name}.results'], rtol=2e-3)


@pytest.mark.long(after=1)
@pytest.mark.parametrize('name', ['saturated_l2', 'saturated'])
def test_where_the_released_ensemble_has_inf_and_nan_this_one_is_attacked(name, nets, eagerly):
    assert not np.isfinite(OF[f'{name}.results']).all()
    net, wrong = nets['sure'], (Y + 1) % 10
    adv = attacked(net, CASES[name], wrong)
    z = np.array([member.net(X[ROWS]).numpy() for member in nets['members']], np.float64)
    want = logsumexp(log_softmax(z, axis=2), axis=0) - np.log(len(z))
    np.testing.assert_allclose(net(X[ROWS]).numpy(), want, rtol=1e-5, atol=1e-5)
    before, after = (cross_entropies(wrong[ROWS], net(images).numpy()).numpy() for images in (X[ROWS], adv))
    assert np.isfinite(after).all() and (before > 100).any() and (after > before).all()


def test_a_file_of_an_ensemble_is_loaded_by_keras_alone(nets, tmp_path):
    nets['A, B'].save(tmp_path / 'e.keras')
    loaded = keras.saving.load_model(tmp_path / 'e.keras')
    np.testing.assert_array_equal(loaded(X[:4]), nets['A, B'](X[:4]))


def tiny(classes=3, side=4):
    return keras.Sequential([keras.Input((side, side, 1)), keras.layers.Flatten(), keras.layers.Dense(classes)])


@pytest.mark.parametrize('members, message', [
    (lambda: [tiny()], 'needs two networks at least, not 1'), (lambda: [tiny()] * 2, 'network 2 is in the ensemble al'),
    (lambda: [tiny(), tiny(4)], 'network 2 has outputs 4, and the first 3'),
    (lambda: [tiny(), tiny(side=5)], 'network 2 takes images of 5 x 5 x 1, and the first 4 x 4 x 1'),
    (lambda: [tiny(), keras.Sequential([tiny(), keras.layers.Softmax()])], 'the model gives probabilities')])
def test_networks_that_make_no_ensemble_are_refused_in_a_sentence(members, message):
    with pytest.raises(ValueError, match=message):
        models.ensemble(members())


# ---- the directory ----

pytestmark = pytest.mark.usefixtures('networks_are_shared')


@pytest.fixture(scope='module')
def trained(tmp_path_factory, networks_are_shared):
    """Two short runs, and one of other classes; and one whose record names other data."""
    path = tmp_path_factory.mktemp('trained')
    for seed in (1, 2):
        train(E=2, seed=seed, log=str(path / f'run{seed}'))
    train(E=1, log=str(path / 'twelve'), model={**FLAGS['model'], 'description': [['F', 12, {'act': False}]]})
    shutil.copytree(path / 'run2', path / 'other')
    record = json.loads((path / 'other/flags.json').read_text())
    record['flags']['dataset'] = record['dataset']['name'] = 'mnist'
    (path / 'other/flags.json').write_text(json.dumps(record))
    return path


@pytest.fixture
def runs(trained):
    shutil.copytree(trained, '.', dirs_exist_ok=True)
    return ['run1', 'run2']


def of_ensemble(logs, **changes):
    """Measures one; returns its directory, and what the summary says."""
    core.run({**FGSM, 'log': logs, 'eval_log': 'out', **changes})
    summary = json.loads(Path('out', 'summary.json').read_text())
    shutil.rmtree('out')
    (numbers,) = summary['epochs'].values()
    return Path(summary['run']), {k: v for k, v in numbers.items() if k != 'seconds'}


def test_several_runs_are_measured_as_one_network_in_a_directory_that_is_found_again_and_needs_them_no_more(
        runs, capsys):
    place, numbers = of_ensemble(runs)
    assert place.parent == Path() and place.name.startswith('ensemble-')
    assert f'{place} written: the ensemble of run1 (epoch 2), run2 (epoch 2)' in capsys.readouterr().out
    x, y = (a[:20] for a in core.get_dataset('digits').test)
    files = [keras.saving.load_model(Path(run) / 'model-2.keras') for run in runs]
    mean = np.mean([softmax(net(x).numpy(), axis=1) for net in files], axis=0)
    assert numbers['accuracy'] == (mean.argmax(axis=1) == y).mean() < 1
    np.testing.assert_allclose(softmax(keras.saving.load_model(place / 'model-2.keras')(x).numpy(), axis=1), mean,
                               rtol=1e-5, atol=1e-7)
    before = (place / 'model-2.keras').stat().st_mtime_ns
    again, same = of_ensemble(runs[::-1], eid='best')
    assert (again, (place / 'model-2.keras').stat().st_mtime_ns) == (place, before) and same == numbers
    assert f'{place} is the ensemble of run2 (epoch 2), run1 (epoch 2)' in capsys.readouterr().out
    one, other = (Ensemble([str(run) for run in several], 'last') for several in (runs, runs[::-1]))
    assert one.flags == other.flags, 'so that networks of different architectures are found again, too'
    for run in runs:
        shutil.rmtree(run)
    assert of_ensemble(str(place), ensemble=False) == (place, numbers)
    with pytest.raises(UserError, match=f'{place} is an ensemble, which was not trained and has no history'):
        core.draw('figure-quickstart', place)
    with pytest.raises(UserError, match=f'{place} is an ensemble, which was not trained, so there is nothing to resu'):
        core.run({**FLAGS, 'log': None, 'resume': str(place)})


@pytest.mark.long
def test_other_weights_are_another_ensemble(runs):
    place, _ = of_ensemble(runs)
    shutil.copy('twelve/model-1.keras', 'run1/model-1.keras')  # not the epoch that is taken
    assert of_ensemble(runs)[0] == place
    shutil.rmtree('run2')
    train(E=1, seed=3, log='run2')
    assert of_ensemble(runs)[0] != place


def test_an_ensemble_is_there_whole_or_not_at_all(runs, monkeypatch):
    def dying(*args):
        raise Stop
    with monkeypatch.context() as m, pytest.raises(Stop):
        m.setattr(Workdir, 'write_flags', dying)
        of_ensemble(runs)
    assert not [name for name in os.listdir() if 'ensemble' in name]
    place, _ = of_ensemble(runs, ensemble='mine')
    assert place == Path('mine') and of_ensemble(runs, ensemble='mine')[0] == place
    with pytest.raises(UserError, match='mine does not hold the ensemble of run1 .*name another'):
        of_ensemble(['run1', str(of_ensemble(runs)[0])], ensemble='mine')


@pytest.mark.parametrize('logs, changes, message', [
    (['run1', 'run1'], {}, 'log names the run run1 twice'),
    (['run1', 'copy'], {}, r'run1 \(epoch 2\) and copy \(epoch 2\) are the same network'),
    (['run1', 'other'], {}, 'run1 was trained on digits, and other on mnist'),
    (['run1', 'twelve'], {}, 'the network of twelve has 12 outputs, and that of run1 has 10'),
    (['run1', 'run2'], {'eid': [1, 2]}, 'an ensemble takes one epoch of each run, not 2 of run1'),
    (['run1', 'run2'], {'eid': 7}, 'epoch 7 is not archived in run1'),
    (['run1', 'run2'], {'ensemble': 1}, 'ensemble must be True or False, or a directory, not 1'),
    (['run1', 'run2'], {'task': 'certify', 'attack_eps_list': None}, 'a certificate needs a network that is a chain')])
def test_runs_that_make_no_ensemble_are_refused_in_a_sentence(logs, changes, message, runs):
    shutil.copytree('run1', 'copy')
    shutil.copy('run1/model-2.keras', 'run1/model-1.keras')
    with pytest.raises(UserError, match=message):
        of_ensemble(logs, **changes)
