"""Config files that are like another one: what they mean, and what is said of those that mean nothing."""

from __future__ import annotations

import json
import runpy
from pathlib import Path

import pytest
from runs import FLAGS, train

import core
from core import UserError
from core.flags import merge
from core.flags.likes import resolved
from core.sweeps.grid import grid_of
from core.workdir import Workdir, plain

ROOT = Path(__file__).resolve().parents[1]
EARLIER = json.loads((ROOT / 'tests/reference/experiments.json').read_text())
"""FLAGS of experiments, and sweeps, as they were when each said everything itself."""


def write(name: str, **flags) -> Path:
    path = Path(f'{name}.py')
    path.parent.mkdir(exist_ok=True)
    path.write_text(f'FLAGS = {flags!r}')
    return path


@pytest.mark.parametrize('name', [name for name in EARLIER if name.startswith('exper')])
def test_an_experiment_means_what_it_said_before_it_was_like_another(name):
    path = ROOT / f'experiments/{name}.py'
    flags = merge(resolved(runpy.run_path(str(path))['FLAGS'], path.parent))
    assert plain(flags) == plain(merge(EARLIER[name])) and flags['like'] is None


@pytest.mark.parametrize('name', [name for name in EARLIER if name.startswith('sweep')])
def test_a_sweep_means_what_it_said_before_its_base_was_like_an_experiment(name):
    path = ROOT / f'experiments/{name}.py'
    now, before = (grid_of(sweep, path.parent) for sweep in (runpy.run_path(str(path))['SWEEP'], EARLIER[name]))
    runs, earlier = now.runs({}), before.runs({})
    assert [(run.name, plain(merge(run.flags))) for run in runs] == [
        (run.name, plain(merge(run.flags))) for run in earlier]
    assert plain(now.evaluations) == plain(before.evaluations)


def test_an_evaluation_of_a_sweep_may_be_like_a_config_file():
    write('eval-a', task='attack', attack_type='PGD', eps=0.4, attack_options={'norm': 'Linf'})
    sweep = {'axes': {'x': {'y': {}}}, 'seeds': [1], 'evaluations': {
        'e': {'like': 'eval-a', 'eps': 0.1, 'attack_options.random_start': False}}}
    assert grid_of(sweep, Path()).evaluations == {'e': {
        'task': 'attack', 'attack_type': 'PGD', 'eps': 0.1, 'attack_options': {'norm': 'Linf', 'random_start': False}}}


def test_what_differs_changes_what_another_config_file_says_and_dotted_keys_reach_into_it():
    write('exper-a', E=5, B=3, model={'act_type': 'relu', 'init': {'weight': 'zeros'}})
    write('exper-b', like='exper-a', E=7)
    assert resolved({'like': 'exper-b', 'B': 4, 'model.init.weight': 'he_normal', 'model.clip_norm': 1.0}) == {
        'E': 7, 'B': 4, 'model': {'act_type': 'relu', 'clip_norm': 1.0, 'init': {'weight': 'he_normal'}}}
    assert resolved({'like': 'exper-a', 'model': {}})['model'] == {}, 'without dots, a value is replaced'


def test_names_are_those_of_the_same_folder_before_those_of_the_project_and_paths_start_at_the_file():
    write('exper-quickstart-digits', E=1)
    write('folder/exper-quickstart-digits', E=2)
    write('folder/inner', like='../outer.py')
    write('outer', E=3)
    assert resolved({'like': 'exper-quickstart-digits'}, Path('folder')) == {'E': 2}
    assert resolved({'like': 'exper-quickstart-digits.py'}) == {'E': 1}
    assert resolved({'like': 'exper-large-margin-mnist'})['E'] == 20
    assert resolved({'like': 'eval-certified'})['task'] == 'certify'
    assert resolved({'like': 'folder/inner.py'}) == {'E': 3}


def test_a_directory_is_that_of_a_run_to_repeat_and_so_is_what_another_config_file_names():
    Path('runs/a').mkdir(parents=True)
    write('exper-a', like='runs/a', E=5)
    assert resolved({'like': 'runs/a', 'E': 1}) == {'like': 'runs/a', 'E': 1}
    assert resolved({'like': 'runs'}) == {'like': 'runs'}
    assert resolved({'like': 'exper-a'}) == {'like': 'runs/a', 'E': 5}


@pytest.mark.parametrize('like, says', [
    ('exper-quickstart-digit', "'like' must be the name or path of a config file, or a run's working directory, and "
                               "'exper-quickstart-digit' is neither (there is no such directory); "
                               "did you mean 'exper-quickstart-digits'?"),
    ('no/exper-a.py', "'like' names the config file no/exper-a.py, which is not there"),
    ('logs/run', 'logs/run is not the working directory of a run'), (3, 'like must be a run'),
    ('exper-round', "'like' leads round in a circle: exper-round is like exper-back is like exper-round"),
    ('exper-empty', "exper-empty.py, which 'like' names, has no dictionary FLAGS"),
    ('exper-broken', "exper-broken.py, which 'like' names, line 1: "),
    ('exper-wrong', "exper-wrong.py, which 'like' names: NameError: name 'x' is not defined")])
def test_a_like_that_names_nothing_is_refused_in_one_sentence(like, says):
    write('exper-round', like='exper-back')
    write('exper-back', like='exper-round')
    for name, text in (('empty', ''), ('broken', 'FLAGS = {'), ('wrong', 'FLAGS = x')):
        Path(f'exper-{name}.py').write_text(text)
    with pytest.raises(UserError) as e:
        core.run({**FLAGS, 'like': like})
    assert says in str(e.value) and '\n' not in str(e.value)


@pytest.mark.long
def test_a_run_records_the_flags_that_its_config_file_means_and_is_resumed_by_it():
    write('exper-a', **{**{k: plain(v) for k, v in FLAGS.items() if k != 'log'}, 'E': 1})
    mine = {'like': 'exper-a', 'B': 60, 'log': 'run'}
    core.run(mine)
    record = Workdir('run').read_flags()
    assert record['flags']['like'] is None and record['config']['B'] == record['flags']['B'] == 60
    others = {k: plain(v) for k, v in FLAGS.items() if k not in ('E', 'B', 'log')}
    assert {k: record['flags'][k] for k in others} == others
    core.Core({**mine, 'E': 2, 'log': None}, {'resume': 'run'}).run()
    assert Workdir('run').last_epoch() == 2


@pytest.mark.long
def test_a_config_file_may_repeat_a_run_by_its_directory():
    train(E=1, B=60)
    core.run({'like': 'run', 'log': 'again', 'gpu': 'cpu'})
    assert Workdir('again').read_flags()['flags']['B'] == 60
    again, run = ([line['stats'] for line in Workdir(path).read_history()] for path in ('again', 'run'))
    assert again == run
