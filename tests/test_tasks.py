"""Tasks: a new evaluation from outside, its options, several runs."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
from runs import FLAGS, train

import core
from core import UserError, tasks
from core.plotting.histories import task_of
from core.tasks.base import Evaluation
from core.workdir import Workdir

QUICK = {'train_N': 100, 'test_N': 20, 'print': False}


class Sizes(Evaluation):
    """The largest weight of each epoch, times a factor: all that a new evaluation takes."""

    def __init__(self, session, factor=1.0):
        super().__init__(session)
        self.factor = factor

    def measure(self, eid):
        largest = max(float(np.abs(w).max()) for w in self.session.model.weights().values())
        return largest * self.factor, {'largest': largest * self.factor}

    def line(self, eid, numbers):
        return f"epoch #{eid}: the largest weight is {numbers['largest']:.3f}"


@pytest.fixture
def sizes(monkeypatch):
    monkeypatch.setitem(tasks.EVALUATIONS, 'sizes', Sizes)
    return {'task': 'sizes', 'log': 'run', 'eid': 'all', 'gpu': 'cpu', 'eval_log': 'out'}


@pytest.fixture(scope='module')
def archived(tmp_path_factory):
    """A short run with the epochs 1 and 2 archived."""
    path = tmp_path_factory.mktemp('archived') / 'run'
    train(**QUICK, archive=1, E=2, log=str(path))
    return path


@pytest.fixture
def run(archived):
    Path('run').symlink_to(archived)


def largest(path):
    from models import SimpleSequential
    model = SimpleSequential('m', (8, 8, 1), **FLAGS['model'])
    model.restore(path)
    return max(np.abs(w).max() for w in model.weights().values())


def test_a_new_evaluation_is_one_class_and_one_line_of_a_table(run, sizes, capsys):
    res = core.run(sizes)
    expected = {eid: largest(f'run/model-{eid}.keras') for eid in (1, 2)}
    assert res == {eid: pytest.approx(value) for eid, value in expected.items()}
    summary = json.loads(Path('out/summary.json').read_text())
    assert summary['task'] == 'sizes' == task_of(Workdir('out'))
    assert {eid: numbers['largest'] for eid, numbers in summary['epochs'].items()} == {'1': res[1], '2': res[2]}
    assert all(numbers['seconds'] >= 0 for numbers in summary['epochs'].values())
    with open('out/res', 'rb') as f:
        assert pickle.load(f) == res
    record = Workdir('out').read_flags()
    assert record['flags']['task'] == 'sizes' and set(record['models']) == {'1', '2'}
    printed = Path('out/stdout').read_text()
    assert f'epoch #2: the largest weight is {res[2]:.3f}\nout/res written' in printed
    assert printed.strip() in capsys.readouterr().out and not Workdir('out').lock_path.exists()


def test_the_options_of_a_task_are_given_by_name_recorded_and_known(run, sizes):
    plain = core.run(sizes)
    twice = core.run({**sizes, 'eval_log': 'twice', 'options': {'factor': 2.0}})
    assert twice == {eid: 2 * value for eid, value in plain.items()}
    assert Workdir('twice').read_summary()['settings']['options'] == {'factor': 2.0}
    assert 'options' not in Workdir('out').read_summary()['settings']
    with pytest.raises(UserError, match="the task sizes has no option 'facto'; did you mean 'factor'"):
        core.run({**sizes, 'eval_log': None, 'options': {'facto': 2.0}})
    with pytest.raises(UserError, match="the task attack has no option 'factor'; it has none"):
        core.run({**sizes, 'eval_log': None, 'task': 'attack', 'options': {'factor': 2.0}})


def test_an_evaluation_in_a_directory_that_is_in_use_is_refused(run, sizes):
    core.run(sizes)
    with Workdir('out').locked(print), pytest.raises(UserError, match='out is in use by process'):
        core.run(sizes)


def test_the_task_of_an_evaluation_by_an_earlier_version_is_that_of_its_flags(run, sizes):
    core.run(sizes)
    summary = json.loads(Path('out/summary.json').read_text())
    Path('out/summary.json').write_text(json.dumps({k: v for k, v in summary.items() if k != 'task'}))
    assert task_of(Workdir('out')) == 'sizes'
    Path('out/summary.json').unlink()
    assert task_of(Workdir('out')) == 'sizes', 'while it is under way'


@pytest.mark.long(after=1)
@pytest.mark.parametrize('task, flags', [
    ('attack', {'attack_type': 'FGSM', 'attack_N': 4}), ('kkt', {}), ('transfer', {'attack_type': 'FGSM'}),
    ('certify', {'attack_N': 4})])
def test_what_an_evaluation_has_tells_its_task_where_its_flags_are_lost(task, flags, run):
    core.run({'task': task, 'log': 'run', 'gpu': 'cpu', 'eval_log': 'out', **flags})
    summary = Workdir('out').read_summary()
    assert task_of(Workdir('out')) == summary.pop('task') == task
    Path('out/summary.json').write_text(json.dumps(summary)), Path('out/flags.json').unlink()
    assert task_of(Workdir('out')) == (None if task == 'certify' else task)


# ---- several runs ----

CERTIFY = {'task': 'certify', 'attack_N': 10, 'eid': 'all', 'seed': 3, 'gpu': 'cpu'}


@pytest.fixture(scope='module')
def other(tmp_path_factory):
    """A run with another network, of other images."""
    path = tmp_path_factory.mktemp('other') / 'second'
    network = {**FLAGS['model'], 'description': [['F', 10, {'act': False}]]}
    train(**{**QUICK, 'train_N': 60, 'B': 20}, E=1, model=network, log=str(path))
    return path


def same(a, b):
    assert a.keys() == b.keys()
    for eid in a:
        for name in ('radii', 'q'):
            np.testing.assert_array_equal(a[eid][name], b[eid][name])


@pytest.mark.long
def test_each_of_several_runs_is_measured_as_if_it_were_named_alone(run, other):
    Path('second').symlink_to(other)
    both = core.run({**CERTIFY, 'log': ['run', 'second']})
    assert list(both) == ['run', 'second'] and list(both['run']) == [1, 2] and list(both['second']) == [1]
    for log in both:
        (place,) = Workdir(log).evaluations()
        assert place.read_summary()['run'] == log == place.read_flags()['flags']['log']
        same(core.run({**CERTIFY, 'log': log, 'eval_log': f'alone-{log}'}), both[log])


@pytest.mark.long
def test_with_eval_log_each_run_has_a_directory_in_it_and_the_same_command_goes_on(run, other, monkeypatch):
    Path('a').mkdir(), Path('b').mkdir()
    Path('a/run').symlink_to(Path('run').resolve()), Path('b/second').symlink_to(other)
    flags = {**CERTIFY, 'task': 'attack', 'attack_type': 'FGSM', 'attack_B': 5, 'eid': 1}
    both = core.Core(flags, {'log': ['a/run', 'b/second'], 'eval_log': 'out'}).run()
    names = sorted(p.name for p in Path('out').iterdir())
    assert names == ['run', 'second'] and Workdir('out/second').parts() == {1: [0, 5]}
    kept = Path('out/second/parts/1-0.npz').stat().st_mtime_ns
    Path('out/second/parts/1-5.npz').unlink(), Path('out/second/res').unlink()
    again = core.Core(flags, {'log': ['a/run', 'b/second'], 'eval_log': 'out'}).run()
    assert Path('out/second/parts/1-0.npz').stat().st_mtime_ns == kept
    for log in both:
        np.testing.assert_array_equal(both[log][1]['images'], again[log][1]['images'])


def test_runs_of_one_name_are_told_apart_by_more_of_their_paths():
    from core.core import called
    assert called([Path('/x/a/run'), Path('/x/b/run'), Path('/y/a/run')]) == ['x/a/run', 'x/b/run', 'y/a/run']
    assert called([Path('/x/a'), Path('/x/b')]) == ['a', 'b']


@pytest.mark.parametrize('changes, message', [
    ({'task': 'train', 'lr': 0.1, 'dataset': 'digits', 'model': FLAGS['model']},
     'log names 2 directories; a network is trained in one'),
    ({'log': ['run', './run']}, 'log names the run run twice'),
    ({'log': []}, 'log must be a directory, not []'),
    ({'log': ['run', 'nowhere']}, 'nowhere is not the working directory of a run')])
def test_several_directories_that_make_no_sense_are_refused_before_anything_is_measured(changes, message, run):
    before = len(Workdir('run').evaluations())
    with pytest.raises(UserError) as e:
        core.run({**CERTIFY, 'log': ['run', 'other'], **changes})
    assert message in str(e.value) and len(Workdir('run').evaluations()) == before


def test_a_list_of_one_run_is_that_run(run):
    found = core.Core({**CERTIFY, 'log': ['run'], 'eval_log': 'one'})
    assert found.flags['log'] == 'run' and not found.runs


def test_an_error_about_one_of_several_runs_names_it(run, other):
    Path('second').symlink_to(other)
    with pytest.raises(UserError, match='^second: epoch 2 is not archived in second; archived epochs: 1$'):
        core.run({**CERTIFY, 'log': ['run', 'second'], 'eid': 2})
