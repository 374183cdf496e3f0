"""The evaluation of curvature at archived epochs."""

from __future__ import annotations

import math
from pathlib import Path

import keras
import numpy as np
import pytest
from runs import linear_run

import core
from core import AttackType, UserError
from core.workdir import Workdir
from models.attacks import LossPGD
from models.measures import hessian

pytestmark = pytest.mark.long  # of a run each, whose making takes most of the time

FLAGS = {'task': 'hessian', 'attack_set': 'train', 'attack_N': 60, 'gpu': 'cpu', 'seed': 1}


@pytest.fixture(scope='module')
def run(tmp_path_factory):
    return linear_run(tmp_path_factory.mktemp('run'))


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


def test_figures_have_the_numbers_of_the_evaluations(run, tmp_path):
    with pytest.raises(UserError, match=f'not been measured yet: ./eval.sh eval-hessian {run.path} does'):
        core.draw('figure-edge', run.path)
    place = run.path / 'eval-hessian' / '1'
    _, summary = measured(run, place, k=2, probes=2, steps=30, most=9)
    values, density, epochs = core.draw('figure-hessian', run.path).axes
    numbers = summary['epochs']['2']
    drawn = {(line.get_marker(), line.get_fillstyle()): line.get_data() for line in values.lines}
    for kind, markers in (('hessian', [('o', 'full'), ('o', 'none')]), ('gauss-newton', [('x', 'full')])):
        found = np.concatenate([drawn[m][1] for m in markers])
        assert sorted(found) == pytest.approx(sorted(numbers[kind]['values'])), kind
    unresolved = np.array(numbers['hessian']['residuals']) > 1e-3 * max(numbers['hessian']['values'])
    assert 0 < unresolved.sum() == len(drawn['o', 'none'][0])
    for line in density.lines:
        x, y = line.get_data()
        assert np.trapezoid(y, x) == pytest.approx(1, abs=1e-3)
        assert np.trapezoid(x * y, x) * 650 == pytest.approx(numbers['hessian']['trace'], rel=0.02)
    assert [line.get_ydata()[1] for line in epochs.lines] == [numbers[kind]['values'][0] for kind in (
        'hessian', 'gauss-newton')]

    edge, loss = core.draw('figure-edge', place).axes  # of the evaluation itself; a network with biases has no constant
    assert list(edge.lines[0].get_ydata()) == [2, 2]
    assert list(edge.lines[1].get_ydata()) == [summary['epochs'][e]['lr_lambda'] for e in ('1', '2')]
    history = [line['stats']['log_loss'] / math.log(10) for line in run.read_history() if line['cmd'] == 'go']
    assert loss.lines[0].get_ydata() == pytest.approx(history)
    place.rename(tmp_path / 'gone')


def test_several_devices_find_the_same(run, tmp_path):
    options = {'k': 1, 'probes': 1, 'steps': 5, 'matrices': 'hessian'}
    one, several = (core.run({**FLAGS, 'log': str(run.path), 'eid': 2, 'gpu': gpu, 'options': options,
                              'eval_log': str(tmp_path / gpu)})[2] for gpu in ('cpu', 'cpu,cpu'))
    for name in ('hessian/values', 'hessian/nodes'):
        assert several[name] == pytest.approx(one[name], rel=1e-4, abs=1e-4)


def test_with_a_budget_it_is_the_spectrum_of_the_adversarial_loss(run, tmp_path):
    flags = {'eps': 0.1, 'attack_type': AttackType.LOSS_PGD, 'attack_K': 5, 'attack_E': 1, 'lr': 0.25,
             'attack_options': {'losses': ['xent']}}
    options = {'k': 1, 'probes': 2, 'steps': 5, 'batch': 40}
    core.run({**FLAGS, **flags, 'log': str(run.path), 'eval_log': 'out', 'options': options})
    summary = Workdir('out').read_summary()
    numbers = summary['epochs']['2']
    assert summary['attacked'] == {'type': 'LOSS_PGD', 'norm': 'Linf', 'eps': 0.1}
    assert numbers['lr_lambda'] is None, 'the rate is one of the clean loss'
    net = keras.saving.load_model(run.find_model(2))
    (x, y), _ = core.get_dataset('digits')
    attack = LossPGD(net, [0.1], 5, 0.25, 1, losses=['xent'])  # random starts differ, so that the loss all but agrees
    of_attacked = hessian.top(net, None, (attack.of_size(x[:60], y[:60], 0.1, rng=1), y[:60]))
    clean = hessian.top(net, None, (x[:60], y[:60]))
    assert numbers['log_loss'] == pytest.approx(of_attacked.log_loss, abs=0.01)
    assert numbers['log_loss'] > clean.log_loss + 0.1
    assert numbers['hessian']['values'][0] == pytest.approx(of_attacked.values[0], rel=0.05)
    assert numbers['gauss-newton']['values'][0] == pytest.approx(numbers['hessian']['values'][0], rel=1e-4), (
        'of a linear network they are the same matrix if they are of the same images')


@pytest.mark.parametrize('flags, said', [
    ({'attack_eps_list': [0.1, 0.2]}, 'within one budget, as --set eps=0.1, not within 2'),
    ({'attack_type': AttackType.DDN, 'attack_eps_list': [0.1]}, 'LOSS_PGD does'),
    ({'attack_type': AttackType.LOSS_PGD, 'eps': 2.0}, 'the attack LOSS_PGD: eps')])
def test_a_budget_that_cannot_be_is_refused(run, flags, said):
    with pytest.raises(UserError, match=said):
        core.run({**FLAGS, **flags, 'log': str(run.path), 'eval_log': 'out', 'options': {'k': 1}})


def test_power_iteration_finds_the_same_and_many_steps_are_said_to_be_wanted(run, tmp_path, capsys):
    _, summary = measured(run, tmp_path / 'a', k=1, probes=0, method='power', tol=1e-9, most=500, matrices='hessian')
    _, other = measured(run, tmp_path / 'b', k=1, probes=0, matrices='hessian')
    (a, b) = (s['epochs']['2']['hessian']['values'][0] for s in (summary, other))
    assert a == pytest.approx(b, rel=1e-3)
    capsys.readouterr()
    measured(run, tmp_path / 'c', k=3, probes=0, most=3, matrices='hessian')
    assert 'are not resolved' in capsys.readouterr().out
