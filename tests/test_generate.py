"""Saved adversarial sets: what they hold, that they are data sets, and that they are the same after a kill."""

from __future__ import annotations

import shutil
from pathlib import Path

import keras
import numpy as np
import pytest
from runs import Stop, die_in, train

import core
from core import AttackType, UserError

EPS, N = 0.05, 20
FLAGS = {'task': 'generate', 'log': 'run', 'attack_type': AttackType.PGD, 'attack_eps_list': [EPS], 'attack_K': 5,
         'attack_E': 1, 'lr': 0.25, 'attack_N': N, 'attack_B': 16, 'seed': 1, 'gpu': 'cpu', 'eval_log': 'out'}

pytestmark = pytest.mark.usefixtures('networks_are_shared')


@pytest.fixture(scope='module')
def trained(tmp_path_factory, networks_are_shared):
    path = tmp_path_factory.mktemp('trained') / 'run'
    train(E=3, log=str(path))
    return path


@pytest.fixture
def run(trained):
    shutil.copytree(trained, 'run')


def arrays(path='out/adversarial.npz'):
    with np.load(path) as f:
        return {k: f[k] for k in f}


def test_a_set_holds_an_image_of_every_image_within_its_budget_and_is_a_data_set(run, capsys):
    core.run(FLAGS)
    made, dataset = arrays(), core.get_dataset('digits')
    net = keras.saving.load_model('run/model-3.keras')
    for part, (x, y) in zip(('train', 'test'), dataset):
        of = {k.removesuffix(f'_{part}'): v for k, v in made.items() if k.endswith(f'_{part}')}
        assert set(of) == {'x', 'y', 'clean', 'budgets', 'distances', 'success', 'index'} and len(of['x']) == N
        np.testing.assert_array_equal(of['clean'], x[of['index']])
        np.testing.assert_array_equal(of['y'], y[of['index']])
        assert of['x'].dtype == np.float32 and of['x'].min() >= 0 and of['x'].max() <= 1
        np.testing.assert_array_equal(of['distances'], np.abs(of['x'].astype(float) - of['clean']).max(axis=(1, 2, 3)))
        right, fooled = (net(of[name]).numpy().argmax(axis=1) == of['y'] for name in ('clean', 'x'))
        fooled = ~fooled
        assert fooled[of['success']].all() and (of['budgets'][~right] == 0).all() and 0 < of['success'].mean() < 1
        np.testing.assert_array_equal(of['x'][~right], of['clean'][~right])
        assert (of['budgets'][of['success'] & right] == EPS).all() and np.isinf(of['budgets'][~of['success']]).all()
        # Where nothing was found it is where a descent ended, neither clean nor black.
        assert (of['distances'][right] > EPS / 2).all() and (of['distances'] <= EPS * (1 + 1e-5)).all()
    reread = core.get_dataset('out/adversarial.npz')
    for (x, y), part in zip(reread, ('train', 'test')):
        assert x.dtype == np.float32
        np.testing.assert_array_equal(x, made[f'x_{part}'])
        np.testing.assert_array_equal(y, made[f'y_{part}'])
    printed = capsys.readouterr().out
    assert 'train: epoch #3: 20 images' in printed and 'test: epoch #3: 20 images' in printed
    assert '--set dataset=out/adversarial.npz' in printed
    res, _ = train(dataset='out/adversarial.npz', train_N='all', test_N='all', E=1, B=10, log='on-it')
    assert list(res['raw']) == [1]
    clean = core.run({'task': 'transfer', 'log': 'run', 'attack_type': AttackType.FGSM, 'attack_eps_list': [0.01],
                      'attack_set': 'test', 'dataset': 'out/adversarial.npz', 'train_N': 'all', 'test_N': 'all',
                      'gpu': 'cpu', 'seed': 1})[3]['clean_accuracy']
    assert clean == np.mean(net(made['x_test']).numpy().argmax(axis=1) == made['y_test'])


@pytest.mark.long
def test_a_part_that_is_not_attacked_is_as_it_is_and_an_attack_without_ends_leaves_images_clean(run):
    core.run({**FLAGS, 'attack_type': AttackType.SQUARE, 'attack_E': None, 'lr': None, 'options': {'parts': 'test'}})
    made, (train_set, _) = arrays(), core.get_dataset('digits')
    np.testing.assert_array_equal(made['x_train'], train_set[0][:300])
    assert 'clean_train' not in made
    lost = ~made['success_test']
    assert lost.any()
    np.testing.assert_array_equal(made['x_test'][lost], made['clean_test'][lost])


@pytest.mark.long
def test_a_set_that_was_stopped_is_the_same_in_the_end(run, monkeypatch):
    core.run({**FLAGS, 'eval_log': 'whole'})
    with monkeypatch.context() as m, pytest.raises(Stop):
        die_in(m, 'replace', 1, before=True, of='-16.npz.tmp')
        core.run(FLAGS)
    assert not Path('out/adversarial.npz').exists()
    core.run(FLAGS)
    whole, again = arrays('whole/adversarial.npz'), arrays()
    for name, value in whole.items():
        np.testing.assert_array_equal(again[name], value, err_msg=name)


@pytest.mark.parametrize('changes, message', [
    ({'options': {'parts': ['train', 'validation']}}, "parts must be a list of 'train' and 'test', or one of them"),
    ({'attack_set': 'test'}, 'attack_set means nothing here; --set options.parts=test'),
    ({'eid': [1, 3]}, 'epoch 1 is not archived'), ({'attack_N': 200}, 'attack_N is 200, but the test set')])
def test_what_makes_no_set_is_refused_in_a_sentence(changes, message, run):
    with pytest.raises(UserError, match=message):
        core.run({**FLAGS, **changes})
