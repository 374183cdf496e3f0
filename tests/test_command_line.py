"""The verbs as a person types them: run.sh, eval.sh, plot.sh, and how their environment is found."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
QUICK = ['--gpu', 'cpu', '--seed', '1', '--set', 'E=2', '--set', 'train_N=200', '--set', 'test_N=50']


def call(script: str, *args: str, path: str | None = None, root: Path = ROOT):
    env = dict(os.environ)
    env.pop('TF_CPP_MIN_LOG_LEVEL', None)
    env['PATH'] = path or f'{Path(sys.executable).parent}:{env["PATH"]}'
    return subprocess.run([str(root / script), *args], capture_output=True, text=True, env=env, timeout=200)


@pytest.fixture(scope='module')
def run(tmp_path_factory):
    """A run of the quickstart made with run.sh, from a folder that is not the checkout."""
    folder = tmp_path_factory.mktemp('run')
    env = {**os.environ, 'PATH': f'{Path(sys.executable).parent}:{os.environ["PATH"]}'}
    env.pop('TF_CPP_MIN_LOG_LEVEL', None)
    args = ['exper-quickstart-digits', *QUICK[2:], '--gpu', '7', '--set', 'model.act_type=relu2', '--set', 'lr=0.001']
    done = subprocess.run([ROOT / 'run.sh', *args], capture_output=True, text=True, cwd=folder, env=env, timeout=200)
    assert done.returncode == 0, done.stderr
    return folder, done


@pytest.mark.long
def test_a_run_lands_in_logs_under_the_experiment_and_the_date_where_it_was_started(run):
    folder, done = run
    (path,) = (folder / 'logs' / 'exper-quickstart-digits').iterdir()
    assert re.fullmatch(r'\d{8}_\d{6}', path.name)
    assert (path / 'stdout').read_text() == done.stdout
    assert (path / 'model-2.keras').exists()


@pytest.mark.long
def test_settings_of_the_command_line_win_over_the_config_file_and_are_recorded(run):
    folder, done = run
    (path,) = (folder / 'logs' / 'exper-quickstart-digits').iterdir()
    flags = json.loads((path / 'flags.json').read_text())['flags']
    assert (flags['E'], flags['seed'], flags['lr'], flags['B']) == (2, 1, 0.001, 20)
    assert flags['model']['act_type'] == 'relu2' and flags['model']['bias_mode'] == 'FIRST_LAYER'


@pytest.mark.long
def test_a_gpu_that_does_not_exist_falls_back_to_the_cpu_with_one_warning_line_and_nothing_else(run):
    _, done = run
    assert done.stderr == 'warning: there is no GPU 7 that TensorFlow can use here; running on the CPU\n'


@pytest.mark.long
def test_peek_and_figure_are_made_from_the_directory(run, server):
    folder, _ = run
    (path,) = (folder / 'logs' / 'exper-quickstart-digits').iterdir()
    done = server.call('eval.sh', 'eval-train-peek', str(path), '--gpu', 'cpu', '--set', 'E=1', '--set', 'B=50')
    assert done.returncode == 0, done.stderr
    assert re.search(r'eval-train-peek/\d{8}_\d{6}/res written\n$', done.stdout)
    done = call('plot.sh', 'figure-quickstart', str(path), '--format', 'png,pdf')
    assert done.returncode == 0, done.stderr
    assert (path / 'figure-quickstart.png').read_bytes().startswith(b'\x89PNG')
    assert (path / 'figure-quickstart.pdf').read_bytes().startswith(b'%PDF')


@pytest.mark.long
def test_several_runs_are_measured_by_one_command_each_in_its_own_directory(run, tmp_path):
    folder, _ = run
    (path,) = (folder / 'logs' / 'exper-quickstart-digits').iterdir()
    shutil.copytree(path, 'a'), shutil.copytree(path, 'b')
    done = call('eval.sh', 'eval-kkt', 'a', 'b', '--gpu', 'cpu', '--set', 'eid=2')
    assert done.returncode == 0, done.stderr
    found = {}
    for name in ('a', 'b'):
        (out,) = Path(name, 'eval-kkt').iterdir()
        summary = json.loads((out / 'summary.json').read_text())
        assert f'{out}/res written' in done.stdout and (summary['run'], summary['task']) == (name, 'kkt')
        found[name] = [{**numbers, 'seconds': 0} for numbers in summary['epochs'].values()]
    assert found['a'] == found['b'], 'copies of one run'


@pytest.mark.long
@pytest.mark.parametrize('script, args, message', [
    ('run.sh', ['exper-quickstart-digits', '--set', 'mdoel.act_type=relu'],
     "error: there is no flag 'mdoel'; did you mean 'model'?"),
    ('run.sh', ['exper-quickstart-digits', '--set', 'E=soon'],
     "error: E must be a number of epochs, at least 1, not 'soon'"),
    ('run.sh', ['exper-quickstart-digits', '--set', "model.description=[['F', 10], ['P']]"],
     "error: model: layer 2, ['P']: it cannot come after a dense layer"),
    ('run.sh', ['exper-quickstart-digits', '--set', 'task=trian'],
     "error: task must be train, train_peek, attack, certify, compare, curve, generate, hessian, kkt, perturb, "
     "sandwich, scan, transfer or union, not "
     "'trian'"),
    ('run.sh', ['exper-quickstart-digits', 'E=3'], "error: 'E=3' is not an option; flags are set with --set key=value"),
    ('run.sh', ['exper-quickstart-digits', '--sets', 'E=3'], "error: Unknown command line flag 'sets'"),
    ('run.sh', ['exper-quickstart-digits', '--seed', 'one'], "error: --seed takes a whole number, not 'one'; --help"),
    ('run.sh', ['exper-quickstart-digits', '--set', 'lr=fast'], 'or give a float alone, such as 0.1'),
    ('run.sh', ['exper-quickstart-digits', '--resume', ''], "error: resume must be a run's working directory, not ''"),
    ('run.sh', ['sweep-large-margin-digits-noisy', '--log', ''], "error: log must be a directory, not ''"),
    ('eval.sh', ['eval-train-peek', 'nowhere'], 'error: nowhere is not the working directory of a run'),
    ('eval.sh', ['eval-train-peek'], 'error: name the working directory of a run: '),
    ('plot.sh', ['figure-quickstart', 'nowhere'], 'error: nowhere has no history.jsonl'),
    ('plot.sh', ['figure-8', 'nowhere'], '; there is no directory nowhere'),
    ('plot.sh', ['figure-quickstart', 'x', '--watch', 'often'], "error: --watch takes a number, not 'often'"),
    ('plot.sh', ['figure-quickstart', 'x', '--format', ''], 'error: --format takes some of png, pdf, svg; of tables,'),
    ('plot.sh', ['figure-quickstart'], 'error: name the working directory of at least one run')])
def test_what_cannot_be_done_is_answered_in_one_sentence_with_status_1_and_leaves_nothing(
        script, args, message, server):
    whole = script == 'eval.sh' or {'E=soon', 'figure-8'} & set(args)  # by the script, with a Python of its own
    done = call(script, *args) if whole else server.call(script, *args)
    assert done.returncode == 1
    assert message in done.stderr and done.stderr.count('\n') == 1
    assert not list(Path().iterdir())


@pytest.mark.parametrize('script, args, message', [
    ('run.sh', ['exper-quikstart'], "error: there is no experiment 'exper-quikstart' in experiments/; there are:"),
    ('run.sh', [], 'usage: '), ('eval.sh', ['eval-x', 'logs'], "there is no evaluation 'eval-x' in evals/"),
    ('plot.sh', ['figure-x'], "there is no figure 'figure-x' in figures/")])
def test_names_that_do_not_exist_are_answered_with_those_that_do(script, args, message):
    done = call(script, *args)
    folder = {'run.sh': 'experiments', 'eval.sh': 'evals', 'plot.sh': 'figures'}[script]
    assert done.returncode == 1 and message in done.stderr
    for file in (ROOT / folder).glob('*.py'):
        assert f'  {file.stem}\n' in done.stderr


# ---- the environment ----

BARE = '''#!/bin/sh
# a Python that has no packages: {version}
case "$*" in
    *sys.version_info*) exit {unsupported} ;;
    *--version*) echo Python {version} ;;
    "- "*) exit 1 ;;
    *venv*) {venv} ;;
esac
'''
FAKE_VENV = ('mkdir -p "$3/bin"; printf \'#!/bin/sh\\ncase "$*" in *pip*) {pip} ;; esac\\nexit 0\\n\' '
             '>"$3/bin/python"; chmod +x "$3/bin/python"')
WORKING_VENV = FAKE_VENV.format(pip='exit 0')


@pytest.fixture
def checkout(tmp_path):
    """A copy of the scripts, and a PATH with nothing but a stand-in for Python (and no nvidia-smi)."""
    root, tools = tmp_path / 'checkout', tmp_path / 'tools'
    root.mkdir(), tools.mkdir()
    for name in ('run.sh', 'env.sh', 'setup.py'):
        shutil.copy(ROOT / name, root)
    shutil.copytree(ROOT / 'experiments', root / 'experiments')
    for tool in ('bash', 'sh', 'dirname', 'cat', 'cksum', 'rm', 'mkdir', 'chmod', 'grep', 'tail', 'head', 'sed', 'env',
                 'readlink', 'flock'):
        (tools / tool).symlink_to(shutil.which(tool))

    def python(version='3.12.1', unsupported=0, venv=WORKING_VENV):
        script = tools / 'python3'
        script.write_text(BARE.format(version=version, unsupported=unsupported, venv=venv))
        script.chmod(0o755)
        return lambda: call('run.sh', 'exper-quickstart-digits', path=str(tools), root=root)
    return root, python


@pytest.mark.long
def test_the_scripts_work_through_a_link_and_with_the_file_name_that_a_shell_completes(tmp_path):
    link = tmp_path / 'with a space'
    link.symlink_to(ROOT / 'run.sh')
    for script, name in ((link, 'exper-x'), (ROOT / 'run.sh', 'experiments/exper-x.py')):
        done = subprocess.run([script, name], capture_output=True, text=True)
        assert f"there is no experiment '{name}'" in done.stderr and '  exper-quickstart-digits\n' in done.stderr
    done = call('run.sh', 'experiments/exper-quickstart-digits.py', '--set', 'E')
    assert done.stderr == "error: --set takes key=value, not 'E'\n"


def test_the_environment_is_made_once_and_again_when_setup_py_changes(checkout):
    root, python = checkout
    run = python()
    assert 'Setting up' in run().stderr and (root / '.venv/.complete').exists()
    assert 'Setting up' not in run().stderr
    (root / 'setup.py').write_text((root / 'setup.py').read_text() + '# more\n')
    assert 'Setting up' in run().stderr


def test_an_environment_that_was_made_by_hand_is_used_and_not_made_anew(checkout):
    root, python = checkout
    run = python()
    (root / '.venv/bin').mkdir(parents=True)
    for name, has_all in (('found', True), ('lacking', False)):
        own = root / '.venv/bin/python'
        own.write_text(f'#!/bin/sh\ncase "$*" in "- "*) exit {int(not has_all)} ;; esac\necho "{name} $*"\n')
        own.chmod(0o755)
        done = run()
        assert ('Setting up' in done.stderr) != has_all and ('found -m core.cli.launch' in done.stdout) == has_all


@pytest.mark.parametrize('stand_in, message', [
    ({'version': '3.9.2', 'unsupported': 1},
     'TensorFlow needs Python 3.10 to 3.13, and there is none here (Python 3.9.2)'),
    ({'venv': 'echo ensurepip is not available; exit 1'}, 'install it (Debian, Ubuntu: apt install python3-venv)'),
    ({'venv': FAKE_VENV.format(pip='echo ERROR: no matching distribution; exit 1')},
     'pip could not install what setup.py lists, is the network reachable? (ERROR: no matching distribution)')])
def test_an_environment_that_cannot_be_made_is_one_clear_sentence(checkout, stand_in, message):
    root, python = checkout
    done = python(**stand_in)()
    lines = [line for line in done.stderr.split('\n') if line and not line.startswith('Setting up')]
    assert done.returncode == 1 and len(lines) == 1
    assert lines[0].startswith('error: ') and message in lines[0]
    assert not (root / '.venv/.complete').exists()


@pytest.mark.long(after=6)
@pytest.mark.parametrize('text, message', [
    ('import core\n\nFLAGS = {"E" 3}\n', 'line 3: invalid syntax'),
    ('FLAGS = {}\n  x\n', 'line 2: unexpected indent'),
    ('FLAGS = 1\0\n', 'source code string cannot contain null bytes'),
    ('import core\n\n\nFLAGS = {"E": epochs}\n', "line 4: NameError: name 'epochs' is not defined"),
    ('import cores\n', "line 1: ModuleNotFoundError: No module named 'cores'"),
    ('import core\n\nFLAGS = {"lr": core.no_such_thing}\n', "line 3: AttributeError: module 'core' has no attribute"),
    ('import core\n\nFLAGS = {"attack_type": core.AttackType.L_3}\n', 'line 3: AttributeError: '),
    ('FLAGS = {"lr": 1 / 0}\n', 'line 1: ZeroDivisionError: division by zero'),
    ('def lr():\n    return {}["a"]\n\n\nlr()\n', "line 2: KeyError: 'a'")])
def test_a_config_file_that_cannot_be_run_is_one_sentence(text, message, server):
    Path('experiments').mkdir()
    Path('experiments/exper-x.py').write_text(text)
    done = server.start(str(Path('experiments/exper-x.py').resolve()))
    assert done.wait() == 1 and message in done.stderr and done.stderr.count('\n') == 1
    assert done.stderr.startswith('error: experiments/exper-x.py, ')


def test_a_mistake_outside_a_config_file_keeps_its_traceback():  # from the start, by Python itself
    Path('broken.py').write_text('def call():\n    raise RuntimeError("deep")\n')
    Path('exper-x.py').write_text('import broken\n\nbroken.call()\n')
    done = subprocess.run([sys.executable, '-m', 'core.cli.launch', 'exper-x.py'], capture_output=True, text=True,
                          timeout=60, env={**os.environ, 'PYTHONPATH': f'{ROOT}:.'})
    assert done.returncode == 1 and 'Traceback' in done.stderr and 'RuntimeError: deep' in done.stderr
