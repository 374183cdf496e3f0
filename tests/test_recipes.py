"""docs/architecture.md's recipes: each adds a thing from outside the package, and uses it through the command line."""

from __future__ import annotations

import json
import os
import pickle
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from forked import FOLDERS
from runs import FLAGS

import core
from core import UserError
from core.cli.launch import launch
from core.datasets import get_dataset
from core.flags import archiver_of, merge, scheduler_of
from core.registry import KINDS, register_again, table_of
from core.workdir import Workdir
from models import Archiver, ConstLR

ROOT = Path(__file__).resolve().parents[1]
RECIPES = sorted((ROOT / 'examples').glob('own-*.py'))


def recipe(name: str) -> str:
    """A copy of a recipe's file, outside the checkout."""
    return shutil.copy(ROOT / f'examples/own-{name}.py', f'own-{name}.py')


@pytest.fixture
def command(server):
    """What a command of the checkout prints; or says, if it must fail."""
    def call(script: str, file: str, *args: str, ok: bool = True) -> str:
        path = Path(file).resolve() if file.endswith('.py') else ROOT / FOLDERS[script] / f'{file}.py'
        done = server.start(str(path), *(('--log', *args) if script == 'eval.sh' else args))
        assert (done.wait() == 0) is ok, done.stdout[-2000:] + done.stderr[-2000:]
        return done.stdout if ok else done.stderr
    return call


@pytest.fixture(scope='module')
def trained(tmp_path_factory):
    place = tmp_path_factory.mktemp('trained') / 'run'
    core.run({**FLAGS, 'E': 2, 'log': str(place)})
    return str(place)


@pytest.fixture
def tables():
    """Leaves the tables as they were."""
    before = {kind: dict(table_of(kind)) for kind in KINDS}
    yield before
    for kind, names in before.items():
        table_of(kind).clear()
        table_of(kind).update(names)


@pytest.mark.parametrize('path', RECIPES, ids=lambda p: p.stem)
def test_a_recipe_is_short_and_its_steps_are_in_the_page(path):
    code = [line for line in path.read_text().split('"""', 2)[2].split('\n') if line.strip()]
    assert len(code) < 30
    assert f'examples/{path.name}' in (ROOT / 'docs/architecture.md').read_text()


def test_the_tree_of_the_page_has_what_there_is():
    tree = (ROOT / 'docs/architecture.md').read_text().split('## The tree')[1].split('**The order')[0]
    folders: dict[int, str] = {}  # by how far they are indented
    named = []
    for line in tree.split('\n'):
        indent = len(line) - len(line.lstrip())
        inside = next((folders[k] for k in sorted(folders, reverse=True) if k < indent), '')
        for word in re.findall(r'(?<![\w.(*/])(\w+/|\w+\.py)(?![\w/])', line):
            named.append(inside + word)
            if word.endswith('/') and line.lstrip().startswith(word):
                folders = {**{k: v for k, v in folders.items() if k < indent}, indent: inside + word}
                inside += '' if line.count('/') > 1 else word
    assert len(named) > 40 and not [name for name in named if not (ROOT / name).exists()]


# ---- through the command line ----

@pytest.mark.long
def test_an_attack_from_outside_measures_a_run(trained, command):
    command('eval.sh', recipe('attack'), trained, '--gpu', 'cpu', '--set', 'attack_N=40', '--eval_log', 'out')
    summary = json.loads(Path('out/summary.json').read_text())['epochs']['2']
    assert summary['images'] == 40 and 0 < summary['mean'] < 8
    assert json.loads(Path('out/flags.json').read_text())['flags']['attack_type'] == 'NOISE'
    said = command('eval.sh', 'own-attack.py', trained, '--set', 'attack_options.trails=3', ok=False)
    assert "the attack NOISE has no option 'trails'; did you mean 'trials'?" in said


@pytest.mark.long
def test_an_objective_from_outside_is_minimised(command):
    command('run.sh', recipe('objective'), '--gpu', 'cpu', '--seed', '1', '--log', 'run', '--set', 'E=3')
    stats = [line['stats'] for line in Workdir('run').read_history()]
    assert stats[-1]['acc'] > 0.8 and Workdir('run').read_flags()['flags']['objective']['type'] == 'hinge'


@pytest.mark.long
def test_a_network_from_outside_is_trained_and_measured_by_another_config_file(command):
    command('run.sh', recipe('network'), '--gpu', 'cpu', '--seed', '1', '--log', 'run', '--set', 'E=2',
            '--set', 'model.width=20')
    parameters = 65 * 20 + 20 * 20 + 20 * 10
    assert Workdir('run').read_flags()['network']['parameters'] == parameters
    said = command('eval.sh', 'eval-quickstart-digits', 'run', '--gpu', 'cpu', '--set', 'attack_N=5',
                   '--eval_log', 'out')
    assert f"the network 'dense' is registered by {Path('own-network.py').resolve()}" in said
    assert json.loads(Path('out/summary.json').read_text())['epochs']['2']['images'] == 5
    Path('own-network.py').unlink()
    said = command('eval.sh', 'eval-quickstart-digits', 'run', '--gpu', 'cpu', ok=False)
    file = Path('own-network.py').resolve()
    assert f"run was made with the network 'dense', which {file} registered, a file that is not there" in said


@pytest.mark.long
def test_a_data_set_from_outside_is_trained_on():
    """By the script itself."""
    path = os.pathsep.join([os.path.dirname(sys.executable), os.environ['PATH']])
    subprocess.run([ROOT / 'run.sh', recipe('data'), '--gpu', 'cpu', '--seed', '1', '--log', 'run', '--set', 'E=2'],
                   env={**os.environ, 'PATH': path}, timeout=400, check=True)
    assert Workdir('run').read_flags()['images'] == {'train': 300, 'test': 300}


@pytest.mark.long
def test_a_figure_from_outside_is_drawn(trained, command):
    said = command('plot.sh', recipe('figure'), trained, '--out', 'drawn')
    assert said.split() == ['drawn/own-figure.png'] and Path(said.strip()).stat().st_size > 5000
    assert core.draw('own-figure.py', trained).axes[0].get_ylabel() == 'seconds'


# ---- what is registered ----

def test_registered_things_are_found_by_the_flags_that_name_them(tables, trained):
    class Slow(ConstLR):
        pass

    class Never(Archiver):
        def should_archive(self, info):
            return False

    core.register('scheduler', 'slow', Slow)
    core.register('archiver', 'never', Never)
    core.register('data set', 'one', lambda data_dir: (([[[0.5]]] * 2, [0, 1]), ([[[1.0]]], [1])))
    core.register('figure', 'figure-none', lambda runs: [run.path for run in runs])
    assert type(scheduler_of(('slow', 0.1))) is Slow and type(archiver_of('never')) is Never
    assert get_dataset('one').train[0].shape == (2, 1, 1, 1)
    assert core.draw('figure-none', trained) == [Path(trained)]
    flags = {'dataset': 'digits', 'model': {'description': []}, 'lr': 0.1}
    core.register('attack', 'MINE', ConstLR)
    one, other = (merge(flags, {'attack_type': 'MINE'})['attack_type'] for _ in range(2))
    assert one is other and isinstance(one, core.AttackType)
    with pytest.raises(UserError, match='attack_type must be L_2, .* or MINE, not .MIEN.'):
        merge(flags, {'attack_type': 'MIEN'})


@pytest.mark.parametrize('arguments, says', [
    (('atack', 'A', ConstLR), "there is no kind of things 'atack' to register; did you mean 'attack'?"),
    (('attack', 'L_2', ConstLR), "there is a attack 'L_2' already"), (('attack', '', ConstLR), 'needs a name'),
    (('attack', 'A', 3), "the attack 'A' must be a class or a function, not 3")])
def test_what_cannot_be_registered_is_refused_in_one_sentence(arguments, says, tables):
    with pytest.raises(UserError) as e:
        core.register(*arguments)
    assert says in str(e.value) and {kind: table_of(kind) for kind in KINDS} == tables


def test_a_config_file_that_registers_what_it_cannot_ends_in_one_sentence():
    Path('exper-mine.py').write_text('import core\ncore.register("netwrok", "mine", print)')
    with pytest.raises(SystemExit) as e:
        launch('exper-mine.py')
    assert "exper-mine.py: there is no kind of things 'netwrok' to register; did you mean 'network'?" in str(e.value)


def test_a_name_may_be_registered_anew_as_a_notebook_does(tables):
    core.register('archiver', 'never', Archiver)
    core.register('archiver', 'never', ConstLR)
    assert table_of('archiver')['never'] is ConstLR


@pytest.mark.parametrize('given, says', [
    ([[0.5]], 'must be ((images, labels), (images, labels)), for training and for testing, not [[0.5]]'),
    ((([[[2.0]]] * 2, [0, 1]), ([[[1.0]]], [1])), 'x_train of odd has values from 2 to 2'),
    ((([[[1.0]]] * 2, [0, 1]), ([[[1.0]]], [1.0])), 'y_test of odd must be integers'),
    ((([[[1.0]]] * 3, [0, 1]), ([[[1.0]]], [1])), 'the data set odd has 3 images in x_train but 2 labels')])
def test_images_and_labels_of_a_registered_data_set_are_checked(given, says, tables):
    core.register('data set', 'odd', lambda data_dir: given)
    with pytest.raises(UserError) as e:
        get_dataset('odd')
    assert says in str(e.value)


@pytest.mark.long(after=1)
@pytest.mark.parametrize('file, says', [
    (None, 'which no file registered; register it before'), ('relative.py', 'which no file registered'),
    ('gone.py', 'registered, a file that is not there any more'), ('run/inside.py', 'run that from outside of the run'),
    ('other.py', 'registered, and does not any more'), ('broken.py', 'registers, and that fails: ZeroDivisionError')])
def test_a_run_whose_thing_is_gone_says_which_file_registered_it_and_runs_none_of_its_own_files(file, says, tables):
    core.run({**FLAGS, 'train_N': 50, 'test_N': 10, 'E': 1})
    for name, text in (('other', ''), ('broken', '1 / 0'), ('run/inside', 'open("ran", "w")'), ('relative', '')):
        Path(f'{name}.py').write_text(text)
    record = Workdir('run').read_flags()
    where = file if file in (None, 'relative.py') else str(Path(file).resolve())
    Workdir('run').write_flags({**record, 'registered': {'network': {'odd': where}, 'objective': {'x': None}}})
    with pytest.raises(UserError) as e:
        core.run({'gpu': 'cpu', 'log': 'run', 'task': 'certify'})
    assert says in str(e.value) and "run was made with the network 'odd', which " in str(e.value)
    assert not Path('ran').exists()
    # An objective is no part of what is measured, but one of what is repeated.
    register_again({'registered': {'objective': {'x': None}}}, Path('run'), ('arch',))
    with pytest.raises(UserError, match="with the objective 'x'"):
        register_again({'registered': {'objective': {'x': None}}}, Path('run'))


@pytest.mark.long
def test_a_task_from_outside_measures_a_run(trained, command):
    said = command('eval.sh', recipe('task'), trained, '--gpu', 'cpu', '--set', 'attack_N=40', '--eval_log', 'out')
    summary = json.loads(Path('out/summary.json').read_text())
    assert summary['task'] == 'confusion' and f"acc={100 * summary['epochs']['2']['accuracy']:.2f}%" in said
    res = pickle.loads(Path('out/res').read_bytes())
    assert res[2]['confusion'].sum() == 40
