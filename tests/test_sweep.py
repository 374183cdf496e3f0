"""Sweeps: what a grid is, that what is finished is skipped, and what its figures draw; and the training sets of its
runs."""

from __future__ import annotations

import os
import runpy
import shutil
import signal
import time
from pathlib import Path

import numpy as np
import pytest
from conftest import in_eager_mode
from runs import FLAGS

import core
from core import UserError
from core.cli import plot_app
from core.flags import merge, objective_from, scheduler_of
from core.subsets import stratified, switch_labels
from core.sweeps.directory import SweepDirectory
from core.sweeps.grid import grid_of
from core.sweeps.running import Sweep
from core.workdir import Workdir
from models import TrainMode, build_model

ROOT = Path(__file__).resolve().parents[1]
SWEEPS = sorted((ROOT / 'experiments').glob('sweep-*.py'))
BASE = {**{k: v for k, v in FLAGS.items() if k not in ('seed', 'gpu', 'log', 'log_frame0')}, 'lr': 0.05, 'E': 2,
        'train_N': 200, 'test_N': 50, 'train_mode': TrainMode.NORMAL, 'print': False,
        'model': {'description': [['F', 8], ['F', 10, {'act': False}]], 'init': {'weight': 'he_normal'}}}
SWEEP = {
    'base': BASE,
    'axes': {'noise': {'0': {}, '0.5': {'label_noise': 0.5}},
             'loss': {'cross entropy': {}, 'Margin, L2': {'objective': {'type': 'large-margin', 'top_k': 1}}}},
    'seeds': [1, 2],
}
ONE = {**SWEEP, 'axes': {'noise': SWEEP['axes']['noise']}, 'seeds': [1]}

pytestmark = pytest.mark.usefixtures('eagerly')  # runs of four steps an epoch


def sweep(config=SWEEP, path='sweep', settings=None, place=Path()):
    return Sweep(grid_of(config, place), SweepDirectory(path), 'sweep-test', settings, {'gpu': 'cpu'})


def rng(seed=0):
    return np.random.default_rng(seed)


# ---- subsets ----

@pytest.mark.parametrize('n, fraction, expected', [
    (55000, 0.00125, 68), (1000, 0.29, 290), (100, 0.001, 0), (70, 0.1, 7), (10, 1.0, 10)])
def test_a_fraction_has_the_whole_part_of_its_images(n, fraction, expected):
    y = np.arange(n) % 10
    chosen = stratified(y, fraction, rng())
    assert len(chosen) == len(set(chosen)) == expected and (np.diff(chosen) > 0).all()


def test_a_fraction_keeps_every_class_s_share_to_the_largest_remainders():
    y = np.repeat([0, 1, 2, 5], [50, 30, 15, 5])[rng(7).permutation(100)]
    counts = np.bincount(y[stratified(y, 0.25, rng())], minlength=6)
    assert counts.tolist() == [13, 7, 4, 0, 0, 1]  # of 12.5, 7.5, 3.75 and 1.25: remainders .75, then .5 of class 0
    mnist_like = np.repeat(np.arange(10), rng(1).integers(5000, 6000, 10))
    counts = np.bincount(mnist_like[stratified(mnist_like, 0.01, rng())])
    shares = 0.01 * np.bincount(mnist_like)
    assert (np.abs(counts - shares) < 1).all()


def test_a_smaller_fraction_is_part_of_a_larger_one_and_differs_by_seed():
    y = np.arange(1000) % 10
    small, large, other = stratified(y, 0.1, rng(3)), stratified(y, 0.5, rng(3)), stratified(y, 0.1, rng(4))
    assert set(small) < set(large) and set(small) != set(other)
    assert len(set(small) & set(range(100))) < 50, 'drawn at random, not the first of each class'


@pytest.mark.parametrize('share, expected', [(0.0, 0), (0.2, 200), (0.6, 600), (0.0007, 1), (1.0, 1000)])
def test_exactly_a_share_of_the_labels_is_switched_to_others(share, expected):
    y = np.arange(1000) % 10
    labels, switched = switch_labels(y, share, np.arange(10), rng())
    assert len(switched) == expected and labels.dtype == y.dtype and (y == np.arange(1000) % 10).all()
    assert np.flatnonzero(labels != y).tolist() == switched.tolist()


def test_a_switched_label_is_any_other_class_alike_and_no_class_that_there_is_not():
    y = np.repeat([0, 3, 4, 9], 9000)
    labels, switched = switch_labels(y, 0.5, np.array([0, 3, 4, 9]), rng())
    assert len(switched) == 18000
    for c in (0, 3, 4, 9):
        of_class = labels[switched][y[switched] == c]
        assert 4200 < len(of_class) < 4800, 'labels of every class alike are switched'
        values, counts = np.unique(of_class, return_counts=True)
        assert set(values) == {0, 3, 4, 9} - {c} and (abs(counts - len(of_class) / 3) < 4 * len(of_class) ** 0.5).all()


# ---- runs on subsets ----

def test_a_run_is_trained_on_its_subset_and_measured_on_the_clean_test_set(monkeypatch):
    seen = []
    original = core.Core.fetch_dataset
    monkeypatch.setattr(core.Core, 'fetch_dataset', lambda self: (original(self), seen.append(self.dataset))[0])
    flags = {**BASE, 'E': 1, 'train_fraction': 0.5, 'label_noise': 0.2, 'gpu': 'cpu'}
    for log, seed, noise in (('a', 1, 0.2), ('b', 1, 0.2), ('c', 2, 0.2), ('d', 1, 0.4)):
        core.run({**flags, 'seed': seed, 'log': log, 'label_noise': noise})
    clean_x, clean_y = (t[:200] for t in core.get_dataset('digits').train)
    test_x, test_y = (t[:50] for t in core.get_dataset('digits').test)
    for ((x, y), _, test), log, switched in zip(seen, 'abcd', (20, 20, 20, 40)):
        np.testing.assert_array_equal(test[0], test_x)
        np.testing.assert_array_equal(test[1], test_y)
        places = [next(i for i, image in enumerate(clean_x) if (image == each).all()) for each in x.numpy()]
        assert len(set(places)) == 100 and (clean_y[places] != y.numpy()).sum() == switched
        record = Workdir(log).read_flags()
        assert record['labels_switched'] == switched and record['images'] == {'train': 100, 'test': 50}
        assert record['flags']['train_fraction'] == 0.5
    a, b, c, d = (tuple(t.numpy() for t in data[0]) for data in seen)
    np.testing.assert_array_equal(a[1], b[1])
    assert not np.array_equal(a[0], c[0]) and np.array_equal(a[0], d[0]), 'noise leaves the choice of images alone'


@pytest.mark.parametrize('flags, message', [
    ({'label_noise': 1.5}, 'label_noise must be a number from 0 to 1'),
    ({'train_fraction': 0}, 'train_fraction must be a number above 0 and at most 1'),
    ({'train_fraction': 0.001}, 'train_fraction is 0.001, which leaves none of the 200 training images'),
    ({'train_fraction': 0.1}, 'B is 50, more than the 20 training images')])
def test_subsets_that_cannot_be_are_refused(flags, message):
    with pytest.raises(UserError, match=message):
        core.run({**BASE, **flags, 'gpu': 'cpu', 'log': 'run'})
    assert not Path('run').exists()


@pytest.mark.long
def test_an_evaluation_and_a_resumed_run_see_the_training_set_of_the_run():
    flags = {**BASE, 'train_N': 300, 'train_fraction': 0.5, 'label_noise': 0.3, 'seed': 5, 'B': 20, 'gpu': 'cpu'}
    core.run({**flags, 'E': 2, 'log': 'twice'})
    lines = list(Workdir('twice').read_history())
    core.run({**flags, 'E': 1, 'log': 'run'})
    core.run({**flags, 'E': 2, 'resume': 'run'})
    assert list(Workdir('run').read_history())[-1]['stats'] == lines[-1]['stats']
    attack = {'task': 'attack', 'log': 'run', 'attack_type': 'FGSM', 'eid': 2, 'gpu': 'cpu', 'attack_B': 150}
    for seed in (5, 6):
        core.run({**attack, 'eval_log': f'out-{seed}', 'seed': seed})
        part = Workdir(f'out-{seed}').read_part(2, 0)
        assert len(part['label']) == 150
        assert (part['clean_class'] == part['label']).mean() == pytest.approx(lines[-1]['stats']['acc'], abs=1e-9)
    core.run({**attack, 'eval_log': 'clean', 'label_noise': 0.0, 'seed': 6})
    other = Workdir('clean').read_part(2, 0)
    np.testing.assert_array_equal(other['clean'], part['clean'])
    assert (other['label'] != part['label']).sum() == 45
    peek = core.run({'task': 'train_peek', 'log': 'run', 'eid': 2, 'E': 1, 'B': 20, 'lr': 1e-9, 'seed': 8, 'gpu': 'cpu',
                     'loss_ub': 1e9})
    assert peek[2][0][0]['acc'] == lines[-1]['stats']['acc']


# ---- the grid ----

def test_a_grid_is_every_point_of_its_axes_by_seeds():
    runs = grid_of(SWEEP, Path()).runs({'E': 3})
    assert [run.name for run in runs[:5]] == [
        'noise-0/cross-entropy/seed-1', 'noise-0/margin-l2/seed-1', 'noise-0.5/cross-entropy/seed-1',
        'noise-0.5/margin-l2/seed-1', 'noise-0/cross-entropy/seed-2']
    assert len(runs) == 8 and runs[3].labels == {'noise': '0.5', 'loss': 'Margin, L2'} and runs[4].seed == 2
    assert runs[3].flags == {**BASE, 'E': 3, 'label_noise': 0.5, **SWEEP['axes']['loss']['Margin, L2']}


def test_a_variant_changes_what_it_says_of_another_sweep():
    Path('sweep-whole.py').write_text('SWEEP = {"base": {"E": 5, "model": {"description": [["F", 10]], "opt": "gd"}}, '
                                      '"axes": {"a": {"x": {}}, "b": {"y": {"B": 3}}}, "seeds": [1, 2]}')
    grid = grid_of({'like': 'sweep-whole', 'base': {'E': 1, 'model.act_type': 'linear'}, 'seeds': [3],
                    'axes': {'a': {'u': {}, 'v': {}}}}, Path())
    assert grid.base == {'E': 1, 'model': {'description': [['F', 10]], 'opt': 'gd', 'act_type': 'linear'}}
    assert list(grid.axes) == ['a', 'b'] and list(grid.axes['a']) == ['u', 'v'] and grid.seeds == (3,)
    with pytest.raises(UserError, match="'like' must be the name of another sweep"):
        grid_of({'like': 'sweep-none'}, Path())
    Path('sweep-itself.py').write_text('SWEEP = {"like": "sweep-itself"}')
    with pytest.raises(UserError, match="'like' leads round in a circle: sweep-itself is like sweep-itself"):
        grid_of({'like': 'sweep-itself'}, Path())


@pytest.mark.parametrize('changes, message', [
    ({'axis': {}}, "a sweep has no 'axis'; did you mean 'axes'"),
    ({'axes': {}}, "a sweep needs 'axes'"),
    ({'axes': {'noise': {0.5: {}}}}, "the axis 'noise' must be a dictionary of label -> flags, labels being strings"),
    ({'seeds': [True]}, "a sweep needs 'seeds', a list of whole numbers of at least 0, not"),
    ({'axes': {'a': {'X Y': {}, 'x-y': {}}}}, 'two runs would have the name x-y/seed-1'),
    ({'axes': {'a': {'...': {}}}}, "the axis 'a' has the label '...', of which no directory can be named"),
    ({'axes': {'a': {'x': {'label_nose': 1}}}}, "there is no flag 'label_nose'; did you mean 'label_noise'"),
    ({'axes': {'a': {'x': {'E': 0}}}}, 'x/seed-1: E must be a number of epochs'),
    ({'evaluations': {'e': {'task': 'train'}}}, "the evaluation 'e' must be a dictionary of flags whose 'task' is"),
    ({'evaluations': {'e/f': {}}}, 'an evaluation of a sweep is named by letters'),
    ({'evaluations': {'e': {'task': 'attack', 'atack_N': 3}}}, "there is no flag 'atack_N'; did you mean 'attack_N'"),
    ({'evaluations': {'e': {'task': 'attack', 'log': {'run': {'loss': 'l3'}}}}}, "names a run by 'loss': 'l3'"),
])
def test_a_sweep_that_is_none_is_refused_in_a_sentence(changes, message):
    with pytest.raises(UserError, match=message.replace('.', r'\.')):
        sweep({**SWEEP, **changes})
    assert not Path('sweep').exists()


@pytest.mark.parametrize('settings, message', [
    ({'label_noise': 0.1}, "label_noise is what the axis 'noise' of this sweep varies"),
    ({'objective.gamma': 0.1}, "objective is what the axis 'loss' of this sweep varies"),
    ({'seed': 1}, '--seed 4 runs the grid with another'), ({'log': 'x'}, 'log cannot be set for the runs of a sweep')])
def test_what_an_axis_varies_cannot_be_set(settings, message):
    with pytest.raises(UserError, match=message):
        sweep(settings=settings)


# ---- running ----

@pytest.fixture(scope='module')
def finished(tmp_path_factory):
    """The sweep, run from beginning to end, and what it printed."""
    path = tmp_path_factory.mktemp('sweep') / 'sweep'
    with in_eager_mode():
        assert sweep(path=str(path)).run() == 0
    return path, (path / 'stdout').read_text()


def accuracies(path):
    found = {}
    for run in SweepDirectory(path).planned():
        *_, end = Workdir(f'{path}/{run.name}').read_history()
        found[run.name] = end['stats']['test_acc']
    return found


@pytest.mark.long
def test_a_sweep_leaves_a_directory_for_each_run_and_prints_a_line_for_each(finished):
    path, out = finished
    lines = out.strip().split('\n')
    assert len(lines) == 9 and lines[-1] == '8 of 8 runs are finished'
    for k, (line, (name, accuracy)) in enumerate(zip(lines, accuracies(path).items()), start=1):
        assert line.startswith(f'{k} of 8  {name}  test accuracy {100 * accuracy:.2f} %  ')
        assert ('to go' in line) == (k < 8)
        text = (path / name / 'stdout').read_text()
        assert text.count('epoch #') == 2, "a run's own lines are in its own file"
    record = Workdir(path / 'noise-0.5/margin-l2/seed-2').read_flags()
    assert (record['flags']['seed'], record['flags']['label_noise'], record['labels_switched']) == (2, 0.5, 100)
    assert record['flags']['objective'] == {'type': 'large-margin', 'top_k': 1} and record['name'] == 'sweep-test'


@pytest.mark.long
def test_a_run_of_a_sweep_is_the_run_that_would_be_made_alone(finished):
    path, _ = finished
    res = core.run({**BASE, 'seed': 2, 'label_noise': 0.5, 'gpu': 'cpu', 'log': 'alone'})
    lines = list(Workdir(path / 'noise-0.5/cross-entropy/seed-2').read_history())
    assert lines[-1]['stats'] == {k: v for k, v in res['raw'][2]['stats'].items()}


@pytest.mark.long
def test_what_is_finished_is_skipped_and_what_is_missing_made(finished, capsys):
    shutil.copytree(finished[0], 'sweep')
    before = {p: p.stat().st_mtime_ns for p in Path('sweep').rglob('res')}
    expected = accuracies('sweep')
    shutil.rmtree('sweep/noise-0.5/cross-entropy/seed-1')
    Path('sweep/noise-0/margin-l2/seed-2/lock').touch()  # as of a process that was killed
    assert sweep().run() == 0
    out = capsys.readouterr().out
    assert out.startswith('6 of 8 runs are finished\n') and out.count('test accuracy') == 2
    assert '1 of 2  noise-0.5/cross-entropy/seed-1  test' in out and '2 of 2  noise-0/margin-l2/seed-2  test' in out
    assert accuracies('sweep') == expected
    again = {str(p.parent) for p, t in before.items() if p.stat().st_mtime_ns != t}
    assert again == {'sweep/noise-0.5/cross-entropy/seed-1', 'sweep/noise-0/margin-l2/seed-2'}


@pytest.mark.long
def test_a_sweep_that_was_interrupted_goes_on_to_the_same_numbers(finished, monkeypatch):
    """Ctrl-C in the second epoch of the last but one."""
    from core.tasks import epochs as training
    shutil.copytree(finished[0], 'sweep')
    for name in ('cross-entropy', 'margin-l2'):
        shutil.rmtree(f'sweep/noise-0.5/{name}/seed-2')
    epochs, original = [], training.Training._attempt

    def attempt(self, *args):
        epochs.append(args)
        if len(epochs) == 2:
            os.kill(os.getpid(), signal.SIGINT)
        return original(self, *args)
    monkeypatch.setattr(training.Training, '_attempt', attempt)
    with pytest.raises(KeyboardInterrupt):
        sweep().run()
    assert not SweepDirectory('sweep').lock_path.exists()
    assert sweep().listing().split('\n')[-3].split() == ['noise-0.5/cross-entropy/seed-2', '1', 'of', '2', 'epochs']
    assert sweep().run() == 0
    assert len(epochs) == 2 + 1 + 2, 'it goes on with its second epoch, rather than begins again'
    assert accuracies('sweep') == accuracies(finished[0])


@pytest.mark.long
def test_a_run_that_fails_is_a_line_and_the_others_are_made(capsys):
    config = {**ONE, 'axes': {'rate': {'1e20': {'lr': 1e20, 'loss_ub': 10.0}, '0.05': {}}}}
    assert sweep(config).run() == 1
    lines = capsys.readouterr().out.strip().split('\n')
    assert lines[0].startswith('1 of 2  rate-1e20/seed-1  failed: epoch 1: ')
    assert '  rate-0.05/seed-1  test accuracy' in lines[1] and lines[2] == '1 of 2 runs are finished, 1 failed'
    assert sweep(config).run() == 1, 'it is tried again'


@pytest.mark.long
def test_other_settings_are_refused_and_those_it_was_begun_with_remembered(finished, capsys):
    path, _ = finished
    sweep(path=path, settings={'print': True})
    for settings, message in (({'E': 3}, 'E=2, so it cannot go on with E=3'),
                              ({'lr': 0.1}, 'lr=0.05, so it cannot go on with lr=0.1')):
        with pytest.raises(UserError, match=f'was begun with {message}; name another directory with --log'):
            sweep(path=path, settings=settings)
    changed = {**SWEEP, 'axes': {**SWEEP['axes'], 'noise': {'0': {'label_noise': 0.1}}}}
    with pytest.raises(UserError, match='was begun with label_noise=0.0, so it cannot go on with label_noise=0.1'):
        sweep(changed, path=path)
    one = {**ONE, 'axes': {'noise': {'0': {}}}}
    assert sweep(one, settings={'E': 1, 'lr': 0.02}).run() == 0
    capsys.readouterr()
    assert sweep(one).run() == 0
    assert capsys.readouterr().out == 'going on with --set E=1 --set lr=0.02\n' + '1 of 1 runs are finished\n' * 2
    with pytest.raises(UserError, match='was begun with E=1, so it cannot go on with E=2'):
        sweep(one, settings={'E': 2})


@pytest.mark.long
def test_another_seed_or_label_extends_a_sweep():
    one = {**ONE, 'axes': {'noise': {'0': {}}}, 'base': {**BASE, 'E': 1}}
    assert sweep(one).run() == 0
    first = accuracies('sweep')
    assert sweep({**one, 'seeds': [4]}).run() == 0
    assert sweep({**one, 'axes': {'noise': {'0.7': {'label_noise': 0.7}}}}).run() == 0
    record = SweepDirectory('sweep').read_sweep()
    assert {run['name'] for run in record['runs']} == {'noise-0/seed-1', 'noise-0/seed-4', 'noise-0.7/seed-1'}
    assert record['axes'] == {'noise': ['0.7', '0']}
    assert {k: v for k, v in accuracies('sweep').items() if k in first} == first


@pytest.mark.long
def test_evaluations_are_made_of_every_run_and_may_name_another(capsys, monkeypatch):
    asked = []
    config = {**ONE, 'seeds': [1, 2], 'base': {**BASE, 'E': 1}, 'evaluations': {
        'eval-own': {'task': 'certify', 'attack_N': 20, 'attack_set': 'test'},
        'eval-other': {'task': 'certify', 'attack_N': 10,
                       'init_weights': {'run': {'noise': '0', 'seed': 'next'}}}}}
    original = core.Core.run

    def run(self):
        if self.flags['init_weights']:
            asked.append((self.flags['log'], self.flags['init_weights'], self.flags['seed']))
        return original(self)
    monkeypatch.setattr(core.Core, 'run', run)
    assert sweep(config).run() == 0
    lines = capsys.readouterr().out.split('\n')
    assert len([line for line in lines if '/eval-own  accuracy ' in line]) == 4 and ' of 12  ' in lines[0]
    assert [line.split()[3] for line in lines[:3]] == ['noise-0/seed-1', 'noise-0/seed-1/eval-own', 'noise-0.5/seed-1']
    assert sorted(asked) == [
        ('sweep/noise-0.5/seed-1', 'sweep/noise-0/seed-2', 1), ('sweep/noise-0.5/seed-2', 'sweep/noise-0/seed-1', 2),
        ('sweep/noise-0/seed-1', 'sweep/noise-0/seed-2', 1), ('sweep/noise-0/seed-2', 'sweep/noise-0/seed-1', 2)]
    assert len(Workdir('sweep/noise-0/seed-1').evaluations()) == 2
    shutil.rmtree('sweep/noise-0/seed-2/eval-other')
    assert sweep(config).run() == 0 and len(asked) == 5 and sweep(config).run() == 0 and len(asked) == 5
    config['evaluations']['eval-own']['attack_N'] = 30
    with pytest.raises(UserError, match='was begun with attack_N=20 in eval-own, so it cannot go on with attack_N=30'):
        sweep(config)


# ---- figures ----

def test_figures_draw_means_and_deviations_over_seeds_of_what_is_finished(finished):
    shutil.copytree(finished[0], 'sweep')
    shutil.rmtree('sweep/noise-0.5/margin-l2')
    under_way = Workdir('sweep/noise-0/margin-l2/seed-2')
    under_way.cut_history(under_way.history_path.read_bytes().index(b'\n') + 1)  # its first epoch only
    found = accuracies(finished[0])
    drawing = core.draw('figure-large-margin-noisy', 'sweep')
    ax, = drawing.axes
    lines = {c.get_label(): c for c in ax.containers}
    assert list(lines) == ['cross entropy', 'Margin, L2']
    for name, points in (('cross entropy', [(noise, (1, 2)) for noise in ('0', '0.5')]), ('Margin, L2', [('0', (1,))])):
        data, _, (bars,) = lines[name]
        values = [[100 * found[f'noise-{noise}/{name.lower().replace(", ", "-").replace(" ", "-")}/seed-{s}']
                   for s in seeds] for noise, seeds in points]
        np.testing.assert_allclose(data.get_xdata(), [float(noise) for noise, _ in points])
        np.testing.assert_allclose(data.get_ydata(), [np.mean(v) for v in values])
        heights = [np.ptp(segment[:, 1]) / 2 for segment in bars.get_segments()]
        np.testing.assert_allclose(heights, [np.std(v, ddof=1) if len(v) > 1 else 0 for v in values])
    assert 'over 1 to 2 seeds' in drawing.get_supxlabel() and '5 of 8 runs are finished' in drawing.get_supxlabel()


@pytest.mark.long
def test_the_figure_of_few_data_names_images_and_fractions():
    config = {**ONE, 'base': {**BASE, 'B': 10, 'E': 1},
              'axes': {'loss': {'ce': {}}, 'fraction': {f'{f:g}': {'train_fraction': f} for f in (0.055, 0.5, 1)}}}
    assert sweep(config).run() == 0
    ax, = core.draw('figure-large-margin-fewdata', 'sweep').axes
    assert ax.get_xscale() == 'log' and ax.containers[0][0].get_xdata().tolist() == [11, 100, 200]
    assert [t.get_text() for t in ax.get_xticklabels()] == ['11\n5.5 %', '100\n50 %', '200\n100 %']
    with pytest.raises(UserError, match="the sweep in sweep has no axis 'noise'; it has loss, fraction"):
        core.draw('figure-large-margin-noisy', 'sweep')


def test_figures_say_what_a_directory_lacks(finished):
    Path('young').mkdir()
    SweepDirectory('young').write_sweep(sweep().record)
    with pytest.raises(core.NotYet, match='no run of the sweep in young is finished yet'):
        core.draw('figure-large-margin-noisy', 'young')
    with pytest.raises(UserError, match='seed-1 is not the directory of a sweep: it has no sweep.json'):
        core.draw('figure-large-margin-noisy', finished[0] / 'noise-0/cross-entropy/seed-1')


def test_watching_a_sweep_draws_it_when_a_run_has_ended(finished, monkeypatch, capsys):
    shutil.copytree(finished[0], 'sweep')
    shutil.move('sweep/noise-0/cross-entropy/seed-2', 'later')
    counts = []

    def draw(runs):
        counts.append(core.draw('figure-large-margin-noisy', *[r.path for r in runs]).get_supxlabel().split('\n')[1])
        return plot_app.Figure()
    monkeypatch.setattr(plot_app.time, 'sleep',
                        lambda seconds: shutil.move('later', 'sweep/noise-0/cross-entropy/seed-2'))
    plot_app.watch([Path('figure.png')], draw, [plot_app.opened('sweep')], 1.0)
    assert counts == ['7 of 8 runs are finished', '8 of 8 runs are finished']


# ---- the command line and the config files ----

def start(server, *args):
    """Starts a sweep of four runs."""
    like = ROOT / 'experiments/sweep-large-margin-digits-noisy.py'
    sweep = {'like': str(like), 'axes': {'noise': {'0': {}, '0.2': {'label_noise': 0.2}}}}
    Path('sweep-few.py').write_text(f'import core\n\nif __name__ == "__main__":\n    core.sweep_start({sweep!r})\n')
    return server.start('sweep-few.py', '--gpu', 'cpu', '--set', 'E=2', '--seed', '1', *args)


@pytest.mark.long
def test_ctrl_c_says_how_to_go_on_and_the_same_command_does(server):
    process = start(server)
    while process.stdout.count('\n') < 2:
        assert process.poll() is None, process.stderr
        time.sleep(0.05)
    first, second, *_ = process.stdout.split('\n')
    assert first == '4 runs in logs/sweep-few'
    assert second.startswith('1 of 4  noise-0/cross-entropy/seed-1  test accuracy')
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    process.wait()
    err = process.stderr
    assert process.returncode == 1 and 'Traceback' not in err
    assert err.rstrip().endswith('interrupted; what was finished is saved, and the same command goes on: ./run.sh '
                                 'sweep-few.py --gpu cpu --set E=2 --seed 1')
    done = start(server)
    assert done.wait() == 0 and done.stdout.rstrip().endswith('4 of 4 runs are finished'), done.stderr
    assert 'retracing' not in done.stderr
    listed = start(server, '--list')
    assert listed.wait() == 0
    assert listed.stdout.count('test accuracy') == 4 and listed.stdout.endswith('4 of 4 runs are finished\n')
    refused = start(server, '--set', 'B=10')
    assert refused.wait() == 1 and 'was begun with B=20, so it cannot go on with B=10' in refused.stderr


@pytest.mark.long(after=3)
@pytest.mark.parametrize('path', SWEEPS, ids=lambda p: p.stem)
def test_a_sweep_s_config_file_builds(path):
    config = runpy.run_path(str(path))['SWEEP']
    runs = grid_of(config, path.parent).runs({})
    for run in runs[:len(runs) // len({run.seed for run in runs})]:
        flags = merge(run.flags)
        objective_from(flags, scheduler_of(flags['lr']))
    shape = {'mnist': (28, 28, 1), 'digits': (8, 8, 1), 'cifar10': (32, 32, 3)}[flags['dataset']]
    build_model(flags['arch'], shape, flags['train_mode'], **flags['model'])
    assert f'./run.sh  {path.stem}' in path.read_text() and len(runs) >= 8
    sizes = {'mnist': 60000, 'digits': 1442, 'cifar10': 50000}
    for run in runs:
        n = run.flags.get('train_N', sizes[run.flags['dataset']])
        assert run.flags['B'] <= int(n * run.flags.get('train_fraction', 1)), run.name
