"""Runs from recorded weights and permutations, and one against a truth no code wrote."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import REFERENCE, reference_json
from runs import FLAGS, train

import core
from core import UserError
from core.workdir import Workdir
from models import BiasMode
from models.margins import margins


def spread_of_five(name: str) -> float:
    """How far apart re-runs of a recorded run are in its first five attempts; inf for a run that cannot be replayed."""
    run = reference_json(f'trajectories/{name}')
    rows, config = run['spread_end_to_end']['rows'], run['config']
    serves = (config['train_mode'] == 'USE_FRAME' and isinstance(config['lr'], list) and len(rows) >= 6
              and config['batch'] < config['n_train'] and all(a['cmd'] == 'go' for a in run['attempts'][:5]))
    return max(row[3] or 0 for row in rows[:6]) if serves else np.inf


REPLAY = min((p.name.split('.')[0] for p in (REFERENCE / 'trajectories').glob('*.json*')), key=spread_of_five)
"""The recorded run that is least chaotic."""


def replay_flags():
    config = reference_json(f'trajectories/{REPLAY}')['config']
    return {
        **FLAGS, 'dataset': str(REFERENCE / config['data_file']), 'train_N': config['n_train'],
        'test_N': config['n_test'],
        'model': {'description': config['description'], 'bias_mode': config['bias_mode']},
        'lr': tuple(config['lr']), 'log_frame0': config['log_frame0'],
        'B': config['batch'], 'E': 5, 'init_weights': str(REFERENCE / f'trajectories/{REPLAY}.npz'),
        'permutations': str(REFERENCE / f'trajectories/{REPLAY}.npz')}


@pytest.mark.long
def test_a_run_from_recorded_weights_and_permutations_repeats_the_original_attempt_by_attempt():
    core.run(replay_flags())
    reference = reference_json(f'trajectories/{REPLAY}')
    expected, spread = reference['attempts'], reference['spread_end_to_end']['rows']
    found = list(Workdir('run').read_history())
    assert len(found) >= 5
    for a, e, row in zip(found, expected, spread):
        assert (a['eid'], a['cmd']) == (e['eid'], e['cmd'])
        np.testing.assert_allclose(a['stats']['loss'], e['stats']['loss'], rtol=max(1e-5, 10 * (row[3] or 0)))
        np.testing.assert_allclose([a['lr'], a['next_lr']], [e['lr'], e['next_lr']], rtol=1e-12)


@pytest.mark.long(after=4)
@pytest.mark.parametrize('arrays, message', [
    ({}, "has no array 'perm'"),
    ({'perm': np.zeros((2, 300), int)}, "row 0 of 'perm' of p.npz is not a permutation of 0..299"),
    ({'perm': np.arange(300)[np.newaxis] + 0.0}, "must be integers of shape [attempts, 300]"),
    ({'perm': np.arange(200)[np.newaxis]}, 'not int64 of shape (1, 200); set train_N=200'),
    ({'perm': np.arange(300)[np.newaxis]}, 'p.npz has 1 rows, and attempt 2 needs one more')])
def test_permutations_that_do_not_serve_are_refused(arrays, message):
    np.savez('p.npz', **arrays)
    with pytest.raises(UserError) as e:
        train(permutations='p.npz')
    assert message in str(e.value)


def test_initial_weights_that_do_not_fit_are_refused():
    np.savez('w.npz', **{'init/conv1_f': np.zeros((3, 3, 1, 5), np.float32)})
    with pytest.raises(UserError, match='init_weights, w.npz: the weights lack'):
        train(init_weights='w.npz')


@pytest.mark.long
def test_a_linear_network_reaches_the_hard_margin_of_the_support_vector_machine(digits):
    """Crammer and Singer's multi-class SVM is the max-margin problem that the paper's theory names."""
    from sklearn.svm import LinearSVC

    x, y = (part[:60] for part in digits.train)
    flat = x.reshape(len(x), -1).astype(np.float64)
    svm = LinearSVC(multi_class='crammer_singer', fit_intercept=False, C=1e6, tol=1e-8, max_iter=10 ** 6,
                    random_state=0)
    w = svm.fit(flat, y).coef_
    hard_margin = margins(flat @ w.T, y).min() / np.linalg.norm(w)
    assert hard_margin > 0, 'separable'

    np.savez('separable.npz', x_train=np.tile(x, (10, 1, 1, 1)), y_train=np.tile(y, 10), x_test=x, y_test=y)
    linear = {'description': [['F', 10, {'act': False}]], 'bias_mode': BiasMode.NONE}
    res, _ = train(dataset='separable.npz', train_N='all', test_N='all', lr=('loss-based-v1', 0.1), log_frame0=2.0,
                   B=10, E=600, print=False, model=linear)
    reached = res['raw'][600]['stats']['q_bar_min'] / hard_margin
    assert 0.99 <= reached <= 1.0001
    assert res['raw'][600]['stats']['log_loss'] < -300
