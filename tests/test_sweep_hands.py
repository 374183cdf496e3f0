"""Several processes at work on one sweep: how they divide it, and what becomes of it when one of them ends."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import signal
import threading
import time
from collections import Counter
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest

import core
from core import UserError
from core.sweeps import directory, hands
from core.sweeps.directory import SweepDirectory
from core.sweeps.grid import grid_of
from core.sweeps.jobs import Job, Jobs
from core.sweeps.running import Sweep
from core.workdir import Workdir

CONFIG = {
    'base': {'dataset': 'digits', 'train_N': 100, 'test_N': 50, 'lr': 0.05, 'E': 9, 'B': 50, 'print': False,
             'model': {'description': [['F', 8], ['F', 10, {'act': False}]], 'init': {'weight': 'he_normal'}}},
    'axes': {'noise': {'0': {}, '0.5': {'label_noise': 0.5}}},
    'seeds': [1, 2],
    'evaluations': {'eval-other': {'task': 'certify', 'attack_N': 10, 'attack_set': 'test',
                                   'init_weights': {'run': {'seed': 'next'}}}},
}
TRAINED = {**CONFIG, 'evaluations': {}}

pytestmark = pytest.mark.usefixtures('networks_are_shared')

HAND = '''
import os, signal, sys, time
from pathlib import Path
from core.sweeps import hands
from core.sweeps.directory import SweepDirectory
from core.sweeps.grid import grid_of
from core.sweeps.running import Sweep
from core.tasks.epochs import Training

victim, number = sys.argv[1] == 'victim', sys.argv[2]
attempt, do, count = Training._attempt, hands.Hand._do, [0]

def dying_attempt(self, *args):
    count[0] += 1
    if count[0] == 6:  # in the middle of its first run
        Path('victim').write_text(str(self.workdir.path))
        os.kill(os.getpid(), signal.SIGKILL)
    return attempt(self, *args)

def patient_do(self, *args):
    count[0] += 1
    while count[0] > 1 and not Path('victim').exists():  # the victim is to have its run, however slow it is
        time.sleep(0.02)
    do(self, *args)

if victim:
    Training._attempt = dying_attempt
else:
    hands.Hand._do = patient_do
hands.WAIT = 0.1
Path(f'ready-{{number}}').touch()
while not Path('go').exists():
    time.sleep(0.005)
sys.exit(Sweep(grid_of({config!r}, Path()), SweepDirectory('sweep'), 'sweep-test', None, {{'gpu': 'cpu'}}).run())
'''


def sweep(config=TRAINED, **settings):
    return Sweep(grid_of(config, Path()), SweepDirectory('sweep'), 'sweep-test', settings, {'gpu': 'cpu'})


def numbers(path):
    """All that a history says but for seconds."""
    return [{k: v for k, v in line.items() if k != 'time'} for line in Workdir(path).read_history()]


@contextmanager
def another_at_work_on(name, **about):
    """Another process has the lock of a run or an evaluation."""
    path = Path('sweep', name, 'lock')
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, 'w') as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.write(json.dumps({'pid': 7, 'host': os.uname().nodename, 'since': 'today', 'beat': 20.0, **about}))
        file.flush()
        yield
        path.unlink()


def asleep(monkeypatch, sleep):
    """Lets a process that waits for others do this instead; whatever else sleeps goes on as it did."""
    monkeypatch.setattr(hands, 'time', SimpleNamespace(sleep=sleep, perf_counter=time.perf_counter))


@pytest.fixture(scope='module')
def made(tmp_path_factory, networks_are_shared):
    """The runs of the sweep, made by one process."""
    path = tmp_path_factory.mktemp('made') / 'sweep'
    assert Sweep(grid_of(TRAINED, Path()), SweepDirectory(path), 'sweep-test', {}, {'gpu': 'cpu'}).run() == 0
    return path


@pytest.fixture
def finished(made):
    """The same in the folder of the test, to be changed."""
    return shutil.copytree(made, 'sweep')


@pytest.mark.long
def test_three_processes_make_each_run_once_though_one_of_them_is_killed(server):
    Path('hand.py').write_text(HAND.format(config=CONFIG))
    started = [server.start('hand.py', role, str(k)) for k, role in enumerate(('victim', 'other', 'other'))]
    assert sweep(CONFIG).run() == 0  # alone, meanwhile
    shutil.move('sweep', 'alone')
    while not all(Path(f'ready-{k}').exists() for k in range(3)):
        assert not any(process.poll() for process in started)
    Path('go').touch()
    assert [process.wait() for process in started] == [-signal.SIGKILL, 0, 0], [p.stderr for p in started]
    killed = Path(Path('victim').read_text())
    runs = SweepDirectory('sweep').planned()
    assert [run.name for run in runs] == [run.name for run in SweepDirectory('alone').planned()] and len(runs) == 4
    for run in runs:
        path = Path('sweep', run.name)
        assert numbers(path) == numbers(Path('alone', run.name)), 'each epoch once, with the numbers of one process'
        text = (path / 'stdout').read_text()
        assert text.count('{\n') == 1, 'begun once'
        assert text.count('resuming after epoch 5') == (path == killed), text
        one, other = (Workdir(Path(home, run.name, 'eval-other', 'sweep')) for home in ('alone', 'sweep'))
        assert (one.read_summary()['epochs']['9']['median'] == other.read_summary()['epochs']['9']['median'])
    outs = [process.stdout for process in started]
    lines = [line.split()[3] for line in '\n'.join(outs).split('\n') if ' of 8 ' in line]
    jobs = [run.name for run in runs] + [f'{run.name}/eval-other' for run in runs]
    assert Counter(lines) == Counter(jobs), 'each job is a line of one process'
    assert f"{killed.relative_to('sweep')} is taken over from process {started[0].pid} on " in outs[1] + outs[2]
    assert all(out.endswith('4 of 4 runs are finished\n') for out in outs[1:]) and ' of 8 ' not in outs[0]
    assert sorted(SweepDirectory('sweep').read_sweep()['evaluated']) == sorted(jobs[4:])
    assert not list(Path('sweep').rglob('lock*'))


@pytest.mark.long
def test_a_process_with_nothing_to_do_waits_says_so_once_and_takes_over_what_is_left_behind(
        finished, capsys, monkeypatch):
    expected = numbers('sweep/noise-0/seed-2')
    shutil.rmtree('sweep/noise-0/seed-2')
    capsys.readouterr()
    waited = []
    with another_at_work_on('noise-0/seed-2', device='GPU 1'):
        def sleep(seconds):
            waited.append(seconds)
            if len(waited) == 3:
                raise KeyboardInterrupt
        asleep(monkeypatch, sleep)
        with pytest.raises(KeyboardInterrupt):
            sweep().run()
    name = os.uname().nodename
    assert capsys.readouterr().out == (
        f'3 of 4 runs are finished\nwaiting for noise-0/seed-2 (process 7 on {name} (GPU 1), since today)\n')
    assert waited == [hands.WAIT] * 3
    left = Path('sweep/noise-0/seed-2/lock')
    left.write_text(json.dumps({'pid': 7, 'host': name, 'since': 'today', 'beat': 20.0}))
    assert sweep().run() == 0
    assert f'noise-0/seed-2 is taken over from process 7 on {name}, which has ended\n1 of 1  noise-0/seed-2  test' in (
        capsys.readouterr().out)
    assert numbers('sweep/noise-0/seed-2') == expected


@pytest.mark.long
def test_what_another_process_is_at_work_on_is_left_to_it_and_what_it_has_done_is_not_done_again(
        finished, capsys, monkeypatch):
    shutil.move('sweep/noise-0/seed-1', 'done')
    shutil.rmtree('sweep/noise-0.5/seed-2')
    capsys.readouterr()
    another = another_at_work_on('noise-0/seed-1')
    another.__enter__()

    def sleep(seconds):  # meanwhile the other ends its run
        shutil.copytree('done', 'sweep/noise-0/seed-1', dirs_exist_ok=True)
        Path('sweep/noise-0/seed-1/lock').unlink()
    asleep(monkeypatch, sleep)
    before = Path('done/res').stat().st_mtime_ns
    assert sweep().run() == 0
    lines = capsys.readouterr().out.split('\n')
    assert lines[0] == '2 of 4 runs are finished' and lines[1].startswith('1 of 2  noise-0.5/seed-2  test accuracy')
    assert '; about ' in lines[1], 'the other run is still to come'
    assert lines[2].startswith('waiting for noise-0/seed-1 (process 7 on ') and lines[3] == '4 of 4 runs are finished'
    assert Path('sweep/noise-0/seed-1/res').stat().st_mtime_ns == before


@pytest.mark.long
def test_a_run_that_is_done_between_the_look_and_the_lock_is_not_begun_again(
        finished, capsys, monkeypatch):
    shutil.move('sweep/noise-0/seed-1', 'done')
    done, original = [], Jobs.is_done

    def is_done(self, job, mine=False):
        found = original(self, job, mine)
        if job.name == 'noise-0/seed-1' and not done and not mine:  # just after this process has looked
            done.append(shutil.copytree('done', 'sweep/noise-0/seed-1'))
        return found
    monkeypatch.setattr(Jobs, 'is_done', is_done)
    capsys.readouterr()
    assert sweep().run() == 0
    assert capsys.readouterr().out == '3 of 4 runs are finished\n4 of 4 runs are finished\n'
    assert 'resuming' not in Path('sweep/noise-0/seed-1/stdout').read_text() and done


@pytest.mark.long
def test_what_failed_in_another_process_is_not_tried_again_by_those_at_work_and_is_by_the_next(
        finished, capsys, monkeypatch):
    shutil.rmtree('sweep/noise-0.5/seed-1')
    original, tried = Jobs.do, []

    def do(self, job):
        if not tried:  # meanwhile, in another process
            SweepDirectory('sweep').add_failure('noise-0.5/seed-1', 'epoch 3: the loss is not finite', print)
        tried.append(job.name)
        return original(self, job)
    monkeypatch.setattr(Jobs, 'do', do)
    assert sweep(CONFIG).run() == 3
    assert 'noise-0.5/seed-1' not in tried and len(tried) == 4
    out = capsys.readouterr().out
    assert out.endswith('3 of 4 runs are finished, 3 failed\n')
    assert out.count('eval-other  failed: the run noise-0.5/seed-1 is not finished') == 2, 'its own, and that of seed 2'
    listed = sweep(CONFIG).listing().split('\n')
    assert [line for line in listed if line.startswith('noise-0.5/seed-1 ')][0].endswith(
        '-, failed: epoch 3: the loss is not finite')
    assert sweep(CONFIG).run() == 0
    assert 'failed' not in sweep(CONFIG).listing()


@pytest.mark.long
def test_an_evaluation_waits_for_the_run_that_another_process_makes(finished, capsys, monkeypatch):
    config = {**CONFIG, 'axes': {'noise': {'0': {}}}}
    shutil.move('sweep/noise-0/seed-2', 'done')
    another = another_at_work_on('noise-0/seed-2')
    another.__enter__()

    def sleep(seconds):
        shutil.copytree('done', 'sweep/noise-0/seed-2', dirs_exist_ok=True)
        Path('sweep/noise-0/seed-2/lock').unlink()
    asleep(monkeypatch, sleep)
    capsys.readouterr()
    assert sweep(config).run() == 0
    lines = capsys.readouterr().out.split('\n')
    assert lines[1].startswith('waiting for noise-0/seed-2 (process 7 on ')
    assert [line.split()[3] for line in lines[2:4]] == [f'noise-0/seed-{k}/eval-other' for k in (1, 2)]


@pytest.mark.long
def test_a_sweep_that_another_process_began_meanwhile_is_gone_on_with_as_it_was_begun(capsys):
    one = {**TRAINED, 'axes': {'noise': {'0': {}}}, 'seeds': [1]}
    first, second, third = sweep(one, E=1), sweep(one), sweep(one, E=2)
    with SweepDirectory('sweep').alone(print):
        SweepDirectory('sweep').write_sweep(first.record)
    with pytest.raises(UserError, match='was begun with E=1, so it cannot go on with E=2'):
        third.run()
    assert second.run() == 0
    assert 'going on with --set E=1\n' in capsys.readouterr().out
    assert Workdir('sweep/noise-0/seed-1').last_epoch() == 1


def test_no_process_s_evaluation_is_lost_from_the_record():
    SweepDirectory('sweep').make()
    SweepDirectory('sweep').write_sweep(sweep(CONFIG).record)
    run = sweep(CONFIG).runs[0]
    threads = [threading.Thread(target=SweepDirectory('sweep').add_evaluated, args=(run, f'eval-{k}', print))
               for k in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = SweepDirectory('sweep').read_sweep()['evaluated']
    assert sorted(found) == [f'{run.name}/eval-{k}' for k in range(8)]


def test_who_waits_long_for_the_record_says_for_whom(monkeypatch):
    SweepDirectory('sweep').make()
    monkeypatch.setattr(directory, 'LATE', 0.1)
    said, another = [], another_at_work_on('')

    def say(text):
        said.append(text)
        Path('sweep/lock').unlink()
    another.__enter__()
    with SweepDirectory('sweep').alone(say):
        pass
    assert said == [f'waiting for process 7 on {os.uname().nodename}, since today, which has locked sweep/lock']


def test_an_evaluation_that_cannot_be_gone_on_with_is_cleared_but_for_its_lock():
    run, out = sweep(CONFIG).runs[0], Workdir('sweep/noise-0/seed-1/eval-x/sweep')
    SweepDirectory('sweep').clear_evaluation(run, 'eval-x')
    (out.path / 'folder').mkdir(parents=True)
    for name in ('lock', 'flags.json', 'folder/file'):
        (out.path / name).touch()
    SweepDirectory('sweep').clear_evaluation(run, 'eval-x')
    assert [p.name for p in out.path.iterdir()] == ['lock']
    for name in ('parts', 'folder'):
        (out.path / name).mkdir()
    SweepDirectory('sweep').clear_evaluation(run, 'eval-x')
    assert len(list(out.path.iterdir())) == 3, 'batches are kept'


def test_the_list_says_who_is_at_work_on_what_and_who_left_it(finished):
    name = os.uname().nodename
    shutil.rmtree('sweep/noise-0.5/seed-1')
    for k in (1, 2):
        under_way = Workdir(f'sweep/noise-0/seed-{k}')
        under_way.cut_history(under_way.history_path.read_bytes().index(b'\n') + 1)
    old = Path('sweep/noise-0.5/seed-2/lock')
    old.write_text(json.dumps({'pid': 9, 'host': 'elsewhere', 'since': 'June', 'beat': 20.0}))
    os.utime(old, (1e9, 1e9))
    Path('sweep/noise-0/seed-2/lock').write_text(json.dumps({'pid': 8, 'host': name, 'since': 'May'}))
    with another_at_work_on('noise-0/seed-1', device='GPU 0'), another_at_work_on('noise-0.5/seed-1', host='far'):
        lines = sweep().listing().split('\n')
    assert lines[0] == f'noise-0/seed-1    1 of 9 epochs, process 7 on {name} (GPU 0), since today'
    assert lines[1] == 'noise-0.5/seed-1  -, process 7 on far, since today'
    assert lines[2] == f'noise-0/seed-2    1 of 9 epochs, left behind by process 8 on {name}, since May'
    assert lines[3].startswith(
        'noise-0.5/seed-2  9 of 9 epochs, process 9 on elsewhere, since June, without a sign of life for ')
    assert lines[4] == '0 of 4 runs are finished'


def test_a_sweep_is_found_under_the_name_it_had():
    from core.sweeps import sweep as earlier
    assert earlier.Sweep is Sweep and earlier.sweep_start is core.sweep_start


def test_a_job_is_named_by_its_run_and_its_evaluation():
    run = sweep().runs[0]
    assert (Job(run).name, Job(run, 'eval-x').name) == ('noise-0/seed-1', 'noise-0/seed-1/eval-x')
