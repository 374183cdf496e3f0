"""The alarm of catastrophic overfitting, on the numbers of runs, and the monitor that it hears from."""

from __future__ import annotations

import numpy as np
import pytest
from runs import FLAGS, train

import core
from core import UserError
from core.tasks.overfitting import BEST, ON, ONSET, alarm, judged
from core.workdir import Workdir
from models import SimpleSequential, TrainMode
from models.attacks import LossPGD

RAMP = {'value': 0.1, 'by': 'epoch', 'schedule': {'type': 'linear', 'start_v': 0.0, 'slope': 0.5}}
RUN = {'train_N': 90, 'test_N': 40, 'B': 15, 'E': 3, 'print': False, 'train_mode': TrainMode.NORMAL, 'lr': 0.1,
       'objective': {'type': 'adversarial', 'eps': RAMP, 'k': 1, 'step': 1.0, 'random_start': False},
       'monitors': [('pgd', 1, {'images': 30})]}


def onsets(epochs):
    """Epochs at which the alarm sounds, from (eps, accuracy under PGD, under one step) of each."""
    found, last = [], None
    for eid, epoch in enumerate(epochs, start=1):
        last = judged(*epoch, last)
        found += [eid] if last[ONSET] else []
    return found, last


@pytest.mark.parametrize('name, epochs, want', [
    ('FGSM', [(0.3, 0.3, 0.5), (0.3, 0.6, 0.7), (0.3, 0.05, 0.95), (0.3, 0.0, 0.5), (0.3, 0.02, 0.9)], [3]),
    ('it recovers, and comes back', [(0.3, 0.6, 0.7), (0.3, 0.1, 0.9), (0.3, 0.5, 0.7), (0.3, 0.0, 0.9)], [2, 4]),
    ('PGD', [(0.3, 0.3, 0.5), (0.3, 0.6, 0.7), (0.3, 0.55, 0.72), (0.3, 0.7, 0.8)], []),
    ('both fall: it diverged', [(0.3, 0.6, 0.7), (0.3, 0.1, 0.35)], []),
    ('FGSM on MNIST, never robust', [
        (0.3, 0.015, 0.235), (0.3, 0.015, 0.435), (0.3, 0.0, 0.675), (0.3, 0.0, 0.79)], [3]),
    ('FGSM on the digits, less robust', [
        (0.2, 0.185, 0.26), (0.2, 0.435, 0.595), (0.2, 0.3, 0.545), (0.2, 0.39, 0.7)], []),
    ('the budget grows', [(0.0, 0.98, 0.98), (0.1, 0.7, 0.8), (0.2, 0.45, 0.7), (0.3, 0.25, 0.6)], []),
    ('the budget jumps', [(0.05, 0.6, 0.62), (0.3, 0.25, 0.55), (0.3, 0.3, 0.6)], []),
    ('the budget grows, and it overfits', [(0.0, 0.98, 0.98), (0.1, 0.8, 0.85), (0.2, 0.1, 0.8)], [3])])
def test_it_sounds_once_when_robustness_collapses_under_pgd_alone(name, epochs, want):
    found, last = onsets(epochs)
    assert found == want, name
    assert last[ON] == (want != [])
    assert last[BEST]['pgd'] >= epochs[-1][1]


@pytest.fixture(scope='module')
def watched(tmp_path_factory):
    path = tmp_path_factory.mktemp('watched') / 'run'
    train(**RUN, archive=1, log=str(path))
    return path


def measured_in(path):
    return {line['eid']: line['monitors']['pgd'] for line in Workdir(path).read_history()}


@pytest.mark.long
def test_accuracies_are_those_within_the_budget_of_the_epoch_and_within_the_last(watched):
    found = measured_in(watched)
    assert [record['eps_current'] for record in found.values()] == pytest.approx([0.0, 0.05, 0.1])
    assert {record['eps_final'] for record in found.values()} == {0.1}
    model = SimpleSequential('m', (8, 8, 1), **FLAGS['model'])
    parts = {'test': core.get_dataset('digits').test, 'train': core.get_dataset('digits').train}
    attacks = {'current': LossPGD(model, k=10, a=0.25, losses=['xent']),
               'fgsm': LossPGD(model, k=1, a=1.0, losses=['xent'], random_start=False)}
    for eid, record in found.items():
        model.restore(watched / f'model-{eid}.keras')
        for part, (x, y) in parts.items():
            x, y = x[:30], y[:30]
            assert record[f'{part}_acc_clean'] == (model.net(x).numpy().argmax(axis=1) == y).mean()
            for which, eps in (('current', record['eps_current']), ('final', 0.1)):
                ends = attacks['current'].of_size(x, y, eps, 0)
                assert np.abs(ends - x).max() <= eps + 1e-6
                accuracy = (model.net(ends).numpy().argmax(axis=1) == y).mean()
                assert record[f'{part}_acc_{which}'] == pytest.approx(accuracy, abs=0.1), 'of another random start'
        x, y = (a[:30] for a in parts['test'])
        step = attacks['fgsm'].of_size(x, y, record['eps_current'])
        assert record['test_acc_fgsm'] == (model.net(step).numpy().argmax(axis=1) == y).mean()
    assert found[1]['test_acc_clean'] == found[1]['test_acc_current'] == found[1]['test_acc_fgsm'], 'within 0'
    assert found[3]['test_loss_clean'] < found[3]['test_loss_current'] == found[3]['test_loss_final']


@pytest.mark.long
def test_the_line_of_an_epoch_has_the_robust_accuracies(watched):
    record = measured_in(watched)[1]
    said = ''.join(f" {part}_pgd({eps})={100 * record[f'{part}_acc_{which}']:.2f}%"
                   for eps, which in (('0', 'clean'), ('0.1', 'final')) for part in ('train', 'test'))
    assert f'{said}\n' in (watched / 'stdout').read_text()


@pytest.mark.long
def test_a_resumed_run_knows_that_it_has_said_so(monkeypatch, capsys):
    """Accuracies are those of a table, by the epoch; the run is stopped after it was told of the first onset."""
    table = iter([(0.6, 0.7), (0.1, 0.9), (0.1, 0.9), (0.5, 0.7), (0.0, 0.9)])
    monkeypatch.setattr('core.tasks.monitors.pgd.judged', lambda eps, pgd, fgsm, last: judged(eps, *next(table), last))
    run = {**RUN, 'objective': {**RUN['objective'], 'eps': 0.1}}
    train(**{**run, 'E': 2})
    core.run({k: v for k, v in {**FLAGS, **run, 'E': 5, 'resume': 'run'}.items() if k != 'log'})
    records = measured_in('run')
    assert [record[ON] for record in records.values()] == [False, True, True, False, True]
    said = [line for line in capsys.readouterr().out.split('\n') if 'catastrophic overfitting' in line]
    assert [line.partition(':')[0] for line in said] == ['epoch 2', 'epoch 5']
    assert said[0] == alarm(2, {'pgd': records[2]})
    assert 'within 0.1: the test accuracy under PGD fell from 60.0 % to' in said[0]


def test_a_monitor_without_a_budget_and_a_schedule_that_says_nothing_of_the_end_are_refused():
    with pytest.raises(UserError, match="for another one give eps, as in"):
        train(**{**RUN, 'objective': 'cross-entropy'})
    cycles = {'type': 'cycle_jump', 'start_v': 1.0, 'power': 0.1, 'drop_point_list': [0.5], 'ckpt_list': [0, 2],
              'by': 'epoch'}
    with pytest.raises(UserError, match='model.schedule: the cycles of the schedule cycle_jump go from epoch 0 to 2, '
                                        'and the run from 0 to 3; give it a ckpt_list that holds the run'):
        train(**{**RUN, 'model': {**FLAGS['model'], 'schedule': cycles}})
