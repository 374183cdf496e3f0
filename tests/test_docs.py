"""README.md and docs/: commands can be given as they stand, links lead somewhere, and the flags are all there."""

from __future__ import annotations

import os
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pages import PAGES, ROOT, Command, anchors, command_of, commands, links, name_of

import core
from core.flags import FLAGS, apply_setting, archiver_of, merge, objective_from, parse_setting, scheduler_of
from core.flags.doc import GROUPS, page as flags_page
from core.flags.likes import resolved
from core.sweeps.grid import grid_of
from core.tasks.arguments import attack_arguments, refuse_attack_flags, transfer_arguments

COMMANDS = [command for page in PAGES for command in commands(page)]
FOLDERS = {'./run.sh': 'experiments', './eval.sh': 'evals', './plot.sh': 'figures'}
OPTIONS = {'experiments': {'gpu', 'seed', 'set', 'resume', 'like', 'log', 'ends', 'data_dir', 'help'},
           'sweeps': {'gpu', 'seed', 'set', 'log', 'data_dir', 'list', 'help'},
           'evals': {'gpu', 'seed', 'set', 'log', 'eval_log', 'data_dir', 'help'},
           'figures': {'out', 'format', 'watch', 'help'}}
PLACES = {'resume', 'like', 'log', 'eval_log', 'gpu', 'data_dir'}
NETWORK = {'dataset': 'digits', 'model': {'description': [['F', 10, {'act': False}]]}}
"""What an evaluation takes from its run, when only its flags are looked at."""
STANDS_FOR = {'exper-mine': 'exper-quickstart-digits', 'sweep-mine': 'sweep-large-margin-digits-noisy',
              'figure-mine': 'figure-7', 'exper-NAME': 'exper-quickstart-digits'}
"""Names that a reader is to give."""


def config(folder: str, name: str) -> Path:
    return ROOT / folder / f'{STANDS_FOR.get(name, name)}.py'


def flags_in(folder: str, name: str) -> dict:
    """The flags of a config file, which may be like another."""
    path = config(folder, name)
    return resolved(runpy.run_path(str(path))['FLAGS'], path.parent)


def flags_of(command: Command, given: dict[str, Any]) -> dict[str, Any]:
    """FLAGS as the command has them, checked."""
    flags = dict(given)
    for key, value in map(parse_setting, command.given('set')):
        apply_setting(flags, key, value)
    return merge({**flags, **{k: v for k, v in command.options if k in PLACES and k in flags}})


def check_experiment(command: Command) -> None:
    given = flags_in('experiments', command.words[0])
    if given.get('arch') == 'curve':  # network and data are those of its ends
        assert len(command.given('ends')) in (0, 2)
        given = {**given, 'dataset': 'digits', 'model': {**given['model'], 'of': {'arch': 'lenet', 'model': {}}}}
    flags = flags_of(command, given)
    frame = flags['log_frame0'] if flags['train_mode'].name == 'USE_FRAME' else None
    objective_from(flags, scheduler_of(flags['lr'], frame)), archiver_of(flags['archive'])


def check_sweep(command: Command) -> None:
    sweep = runpy.run_path(str(config('experiments', command.words[0])))['SWEEP']
    assert grid_of(sweep, ROOT / 'experiments').runs(dict(map(parse_setting, command.given('set'))))


def check_evaluation(command: Command) -> None:
    flags = flags_of(command, {**NETWORK, **flags_in('evals', command.words[0])})
    seen = {**dict.fromkeys(('attack', 'generate', 'compare'), attack_arguments),
            'transfer': transfer_arguments, 'kkt': refuse_attack_flags}
    if flags['task'] in seen:
        seen[flags['task']](flags)


def check(command: Command) -> None:
    """Sees that a command would start: its config file, its options and its flags.

    Raises:
        AssertionError, UserError: it would not.
    """
    assert '<' not in command.text, 'a shell takes that for a file'
    if command.program == './test.sh':
        assert not command.words and {name for name, _ in command.options} <= {'all'}
        return
    if command.program == 'python':
        # of a module, argparse or the module's own test sees the rest
        assert (ROOT / command.words[0]).is_file() or (ROOT / f"{command.words[1].replace('.', '/')}.py").is_file()
        return
    name, *runs = command.words
    assert config(FOLDERS[command.program], name).is_file()
    is_sweep = name.startswith('sweep')
    options = OPTIONS['sweeps' if is_sweep else FOLDERS[command.program]]
    assert {option for option, _ in command.options} <= options
    assert len(runs) == {'./run.sh': 0}.get(command.program, len(runs) or 1)
    if command.program != './plot.sh':
        {'./eval.sh': check_evaluation, './run.sh': check_sweep if is_sweep else check_experiment}[command.program](
            command)


@pytest.mark.parametrize('page', PAGES, ids=name_of)
def test_the_commands_of_a_page_can_be_given_as_they_stand(page):
    found = commands(page)
    for command in found:
        try:
            check(command)
        except (AssertionError, core.UserError, StopIteration, LookupError) as e:
            raise AssertionError(f'{command.text}: {e!r}') from None
    assert found or page.name in ('flags.md', 'differences.md', 'architecture.md')


@pytest.mark.parametrize('wrong', [
    './run.sh exper-quickstart', './run.sh exper-quickstart-digits --gpus 0', './run.sh exper-quickstart-digits --list',
    './run.sh exper-quickstart-digits --set E=soon', './run.sh exper-quickstart-digits --set model.act_typ=relu',
    "./run.sh exper-quickstart-digits --set lr=('loss-based',)", './run.sh sweep-large-margin-mnist --set objective=x',
    './eval.sh eval-certified', './eval.sh eval-kkt logs/RUN --set attack_N=3', './plot.sh figure-2 logs/RUN',
    './eval.sh eval-certified logs/exper/<date>',
    './eval.sh eval-quickstart-digits logs/RUN --set attack_initial_const=1',
    'python benchmarks/none.py', './test.sh --every', './plot.sh figure-7'])
def test_a_command_that_could_not_be_given_is_seen(wrong):
    with pytest.raises((AssertionError, core.UserError, LookupError)):
        check(command_of('a page', wrong))


def test_commands_are_found_in_blocks_and_between_backticks_and_parted_as_a_shell_does():
    Path('page.md').write_text('''
Say `./run.sh exper-a --seed 1`, not `run.sh`, then

    ./eval.sh eval-b logs/RUN --set "x=[1, 2]" --set y=3   # takes a while
    ./plot.sh figure-c logs/RUN logs/SECOND && ./test.sh --all

```
./run.sh sweep-d --list --log=logs/d
```

```python
print('./run.sh exper-no')
```
''')
    found = {command.words[0] if command.words else '': command for command in commands(Path('page.md'))}
    assert sorted(found) == ['', 'eval-b', 'exper-a', 'figure-c', 'sweep-d']
    assert found['eval-b'].words == ['eval-b', 'logs/RUN'] and found['eval-b'].given('set') == ['x=[1, 2]', 'y=3']
    assert found['figure-c'].words[1:] == ['logs/RUN', 'logs/SECOND'] and found[''].options == [('all', '')]
    assert found['sweep-d'].options == [('list', ''), ('log', 'logs/d')]
    assert found['exper-a'].options == [('seed', '1')] and found['exper-a'].page == 'page.md'


def test_the_options_that_commands_may_have_are_those_that_the_programs_list():
    """Of the figures', whose program starts in a second; of the others tests/test_command_line.py tells."""
    done = subprocess.run([ROOT / 'plot.sh', 'figure-7', '--help'], capture_output=True, text=True, timeout=200,
                          env={**os.environ, 'PATH': f'{Path(sys.executable).parent}:{os.environ["PATH"]}'})
    assert all(f'--{option}' in done.stdout for option in OPTIONS['figures'] - {'help'})


@pytest.mark.parametrize('page', PAGES, ids=name_of)
def test_links_and_images_lead_to_what_there_is(page):
    for target in links(page):
        path, _, anchor = target.partition('#')
        file = (page.parent / path).resolve() if path else page
        assert file.is_file(), f'{name_of(page)} links to {target}'
        assert not anchor or anchor in anchors(file), f'{name_of(page)} links to {target}'


def test_every_page_and_image_is_linked_to_from_readme_or_another_page():
    linked = {(page.parent / target.partition('#')[0]).resolve() for page in PAGES for target in links(page)}
    assert {path for path in (ROOT / 'docs').iterdir() if path.suffix in ('.md', '.png')} <= linked


def test_readme_is_read_in_five_minutes_and_names_every_experiment_evaluation_and_figure():
    text = (ROOT / 'README.md').read_text()
    assert 120 <= len(text.split('\n')) <= 160
    assert all(len(line) <= 130 for line in text.split('\n') if not line.startswith('|'))
    for folder in FOLDERS.values():
        for path in (ROOT / folder).glob('*.py'):
            tails = [name[i:] for name in (path.stem, path.stem.removesuffix('-short'))
                     for i in range(len(name)) if i == 0 or name[i] == '-']
            assert any(f'`{tail}`' in text for tail in tails), f'{path.stem} is not in README.md'


# ---- flags ----

def test_every_flag_has_a_meaning_in_words_and_nothing_else_has():
    named = [name for names in GROUPS.values() for name in names]
    assert sorted(named) == sorted(FLAGS)


def test_the_page_of_flags_is_what_the_command_prints():
    assert (ROOT / 'docs/flags.md').read_text() == flags_page(), 'python -m core.flags.doc > docs/flags.md'


def test_the_page_of_flags_has_the_default_and_the_expectation_of_each():
    rows = {row.split('`')[1]: row for row in flags_page().split('\n') if row.startswith('| `')}
    assert set(rows) == set(FLAGS) and all(flag.expects in rows[name] for name, flag in FLAGS.items())
    assert all(len(row.split(' | ')) == 4 for row in rows.values()), 'a bar in a cell would begin another'
    for name, default in (('E', '`100`'), ('train_mode', '`NORMAL`'), ('log_frame0', '`0.834032`'), ('print', '`True`'),
                          ('train_N', "`'all'`"), ('lr', '')):
        assert rows[name].split(' | ')[1] == default


# ---- commands that are run ----

TINY = ['train_N=300', 'test_N=50']
FEW = {'attack': 'attack_N=10', 'transfer': 'attack_N=10', 'certify': 'attack_N=10', 'kkt': None, 'train_peek': None,
       'union': None, 'hessian': 'attack_N=10', 'generate': 'attack_N=10', 'compare': 'attack_N=10',
       'sandwich': 'attack_N=10', 'scan': 'attack_N=10', 'perturb': None}


def do(command: Command) -> Any:
    """What a command does, in this process: on few images, a run for one epoch, or two that are gone on with."""
    options = dict(command.options)
    settings = command.given('set')
    places = {k: v for k, v in options.items() if k in PLACES | {'seed'}}
    places = {**places, 'gpu': places['gpu'] if ',' in places.get('gpu', '') else 'cpu'}
    if 'seed' in places:
        places['seed'] = int(places['seed'])
    name, *words = command.words
    if command.program == './plot.sh':
        return core.draw(name, *words)
    flags = flags_in(FOLDERS[command.program], name)
    if command.program == './eval.sh':
        places['log'], few = words[0], FEW[flags['task']]
        settings = [*settings, few] if few else [*settings, *['E=1', 'B=50'] * (flags['task'] == 'train_peek')]
        if flags.get('attack_type') == core.AttackType.L_2_FAST and not any('attack_' in s for s in settings[:-1]):
            settings.append('attack_E=2')
    elif 'like' not in options:
        settings = [*settings, *TINY, f"E={2 if 'resume' in options else 1}"]
    flags = {**flags, 'print': False} if command.program == './run.sh' and 'resume' not in options else flags
    return core.Core(flags, places, list(map(parse_setting, settings)), name=name).run()


def can_be_done(command: Command) -> bool:
    """Whether a command of the digits, or of a run of theirs, has an end and needs no file that a reader is to give."""
    name = command.words[0]
    of_a_run = name.startswith(('eval', 'figure', 'table')) and name not in STANDS_FOR
    if any(of_a_reader in command.text for of_a_reader in ('FILE.npz', 'logs/theirs')):
        return False
    return not dict(command.options).keys() & {'watch', 'help'} and (
        of_a_run or name in ('exper-quickstart-digits', 'exper-mma-digits'))


def follow(page: str) -> int:
    """Does what a page says, in its order; returns how many commands that were."""
    done = 0
    for command in commands(ROOT / page):
        if command.program in FOLDERS and can_be_done(command):
            try:
                do(command)
            except core.UserError as e:
                if 'already holds' not in str(e):  # a page may name twice what has been made
                    raise AssertionError(f'{command.text}: {e}') from None
            done += 1
    return done


@pytest.mark.long
def test_a_reader_who_does_what_readme_says_has_a_run_an_evaluation_and_a_figure():
    Path('logs').mkdir()
    words = [command for command in commands(ROOT / 'README.md') if 'logs/first' in command.text]
    run, evaluation, figure = map(do, words)
    assert list(run['raw']) == [1] and Path('logs/first/model-1.keras').exists()
    assert evaluation[1]['images'].shape == (10, 8, 8, 1)
    assert len(figure.axes) == 4, 'the last panel is that of the distances'


@pytest.mark.long
@pytest.mark.usefixtures('networks_are_shared')
@pytest.mark.parametrize('page', ['README.md', 'docs/measure.md', 'docs/figures.md', 'docs/mma.md', 'docs/trust.md'])
def test_the_commands_of_a_page_work_in_their_order_without_those_of_another(page):
    assert follow(page) >= 4
