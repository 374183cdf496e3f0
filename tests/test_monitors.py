"""Monitors: what is measured while training, and that training does not notice."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
from runs import FLAGS, train

import core
from core import UserError
from core.workdir import Workdir
from models import SimpleSequential
from models.attacks import ANPGD
from models.margins import margins

QUICK = {'train_N': 100, 'test_N': 50, 'B': 20, 'E': 4, 'print': False}
MONITORS = [('kkt', 2), ('margin', 1, {'part': 'test', 'quantiles': [0, 0.5]}),
            ('robust', 2, {'eps': 0.1, 'images': 20, 'attack': 'PGD', 'options': {'k': 3}}),
            ('robust', 4, {'eps': 1.0, 'images': 10, 'attack': 'DDN', 'part': 'train', 'options': {'steps': 5}})]


def lines(path, *without):
    return [{k: v for k, v in line.items() if k not in ('time', *without)} for line in Workdir(path).read_history()]


@pytest.fixture(scope='module')
def watched(tmp_path_factory):
    path = tmp_path_factory.mktemp('watched') / 'run'
    train(**QUICK, monitors=MONITORS, archive=1, log=str(path))
    return path


@pytest.mark.long
def test_a_run_is_the_same_digit_for_digit_with_and_without_monitors(watched):
    train(**QUICK, archive=1, log='plain')
    assert lines('plain') == lines(watched, 'monitors')
    for eid in (2, 4):
        nets = [SimpleSequential('m', (8, 8, 1), **FLAGS['model']) for _ in range(2)]
        for net, path in zip(nets, ('plain', watched)):
            net.restore(f'{path}/model-{eid}.keras')
        for a, b in zip(nets[0].weights().values(), nets[1].weights().values()):
            np.testing.assert_array_equal(a, b)


@pytest.mark.long
def test_accepted_epochs_have_what_was_due_and_others_nothing(watched):
    found = {line['eid']: set(line['monitors']) for line in lines(watched) if line['cmd'] == 'go'}
    assert found == {1: {'margin'}, 2: {'kkt', 'margin', 'robust'}, 3: {'margin'},
                     4: {'kkt', 'margin', 'robust', 'robust-2'}}
    assert not any('monitors' in line for line in lines(watched) if line['cmd'] != 'go')
    with open(watched / 'res', 'rb') as f:
        raw = pickle.load(f)['raw']
    for line in lines(watched):
        if line['cmd'] == 'go':
            assert raw[line['eid']]['monitors'] == line['monitors']


def test_a_rejected_attempt_is_not_measured():
    """The rate grows so fast that some are."""
    train(**{**QUICK, 'E': 8}, monitors=[('margin', 1)], lr=('loss-based-v1', 0.3, 2.0, 2.0))
    assert {line['cmd'] for line in lines('run')} == {'go', 'back'}
    assert all(('monitors' in line) == (line['cmd'] == 'go') for line in lines('run'))


@pytest.mark.long
def test_the_numbers_are_those_of_evaluations_of_the_same_epoch(watched):
    measured = {line['eid']: line['monitors'] for line in lines(watched) if line['cmd'] == 'go'}
    kkt = core.run({'task': 'kkt', 'log': str(watched), 'eid': [2, 4], 'gpu': 'cpu', 'eval_log': 'kkt'})
    for eid in (2, 4):
        assert measured[eid]['kkt']['one_minus_cosine'] == pytest.approx(kkt[eid]['one_minus_cosine'], rel=1e-4)
    model = SimpleSequential('m', (8, 8, 1), **FLAGS['model'])
    model.restore(watched / 'model-4.keras')
    x, y = (t[:50] for t in core.get_dataset('digits').test)
    q = margins(model.net(x).numpy(), y)
    assert measured[4]['margin']['quantiles'] == {'0': pytest.approx(q.min()), '0.5': pytest.approx(np.sort(q)[24])}
    assert measured[4]['margin']['mean'] == pytest.approx(q.mean(), rel=1e-5)
    flags = {'task': 'attack', 'log': str(watched), 'eid': 4, 'gpu': 'cpu', 'attack_type': 'PGD', 'attack_set': 'test',
             'attack_N': 20, 'attack_eps_list': [0.1], 'attack_options': {'k': 3}, 'eval_log': 'pgd', 'seed': 1}
    core.run(flags)
    epoch = Workdir('pgd').read_summary()['epochs']['4']
    assert measured[4]['robust']['accuracy'] == epoch['accuracy']
    assert measured[4]['robust']['robust_accuracy'] == pytest.approx(epoch['robust_accuracy']['0.1'], abs=0.1)
    assert 0 <= measured[4]['robust-2']['robust_accuracy'] <= measured[4]['robust-2']['accuracy']


@pytest.mark.long
def test_the_best_epoch_by_a_monitors_number_is_kept():
    """Measured every other epoch; the numbers are those of the attack on the epoch's model."""
    options = {'norm': 'L2', 'eps': 1.0, 'k': 4, 'random_start': False}
    train(**{**QUICK, 'E': 6}, validation_N=30, archive=('best', 'val_margin'),
          monitors=[('an-pgd', 2, {'images': 20, 'options': options})])
    measured = {line['eid']: line['monitors']['an-pgd'] for line in lines('run') if line.get('monitors')}
    best = max(measured, key=lambda eid: measured[eid]['val_margin'])
    assert sorted(measured) == [2, 4, 6] and Workdir('run').archived_epochs() == sorted({best, 6})
    model = SimpleSequential('m', (8, 8, 1), **FLAGS['model'])
    model.restore(Workdir('run').find_model(best))
    x, y = (np.asarray(t)[70:90] for t in core.get_dataset('digits').train)
    sizes, distances, ends = ANPGD(model, **options).measure(x, y)
    assert measured[best]['val_margin'] == pytest.approx(distances.mean(), rel=1e-3)
    assert measured[best]['val_eps'] == pytest.approx(sizes.mean(), rel=1e-3) and (distances < sizes + 1e-6).all()
    for name, images in (('accuracy', x), ('robust_accuracy', ends)):
        assert measured[best][name] == pytest.approx((model.net(images).numpy().argmax(axis=1) == y).mean())


def test_the_best_epoch_cannot_be_by_a_number_that_no_monitor_measures():
    with pytest.raises(UserError, match="no statistic 'val_margin' is recorded without the monitor 'an-pgd'"):
        train(**QUICK, validation_N=30, archive=('best', 'val_margin'))


@pytest.mark.long
def test_a_resumed_run_has_measured_the_same(watched):
    train(**{**QUICK, 'E': 3}, monitors=MONITORS, archive=1)
    core.run({**FLAGS, **QUICK, 'monitors': MONITORS, 'archive': 1, 'log': None, 'resume': 'run'})
    assert lines('run') == lines(watched)
    with open('run/res', 'rb') as a, open(watched / 'res', 'rb') as b:
        raw, whole = pickle.load(a)['raw'], pickle.load(b)['raw']
    assert {eid: info['monitors'] for eid, info in raw.items()} == {e: i['monitors'] for e, i in whole.items()}


@pytest.mark.long
def test_monitors_are_recorded_and_may_change_when_a_run_is_resumed(watched):
    recorded = json.loads(Path(watched, 'flags.json').read_text())['flags']['monitors']
    assert recorded == json.loads(json.dumps(MONITORS))
    train(**{**QUICK, 'E': 1})
    core.run({**FLAGS, **QUICK, 'E': 2, 'log': None, 'resume': 'run', 'monitors': [('margin', 2)]})
    assert ['monitors' in line for line in lines('run') if line['cmd'] == 'go'] == [False, True]


@pytest.mark.parametrize('monitors, message', [
    ([('margins', 1)], "monitors: there is no monitor 'margins'; did you mean 'margin'?"),
    ([('margin', 0)], "monitors: the period of 'margin' must be a whole number of at least 1, not 0"),
    (['margin'], 'monitors: each is (name, every so many epochs)'),
    ('margin', 'monitors must be a list of monitors'),
    ([('margin', 1, {'parts': 'test'})], "monitors: 'margin' has no option 'parts'; did you mean 'part'?"),
    ([('kkt', 1, {'part': 'test'})], "monitors: 'kkt' has no option 'part'; it has none"),
    ([('margin', 1, {'part': 'all'})], "monitors: part must be 'train', 'validation' or 'test', not 'all'"),
    ([('margin', 1, {'part': 'validation'})], 'monitors: the validation set has 0 images, not 1'),
    ([('margin', 1, {'quantiles': [2]})], 'monitors: a quantile must be a finite number of at least 0 and at most 1'),
    ([('an-pgd', 1)], 'monitors: the validation set has 0 images, not 1'),
    ([('an-pgd', 1, {'part': 'test', 'options': {'kk': 3}})], "monitors: the attack 'AN_PGD' takes no 'kk'; did you"),
    ([('robust', 1)], "monitors: 'robust' needs the option 'eps'"),
    ([('robust', 1, {'eps': 0.1, 'attack': 'PDG'})], "monitors: there is no attack 'PDG'; did you mean 'PGD'?"),
    ([('robust', 1, {'eps': 0.1, 'images': 99})], 'monitors: the test set has 50 images, not 99'),
    ([('robust', 1, {'eps': 0.1, 'options': {'steps': 3}})], "monitors: the attack PGD has no option 'steps'")])
def test_monitors_that_cannot_be_are_refused_at_the_start(monitors, message):
    with pytest.raises(UserError) as e:
        train(**QUICK, monitors=monitors)
    assert message in str(e.value) and '\n' not in str(e.value) and not Path('run').exists()
