"""The figures and the table: what they draw of a run's history, checked in their data rather than their pixels."""

from __future__ import annotations

import csv
import io
import json
import math
import runpy
import shutil
import subprocess
import sys
from decimal import Decimal
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest
from runs import train

import core
from core import UserError
from core.cli import plot_app
from core.plotting.histories import Distances, Run, distances
from core.workdir import Workdir

ROOT = Path(__file__).resolve().parents[1]
FIGURES = {p.stem: p for p in (ROOT / 'figures').glob('*.py')}
OF_HISTORY = ['figure-1a', 'figure-1b', 'figure-3', 'figure-4', 'figure-5', 'figure-6', 'figure-7', 'figure-quickstart',
              'figure-theory']


def figure(name: str, *paths):
    return core.draw(name, *paths)


def drawn(ax, which: int = 0) -> tuple[np.ndarray, np.ndarray]:
    return tuple(np.asarray(v, float) for v in ax.lines[which].get_data())


@pytest.fixture(scope='module')
def real(tmp_path_factory):
    """A run on digits with rejected attempts, and its lines."""
    path = tmp_path_factory.mktemp('runs') / 'exper-short' / '20260101_000000'
    _, lines = train(log=str(path), E=25, lr=('loss-based-v1', 0.3, 2.0, 2.0))
    assert {line['cmd'] for line in lines} == {'go', 'back'}
    return path, lines


def synthetic(path: str, log_losses, n: int = 100, order: int = 4, homogeneous: bool = True, E: int | None = None,
              rhos=None, frame: bool = True, **stats) -> list[dict]:
    """Writes the history of a run with these losses; its rates are 0.5 in frame units, or without a frame."""
    run = Workdir(path)
    run.path.mkdir(parents=True)
    run.write_flags({'flags': {'E': E or len(log_losses)}, 'name': 'exper-synthetic', 'images': {'train': n},
                     'network': {'order': order, 'is_homogeneous': homogeneous}})
    lines, before, log_T = [], 0.5, -math.inf
    for eid, log_loss in enumerate(log_losses, start=1):
        rho = 1.0 if rhos is None else rhos[eid - 1]
        log_T = float(np.logaddexp(log_T, math.log(0.5) - (before if frame else 0)))
        with np.errstate(over='ignore'):
            power = float(np.float64(rho) ** order)
        numbers = {'log_loss': log_loss, 'loss': math.exp(log_loss), 'log_T': log_T, 'rho': rho, 'rhoL': power,
                   'q_bar_min': eid * 1e-5, 'q_bar2_min': eid * 1e-4, 'smoothed_margin2': eid * 9e-5, 'acc': 1.0,
                   'test_acc': 0.9 + eid * 1e-3, **{k: v[eid - 1] for k, v in stats.items()}}
        lines.append({'eid': eid, 'cmd': 'go', 'lr': 0.5, 'log_frame': before if frame else None, 'stats': numbers})
        run.append_history(lines[-1])
        before = log_loss
    return lines


@pytest.mark.long
@pytest.mark.parametrize('name, margin', [
    ('figure-1a', 'q_bar2_min'), ('figure-1b', 'q_bar2_min'), ('figure-3', 'q_bar_min'), ('figure-5', 'q_bar2_min'),
    ('figure-6', 'q_bar2_min')])
def test_loss_and_margin_are_drawn_of_every_accepted_epoch_and_of_none_rejected(name, margin, real):
    path, lines = real
    accepted = [line for line in lines if line['cmd'] == 'go']
    left, right = figure(name, path).axes
    for ax, values in ((left, [e['stats']['log_loss'] / math.log(10) for e in accepted]),
                       (right, [e['stats'][margin] for e in accepted])):
        x, y = drawn(ax)
        np.testing.assert_array_equal(x, range(1, 26))
        np.testing.assert_allclose(y, values, rtol=1e-12)
    assert 'loss' in left.get_ylabel() and 'margin' in right.get_ylabel()
    assert left.get_xlabel() == right.get_xlabel() == 'epoch'


def test_losses_far_below_the_smallest_float64_have_their_powers_of_ten_on_the_axis():
    synthetic('run', np.linspace(0, -900 * math.log(10), 50))
    drawing = figure('figure-1b', 'run')
    _, y = drawn(drawing.axes[0])
    np.testing.assert_allclose(y, np.linspace(0, -900, 50), atol=1e-9)
    drawing.draw_without_rendering()
    labels = [t.get_text() for t in drawing.axes[0].get_yticklabels()]
    assert '$10^{-800}$' in labels and '$10^{0}$' in labels


@pytest.mark.long
def test_runs_are_labelled_by_their_experiments_and_by_their_dates_where_those_are_the_same(real):
    path, _ = real
    synthetic('one/20260101_000000', [-1.0, -2.0])
    synthetic('one/20260102_000000', [-1.0, -2.0])
    record = json.loads((path / 'flags.json').read_text())
    assert record['name'] == 'temp', 'the name that core.run gives'
    labels = [line.get_label() for line in figure('figure-1b', path, *sorted(Path('one').iterdir())).axes[0].lines]
    assert labels == ['temp', 'exper-synthetic 20260101_000000', 'exper-synthetic 20260102_000000']
    colours = {line.get_color() for line in figure('figure-1b', *sorted(Path('one').iterdir())).axes[0].lines}
    assert len(colours) == 2


def test_a_run_that_still_trains_is_drawn_as_far_as_it_is(real):
    path, lines = real
    whole = (path / 'history.jsonl').read_bytes()
    shutil.copytree(path, 'torn')
    Path('torn/history.jsonl').write_bytes(whole[:-150])
    Path('torn/res').unlink()
    for name in OF_HISTORY:
        x, _ = drawn(figure(name, 'torn').axes[0])
        assert len(x) == 24, name


def test_figure_4_is_the_rate_of_every_attempt_rejected_ones_as_dots(real):
    path, lines = real
    rates, loss = figure('figure-4', path).axes
    for which, cmd in enumerate(('go', 'back')):
        x, y = drawn(rates, which)
        expected = [(line['eid'], line['lr']) for line in lines if line['cmd'] == cmd]
        np.testing.assert_allclose(np.stack([x, y], axis=1), expected)
    assert rates.get_yscale() == 'log'
    np.testing.assert_allclose(drawn(loss)[1], Run(Workdir(path)).log10_loss)


def test_without_a_frame_the_relative_rate_is_the_real_one_times_the_loss_before():
    synthetic('run', [-1.0, -3.0, -5.0], frame=False)
    _, y = drawn(figure('figure-4', 'run').axes[0])
    assert math.isnan(y[0])
    np.testing.assert_allclose(y[1:], [0.5 * math.exp(-1), 0.5 * math.exp(-3)])


def test_figure_7_is_both_accuracies_in_per_cent_with_the_last_epoch_in_sight(real):
    path, lines = real
    for ax, name in zip(figure('figure-7', path).axes, ('acc', 'test_acc')):
        _, y = drawn(ax)
        np.testing.assert_allclose(y, [100 * e['stats'][name] for e in lines if e['cmd'] == 'go'])
        assert ax.get_ylim()[0] < y[-1] < ax.get_ylim()[1]


def test_the_quickstarts_sheet_has_the_margins_and_distances_once_they_are_measured(real):
    path, lines = real
    shutil.copytree(path, 'run')
    accepted = [line['stats'] for line in lines if line['cmd'] == 'go']
    _, margin, rate = (ax for ax in figure('figure-quickstart', 'run').axes)
    np.testing.assert_array_equal(drawn(margin, 0)[1], [s['q_bar2_min'] for s in accepted])
    np.testing.assert_array_equal(drawn(margin, 1)[1], [s['smoothed_margin2'] for s in accepted])
    np.testing.assert_array_equal(drawn(rate)[1], [line['lr'] for line in lines if line['cmd'] == 'go'])
    evaluation('run', 'eval-a', {25: [0.5, 1.0]})
    np.testing.assert_array_equal(drawn(figure('figure-quickstart', 'run').axes[3])[0], [0, 0.5, 1])


# ---- figure-8 ----

def evaluation(run: str, name: str, sizes: dict[int, list[float]], part: str = 'train', norm: str = 'L2',
               date: str = '20260101_000000', eps: bool = False) -> None:
    """Writes what an evaluation of a run leaves, in batches of two images."""
    out = Workdir(Path(run) / name / date)
    out.path.mkdir(parents=True)
    out.write_flags({'flags': {'attack_set': part}, 'evaluation': name})
    out.write_summary({'norm': norm, 'epochs': {}})
    for eid, values in sizes.items():
        for k in range(0, len(values), 2):
            arrays = {'distances': np.array(values[k:k + 2]), 'images': np.zeros((2, 1))}
            if eps:
                arrays = {'eps': arrays['distances'], 'distances': 0.9 * arrays['distances']}
            out.write_part(eid, k, arrays)


def test_robust_accuracy_is_the_share_of_images_whose_distance_is_above_eps():
    sizes = np.array([0.0, 0.5, 0.5, 2.0, np.inf])
    eps, share = Distances(1, sizes, 'eval', 'L2').robust_accuracy()
    for e in (0, 0.1, 0.5, 1.9, 2.0, 5):
        assert share[np.searchsorted(eps, e, 'right') - 1] == pytest.approx((sizes > e).mean())
    assert Distances(1, sizes[1:], 'eval', 'L2').robust_accuracy()[1][0] == 1, 'all at eps = 0'
    assert Distances(1, sizes[:1], 'eval', 'L2').robust_accuracy()[1].tolist() == [0]


def test_figure_8_has_training_and_test_set_at_two_scales_with_a_line_for_each_epoch():
    rng = np.random.default_rng(0)
    synthetic('run', [-1.0] * 3)
    sizes = {part: {eid: rng.uniform(0.2, eid, 40).tolist() for eid in (1, 2, 3)} for part in ('train', 'test')}
    sizes['test'][3][0] = np.inf
    evaluation('run', 'eval-a', sizes['train'])
    evaluation('run', 'eval-b', sizes['test'], part='test')
    axes = figure('figure-8', 'run').axes
    assert len(axes) == 4
    for ax, part in zip(axes, ('train', 'test') * 2):
        assert [line.get_label() for line in ax.lines] == ['epoch 1', 'epoch 2', 'epoch 3']
        for line, eid in zip(ax.lines, (1, 2, 3)):
            x, y = line.get_data()
            values = np.array(sizes[part][eid])
            np.testing.assert_allclose(y, [100 * (values > e).mean() for e in x])
            assert line.get_drawstyle() == 'steps-post'
    assert axes[2].get_xlim()[1] < axes[0].get_xlim()[1] and axes[2].get_ylim()[0] == 90
    assert ['training' in axes[0].get_title(), 'test' in axes[1].get_title()] == [True, True]


def test_one_attack_counts_the_one_with_more_images_then_smaller_distances_and_norms_are_not_mixed():
    synthetic('run', [-1.0] * 9)
    evaluation('run', 'eval-few', {1: [0.1, 0.1], 5: [0.1, 0.1]}, date='20260109_000000')
    evaluation('run', 'eval-weak', {1: [9.0] * 5}, date='20260109_000000')
    evaluation('run', 'eval-many', {1: [1.0] * 4}, date='20260108_000000')
    evaluation('run', 'eval-many', {1: [2.0] * 5}, date='20260101_000000')
    evaluation('run', 'eval-many', {1: [3.0] * 5}, date='20260102_000000')
    evaluation('run', 'eval-inf', {1: [0.1] * 9}, norm='Linf', eps=True)
    evaluation('run', 'eval-other', {1: [4.0, 4.0]}, part='test')

    def found():
        return {part: [(d.evaluation, d.eid, d.norm, d.sizes.tolist()) for d in ds]
                for part, ds in distances(Workdir('run')).items()}
    assert found() == {'train': [('eval-many', 1, 'L2', [3.0] * 5)], 'test': [('eval-other', 1, 'L2', [4.0, 4.0])]}
    for name in ('few', 'weak', 'many', 'other'):
        shutil.rmtree(f'run/eval-{name}')
    assert found() == {'train': [('eval-inf', 1, 'Linf', [0.1] * 9)]}, 'budgets, where an attack has them'


def test_figure_8_names_the_run_the_attack_and_how_many_images_and_shows_the_top_of_any_accuracy():
    synthetic('run', [-1.0] * 3)
    evaluation('run', 'eval-a', {1: [0.0, 0.5, 0.7, 0.8, 0.9], 2: [0.0, 1.0, 1.5]})
    evaluation('run', 'eval-nothing', {1: [math.inf] * 5}, part='test')
    drawing = figure('figure-8', 'run')
    assert drawing.get_suptitle() == 'exper-synthetic'
    assert drawing.axes[0].get_title() == 'training set, 3 to 5 images\neval-a'
    low, high = drawing.axes[2].get_ylim()
    assert low < 80 < high, 'four fifths are right to begin with'


def test_many_epochs_are_told_apart_and_the_legend_names_some():
    synthetic('run', [-1.0] * 3)
    evaluation('run', 'eval-a', {eid: [0.5, eid / 2] for eid in range(1, 21)})
    drawing = figure('figure-8', 'run')
    looks = {(str(line.get_color()), line.get_linestyle()) for line in drawing.axes[0].lines}
    assert len(looks) == 20 and len(drawing.legends[0].get_texts()) == 5


def test_an_evaluation_that_has_no_summary_yet_counts():
    synthetic('run', [-1.0] * 3)
    evaluation('run', 'eval-a', {1: [0.5, 1.0]})
    place = Workdir('run/eval-a/20260101_000000')
    place.summary_path.unlink()
    assert distances(Workdir('run')) == {}, 'of an unknown norm'
    place.write_flags({'flags': {'attack_set': 'test'}, 'norm': 'L2'})
    assert list(distances(Workdir('run'))) == ['test']
    assert figure('figure-quickstart', 'run').axes[3].get_title().startswith('test set, 2 images')


# ---- table-1 ----

def test_table_1_has_the_first_epoch_below_each_loss_and_the_last():
    losses = np.linspace(-1.1, -130.1, 259) * math.log(10)  # by half a power of ten
    losses[20] = -9.99 * math.log(10)
    synthetic('run', losses)
    table = figure('table-1', 'run')
    rows = list(csv.DictReader(io.StringIO(table.text('csv'))))
    assert [(r['model'], int(r['epoch'])) for r in rows] == [
        ('model-1', 19), ('model-2', 29), ('model-3', 39), ('model-4', 239), ('model-5', 259)]
    assert table.note == ''
    for row in rows:
        eid = int(row['epoch'])
        assert float(row['log10 of training loss']) == pytest.approx(losses[eid - 1] / math.log(10))
        assert float(row['normalised margin']) == pytest.approx(eid * 1e-4)
        assert float(row['test accuracy']) == pytest.approx(0.9 + eid * 1e-3) and row['archived'] == 'no'
    markdown, latex = table.text('md').split('\n'), table.text('tex').split('\n')
    assert markdown[2] == '| model-1 | 19 | 10^-10.10 | 1.90e-03 | 100.00 % | 91.90 % | no |'
    assert latex[3].strip() == r'model-1 & 19 & $10^{-10.10}$ & $1.90 \times 10^{-3}$ & 100.00\% & 91.90\% & no \\'
    assert len({line.count('|') for line in markdown[:7]}) == 1 and len({line.count('&') for line in latex[3:8]}) == 1


def test_table_1_of_an_unfinished_run_says_what_it_has_not_reached_and_several_runs_are_named():
    synthetic('a_b/x', [-1.0, -30.0])
    synthetic('c/x', [-1.0], E=7)
    table = figure('table-1', 'a_b/x', 'c/x')
    rows = list(csv.DictReader(io.StringIO(table.text('csv'))))
    assert [(r['run'], r['model'], r['epoch']) for r in rows] == [
        ('exper-synthetic a_b/x', 'model-1', '2'), ('exper-synthetic a_b/x', 'model-5', '2'),
        ('exper-synthetic c/x', 'model-5', '1')]
    assert 'has not reached a loss of 1e-15, 1e-20, 1e-120' in table.note and table.note in table.text('md')
    assert 'c/x is at epoch 1 of 7, which stands for its last' in table.note
    assert r'a\_b/x & model-1' in table.text('tex')


# ---- figure-theory ----

THEORY = runpy.run_path(str(FIGURES['figure-theory']))


def test_the_smoothed_margin_is_the_inverse_of_the_loss_at_any_size():
    log_losses = [5.0, 1.0, math.log(math.log(2) / 100), -10.0, -40.0, -2000.0]
    synthetic('run', log_losses, n=100, order=3, rhos=[2.0] * 6)
    smoothed, log, log_sum = THEORY['smoothed_margin'](Run(Workdir('run')))
    for got, log_loss in zip(smoothed, log_losses):
        loss = 100 * Decimal(log_loss).exp()
        expected = -(loss.exp() - 1).ln() if loss > Decimal('1e-9') else -(loss.ln() + loss / 2)
        assert got == pytest.approx(float(expected) / 8, rel=1e-9, abs=1e-12)
    np.testing.assert_allclose(log_sum, np.array(log_losses) + math.log(100))
    np.testing.assert_allclose(np.exp(log), np.maximum(smoothed, 0), rtol=1e-9, atol=1e-12)


def test_the_sentence_says_where_the_smoothed_margin_fell_after_the_threshold_and_by_how_much():
    def verdict(*args, **kwargs):
        shutil.rmtree('run', ignore_errors=True)
        synthetic('run', *args, **kwargs)
        return THEORY['verdict'](Run(Workdir('run')))

    losses = [-1.0, -6.0, -8.0, -10.0, -12.0, -20.0]
    assert 'need not grow yet' in verdict([-1.0, -2.0, math.log(0.8 / 100)])  # a sum of 0.8, above ln 2
    assert verdict(losses).endswith('never decreased after the sum of the losses fell below the theorem\'s threshold, '
                                    'ln 2, in epoch 2 (4 epochs).')
    fell = verdict(losses, rhos=[1, 1, 1, 1.05, 1.05, 1.5])
    smoothed = [(-v - math.log(100)) / r ** 4 for v, r in ((-12.0, 1.05), (-20.0, 1.5))]
    assert 'decreased in 1 of the 4 epochs' in fell and 'most in epoch 6, by ' in fell
    assert f'{100 * (1 - smoothed[1] / smoothed[0]):.2g} %' in fell
    for some in (losses, losses[:1]):
        assert verdict(some, homogeneous=False) == (
            'This network is not homogeneous, so the theorems do not apply to it.')
    back = verdict([-8.0, -1.0, -0.5, -9.0, -9.5])  # up through the threshold, up, down through it, down
    assert 'decreased in 1 of the 2 epochs' in back and 'most in epoch 2, below 0' in back
    huge = verdict([-80.0, -90.0, -91.0], order=1023, rhos=[17.5, 17.5, 18.0])
    assert 'decreased in 1 of the 2 epochs' in huge and 'most in epoch 3, by 1e+02 %' in huge
    ratio = (90 - math.log(100)) / (80 - math.log(100))
    for excess, expected in ((5e-7, 'never decreased'), (5e-6, 'by 0.0005 %')):  # the first is rounding
        assert expected in verdict([-1.0, -80.0, -90.0], rhos=[1, 1, (ratio * (1 + excess)) ** 0.25])


def test_the_papers_rates_go_through_the_last_epoch_at_its_own_T():
    log_losses = np.linspace(-5, -700, 60)
    lines = synthetic('run', log_losses, order=4, rhos=np.linspace(10, 40, 60))
    axes = figure('figure-theory', 'run').axes
    assert len(axes) == 3
    log_T = np.array([line['stats']['log_T'] for line in lines])
    late = log_T > 1
    assert 50 < late.sum() < 60
    for ax, values, expected in (
            (axes[1], log_losses / math.log(10), -(log_T[late] + 1.5 * np.log(log_T[late])) / math.log(10)),
            (axes[2], np.linspace(10, 40, 60), log_T[late] ** 0.25)):
        x, y = drawn(ax, 0)
        np.testing.assert_allclose(x, log_T / math.log(10))
        np.testing.assert_allclose(y, values)
        x, y = drawn(ax, 1)
        assert x[-1] == pytest.approx(log_T[-1] / math.log(10)) and y[-1] == pytest.approx(values[-1])
        if ax is axes[1]:
            np.testing.assert_allclose(y - y[-1], expected - expected[-1], rtol=1e-9, atol=1e-9)
        else:
            np.testing.assert_allclose(y / y[-1], expected / expected[-1], rtol=1e-9)


@pytest.mark.long
def test_the_kkt_conditions_join_once_they_are_measured(real):
    path, _ = real
    shutil.copytree(path, 'run')
    assert 'eval-kkt' in figure('figure-theory', 'run').get_supxlabel()
    core.run({'task': 'kkt', 'eid': 'all', 'log': 'run', 'gpu': 'cpu', 'eval_log': 'run/eval-kkt/20260101_000000'})
    epochs = Workdir('run/eval-kkt/20260101_000000').read_summary()['epochs']
    drawing = figure('figure-theory', 'run')
    assert len(drawing.axes) == 6 and 'eval-kkt' not in drawing.get_supxlabel()
    np.testing.assert_allclose(drawn(drawing.axes[3])[1], [e['one_minus_cosine'] for e in epochs.values()])
    core.run({'task': 'kkt', 'eid': 'last', 'log': 'run', 'gpu': 'cpu', 'eval_log': 'run/eval-kkt/20260102_000000'})
    np.testing.assert_array_equal(
        drawn(figure('figure-theory', 'run').axes[3], 1)[1][1:], [e['drift'] for e in list(epochs.values())[1:]])
    np.testing.assert_allclose(drawn(drawing.axes[5], 1)[1], [e['support_vectors']['0.9'] for e in epochs.values()])


# ---- what is missing ----

def test_what_a_run_lacks_is_said_in_one_sentence(real):
    path, _ = real
    Workdir.create('empty', parent=Path()).write_flags({'flags': {}})
    synthetic('old', [-1.0])
    lines = [json.loads(line) for line in Path('old/history.jsonl').read_text().split('\n')[:-1]]
    del lines[0]['stats']['log_loss']
    Path('old/history.jsonl').write_text(json.dumps(lines[0]) + '\n')
    Workdir.create('young', parent=Path()).write_flags({'flags': {}})
    Path('young/history.jsonl').write_text('{"eid": 1, "cmd": "back", "stats": null}\n')
    for k, damage in enumerate(('{}', '5', '{"eid": 1, "cmd": "go", "stats": null}', 'x')):
        shutil.copytree('young', f'damaged-{k}')
        Path(f'damaged-{k}/history.jsonl').write_text(damage + '\n')
        with pytest.raises(UserError, match='history.jsonl, line 1: not a'):
            figure('figure-1b', f'damaged-{k}')
    for name in [*OF_HISTORY, 'table-1']:
        with pytest.raises(core.NotYet, match='young has no finished epoch yet, so there is nothing to draw'):
            figure(name, 'young')
        for place, message in (('nowhere', 'nowhere has no history.jsonl; it is not the working directory of a run'),
                               ('empty', 'empty has no history.jsonl; it is not the working directory of a run')):
            with pytest.raises(UserError) as e:
                figure(name, place)
            assert str(e.value) == message, name
    with pytest.raises(UserError, match='old did not record log_loss: it was trained by an earlier version'):
        figure('figure-1b', 'old')
    with pytest.raises(UserError, match='has no evaluation with distances yet; ./eval.sh eval-final-mnist-l2-fast'):
        figure('figure-8', path)
    with pytest.raises(UserError, match="there is no figure 'figure-2'; there are figure-1a, figure-1b, figure-3"):
        core.draw('figure-2', path)
    for name in ('figure-8', 'figure-theory'):
        with pytest.raises(UserError, match=f'{name} draws one run at a time, not 2'):
            figure(name, path, path)


# ---- the command line ----

def test_figures_are_written_whole_in_each_format_and_unknown_ones_refused(real):
    path, _ = real
    draw = runpy.run_path(str(FIGURES['figure-1b']))['draw']
    paths = [Path('out') / f'figure-1b.{kind}' for kind in ('png', 'pdf', 'svg')]
    plot_app.draw_into(paths, draw, [Workdir(path)])
    assert [p.read_bytes()[:4] for p in paths] == [b'\x89PNG', b'%PDF', b'<?xm']
    assert sorted(p.name for p in Path('out').iterdir()) == sorted(p.name for p in paths), 'no temporary file is left'
    with pytest.raises(UserError):  # what was drawn before stays
        plot_app.draw_into(paths, draw, [Workdir('nowhere')])
    assert paths[0].stat().st_size > 1000
    assert '<text' in paths[2].read_text(), 'text stays text'
    assert not plt.get_fignums(), 'none is left to pyplot, which a notebook would show again'
    with pytest.raises(UserError, match="--format takes png, pdf, svg for a figure, not 'doc'"):
        plot_app.draw_into([Path('out/figure-1b.doc')], draw, [Workdir(path)])
    with pytest.raises(UserError, match="--format takes md, csv, tex for a table, not 'png'"):
        plot_app.draw_into([Path('out/table-1.png')], runpy.run_path(str(FIGURES['table-1']))['draw'], [Workdir(path)])


def test_watching_draws_when_a_run_has_changed_and_ends_when_it_has(monkeypatch, capsys):
    synthetic('source', [-1.0, -2.0, -3.0])
    lines = Path('source/history.jsonl').read_text().split('\n')
    Path('run').mkdir()
    shutil.copy('source/flags.json', 'run/flags.json')
    drawn_epochs, slept = [], []

    def draw(runs):
        drawn_epochs.append(len(Run(runs[0]).epochs))
        return plt.Figure()

    def sleep(seconds):
        slept.append(seconds)
        if len(slept) in (2, 3, 6):  # between them nothing happens
            with open('run/history.jsonl', 'a') as f:
                f.write(lines.pop(0) + '\n')
    monkeypatch.setattr(plot_app.time, 'sleep', sleep)
    plot_app.watch([Path('figure.png')], draw, [Workdir('run')], 7.0)
    assert drawn_epochs == [1, 2, 3] and slept == [7.0] * 6 and Path('figure.png').exists()
    out = capsys.readouterr().out.split('\n')
    assert out[0] == 'waiting: run has no history.jsonl; it is not the working directory of a run' and len(out) == 5


def test_what_can_never_come_is_not_waited_for():
    synthetic('run', [-1.0], E=9)
    for path, runs in (('figure.doc', ['run']), ('figure.png', ['run', 'run'])):
        draw = runpy.run_path(str(FIGURES['figure-theory']))['draw']
        with pytest.raises(UserError, match="not 'doc'|one run at a time"):
            plot_app.watch([Path(path)], draw, [Workdir(r) for r in runs], 1.0)


def test_watching_a_directory_that_does_not_exist_ends_at_once():
    draw = runpy.run_path(str(FIGURES['figure-1b']))['draw']
    with pytest.raises(UserError, match='nowhere has no history.jsonl'):
        plot_app.watch([Path('figure.png')], draw, [Workdir('nowhere')], 1.0)


def test_drawing_does_not_wait_for_tensorflow():
    code = ('import core, sys, runpy; core.plot_start, core.Workdir, core.UserError, core.draw; '
            f'[runpy.run_path(p) for p in {[str(p) for p in FIGURES.values()]!r}]; print("tensorflow" in sys.modules)')
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, cwd=ROOT, timeout=100)
    assert done.stdout == 'False\n', done.stderr


@pytest.mark.long(after=1)
@pytest.mark.parametrize('name, number', [
    *((name, 2) for name in sorted(OF_HISTORY)), ('figure-1b', 3), ('figure-quickstart', 1), ('figure-8', 1)])
def test_no_text_of_a_figure_lies_over_another_or_outside(name, number):
    for path in ('mnist-cnn', 'mnist-cnn', 'mnist-biased-cnn')[3 - number:]:
        path = f'exper-final-{path}-loss-based-lr/20260101_00000{len(list(Path().glob("*/*")))}'
        synthetic(path, np.linspace(-0.3, -900 * math.log(10), 300), rhos=np.linspace(10, 60, 300))
        record = json.loads(Path(path, 'flags.json').read_text())
        Workdir(path).write_flags({**record, 'name': path.split('/')[0]})
    runs = sorted(Path().glob('exper-*/*'))
    if name == 'figure-theory':
        out = Workdir(runs[0] / 'eval-kkt' / '20260101_000000')
        out.path.mkdir(parents=True)
        out.write_flags({'flags': {}})
        out.write_summary({'epochs': {eid: {
            'one_minus_cosine': 0.5, 'drift': 0.1, 'epsilon': 3.0, 'delta': 1e-3, 'images': 60000,
            'support_vectors': {'0.5': 100 * eid, '0.9': 1000, '0.99': 5000}} for eid in (1, 300)}})
    if name in ('figure-8', 'figure-quickstart'):
        rng = np.random.default_rng(0)
        for part in ('train', 'test'):
            evaluation(str(runs[0]), f'eval-final-mnist-{part}-l2-fast', part=part, sizes={
                eid: rng.normal(1, 0.2, 10).tolist() for eid in range(1, 300, 20)})
    drawing = figure(name, *runs[:1 if name in ('figure-theory', 'figure-8') else number])
    drawing.set_dpi(200)
    drawing.draw_without_rendering()
    unseen = {id(label) for ax in drawing.axes for axis in (ax.xaxis, ax.yaxis)
              for tick in [*axis.get_major_ticks(), *axis.get_minor_ticks()] for label in (tick.label1, tick.label2)
              if not min(axis.get_view_interval()) <= tick.get_loc() <= max(axis.get_view_interval())}
    texts = [t for t in drawing.findobj(plt.Text) if t.get_visible() and t.get_text().strip() and id(t) not in unseen]
    boxes = [t.get_window_extent() for t in texts]
    assert all(drawing.bbox.fully_contains(*corner) for box in boxes for corner in (box.min + 1, box.max - 1))
    assert not [(s.get_text(), t.get_text()) for k, s in enumerate(texts)
                for t, box in zip(texts[:k], boxes) if boxes[k].overlaps(box)]
