"""The evaluations of MMA training, its table of robust accuracies and its figure of margins."""

from __future__ import annotations

import csv
import io
import runpy
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest
import tensorflow as tf
from conftest import in_eager_mode
from runs import train

import core
from core import NotYet, UserError
from core.flags import merge
from core.flags.likes import resolved
from core.tasks.arguments import attack_arguments
from core.workdir import Workdir
from models import SimpleSequential, TrainMode
from models.attacks import LossPGD

EVALS = Path(__file__).resolve().parents[1] / 'evals'
OBJECTIVE = {'type': 'mma', 'norm': 'Linf', 'hinge': 0.3, 'k': 2, 'search_steps': 4}
MONITOR = ['an-pgd', 1, {'images': 20, 'options': {'eps': 0.2, 'k': 2, 'search_steps': 4}}]
NETWORK = [['F', 10, {'act': False}]]
RUN = {'train_N': 120, 'test_N': 40, 'validation_N': 20, 'B': 50, 'E': 4, 'print': False, 'lr': 0.05,
       'train_mode': TrainMode.NORMAL, 'objective': OBJECTIVE, 'monitors': [MONITOR], 'archive': ('best', 'val_margin'),
       'model': {'description': NETWORK, 'init': {'weight': 'he_normal'}, 'opt': 'adam'}}


def evaluation(name: str, **changes) -> dict:
    """FLAGS of a config file, with changes."""
    path = EVALS / f'{name}.py'
    return {**resolved(runpy.run_path(str(path))['FLAGS'], path.parent), **changes}


@pytest.fixture(scope='module')
def measured(tmp_path_factory):
    """A short MMA run, attacked within budgets and by AN-PGD."""
    path = tmp_path_factory.mktemp('measured') / 'run'
    few = {'log': str(path), 'gpu': 'cpu', 'seed': 1, 'attack_B': 25}
    with in_eager_mode():  # takes less time than tracing
        train(**RUN, log=str(path))
        for name, its in (('eval-mma-digits', {'attack_K': 2, 'attack_E': 2, 'lr': 0.75}),
                          ('eval-margin-anpgd', {'attack_K': 2})):
            core.core.Core(evaluation(name, **few, **its, eval_log=str(path / name / '1')), name=name).run()
    return path


def joined(place: Path) -> dict[str, np.ndarray]:
    """What all parts of an evaluation have, together."""
    out = Workdir(place)
    ((eid, starts),) = out.parts().items()
    parts = [out.read_part(eid, start) for start in starts]
    return {k: np.concatenate([p[k] for p in parts]) for k in parts[0] if k != 'time'}


# ---- the evaluations ----

@pytest.mark.parametrize('name, norm, step, eps', [
    ('mnist-inf', 'Linf', 1 / 40, [0.1, 0.2, 0.3, 0.4]), ('mnist-l2', 'L2', 1 / 4, [1, 2, 3, 4]),
    ('cifar-inf', 'Linf', 1 / 4, [k / 255 for k in range(4, 33, 4)]), ('cifar-l2', 'L2', 1 / 4, [0.5, 1, 1.5, 2, 2.5])])
def test_the_evaluations_have_the_papers_settings_and_the_short_ones_their_budgets(name, norm, step, eps):
    network = {'dataset': 'digits', 'model': {'description': [['F', 10, {'act': False}]]}}
    flags = merge({**network, **evaluation(f'eval-mma-{name}')})
    assert (flags['attack_type'].name, flags['attack_set'], flags['attack_N']) == ('LOSS_PGD', 'test', 'all')
    assert flags['eid'] == 'best' and attack_arguments(flags) == {
        'k': 100, 'repeat': 10, 'a': step, 'eps_list': eps, 'norm': norm}
    short = merge({**network, **evaluation(f'eval-mma-{name}-short')})
    few = attack_arguments(short)
    assert short['attack_N'] == 1000 and (few['k'], few['repeat'], few['eps_list'], few['norm']) == (20, 2, eps, norm)
    assert few['k'] * few['a'] >= 2.5, 'the steps together reach across the ball'


def test_options_may_be_names_where_the_attack_takes_them():
    network = {'dataset': 'digits', 'model': {'description': [['F', 10, {'act': False}]]}, 'task': 'attack'}
    options = {'version': 'custom', 'attacks': ['apgd-ce', 'square']}
    flags = merge({**network, 'attack_type': 'AUTO_ATTACK', 'norm': 'L2', 'eps': 0.5, 'attack_options': options})
    assert attack_arguments(flags) == {'norm': 'L2', 'eps_list': [0.5], **options}
    flags = merge({**network, 'attack_type': 'APGD', 'attack_options': {'target_classes': 'all'}})
    assert attack_arguments(flags) == {'target_classes': 'all'}
    with pytest.raises(UserError, match='attacks must be a number'):
        attack_arguments(merge({**network, 'attack_type': 'AUTO_ATTACK', 'attack_options': {'attacks': [1]}}))


@pytest.mark.long
def test_an_image_is_broken_at_the_smallest_budget_at_which_any_restart_of_any_loss_broke_it(eagerly):
    model = SimpleSequential('m', (8, 8, 1), NETWORK, seed=4)
    x, y = (np.asarray(t)[:30] for t in core.get_dataset('digits').train)
    y = np.where(np.arange(30) < 4, y, model.net(x).numpy().argmax(axis=1))  # nearly all are right, and near
    budgets, k, a, repeat = [0.01, 0.02, 0.04, 0.2], 2, 0.4, 4
    found = LossPGD(model, budgets, k, a, repeat).attack(x, y, 5)

    wrong = model.net(x).numpy().argmax(axis=1) != y
    want, rng, ended = np.where(wrong, 0, np.inf), np.random.default_rng(5), []
    images, labels = tf.constant(x[~wrong]), tf.constant(y[~wrong])
    one = {loss: LossPGD(model, [0.2], k, a, 1, losses=[loss]) for loss in ('xent', 'cw')}
    for eps in budgets:
        for loss in ('xent', 'xent', 'cw', 'cw'):
            each = tf.fill([len(labels)], tf.constant(eps, tf.float32))
            start = one[loss].ball.start(images, each, rng.uniform(size=images.shape).astype(np.float32))
            end = one[loss].perturb_from(start, images, labels, each).numpy()
            broken = model.net(end).numpy().argmax(axis=1) != labels.numpy()
            want[~wrong] = np.minimum(want[~wrong], np.where(broken, eps, np.inf))
            ended.append(broken)
    np.testing.assert_array_equal(found.eps, want)
    assert len({*want}) >= 4 and any((a & ~b).any() for a, b in zip(ended, ended[1:])), 'restarts differ'


def test_the_summary_and_the_table_are_what_the_parts_say(measured):
    table = core.draw('table-mma', measured)
    parts, margins = joined(measured / 'eval-mma-digits/1'), joined(measured / 'eval-margin-anpgd/1')
    assert len(parts['label']) == 40
    clean = (parts['clean_class'] == parts['label']).mean()
    eps = [0.05, 0.1, 0.15, 0.2]
    robust = [(parts['distances'] > e + 1e-6).mean() for e in eps]
    assert clean > robust[0] > robust[-1], 'so that the numbers differ'
    (epoch,) = Workdir(measured / 'eval-mma-digits/1').read_summary()['epochs'].values()
    assert epoch['avg_robust_acc'] == pytest.approx(np.mean(robust))
    assert epoch['avg_acc'] == pytest.approx(np.mean([clean, *robust]))
    (row,) = csv.DictReader(io.StringIO(table.text('csv')))
    assert list(row) == ['model', 'clean', 'AvgAcc', 'AvgRobAcc', *(f'accuracy at {e:g}' for e in eps), 'mean margin']
    mean_margin = np.minimum(margins['distances'], 0.45).mean()
    expected = [clean, np.mean([clean, *robust]), np.mean(robust), *robust, mean_margin]
    np.testing.assert_allclose([float(v) for v in list(row.values())[1:]], expected, rtol=1e-3)
    assert f'| {100 * robust[1]:.2f} % |' in table.text('md') and r'$\varepsilon = 0.15$' in table.text('tex')
    (eid,) = Workdir(measured / 'eval-mma-digits/1').parts()
    assert eid == Workdir(measured).best_epoch()
    assert table.note.startswith(f'ε: L∞, test set; eval-mma-digits: LOSS_PGD, 2 restarts, 2 steps; temp: epoch {eid}')
    (epoch,) = Workdir(measured / 'eval-margin-anpgd/1').read_summary()['epochs'].values()
    assert epoch['mean_margin'] == pytest.approx(mean_margin) and 'avg_acc' not in epoch


@pytest.mark.long
def test_budgets_that_the_attack_chose_itself_have_no_averages(measured):
    core.run({'log': str(measured), 'gpu': 'cpu', 'attack_N': 10, 'task': 'attack', 'attack_K': 2, 'attack_E': 1,
              'attack_type': 'PGD', 'eval_log': 'out'})
    (epoch,) = Workdir('out').read_summary()['epochs'].values()
    assert 'avg_acc' not in epoch and 'avg_robust_acc' not in epoch and len(epoch['robust_accuracy']) > 4


# ---- the table ----

def a_run(path: str, dataset: str = 'digits', objective='cross-entropy', monitors=(), epochs=({},)) -> Workdir:
    """Writes a run with these lines of history."""
    run = Workdir(path)
    run.path.mkdir(parents=True)
    run.write_flags({'flags': {'E': len(epochs), 'dataset': dataset, 'objective': objective, 'monitors': monitors},
                     'name': Path(path).name, 'images': {'test': 100}})
    for eid, line in enumerate(epochs, start=1):
        run.append_history({'eid': eid, 'cmd': 'go', 'stats': {}, **line})
    return run


def attacked(run: Workdir, date: str, accuracy: float, robust: dict[float, float], name: str = 'eval-mma-digits',
             norm: str = 'Linf', images: int = 100, part: str = 'test', asked: int | None = None, eid: int = 1,
             doubtful: int = 0, margin: float | None = None, most: float = 0.45, **settings) -> Workdir:
    """Writes an evaluation of it."""
    out = Workdir(run.path / name / date)
    out.path.mkdir(parents=True)
    out.write_flags({'flags': {}, 'evaluation': name, 'run': str(run.path)})
    numbers = {'images': images, 'images_asked_for': asked or images, 'accuracy': accuracy,
               'doubtful': {'images': doubtful}, 'robust_accuracy': {f'{e:g}': share for e, share in robust.items()}}
    if margin is None:
        shares = list(robust.values())
        numbers.update(avg_acc=float(np.mean([accuracy, *shares])), avg_robust_acc=float(np.mean(shares)))
    else:
        numbers['mean_margin'] = margin
    settings = {'attack_set': part, 'attack_type': 'LOSS_PGD', 'attack_K': 100, 'attack_E': 10, **settings}
    out.write_summary({'task': 'attack', 'evaluation': name, 'norm': norm, 'settings': settings,
                       'epochs': {eid: numbers}, **({} if margin is None else {'most': most})})
    return out


def rows(*places) -> list[list[str]]:
    return list(csv.reader(io.StringIO(core.draw('table-mma', *places).text('csv'))))[1:]


def test_of_several_evaluations_those_of_all_runs_budgets_count_then_the_most_images_then_the_newest():
    a, b = a_run('a'), a_run('b')
    attacked(a, '1', 0.9, {0.1: 0.5}, images=50)
    attacked(a, '2', 0.91, {0.1: 0.6})
    attacked(a, '3', 0.92, {0.1: 0.7})
    attacked(a, '4', 0.93, {0.1: 0.8}, images=50)
    attacked(a, '5', 0.94, {0.1: 0.9}, part='train', images=200)
    attacked(a, '6', 0.95, {0.1: 0.4}, norm='L2', images=200)
    assert rows('a') == [['a', '0.95', '0.675', '0.4', '0.4']]
    attacked(b, '1', 0.8, {0.1: 0.3}, images=20)
    assert [row[1] for row in rows('a', 'b')] == ['0.92', '0.8']
    assert rows('a/eval-mma-digits/1') == [['a', '0.9', '0.7', '0.5', '0.5']]
    assert [row[1] for row in rows('a/eval-mma-digits/1', 'b', 'a/eval-mma-digits/4')] == ['0.9', '0.8', '0.93']


def test_the_note_says_what_a_reader_cannot_see_in_the_rows():
    a, b = a_run('a'), a_run('b')
    attacked(a, '1', 0.9, {0.1: 0.5})
    attacked(b, '1', 0.9, {0.1: 0.5}, images=40, asked=60, doubtful=3, eid=7)
    note = core.draw('table-mma', 'a', 'b').note
    assert note == ('ε: L∞, test set; eval-mma-digits: LOSS_PGD, 10 restarts, 100 steps; a: epoch 1; b: epoch 7, 40 of '
                    '100 images so far, 3 of them may be less robust than that')
    attacked(b, '2', 0.9, {0.1: 0.5}, attack_K=20, attack_E=2)
    note = core.draw('table-mma', 'a', 'b').note
    assert note == ('ε: L∞, test set; a: epoch 1, by eval-mma-digits: LOSS_PGD, 10 restarts, 100 steps; b: epoch 1, by '
                    'eval-mma-digits: LOSS_PGD, 2 restarts, 20 steps')


def test_mean_margins_join_if_they_are_of_the_same_epoch_and_norm():
    a, b = a_run('a'), a_run('b')
    for run in (a, b):
        attacked(run, '1', 0.9, {0.1: 0.5})
    attacked(a, '1', 0.9, {}, 'eval-margin-anpgd', margin=0.7, eid=2)
    attacked(a, '2', 0.9, {}, 'eval-margin-anpgd', margin=0.8, norm='L2')
    assert rows('a', 'b')[0] == ['a', '0.9', '0.7', '0.5', '0.5']
    attacked(a, '3', 0.9, {}, 'eval-margin-anpgd', margin=0.123456, images=30)
    assert [row[-1] for row in rows('a', 'b')] == ['0.1235', '']
    note = core.draw('table-mma', 'a', 'b').note
    assert '; a: epoch 1, margin of 30; b: epoch 1;' in note and note.endswith('margins beyond 0.45 count as that')
    attacked(b, '1', 0.9, {}, 'eval-margin-anpgd', margin=0.2, most=0.3)
    assert core.draw('table-mma', 'a', 'b').note.endswith('margins beyond 0.45 (a), 0.3 (b) count as that')


@pytest.mark.parametrize('eps, heads', [
    ([0.1, 0.2], ['ε = 0.1', 'ε = 0.2']), ([0.2, 0.4], ['ε = 0.2', 'ε = 0.4']),
    ([4 / 255, 32 / 255], ['ε = 4/255', 'ε = 32/255'])])
def test_budgets_are_named_as_they_are_written(eps, heads):
    attacked(a_run('a'), '1', 0.9, dict.fromkeys(eps, 0.5))
    assert [cell.markdown for cell in core.draw('table-mma', 'a').head[4:]] == heads


def test_runs_that_cannot_stand_in_one_table_are_refused_in_a_sentence():
    plain = a_run('plain')
    l2 = a_run('l2', 'mnist', {'type': 'mma', 'norm': 'L2', 'hinge': 4.0})
    a_run('cifar', 'cifar10', {'type': 'mma', 'hinge': 0.1})
    for name, command in (('plain', 'eval-mma-digits plain'), ('l2', 'eval-mma-mnist-l2 l2'),
                          ('cifar', 'eval-mma-cifar-inf cifar')):
        with pytest.raises(NotYet) as e:
            core.draw('table-mma', name)
        assert str(e.value) == (f'{name} has no evaluation of its test set within budgets yet; ./eval.sh {command} '
                                'makes one')
    attacked(plain, '1', 0.9, {0.1: 0.5, 0.2: 0.3})
    attacked(l2, '1', 0.9, {1.0: 0.5}, norm='L2')
    with pytest.raises(UserError) as e:
        core.draw('table-mma', 'plain', 'l2')
    assert str(e.value) == ('plain was attacked within L∞ 0.1, 0.2, and l2 was attacked within L2 1; a table takes '
                            'runs that were attacked within the same budgets')
    attacked(plain, '2', 0.9, {0.1: 0.5}, part='train')
    with pytest.raises(UserError, match=r'eval-mma-digits/2 is not the evaluation of a test set within budgets \('):
        core.draw('table-mma', 'plain/eval-mma-digits/2')


# ---- the figure ----

@pytest.fixture
def closed():
    yield
    plt.close('all')


def grown(n: int, most: float = 0.42, bins: int = 10, images: int = 50) -> list[dict]:
    """Lines of history of epochs in which margins grow."""
    lines = []
    for eid in range(1, n + 1):
        counts = np.bincount(np.minimum(np.arange(images) * eid // (5 * n), bins - 1), minlength=bins)
        lines.append({'objective': {'margins': {'images': images, 'mean': 0.01 * eid, 'mean_distance': 0.009 * eid,
                                                'histogram': counts.tolist(), 'most': most}},
                      'monitors': {'an-pgd': {'val_margin': 0.02 * eid, 'val_eps': 0.5, 'accuracy': 1.0}}})
    return lines


def lines_of(ax) -> list[tuple[list[float], list[float]]]:
    return [tuple(np.asarray(v, float).tolist() for v in line.get_data()) for line in ax.lines]


def test_the_figure_is_what_history_says(closed):
    objective = {'type': 'mma', 'norm': 'L2', 'hinge': 0.4}
    epochs = grown(30)
    a_run('a', objective=objective, monitors=[['an-pgd', 1, {'options': {'norm': 'L2'}}]], epochs=epochs)
    *panels, means = [ax for ax in core.draw('figure-mma-margins', 'a').findobj(plt.Axes)]
    eids = [1, 2, 5, 13, 30]
    assert [ax.get_title() for ax in panels] == [f'epoch {eid}' for eid in eids]
    for ax, eid in zip(panels, eids):
        counts = np.array(epochs[eid - 1]['objective']['margins']['histogram'])
        np.testing.assert_allclose([bar.get_height() for bar in ax.patches], 100 * counts / 50)
        np.testing.assert_allclose([bar.get_x() for bar in ax.patches], 0.042 * np.arange(10), atol=1e-12)
        assert {round(bar.get_width(), 9) for bar in ax.patches} == {0.042} and ax.get_xlim() == (0, 0.42)
        assert [line.get_xdata()[0] for line in ax.lines] == [0.01 * eid, 0.4], 'the mean, and the hinge'
        high = [100 * c / 50 for c in counts if 100 * c / 50 > ax.get_ylim()[1]]
        assert [t.get_text() for t in ax.texts] == [f'{h:.0f} %' for h in high]
    assert panels[-1].get_ylim()[1] > max(bar.get_height() for bar in panels[-1].patches) and panels[0].texts
    every = list(range(1, 31))
    assert [x for x, _ in lines_of(means)] == [every] * 3
    np.testing.assert_allclose([y for _, y in lines_of(means)], np.outer([0.01, 0.009, 0.02], every))
    assert [t.get_text() for t in means.get_legend().get_texts()] == [
        'training, as searched', 'training, true distance', 'validation']
    assert 'L2' in means.get_ylabel()


def test_runs_of_any_objective_are_drawn_by_what_they_have(closed):
    epochs = grown(3)
    a_run('mma', objective=OBJECTIVE, epochs=[{k: v for k, v in e.items() if k == 'objective'} for e in epochs])
    seldom = [{}, {'monitors': epochs[1]['monitors']}, {}]
    a_run('other', objective={'type': 'adversarial', 'eps': 0.1}, monitors=[['kkt', 1], ['an-pgd', 2]], epochs=seldom)
    in_l2 = ['an-pgd', 1, {'part': 'test', 'options': {'norm': 'L2'}}]
    a_run('test', monitors=[in_l2, ['an-pgd', 1, {'part': 'test'}]],
          epochs=[{'monitors': {'an-pgd': {'test_margin': 9.0}, 'an-pgd-2': {'test_margin': 0.3}}}])
    drawing = core.draw('figure-mma-margins', 'mma', 'other', 'test')
    *panels, means = drawing.findobj(plt.Axes)
    assert [ax.get_title() for ax in panels if ax.get_visible()] == ['epoch 1', 'epoch 2', 'epoch 3']
    assert lines_of(means)[2:] == [([2.0], [0.04]), ([1.0], [0.3])]
    colours = [line.get_color() for line in means.lines]
    assert colours[0] == colours[1] and len(set(colours)) == 3
    assert [t.get_text() for t in means.get_legend().get_texts()][2:] == ['validation', 'test', 'mma', 'other', 'test']
    (only,) = core.draw('figure-mma-margins', 'other').findobj(plt.Axes)
    assert lines_of(only) == [([2.0], [0.04])]


def test_a_run_that_still_trains_is_drawn_and_one_without_margins_or_in_another_norm_refused(closed):
    run = a_run('a', objective=OBJECTIVE, epochs=grown(4))
    with open(run.history_path, 'a') as f:
        f.write('{"eid": 5, "cmd": "g')
    assert len(lines_of(core.draw('figure-mma-margins', 'a').findobj(plt.Axes)[-1])) == 2
    nothing = {'objective': {'margins': {'images': 0, 'mean': None, 'mean_distance': None, 'histogram': [0] * 10,
                                         'most': 0.3}}}
    a_run('none', epochs=[nothing])
    with pytest.raises(NotYet) as e:
        core.draw('figure-mma-margins', 'a', 'none')
    assert str(e.value) == ("none has no margins yet: the objective 'mma' records those of training, and monitors="
                            "[('an-pgd', 1)] measures those of validation images while a run trains")
    a_run('l2', objective={**OBJECTIVE, 'norm': 'L2'}, epochs=grown(2))
    with pytest.raises(UserError) as e:
        core.draw('figure-mma-margins', 'a', 'l2')
    assert str(e.value) == 'l2 has margins in L2, and a in L∞; draw them apart'


def test_a_real_run_has_all_of_the_figures_lines(measured, closed):
    accepted = [line for line in Workdir(measured).read_history() if line['cmd'] == 'go']
    *panels, means = core.draw('figure-mma-margins', measured).findobj(plt.Axes)
    sizes, distances, validation = (y for _, y in lines_of(means))
    assert sizes == [line['objective']['margins']['mean'] for line in accepted]
    assert distances == [line['objective']['margins']['mean_distance'] for line in accepted]
    assert validation == [line['monitors']['an-pgd']['val_margin'] for line in accepted]
    for ax in panels[:4]:
        assert sum(bar.get_height() for bar in ax.patches) == pytest.approx(100)
