"""Locks: one process at a time, whatever becomes of the others, on file systems of several kinds."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

from core.errors import UserError
from core.workdir import Workdir, locks
from core.workdir.locks import Watch, claimed, holder, locked

LOCK = Path('run/lock')


@contextmanager
def of_another_process(path=LOCK, **about):
    """A lock that another process holds: to the system, whoever has opened the file once more."""
    path.parent.mkdir(exist_ok=True)
    owner = {'pid': 7, 'host': os.uname().nodename, 'since': 'today', 'beat': 20.0, **about}
    with open(path, 'w') as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.write(json.dumps(owner))
        file.flush()
        yield
        path.unlink()


def left_behind(path=LOCK, **about):
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps({'pid': 7, 'host': os.uname().nodename, 'since': 'today', 'beat': 20.0, **about}))


def take(watch=None):
    """The claim, taken and given back."""
    with claimed(LOCK, watch or Watch()) as claim:
        return claim


def test_a_claim_makes_the_directory_says_whose_it_is_and_is_gone_afterwards():
    with claimed(LOCK, Watch(), device='GPU 0') as claim:
        assert not claim.left_behind and claim.former == {}
        record = json.loads(LOCK.read_text())
        assert (record['pid'], record['host'], record['device']) == (os.getpid(), os.uname().nodename, 'GPU 0')
        assert holder(LOCK).at_work is True
        assert holder(LOCK).who.startswith(f'process {os.getpid()} on {os.uname().nodename} (GPU 0), since 2')
        assert [p.name for p in Path('run').iterdir()] == ['lock']
    assert not LOCK.exists() and holder(LOCK) is None


def test_what_another_process_holds_is_not_claimed_and_what_it_left_is():
    with of_another_process():
        assert take() is None and holder(LOCK).at_work is True and json.loads(LOCK.read_text())['pid'] == 7
    left_behind()
    assert holder(LOCK).at_work is False
    claim = take()
    assert claim.left_behind and claim.former['pid'] == 7
    LOCK.touch()  # killed before it wrote anything
    assert take().left_behind and not LOCK.exists()


def test_within_a_claim_the_process_works_and_without_one_it_does_not_let_itself_in_twice():
    with claimed(LOCK, Watch()):
        with Workdir('run').locked(print):
            assert LOCK.exists()
        assert LOCK.exists(), 'the claim ends with itself, not with the work'
    with locked(LOCK, print), pytest.raises(UserError, match='run is in use by process'), locked(LOCK, print):
        pass
    with claimed(LOCK, Watch()), claimed(LOCK, Watch()) as second:
        assert second is None


def test_an_error_within_a_claim_frees_it():
    with pytest.raises(UserError, match='mine'), claimed(LOCK, Watch()):
        raise UserError('mine')
    assert not LOCK.exists() and not take().left_behind
    with locked(LOCK, print), pytest.raises(UserError, match='in use'), locked(LOCK, print):
        pass


def race(enter, threads=8, rounds=4):
    """How many were inside at most at a time, while each thread was let in so many times."""
    inside, most, start = [], [], threading.Barrier(threads)

    def run():
        start.wait()
        left, deadline = rounds, time.monotonic() + 60
        while left and time.monotonic() < deadline:
            with enter() as claim:
                if claim is not None:
                    inside.append(1)
                    most.append(len(inside))
                    time.sleep(0.001)
                    inside.pop()
                    left -= 1
    workers = [threading.Thread(target=run) for _ in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert len(most) == threads * rounds
    return max(most)


@pytest.mark.parametrize('links', [True, False], ids=['with hard links', 'without'])
def test_of_many_that_come_at_once_one_is_let_in(links, monkeypatch):
    def refuse(*paths):
        raise OSError(errno.EPERM, 'Operation not permitted')
    if not links:
        monkeypatch.setattr(locks.os, 'link', refuse)
    assert race(lambda: claimed(LOCK, Watch())) == 1 and not list(Path('run').iterdir())


def test_of_many_on_hosts_that_do_not_see_each_others_locks_one_is_let_in(monkeypatch):
    """Each thread is a host of its own, on a file system that locks for none of them."""
    monkeypatch.setattr(locks.fcntl, 'flock', lambda *of: None)
    monkeypatch.setattr(locks.socket, 'gethostname', lambda: f'host-{threading.get_ident()}')
    assert race(lambda: claimed(LOCK, Watch())) == 1


# ---- other hosts ----

def test_a_lock_of_another_host_is_taken_over_after_long_silence_only(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(locks.time, 'monotonic', lambda: now[0])
    left_behind(host='elsewhere')
    os.utime(LOCK, (1, 1))  # whatever its clock says
    watch = Watch()
    assert take(watch) is None and holder(LOCK).at_work is None
    now[0] = locks.SILENCE - 1
    assert take(watch) is None
    os.utime(LOCK, (2, 2))  # a sign of life
    now[0] += 2
    assert take(watch) is None
    now[0] += locks.SILENCE - 1
    assert take(watch) is None and json.loads(LOCK.read_text())['host'] == 'elsewhere'
    now[0] += 2
    claim = take(watch)
    assert claim.left_behind and claim.former['host'] == 'elsewhere' and not LOCK.exists()


def test_a_host_whose_locks_are_seen_is_never_taken_for_dead(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(locks.time, 'monotonic', lambda: now[0])
    watch = Watch()
    with of_another_process(host='elsewhere'):
        for now[0] in (0, 1e6):
            assert take(watch) is None
        assert holder(LOCK).at_work is True


def test_a_lock_that_gives_no_signs_of_life_is_left_to_a_person(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(locks.time, 'monotonic', lambda: now[0])
    LOCK.parent.mkdir()
    LOCK.write_text(json.dumps({'pid': 7, 'host': 'elsewhere', 'since': 'last year'}))  # of an earlier version
    watch = Watch()
    for now[0] in (0, 1e6):
        assert take(watch) is None
    with pytest.raises(UserError, match='since last year; if that has ended, delete run/lock'), locked(LOCK, print):
        pass


def test_who_holds_a_lock_gives_signs_of_life_and_not_in_the_name_of_others(monkeypatch):
    monkeypatch.setattr(locks, 'BEAT', 0.02)
    with claimed(LOCK, Watch()):
        os.utime(LOCK, (1, 1))
        deadline = time.monotonic() + 10
        while LOCK.stat().st_mtime < 2 and time.monotonic() < deadline:
            time.sleep(0.01)
        assert time.time() - LOCK.stat().st_mtime < 60
        LOCK.unlink()  # another host has taken it over
        left_behind(host='elsewhere')
        os.utime(LOCK, (1, 1))
        time.sleep(0.2)
        assert LOCK.stat().st_mtime == 1
    assert json.loads(LOCK.read_text())['host'] == 'elsewhere', 'what is not its own it does not delete'


@pytest.mark.parametrize('number', [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_is_a_sentence(number, monkeypatch):
    def flock(*of):
        raise OSError(number, os.strerror(number))
    monkeypatch.setattr(locks.fcntl, 'flock', flock)
    for enter in (lambda: claimed(LOCK, Watch()), lambda: locked(LOCK, print)):
        with pytest.raises(UserError, match=r'^run is on a file system without locks \(.*\), where two processes'), (
                enter()):
            pass
    assert not list(Path('run').iterdir())
