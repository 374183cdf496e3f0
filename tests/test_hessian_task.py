"""The evaluation of curvature at archived epochs."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from runs import train

import core
from core import UserError
from core.workdir import Workdir
from models.measures import hessian

FLAGS = {'task': 'hessian', 'attack_set': 'train', 'attack_N': 60, 'gpu': 'cpu', 'seed': 1}
RUN = {'train_N': 60, 'test_N': 10, 'B': 20, 'E': 2, 'archive': 1, 'print': False, 'model': {
    'description': [['F', 10, {'act': False}]], 'init': {'weight': 'he_normal'}}}


@pytest.fixture(scope='module')
def run(tmp_path_factory):
    """Two epochs of a linear network of 64 x 10 weights and 10 biases."""
    place = tmp_path_factory.mktemp('run') / 'run'
    train(**RUN, log=str(place))
    return Workdir(place)


def measured(run, out, **options):
    res = core.run({**FLAGS, 'log': str(run.path), 'eid': 'all', 'eval_log': str(out), 'options': options})
    return res, Workdir(out).read_summary()


def test_spectra_are_those_of_the_network_and_a_finished_epoch_is_not_measured_again(run, tmp_path, capsys):
    options = {'k': 2, 'probes': 2, 'steps': 10}
    res, summary = measured(run, tmp_path / 'out', **options)
    (first, second) = summary['epochs'].values()
    session = core.Core({**FLAGS, 'log': str(run.path)})
    session.devices = core.devices.use_device('cpu', None)
    session.fetch_dataset()
    session.build_model()
    session.model.restore(run.find_model(2))
    x, y = (t.numpy() for t in session.dataset.train)
    top = hessian.top(session.model, None, (x, y), k=2)
    assert second['log_loss'] == pytest.approx(top.log_loss, rel=1e-6)
    assert second['hessian']['values'][:2] == pytest.approx(top.values, rel=1e-4)
    assert second['gauss-newton']['values'][:2] == pytest.approx(top.values, rel=1e-4), 'the network is linear'
    history = [line for line in run.read_history() if line['cmd'] == 'go']
    frame = history[0]['log_frame'] + math.log(history[0]['stats']['loss'])
    assert first['lr_lambda'] == pytest.approx(
        history[0]['next_lr'] * first['hessian']['values'][0] * math.exp(first['log_loss'] - frame), rel=1e-6)
    assert 'lr*largest=' in capsys.readouterr().out

    path = tmp_path / 'out/hessian-2.npz'
    before = path.stat().st_mtime_ns
    with np.load(path) as f:
        names = [name for name in f if name.startswith('hessian/vector-0/')]
        vector = np.concatenate([f[name].ravel() for name in names])
        assert [name.rpartition('/')[2] for name in names] == ['fc1_W', 'fc1_b']
        assert np.linalg.norm(vector) == pytest.approx(1) and f['hessian/weights'].sum(axis=1) == pytest.approx([1, 1])
    (tmp_path / 'out/hessian-1.npz').unlink()  # as if it had been stopped in the middle
    again, _ = measured(run, tmp_path / 'out', **options)
    assert path.stat().st_mtime_ns == before
    for eid in res:
        assert all((again[eid][name] == res[eid][name]).all() for name in res[eid])


@pytest.mark.parametrize('options, said', [({'k': 651}, 'only 650 parameters'), ({'k': 0, 'probes': 0}, 'nothing'),
                                           ({'method': 'qr'}, "'power'"), ({'steps': 0}, 'steps'),
                                           ({'matrices': 'fisher'}, "'gauss-newton'")])
def test_what_cannot_be_measured_is_refused_before_anything_is_written(run, options, said):
    with pytest.raises(UserError, match=said):
        measured(run, Path('out'), **options)
    assert not Path('out').exists()


def test_power_iteration_finds_the_same_and_many_steps_are_said_to_be_wanted(run, tmp_path, capsys):
    _, summary = measured(run, tmp_path / 'a', k=1, probes=0, method='power', tol=1e-9, most=500, matrices='hessian')
    _, other = measured(run, tmp_path / 'b', k=1, probes=0, matrices='hessian')
    (a, b) = (s['epochs']['2']['hessian']['values'][0] for s in (summary, other))
    assert a == pytest.approx(b, rel=1e-3)
    capsys.readouterr()
    measured(run, tmp_path / 'c', k=3, probes=0, most=3, matrices='hessian')
    assert 'are not resolved' in capsys.readouterr().out
