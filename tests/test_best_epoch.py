"""The archiver of the best epoch: what is kept, which epoch is best, and that a kill at any instant changes neither."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path

import pytest
from runs import FLAGS, Stop, die_in, train

import core
from core import UserError
from core.workdir import Workdir
from models import BestArchiver, SimpleSequential

# At this rate the test loss goes down and up again, so that the best epoch changes and is not the last.
QUICK = {'train_N': 100, 'test_N': 50, 'validation_N': 40, 'B': 20, 'E': 6, 'print': False}

pytestmark = pytest.mark.usefixtures('networks_are_shared')


def infos(values, name='val_acc', log_frame=None):
    return [{'eid': eid, 'log_frame': log_frame, 'stats': {name: v}} for eid, v in enumerate(values, start=1)]


def best_of(history, name, better):
    epochs = {line['eid']: line['stats'][name] for line in history if line['cmd'] == 'go'}
    return better(epochs, key=lambda eid: epochs[eid])


@pytest.mark.parametrize('args, values, kept', [
    (('val_acc',), [0.5, 0.7, 0.7, 0.6, 0.8], [1, 2, 5]), (('val_loss',), [3.0, 2.0, 2.5, 2.0, 1.0], [1, 2, 5]),
    (('val_loss', 'max'), [1.0, 3.0, 2.0], [1, 2]), (('rho', 'min'), [3.0, 4.0, 2.0], [1, 3]),
    (('q_min',), [math.nan, -1.0, math.nan, 2.0], [2, 4])])
def test_an_epoch_is_kept_if_it_is_better_than_all_before(args, values, kept):
    archiver, found, removed = BestArchiver(*args), [], []
    for info in infos(values, args[0]):
        if archiver.should_archive(info):
            found.append(info['eid'])
            removed.append(archiver.superseded())
    assert found == kept and removed == [[], *([eid] for eid in kept[:-1])] and archiver.best_eid == kept[-1]


def test_a_number_of_a_monitor_counts_where_it_is_measured():
    archiver = BestArchiver('val_margin')
    found = [{'eid': eid, 'log_frame': None, 'stats': {}, **({} if value is None else {
        'monitors': {'margin': {'mean': 9.0}, 'an-pgd': {'val_margin': value}}})}
        for eid, value in enumerate([None, 0.2, None, 0.1, 0.3], 1)]
    assert [info['eid'] for info in found if archiver.should_archive(info)] == [2, 5]


def test_losses_of_different_frames_are_compared_as_real_losses():
    archiver = BestArchiver('loss')
    for eid, (frame, loss, log_loss) in enumerate([(0.0, 0.5, -0.69), (-9.0, 0.9, -9.1), (-800.0, 2.0, -799.3)], 1):
        info = {'eid': eid, 'log_frame': frame, 'stats': {'loss': loss, 'log_loss': log_loss}}
        assert archiver.should_archive(info)
    assert not archiver.should_archive({'eid': 4, 'log_frame': 0.0, 'stats': {'loss': 0.1, 'log_loss': -2.3}})


def test_what_it_knows_is_its_state():
    archiver, other = BestArchiver('val_acc'), BestArchiver('val_acc')
    for info in infos([0.5, 0.7]):
        archiver.should_archive(info)
    other.restore(json.loads(json.dumps(archiver.state())))
    for later in (archiver, other):
        assert [later.should_archive(info) for info in infos([0.6, 0.9])] == [False, True]
    assert archiver.state() == other.state()


@pytest.mark.long(after=1)
@pytest.mark.parametrize('validation, mode', [(0, 'USE_FRAME'), (40, 'NORMAL')])
def test_the_names_it_is_checked_against_are_those_that_are_recorded(validation, mode):
    lr = 0.05 if mode == 'NORMAL' else FLAGS['lr']
    _, (first, *_) = train(**{**QUICK, 'validation_N': validation, 'E': 1}, train_mode=mode, lr=lr)
    model = SimpleSequential('m', (8, 8, 1), **FLAGS['model'])
    assert [*model.statistics(validation > 0), 'log_T'] == list(first['stats'])


@pytest.mark.parametrize('archive, message', [
    (('best', 'val_ac'), "archive: no statistic 'val_ac' is recorded; did you mean 'val_acc'?"),
    (('best', 'rho'), "whether 'rho' is better small or large has to be said: ('best', 'rho', 'min') or 'max'"),
    (('best', 'val_acc', 'largest'), "'best' takes 'min' or 'max' after its statistic, not 'largest'"),
    (('best', 7), "'best' takes the name of a statistic, such as 'val_acc', not 7"),
    (('best',), "archive: 'best' takes statistic, better=None after its name, not ()")])
def test_statistics_that_are_not_recorded_are_refused_at_the_start(archive, message):
    with pytest.raises(UserError) as e:
        train(**QUICK, archive=archive)
    assert message in str(e.value) and '\n' not in str(e.value) and not Path('run').exists()
    with pytest.raises(UserError, match="no statistic 'val_acc' is recorded without validation_N"):
        train(**{**QUICK, 'validation_N': 0}, archive=('best', 'val_acc'))


@pytest.mark.long
def test_the_best_epoch_and_the_last_are_kept_and_evaluated_by_name(capsys):
    _, history = train(**QUICK, archive=('best', 'q_min', 'min'))
    best = best_of(history, 'q_min', min)
    assert best < 6 and Workdir('run').archived_epochs() == [best, 6] and Workdir('run').best_epoch() == best
    flags = {'task': 'certify', 'log': 'run', 'gpu': 'cpu', 'attack_N': 10}
    assert list(core.run({**flags, 'eid': 'best'})) == [best] and list(core.run({**flags, 'eid': 'last'})) == [6]
    assert 'has no best epoch' not in capsys.readouterr().out
    train(**{**QUICK, 'E': 2}, archive=1, log='plain')
    assert list(core.run({**flags, 'log': 'plain', 'eid': 'best'})) == [2]
    assert 'note: plain has no best epoch, so the last that it archived is measured, 2 (' in capsys.readouterr().out


@pytest.fixture(scope='module')
def whole(tmp_path_factory, networks_are_shared):
    """A run from its start to its end, whose best epoch changes."""
    path = tmp_path_factory.mktemp('whole') / 'run'
    _, history = train(**{**QUICK, 'E': 4}, archive=('best', 'q_min'), log=str(path))
    epochs = [line['stats']['q_min'] for line in history if line['cmd'] == 'go']
    assert sum(value == max(epochs[:k]) for k, value in enumerate(epochs, 1)) >= 3, 'the best changes'
    return path


def contents(path):
    history = [{k: v for k, v in line.items() if k != 'time'} for line in Workdir(path).read_history()]
    return history, Workdir(path).archived_epochs(), Workdir(path).best_epoch()


@pytest.mark.long(after=1)
@pytest.mark.parametrize('function, number, before', [
    *(('unlink', n, before) for n in (1, 2) for before in (True, False)), ('replace', 4, False), ('replace', 5, True),
    *(('fsync', n, before) for n in range(2, 16) for before in (True, False)),
    *(('replace', n, False) for n in range(2, 12) if n != 4)])  # before the move is after fsync
def test_a_run_that_died_before_or_after_any_write_goes_on_to_the_same_best_epoch(
        function, number, before, whole, monkeypatch):
    flags = {**FLAGS, **QUICK, 'E': 4, 'archive': ('best', 'q_min')}
    with monkeypatch.context() as m:
        die_in(m, function, number, before, of='.keras' if function == 'unlink' else '')
        with pytest.raises(Stop):
            core.run(flags)
    if Workdir('run').state_path.exists() and (best := Workdir('run').best_epoch()) is not None:
        assert best in Workdir('run').archived_epochs(), 'whenever it was killed, the best epoch is there'
    if Workdir('run').flags_path.exists():
        core.run({**flags, 'log': None, 'resume': 'run'})
        assert contents('run') == contents(whole)


def test_the_older_best_is_removed_after_the_newer_one_is_complete_and_written_down(monkeypatch):
    events, unlink = [], os.unlink
    monkeypatch.setattr(os, 'unlink', lambda path, **_: (
        events.append((Path(path).name, Workdir('run').best_epoch(), Workdir('run').archived_epochs())), unlink(path)))
    train(**QUICK, archive=('best', 'q_min'))
    removed = [(name, best, kept) for name, best, kept in events if name.startswith('model-')]
    assert len(removed) >= 2
    for name, best, kept in removed:
        assert name != f'model-{best}.keras' and best in kept
