"""What a run of training says, in the original's way and in brief."""

from __future__ import annotations

import io
import math
import re
import shlex
import sys
from decimal import Decimal
from pathlib import Path

import pytest
from runs import FLAGS, train

import core
from core import UserError, progress
from core.tasks import telling
from core.workdir import Workdir

pytestmark = pytest.mark.usefixtures('networks_are_shared')

ROOT = Path(__file__).resolve().parents[1]
STATS = {'loss': 0.5, 'log_loss': math.log(0.5), 'acc': 1.0, 'test_acc': 0.75, 'q_bar2_min': 0.125, 'q_min': 3.0}


def info(eid, **stats):
    return {'eid': eid, 'all_rt_loss': None, 'lr': 0.1, 'log_frame': None, 'stats': {**STATS, **stats}}


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def clock(monkeypatch):
    """The seconds that the module sees, to be set."""
    now = [100.0]
    monkeypatch.setattr(telling.time, 'monotonic', lambda: now[0])
    return now


def epochs_told(text):
    return [int(n) for n in re.findall(r'^epoch #(\d+)', text, re.MULTILINE)]


# ---- lines of epochs ----

def test_an_accepted_epoch_is_a_line_once_a_second_and_the_first_and_last_always(clock, capsys):
    brief = telling.teller(False)
    with brief.following(9):
        for eid, seconds in enumerate((100, 100.2, 100.9, 101.1, 101.2, 104, 104.3, 104.6, 104.9), start=1):
            clock[0] = seconds
            brief.accepted(info(eid))
    assert epochs_told(capsys.readouterr().out) == [1, 4, 6, 9]


def test_the_last_epoch_is_told_however_the_run_ends_and_once(clock, capsys):
    with pytest.raises(KeyboardInterrupt):
        with telling.teller(False).following(9) as _:
            raise KeyboardInterrupt
    for k in (2, 1):
        brief = telling.teller(False)
        with pytest.raises(KeyboardInterrupt):
            with brief.following(9):
                for eid in range(1, k + 1):
                    brief.accepted(info(eid))
                raise KeyboardInterrupt
    assert epochs_told(capsys.readouterr().out) == [1, 2, 1]


def test_a_line_has_the_real_loss_and_the_normalised_margin(capsys):
    brief = telling.teller(False)
    with brief.following(1):
        brief.accepted({**info(7, loss=0.25), 'log_frame': -2000.0})
    expected = f'{(Decimal(-2000) + Decimal(0.25).ln()).exp():.3e}'
    assert capsys.readouterr().out == (
        f'epoch #7: loss={expected} acc=100.00% test_acc=75.00% margin=1.250e-01\n')


@pytest.mark.parametrize('log', [0.0, -1.5, 700.0, -690.0, -691.0, -745.2, -2026.7, -1e5, math.log(9.9996) - 2302.5851,
                                 -400 * math.log(10), -400 * math.log(10) - 1e-9])
def test_a_number_far_below_floats_is_written_as_one_that_is_not(log):
    mantissa, exponent = telling.scientific(log).split('e')
    exact = Decimal(log).exp()
    assert abs(Decimal(mantissa).scaleb(int(exponent)) / exact - 1) < Decimal('0.000501'), 'to three decimals'
    assert 1 <= float(mantissa) < 10 and re.fullmatch(r'\d\.\d{3}e[+-]?\d\d+', telling.scientific(log))


def test_a_margin_whose_norms_are_none_is_not_called_normalised():
    assert telling.margin(STATS) == ('normalised margin', 0.125)
    for value in (math.nan, math.inf):
        assert telling.margin({**STATS, 'q_bar2_min': value}) == ('margin', 3.0)


def test_a_bar_of_the_run_is_shown_on_a_terminal_below_the_lines(monkeypatch):
    monkeypatch.setattr(sys, 'stderr', terminal := Terminal())
    monkeypatch.setattr(sys, 'stdout', out := Terminal())
    with telling.teller(False).following(40) as _:
        pass
    brief = telling.teller(False)
    with brief.following(40):
        for eid in (31, 32):  # the run is resumed
            brief.attempt(info(eid), None)
            brief.attempt(info(eid), 'failed')
            brief.accepted(info(eid))
        progress.say('a line')
    shown = terminal.getvalue()
    assert ' 0/40 ' in shown and '32/40' in shown and '4 attempts' in shown and ' 1/40' not in shown
    assert shown.endswith('\r') and out.getvalue().count('\n') == 3 and '/40' not in out.getvalue()
    monkeypatch.setattr(sys, 'stderr', nowhere := io.StringIO())
    with telling.teller(False).following(40):
        progress.say('a line')
    assert nowhere.getvalue() == ''


# ---- whole runs ----

def originals(flags, attempts):
    """What the original prints of a run that archives every fifth epoch and the last, written from its history."""
    lines = ['{', *(f'    {name}: {value}' for name, value in flags.items()), '}']
    for a in attempts:
        stats = a['stats']
        lines.append(
            f"epoch #{a['eid']} (lr={a['lr']:.3e} log_frame={a['log_frame']:.5f}): rt_loss={a['rt_loss']:.5f} "
            f"loss={stats['loss']:.5f} acc={stats['acc'] * 100:.3f}% test_loss={stats['test_loss']:.5f} "
            f"test_acc={stats['test_acc'] * 100:.3f}% [time={a['time']:.3f}s]")
        lines += ['{', *(f'    {k}: {v}' if k.startswith('n_supp') else f'    {k}: {v:.8f}    (E: {v:.8E})'
                         for k, v in sorted(stats.items())), '}']
        if a['cmd'] == 'back':
            lines.append('rolling back...done')
        elif a['eid'] % 5 == 0:
            lines.append(f"run/model-{a['eid']}.keras archived")
            lines += ['run/res updated'] * (a['eid'] % 10 == 0)
    return '\n'.join([*lines, 'run/res updated', 'run/model-12.keras archived', ''])


@pytest.mark.long
def test_with_print_a_run_says_line_for_line_what_the_original_does(capsys):
    res, attempts = train(archive=5)
    assert any(a['cmd'] == 'back' for a in attempts)
    flags = {**res['flags'], 'train_mode': FLAGS['train_mode']}
    text = capsys.readouterr().out
    assert re.sub('attack_type: .*', '', text) == re.sub('attack_type: .*', '', originals(flags, attempts))
    assert Path('run/stdout').read_text() == text


def ending(attempts):
    stats = attempts[-1]['stats']
    return ['run', f"{attempts[-1]['eid']} epochs, {len(attempts)} attempts; accuracy {100 * stats['acc']:.2f} %, "
            f"on the test set {100 * stats['test_acc']:.2f} %",
            f"loss {math.exp(stats['log_loss']):.3e}, normalised margin {stats['q_bar2_min']:.3e}",
            './plot.sh figure-quickstart run', './eval.sh eval-quickstart-digits run']


@pytest.mark.long
def test_in_brief_a_run_says_what_is_needed_and_ends_with_five_lines_also_when_it_is_resumed(clock, capsys):
    _, attempts = train(print=False)
    assert any(a['cmd'] == 'back' for a in attempts)
    text = capsys.readouterr().out
    block, _, rest = text.partition('\n}\n')
    assert rest.split('\n')[2:] == [*ending(attempts), '']
    assert epochs_told(text) == [1, 12] and 'rolling back' not in text and 'archived' not in text
    names = re.findall(r'^    (\w+): ', block, re.MULTILINE)
    assert sorted(names) == sorted([*FLAGS, 'print']), 'those that are not as they are anyway'
    assert max(map(len, text.split('\n'))) < 80
    assert Path('run/stdout').read_text() == text
    attempts = resumed(E=14)
    text = capsys.readouterr().out
    assert text.split('\n')[0] == 'resuming after epoch 12' and epochs_told(text) == [13, 14]
    assert text.split('\n')[-6:] == [*ending(attempts), '']
    resumed(E=14)
    assert capsys.readouterr().out.split('\n')[1:] == [*ending(attempts), ''], 'there is nothing to do'


def resumed(**changes):
    """Resumes the run; returns its attempts."""
    flags = {k: v for k, v in FLAGS.items() if k not in ('log', 'seed')}
    core.run({**flags, 'print': False, 'resume': 'run', **changes})
    return list(Workdir('run').read_history())


@pytest.mark.long
def test_in_brief_what_ends_a_run_early_is_said_after_its_last_epoch(clock, capsys):
    with pytest.raises(UserError):
        train(print=False, lr_lb=0.25)
    last = max(a['eid'] for a in Workdir('run').read_history() if a['cmd'] == 'go')
    text = Path('run/stdout').read_text()
    assert epochs_told(text)[-1] == last and text.split('\n')[-2].startswith('error: the next learning rate')
    assert './plot.sh' not in text


# ---- the commands ----

@pytest.mark.parametrize('dataset, images, measure', [
    ('digits', 1442, 'eval-quickstart-digits a/run'), ('mnist', 60000, 'eval-final-mnist-l2-fast a/run --set eid=last '
                                                       '--set attack_N=1000'),
    ('cifar10', 50000, 'eval-quickstart-digits a/run --set attack_N=1000'),
    ('mnist', 2000, 'eval-final-mnist-l2-fast a/run --set eid=last')])
def test_the_commands_are_of_files_that_there_are(dataset, images, measure):
    draw, evaluate = telling.commands(Path('a/run'), dataset, images)
    assert draw == './plot.sh figure-quickstart a/run' and evaluate == f'./eval.sh {measure}'
    for command, folder in ((draw, 'figures'), (evaluate, 'evals')):
        assert (ROOT / folder / f'{command.split()[1]}.py').is_file()


def test_a_directory_with_a_blank_is_one_word_of_the_commands():
    assert telling.commands(Path("my run"), 'digits', 10)[0] == "./plot.sh figure-quickstart 'my run'"


@pytest.mark.long
def test_the_commands_that_a_run_ends_with_do_draw_and_measure_it(capsys, server):
    train(print=False, E=2, train_N=60, B=20, log='my run')
    for command in reversed(capsys.readouterr().out.split('\n')[-3:-1]):
        script, *words = shlex.split(command)
        done = server.call(script.removeprefix('./'), *words)
        assert done.returncode == 0, done.stderr
    assert len(Workdir('my run').evaluations()) == 1 and list(Path('my run').glob('figure-quickstart.*'))
