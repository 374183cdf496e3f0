"""Runs that are killed or stopped anywhere and resumed: they end as the run that was never stopped."""

from __future__ import annotations

import json
import os
import pickle
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from runs import FLAGS, Stop, die_in, train

import core
from core import UserError
from core.workdir import Workdir

FAST = {'lr': ('loss-based-v1', 0.3, 2.0, 2.0), 'archive': ('logloss', 10.0), 'print': False, 'test_N': 300}
"""A run with many rejected attempts, and a scheduler and an archiver with states; as many test as training images,
so that one trace measures both."""

pytestmark = pytest.mark.usefixtures('networks_are_shared')


def resume(log='run', **changes):
    return core.run({**FLAGS, **FAST, 'log': None, 'resume': log, **changes})


def contents(log='run') -> dict:
    """Everything that a run computed: no times."""
    run = Workdir(log)
    lines = [{k: v for k, v in line.items() if k != 'time'} for line in run.read_history()]
    res = pickle.loads(run.res_path.read_bytes())
    raw = {eid: {k: v for k, v in info.items() if k != 'time'} for eid, info in res['raw'].items()}
    state, weights = run.read_state()
    return {'history': lines, 'raw': raw, 'state': {k: v for k, v in state.items() if k not in ('history', 'archived')},
            'weights': {k: v.tobytes() for k, v in weights.items()}}


@pytest.fixture(scope='module')
def whole(tmp_path_factory, networks_are_shared):
    """The contents of the run that was never stopped."""
    path = tmp_path_factory.mktemp('whole') / 'run'
    _, lines = train(**FAST, log=str(path))
    assert sum(line['cmd'] == 'back' for line in lines) > 3
    return contents(path)


@pytest.fixture(scope='module')
def begun(tmp_path_factory, networks_are_shared):
    """The working directory of a run of two epochs."""
    folder = tmp_path_factory.mktemp('begun')
    with pytest.MonkeyPatch.context() as m:
        m.chdir(folder)
        train(**FAST, E=2)
    return folder / 'run'


@pytest.fixture
def copy(begun):
    """A copy of it, as ``run`` in the test's own folder."""
    shutil.copytree(begun, 'run')


@pytest.mark.long
@pytest.mark.parametrize('function, number, before', [
    *(('fsync', n, before) for n in (1, 3, 20) for before in (True, False)),
    *(('replace', n, before) for n in (2, 7, 15) for before in (True, False)),
    *(('fsync', n, True) for n in (2, 7, 33)), *(('replace', n, False) for n in (1, 3, 12))])
def test_a_run_that_died_before_or_after_any_write_ends_as_if_it_had_not(function, number, before, whole, monkeypatch):
    with monkeypatch.context() as m:
        die_in(m, function, number, before)
        with pytest.raises(Stop):
            train(**FAST)
    if not Workdir('run').flags_path.exists():
        with pytest.raises(UserError, match='run is not the working directory of a run: it has no flags.json'):
            resume()
        return
    resume()
    assert contents() == whole
    assert Workdir('run').archived_epochs() and not list(Path('run').glob('*.tmp'))


@pytest.mark.long
def test_a_run_killed_at_random_instants_and_resumed_each_time_ends_as_if_it_had_not_been(whole, server):
    """SIGKILL to real processes."""
    flags = {k: v for k, v in {**FLAGS, **FAST, 'train_mode': FLAGS['train_mode'].name}.items() if k != 'log'}
    Path('flags.py').write_text(f'import core\ncore.app_start({flags!r})\n')
    rng, kills = random.Random(0), 0
    while True:
        begun = Workdir('run').flags_path.exists()
        size = Workdir('run').history_size()
        process = server.start('flags.py', '--resume' if begun else '--log', 'run')
        deadline = time.monotonic() + 100
        while process.poll() is None and Workdir('run').history_size() <= size and time.monotonic() < deadline:
            time.sleep(0.002)  # until it trains
        try:
            process.wait(rng.uniform(0, 0.15) if kills < 3 else 300)
        except subprocess.TimeoutExpired:
            process.kill()
            kills += 1
        if process.wait() == 0:
            break
        assert process.returncode == -signal.SIGKILL, process.stderr
    print(f'{kills} kills')
    assert kills >= 3
    assert contents() == whole


@pytest.mark.long
@pytest.mark.parametrize('error', [28, pytest.param(5, marks=pytest.mark.long)])  # ENOSPC, EIO
@pytest.mark.parametrize('function', ['fsync', 'replace'])
def test_a_write_that_fails_ends_the_run_in_one_sentence_and_it_resumes(function, error, whole, monkeypatch):
    original, calls = getattr(os, function), []

    def failing(*args, **kwargs):
        calls.append(1)
        if 9 <= len(calls):
            raise OSError(error, os.strerror(error))
        return original(*args, **kwargs)
    with monkeypatch.context() as m:
        m.setattr(os, function, failing)
        with pytest.raises(UserError, match=f'cannot write run/.*: {os.strerror(error)}; what was written before is'):
            train(**FAST)
    resume()
    assert contents() == whole


@contextmanager
def file_size_limit(size: int):
    """The system writes no file beyond this size: it writes a part of what it is given, and then fails."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


@pytest.mark.long(after=2)
@pytest.mark.parametrize('room', [1600, 2500, 5500, pytest.param(9000, marks=pytest.mark.long),
                                  pytest.param(14000, marks=pytest.mark.long)])
def test_a_run_whose_files_are_written_by_a_part_only_ends_in_one_sentence_and_resumes(room, whole):
    """Short writes of the system itself: of the flags, of the state, of lines of the history."""
    with file_size_limit(room), pytest.raises(UserError, match='cannot write run/.*: File too large; what was written'):
        train(**FAST)
    history = Path('run/history.jsonl')
    assert not history.exists() or history.read_bytes()[-1:] in (b'', b'\n')
    assert not list(Path('run').glob('*.tmp'))
    if Workdir('run').flags_path.exists():
        resume()
        assert contents() == whole


def test_a_short_write_of_a_line_leaves_no_half_of_it(monkeypatch):
    run = Workdir.create('run', parent=Path())
    run.append_history({'eid': 1, 'cmd': 'back'})
    original = os.fsync
    monkeypatch.setattr(os, 'fsync', lambda fd: (_ for _ in ()).throw(OSError(28, 'No space')))
    with pytest.raises(UserError, match='No space'):
        run.append_history({'eid': 2, 'cmd': 'back'})
    monkeypatch.setattr(os, 'fsync', original)
    run.append_history({'eid': 3, 'cmd': 'back'})
    assert [line['eid'] for line in run.read_history()] == [1, 3]


@pytest.mark.long
@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM], ids=lambda s: s.name)
def test_a_run_that_was_interrupted_resumes(number, whole, monkeypatch):
    from models import Model
    original, calls = Model.train_epoch, []

    def interrupted(self, *args, **kwargs):
        calls.append(1)
        if len(calls) == 8:
            os.kill(os.getpid(), number)
        return original(self, *args, **kwargs)
    with monkeypatch.context() as m:
        m.setattr(Model, 'train_epoch', interrupted)
        with pytest.raises(KeyboardInterrupt):
            train(**FAST)
    resume()
    assert contents() == whole


@pytest.mark.long
def test_a_finished_run_is_extended_to_the_longer_run(whole):
    train(**FAST, E=7)
    resume()
    assert contents() == whole
    before = Path('run/history.jsonl').read_bytes()
    resume()  # there is nothing left to do
    assert Path('run/history.jsonl').read_bytes() == before and contents() == whole
    flags = Path('run/flags.json').read_bytes()
    with pytest.raises(UserError, match='run has 12 epochs already, so it cannot be resumed with E=3'):
        resume(E=3)
    assert Path('run/flags.json').read_bytes() == flags


@pytest.mark.parametrize('changes, message', [
    ({'seed': 2}, 'run was begun with seed=1, so it cannot be resumed with seed=2'),
    ({'dataset': 'mnist'}, "run was begun with dataset='digits', so it cannot be resumed with dataset='mnist'"),
    ({'B': 20}, 'run was begun with B=50, so it cannot be resumed with B=20'),
    ({'model': {**FLAGS['model'], 'act_type': 'relu2'}}, 'run was begun with model='),
    ({'lr': 0.1}, 'run was begun with lr=')])
def test_a_run_is_not_resumed_as_another_one(changes, message, copy):
    before = Path('run/flags.json').read_bytes()
    with pytest.raises(UserError) as e:
        resume(**changes)
    assert message in str(e.value)
    assert Path('run/flags.json').read_bytes() == before


def test_a_run_is_resumed_in_its_own_directory(copy):
    with pytest.raises(UserError, match='--resume goes on in the directory that it names; leave out --log'):
        core.Core({**FLAGS, **FAST, 'log': None}, {'resume': 'run', 'log': 'elsewhere'})


@pytest.mark.long
def test_what_the_command_line_had_set_need_not_be_said_again(whole):
    other = {**FLAGS, **FAST, 'lr': ('loss-based-v1', 0.1), 'E': 3}
    core.Core(other, settings=[('lr', FAST['lr']), ('E', 5)]).run()
    assert [line['eid'] for line in Workdir('run').read_history() if line['cmd'] == 'go'] == [1, 2, 3, 4, 5]
    core.Core({**other, 'log': None}, {'resume': 'run'}, [('E', 12)]).run()
    assert contents()['history'] == whole['history']
    record = json.loads(Path('run/flags.json').read_text())
    assert record['flags']['E'] == 12 and len(record['resumed']) == 1 and 'command' in record['resumed'][0]


@pytest.mark.long
def test_like_repeats_a_run_in_a_directory_of_its_own(whole):
    train(**FAST)
    core.Core({**FLAGS, **FAST, 'lr': 0.1, 'seed': None, 'log': None}, {'like': 'run', 'log': 'again'}).run()
    assert contents('again')['history'] == whole['history']


def test_a_damaged_state_is_one_sentence_and_nothing_is_lost():
    train(**FAST, E=3)
    history = Path('run/history.jsonl').read_bytes()
    state = Path('run/state.npz').read_bytes()
    for damage in (state[:1000], b'', pickle.dumps({'eid': 1})):
        Path('run/state.npz').write_bytes(damage)
        with pytest.raises(UserError, match='state.npz'):
            resume()
        assert Path('run/history.jsonl').read_bytes() == history
    Path('run/state.npz').write_bytes(state)
    Path('run/history.jsonl').write_bytes(history[:-200])
    with pytest.raises(UserError, match='history.jsonl has lost lines'):
        resume()


# ---- one process at a time ----

def test_a_second_process_is_refused_and_the_lock_of_one_that_was_killed_is_taken_over(copy, capsys):
    with Workdir('run').locked(print):
        code = ('import sys; sys.path.insert(0, {!r})\n'
                'from core.workdir import Workdir; from core.errors import UserError\n'
                'try:\n  with Workdir("run").locked(print): pass\nexcept UserError as e: print(e)')
        done = subprocess.run([sys.executable, '-c', code.format(str(Path(__file__).resolve().parents[1]))],
                              capture_output=True, text=True, timeout=60)
        assert done.stdout.startswith(f'run is in use by process {os.getpid()} on '), done.stderr
        with pytest.raises(UserError, match='run is in use by process'):
            resume(E=3)
    assert not Workdir('run').lock_path.exists()
    Workdir('run').lock_path.write_text(json.dumps({'pid': 12345, 'host': os.uname().nodename, 'since': 'yesterday'}))
    capsys.readouterr()
    resume(E=3)
    assert 'taking over from process 12345' in capsys.readouterr().out
    assert not Workdir('run').lock_path.exists()


def test_the_lock_of_another_host_is_not_taken_over(copy):
    Workdir('run').lock_path.write_text(json.dumps({'pid': 7, 'host': 'elsewhere', 'since': 'yesterday'}))
    with pytest.raises(UserError, match='in use by process 7 on elsewhere, since yesterday; if that has ended, delete'):
        resume(E=3)
    Workdir('run').lock_path.unlink()
    resume(E=3)


def test_a_state_is_of_the_weights_that_were_accepted():
    res, _ = train(**FAST, E=6)
    _, weights = Workdir('run').read_state()
    shutil.copy('run/model-6.keras', 'model.keras')
    import keras
    net = keras.saving.load_model('model.keras')
    for kept, v in zip(weights.values(), net.trainable_variables):
        np.testing.assert_array_equal(kept, v.numpy())


def test_a_run_killed_after_its_last_state_but_before_its_results_gets_them(whole):
    train(**{**FAST, 'archive': 1})  # the last epoch is archived before its state is written
    Path('run/res').unlink()
    resume(archive=1)
    assert contents()['raw'] == whole['raw']


@pytest.mark.long
def test_deterministic_operations_are_switched_on_and_the_run_is_recorded_so(server):
    here = Path(__file__).resolve().parent
    Path('code.py').write_text(
        f'import sys; sys.path[:0] = [{str(here)!r}]; from runs import train\n'
        'from tensorflow.python.framework import config\n'
        'train(E=2, deterministic=True, print=False); print(config.is_op_determinism_enabled())')
    done = server.start('code.py')
    assert done.wait() == 0 and done.stdout.endswith('True\n'), done.stderr
    assert json.loads(Path('run/flags.json').read_text())['flags']['deterministic'] is True
