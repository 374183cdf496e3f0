"""Whole runs on the digits: what is accepted, repeated and written, and how a run ends."""

from __future__ import annotations

import io
import json
import math
import pickle
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from runs import FLAGS, Stop, die_in, train

import core
from core import UserError, progress
from core.workdir import Workdir
from models import Model, SimpleSequential, TrainMode

pytestmark = pytest.mark.usefixtures('networks_are_shared')


@pytest.mark.long
def test_the_directory_holds_what_the_original_leaves_and_more():
    res, attempts = train(archive=5)
    run = Workdir('run')
    assert sorted(p.name for p in Path('run').iterdir()) == [
        'flags.json', 'history.jsonl', 'model-10.keras', 'model-12.keras', 'model-5.keras', 'res', 'state.npz',
        'stdout']
    assert run.archived_epochs() == [5, 10, 12], 'as the archiver says, and the last'
    assert [a['attempt'] for a in attempts] == list(range(len(attempts)))
    accepted = [a for a in attempts if a['cmd'] == 'go']
    assert [a['eid'] for a in accepted] == list(range(1, 13)) == list(res['raw'])
    assert [a['stats'] for a in accepted] == [info['stats'] for info in res['raw'].values()]


@pytest.mark.long
def test_res_loads_with_numpy_alone_and_has_the_originals_layout():
    train()
    code = ('import pickle, sys; r = pickle.load(open("run/res", "rb")); '
            'assert not {m.split(".")[0] for m in sys.modules} & {"tensorflow", "keras", "core", "models"}; '
            'info = r["raw"][3]; '
            'print(sorted(r), sorted(r["raw"]), sorted(info), info["stats"]["q_min"], r["flags"]["train_mode"])')
    out = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True).stdout
    with open('run/res', 'rb') as f:
        q_min = pickle.load(f)['raw'][3]['stats']['q_min']
    keys = ['all_rt_loss', 'eid', 'log_frame', 'lr', 'rt_loss', 'stats', 'time']
    assert out.strip() == f"['flags', 'raw'] {list(range(1, 13))} {keys} {q_min} USE_FRAME"


def test_flags_json_tells_what_is_needed_to_repeat_the_run():
    train(seed=None)
    record = json.loads(Path('run/flags.json').read_text())
    assert record['flags']['model'] == FLAGS['model'] and record['flags']['train_mode'] == 'USE_FRAME'
    assert set(record['flags']) == set(core.flags.FLAGS)
    assert isinstance(record['flags']['seed'], int), 'a fresh seed is recorded'
    assert {'python', 'tensorflow', 'keras', 'numpy'} <= set(record['versions'])
    assert {'device', 'git_commit', 'dataset', 'command', 'started'} <= set(record)


def test_the_terminal_shows_the_originals_lines_and_stdout_keeps_them(capsys):
    res, attempts = train(E=10)
    text = capsys.readouterr().out
    assert Path('run/stdout').read_text() == text
    info = res['raw'][1]
    stats = info['stats']
    line = (f"epoch #1 (lr={info['lr']:.3e} log_frame={info['log_frame']:.5f}): rt_loss={info['rt_loss']:.5f} "
            f"loss={stats['loss']:.5f} acc={stats['acc'] * 100:.3f}% test_loss={stats['test_loss']:.5f} "
            f"test_acc={stats['test_acc'] * 100:.3f}% [time={info['time']:.3f}s]\n{{\n    acc: {stats['acc']:.8f}    "
            f"(E: {stats['acc']:.8E})\n")
    assert line in text
    assert f"    n_supp_1: {stats['n_supp_1']}\n" in text
    assert text.count('rolling back...done\n') == sum(a['cmd'] == 'back' for a in attempts) > 0
    assert text.startswith('{\n    task: train\n    dataset: digits\n') and 'run/res updated\n' in text


def test_print_false_leaves_out_the_blocks_and_still_records_statistics(capsys):
    res, _ = train(E=2, print=False)
    text = capsys.readouterr().out
    assert 'epoch #2' in text and 'q_bar_min' not in text and 'q_bar_min' in res['raw'][2]['stats']


@pytest.mark.long
def test_each_epoch_starts_from_the_frame_and_the_rate_that_the_last_one_left():
    _, attempts = train()
    log_frame, lr = FLAGS['log_frame0'], 0.3
    for a in attempts:
        np.testing.assert_allclose(a['log_frame'], log_frame, rtol=1e-12)
        assert a['lr'] == lr
        lr = a['next_lr']
        if a['cmd'] == 'go':
            assert a['stats']['loss'] <= 1
            log_frame += math.log(a['stats']['loss'])
            np.testing.assert_allclose(a['stats']['log_loss'], log_frame, rtol=1e-10, atol=1e-10)


@pytest.mark.long
def test_the_same_seed_repeats_the_run_and_another_does_not():
    def numbers(attempts):
        return [(a['eid'], a['cmd'], a['lr'], a['rt_loss'], a['stats']) for a in attempts]
    runs = [numbers(train(log=name, seed=seed)[1]) for name, seed in (('a', 1), ('b', 1), ('c', 2))]
    assert runs[0] == runs[1] != runs[2]


@pytest.mark.long
def test_a_retry_starts_from_the_kept_weights_with_a_permutation_of_its_own(monkeypatch):
    seen = []
    original = Model.train_epoch

    def spy(self, x, y, order, *args):
        seen.append((self.weights()['fc3_W'], order.copy()))
        return original(self, x, y, order, *args)
    monkeypatch.setattr(Model, 'train_epoch', spy)
    _, attempts = train()
    retries = [i for i in range(1, len(attempts)) if attempts[i]['eid'] == attempts[i - 1]['eid']]
    assert retries
    for i in retries:
        np.testing.assert_array_equal(seen[i][0], seen[i - 1][0])
        assert not np.array_equal(seen[i][1], seen[i - 1][1])


def test_a_failed_attempt_has_no_statistics_and_says_why(capsys):
    _, attempts = train(lr=('loss-based-v1', 1e4), loss_ub=3.0, E=1)
    failed = [a for a in attempts if a['failure']]
    assert failed and all(a['cmd'] == 'back' and a['stats'] is None and a['rt_loss'] is None for a in failed)
    assert 'epoch #1 (lr=1.000e+04 log_frame=1.50000): loss is too large: ' in capsys.readouterr().out


@pytest.mark.long
def test_an_initial_loss_above_the_frame_is_said_before_the_start_and_again_when_stuck(capsys):
    """B4: the original ends such a run at lr_lb after some 1,600 attempts without a word."""
    with pytest.raises(UserError, match='below lr_lb = 1.000e-05; the run ended after epoch 0'):
        train(log_frame0=-3.0, lr_lb=1e-5)
    text = capsys.readouterr().out
    assert text.count('is above the frame exp(log_frame0) = 0.0498') == 1
    assert text.index('is above the frame') < text.index('epoch #1 ')
    assert text.count('was rejected 50 times in a row') == 1
    advised = float(text.split('set log_frame0 to ')[1].split(' or more')[0])
    _, attempts = train(log='advised', log_frame0=advised, lr_lb=1e-5)
    assert sum(a['eid'] == 1 for a in attempts) < 10


@pytest.mark.long
def test_a_rate_below_its_bound_ends_the_run_with_everything_saved():
    """B5: the original loses everything since the last pickle and exits with success."""
    with pytest.raises(UserError, match='the next learning rate, .* is below lr_lb'):
        train(lr_lb=0.1, E=1000)
    last = max(a['eid'] for a in Workdir('run').read_history() if a['cmd'] == 'go')
    assert Path('run/stdout').read_text().endswith(f'the run ended after epoch {last}\n')
    assert_saved_up_to(last)


def assert_saved_up_to(last: int) -> None:
    """res, and the model of the last accepted epoch, hold what history.jsonl says of it."""
    accepted = [a for a in Workdir('run').read_history() if a['cmd'] == 'go']
    assert accepted[-1]['eid'] == last
    with open('run/res', 'rb') as f:
        assert list(pickle.load(f)['raw']) == list(range(1, last + 1))
    model = SimpleSequential('m', (8, 8, 1), FLAGS['model']['description'])
    model.restore(Workdir('run').find_model(last))
    data = tuple((x[:n], y[:n]) for (x, y), n in zip(core.get_dataset('digits'), (300, 100)))
    np.testing.assert_allclose(model.get_stats(data, 0.0)[0]['q_min'], accepted[-1]['stats']['q_min'], rtol=1e-6)


def test_a_constant_rate_that_diverges_ends_the_run_in_one_sentence_with_the_last_epoch_saved(monkeypatch):
    """B8: the original ends in an assertion."""
    original, calls = Model.train_epoch, []

    def diverging(self, x, y, order, batch, lr, *args):
        calls.append(1)
        return original(self, x, y, order, batch, lr * (1e6 if len(calls) == 4 else 1), *args)
    monkeypatch.setattr(Model, 'train_epoch', diverging)
    with pytest.raises(UserError, match='epoch 4: .*diverged at the constant learning rate 0.02; choose a smaller lr'):
        train(lr=0.02, loss_ub=3.0)
    assert [a['cmd'] for a in Workdir('run').read_history()] == ['go', 'go', 'go', 'stop']
    assert_saved_up_to(3)


@pytest.mark.long
def test_an_exception_that_is_not_numerical_surfaces_and_accepted_epochs_are_saved(monkeypatch):
    """B6: the original takes any exception for a numerical failure and retries."""
    original = Workdir.append_history

    def broken(self, line):
        if line['eid'] == 8:
            raise OSError('disk full')
        original(self, line)
    monkeypatch.setattr(Workdir, 'append_history', broken)
    with pytest.raises(OSError, match='disk full'):
        train()
    assert_saved_up_to(7)


def test_a_training_loss_of_exactly_zero_without_a_frame_says_to_use_one(monkeypatch):
    """B9: the original ends in a math domain error."""
    original = Model.get_stats

    def underflowed(self, *args):
        stats, extra = original(self, *args)
        return {**stats, 'loss': 0.0}, extra
    monkeypatch.setattr(Model, 'get_stats', underflowed)
    with pytest.raises(UserError, match='epoch 1: the training loss underflowed to 0; use train_mode=USE_FRAME'):
        train(train_mode=TrainMode.NORMAL, lr=0.01)
    assert Workdir('run').archived_epochs() == [1]


@pytest.mark.long(after=1)
@pytest.mark.parametrize('lr', [0.02, ('aggressive', 0.02), ('aggressive-v2', 0.02), ('aggressive-v3', 0.02),
                                ('loss-based-v1', 0.02, 1.1, 1.2, 0, 2.6)])
def test_every_scheduler_trains_without_a_frame(lr):
    res, _ = train(train_mode=TrainMode.NORMAL, lr=lr, E=8)
    assert res['raw'][8]['stats']['loss'] < res['raw'][1]['stats']['loss'] and res['raw'][8]['log_frame'] is None


@pytest.mark.long(after=1)
@pytest.mark.parametrize('lr', [0.02, ('const-lr-and-loss-based-lr', 0.05)])
def test_constant_rates_in_a_frame_are_the_same_real_rate(lr):
    res, _ = train(lr=lr, E=8)
    real_rate = lr if isinstance(lr, float) else lr[1]
    for info in res['raw'].values():
        np.testing.assert_allclose(info['lr'] * math.exp(-info['log_frame']), real_rate, rtol=1e-9)


@pytest.mark.long(after=1)
@pytest.mark.parametrize('mode, lr', [(TrainMode.NORMAL, ('aggressive-v3', 0.1, 2.0, 2.0)),
                                      (TrainMode.USE_FRAME, ('loss-based-v1', 0.3, 2.0, 2.0))])
def test_T_is_the_sum_of_the_real_rates_of_all_steps_of_accepted_epochs(mode, lr):
    _, attempts = train(train_mode=mode, lr=lr, E=10, B=100)  # three steps an epoch
    accepted = [a for a in attempts if a['cmd'] == 'go']
    assert len(accepted) < len(attempts)
    rates = [a['lr'] * math.exp(-(a['log_frame'] or 0)) for a in accepted]
    np.testing.assert_allclose([math.exp(a['stats']['log_T']) for a in accepted], 3 * np.cumsum(rates), rtol=1e-9)


@pytest.mark.long(after=1)
@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM], ids=lambda s: s.name)
@pytest.mark.parametrize('method', ['train_epoch', 'get_stats', 'keep', 'save', 'roll_back'])
def test_an_interrupt_at_any_point_leaves_the_last_accepted_epoch_saved(method, number, monkeypatch):
    original, calls = getattr(Model, method), []

    def interrupted(self, *args, **kwargs):
        calls.append(1)
        if len(calls) == 3:
            signal.raise_signal(number)
        return original(self, *args, **kwargs)
    monkeypatch.setattr(Model, method, interrupted)
    before = signal.getsignal(number)
    with pytest.raises(KeyboardInterrupt):
        train(archive=1)
    assert_saved_up_to(max(a['eid'] for a in Workdir('run').read_history() if a['cmd'] == 'go'))
    assert signal.getsignal(number) is before
    assert Path('run/stdout').read_text().endswith('interrupted\n')


@pytest.mark.parametrize('changes, message', [
    ({'lr': ('aggressive', 0.1)}, 'lr: AggressiveLR does not know frames'),
    ({'lr': ('const-lr-and-loss-based-lr', 0.1), 'train_mode': TrainMode.NORMAL}, 'needs train_mode=USE_FRAME'),
    ({'model': {**FLAGS['model'], 'weight_decay': None}}, 'weight_decay must be a finite number'),
    ({'model': {**FLAGS['model'], 'init': 'he_normal'}}, "model.init must be a dictionary such as {'weight'"),
    ({'B': 301}, 'B is 301, more than the 300 training images'),
    ({'train_N': 9999}, 'train_N is 9999, but digits has 1442 images'),
    ({'model': {'description': [['F', 9]]}}, 'model: the network has 9 outputs, but the data set has the label 9'),
    ({'model': {'description': [['Q']]}}, "model: layer 1, ['Q']: there is no layer kind 'Q'"),
    ({'gpu': 'gpu0'}, "--gpu takes the index of a GPU (0, 1, ...), several as in 0,1, or 'cpu', not 'gpu0'"),
    ({'init_weights': 'none.npz'}, 'init_weights: there is no file none.npz'),
    ({'permutations': 'none.npz'}, 'permutations: there is no file none.npz')])
def test_what_cannot_be_run_is_refused_in_one_sentence_and_leaves_no_directory(changes, message):
    with pytest.raises(UserError) as e:
        train(**changes)
    assert message in str(e.value) and '\n' not in str(e.value)
    assert not list(Path().iterdir())


@pytest.mark.long
def test_training_as_long_as_so_many_steps_ends_within_an_epoch_which_counts(monkeypatch):
    """6 batches an epoch; attempts that are taken back do not count."""
    length = {'steps': 44, 'E': 1, 'lr': ('loss-based-v1', 0.3, 2.0, 2.0), 'include_all_rt_loss_in_res': True}
    _, attempts = train(**length)
    accepted = [a for a in attempts if a['cmd'] == 'go']
    assert [len(a['all_rt_loss']) for a in accepted] == [*[6] * 7, 2] and len(attempts) > 8
    assert Workdir('run').read_flags()['flags']['E'] == 8 and Workdir('run').has_ended()
    _, whole = train(**{**length, 'steps': None, 'E': 8}, log='whole')
    assert [a['all_rt_loss'] for a in whole[:7]] == [a['all_rt_loss'] for a in attempts[:7]]
    with monkeypatch.context() as patch, pytest.raises(Stop):
        die_in(patch, 'replace', 9, before=False)
        train(**length, log='killed')
    core.run({k: v for k, v in {**FLAGS, **length, 'resume': 'killed'}.items() if k != 'log'})
    assert [{k: v for k, v in a.items() if k != 'time'} for a in Workdir('killed').read_history()] == [
        {k: v for k, v in a.items() if k != 'time'} for a in attempts]


def test_a_directory_that_holds_a_run_is_not_written_over():
    train(E=1)
    before = Path('run/history.jsonl').read_bytes()
    with pytest.raises(UserError, match='run already holds results; choose another directory'):
        train(E=1)
    assert Path('run/history.jsonl').read_bytes() == before


@pytest.mark.long
def test_runs_of_the_same_second_get_directories_of_their_own(monkeypatch):
    monkeypatch.setattr('time.strftime', lambda *a: '20260101_000000')
    for _ in range(2):
        core.Core({**FLAGS, 'E': 1, 'log': None}, name='exper').run()
    assert sorted(p.name for p in Path('logs/exper').iterdir()) == ['20260101_000000', '20260101_000000-2']


def test_a_terminal_shows_a_bar_of_slow_epochs_that_is_gone_when_they_end(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True
    monkeypatch.setattr(sys, 'stderr', terminal := Terminal())
    with progress.epoch_bar(3, 600) as on_steps:
        time.sleep(0.6)
        on_steps(150)
    shown = terminal.getvalue()
    assert 'epoch #3:  25%' in shown and '150/600' in shown and shown.endswith('\r')
    monkeypatch.setattr(sys, 'stderr', io.StringIO())
    with progress.epoch_bar(3, 600) as on_steps:
        assert on_steps is None
