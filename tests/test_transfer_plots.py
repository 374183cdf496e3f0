"""figure-large-margin-whitebox and -blackbox, and the names of losses, from directories written by hand."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import core
from core import NotYet, UserError
from core.plotting.labels import by_settings, objective_label
from core.workdir import Workdir

MARGIN = {'type': 'large-margin', 'norm': 2, 'gamma': 0.5}


def run_at(path: str, objective='cross-entropy', seed: int = 1, **flags) -> None:
    run = Workdir.create(path, parent=Path())
    run.write_flags({'flags': {'objective': objective, 'seed': seed, 'train_N': 'all', 'log': path, **flags}})
    run.append_history({'eid': 1, 'cmd': 'go', 'stats': {}})


def evaluated(path: str, accuracies, attack='FGSM', box='white', source=None, eid=3, date='20260101_000000', images=100,
              eps=(0.1, 0.3)) -> None:
    """An evaluation with these accuracies, the first that of clean images."""
    out = Workdir.create(f'{path}/eval-{box}box-{attack.lower()}/{date}', parent=Path())
    out.write_flags({'flags': {'task': 'transfer'}})
    epoch = {'images': images, 'accuracy': accuracies[0],
             'accuracy_under_attack': {f'{e:g}': a for e, a in zip(eps, accuracies[1:])}}
    out.write_summary({'box': box, 'attack': attack, 'steps': {'FGSM': 1, 'IFGSM': 10}[attack], 'eps': list(eps),
                       'source': source and {'run': source, 'eid': 3}, 'settings': {'attack_set': 'test'},
                       'epochs': {1: {**epoch, 'accuracy': 0}, eid: epoch}})


def lines(figure):
    """Panel -> label -> sizes, means and standard deviations, in per cent."""
    found = {}
    for ax in figure.axes:
        panel = found.setdefault(ax.get_title().split('\n')[0], {})
        for drawn in ax.containers:
            line, _, bars = drawn.lines
            eps, mean = line.get_data()
            spread = [np.diff(segment[:, 1])[0] / 2 for segment in bars[0].get_segments()] if bars else None
            panel[drawn.get_label()] = list(eps), list(mean), spread
    return found


def test_lines_are_means_over_seeds_with_their_standard_deviation():
    for seed, (clean, small, large) in enumerate([(1, 0.8, 0.2), (0.9, 0.6, 0.1), (0.95, 0.4, 0)], start=1):
        run_at(f'sweep/ce/seed-{seed}', seed=seed, E=seed)
        evaluated(f'sweep/ce/seed-{seed}', (clean, small, large))
    run_at('sweep/deep/er/margin', MARGIN)
    evaluated('sweep/deep/er/margin', (1, 0.5, 0.4))
    evaluated('sweep/deep/er/margin', (1, 0.5, 0.3), 'IFGSM')
    found = lines(core.draw('figure-large-margin-whitebox', 'sweep'))
    assert list(found) == ['FGSM', 'IFGSM, 10 steps']
    assert list(found['FGSM']) == ['cross entropy (3 seeds)', 'l2 margin, all layers (1 seed)']
    eps, mean, spread = found['FGSM']['cross entropy (3 seeds)']
    assert eps == [0, 0.1, 0.3]
    np.testing.assert_allclose(mean, [95, 60, 10])
    np.testing.assert_allclose(spread, [5, 20, 10])
    assert found['FGSM']['l2 margin, all layers (1 seed)'] == ([0, 0.1, 0.3], [100, 50, 40], None)
    assert found['IFGSM, 10 steps'] == {'l2 margin, all layers (1 seed)': ([0, 0.1, 0.3], [100, 50, 30], None)}


def test_a_run_counts_once_with_its_fullest_and_latest_evaluation_of_that_box():
    run_at('run')
    run_at('other', seed=2)
    evaluated('run', (1, 0.1, 0.1), images=50, date='20260103_000000')
    evaluated('run', (1, 0.2, 0.2), date='20260101_000000')
    evaluated('run', (1, 0.3, 0.3), date='20260102_000000')
    evaluated('run', (1, 0.9, 0.8), box='black', source='other')
    evaluated('other', (1, 0.5, 0.5), box='black', source=str(Path('other').resolve()))
    (found,) = lines(core.draw('figure-large-margin-whitebox', 'run', 'other')).values()
    assert found == {'cross entropy (1 seed)': ([0, 0.1, 0.3], [100, 30, 30], None)}
    figure = core.draw('figure-large-margin-blackbox', 'run', 'other')
    (found,) = lines(figure).values()
    assert found == {'cross entropy (1 seed)': ([0, 0.1, 0.3], [100, 90, 80], None)}, 'not the one of the run itself'
    assert figure.axes[0].get_title() == 'FGSM\ntest set, 100 images\nmade on another network'


def test_only_sizes_that_all_seeds_have_are_drawn():
    for seed, eps in ((1, (0.1, 0.2)), (2, (0.2, 0.3))):
        run_at(f'sweep/{seed}', seed=seed)
        evaluated(f'sweep/{seed}', (1, 0.5, 0.25), eps=eps)
    assert lines(core.draw('figure-large-margin-whitebox', 'sweep'))['FGSM']['cross entropy (2 seeds)'][0] == [0, 0.2]
    run_at('sweep/3', seed=3)
    evaluated('sweep/3', (1, 0.5), eps=(0.4,))
    with pytest.raises(UserError, match='the evaluations of cross entropy have no size of perturbation in common'):
        core.draw('figure-large-margin-whitebox', 'sweep')


def test_what_cannot_be_drawn_is_refused():
    run_at('sweep/run')
    Path('empty').mkdir()
    with pytest.raises(NotYet, match='sweep has no run that was measured in a black box yet; ./eval.sh eval-blackbox'):
        core.draw('figure-large-margin-blackbox', 'sweep')
    for path in ('empty', 'nowhere'):
        with pytest.raises(UserError, match=f'{path} is not the working directory of a run, and has none below it'):
            core.draw('figure-large-margin-blackbox', path)


@pytest.mark.parametrize('objective, label', [
    ('cross-entropy', 'cross entropy'),
    ('large-margin', 'l2 margin, all layers'),
    ({'type': 'large-margin', 'norm': 'inf', 'layers': ['input']}, 'l∞ margin, input'),
    ({'type': 'large-margin', 'norm': 1.0, 'layers': 'hidden'}, 'l1 margin, hidden layers'),
    ({'type': 'large-margin', 'layers': ['input', 'stage3']}, 'l2 margin, input, stage3'),
    ({'type': 'large-margin-released'}, 'l∞ margin as released, all layers'),
    ([{'type': 'large-margin'}, {'type': 'cross-entropy', 'weight': 0.5}, {'type': 'large-margin', 'weight': 0}],
     'l2 margin, all layers + 0.5 × cross entropy'),
    ('something-new', 'something-new')])
def test_losses_have_readable_names(objective, label):
    assert objective_label({'objective': objective}) == objective_label(json.loads(json.dumps(
        {'objective': objective}))) == label
    assert objective_label({}) == 'cross entropy', 'a run of before there were others'


def test_runs_that_differ_in_more_than_the_seed_are_told_apart():
    run_at('a', MARGIN, seed=1, gpu='0')
    run_at('b', MARGIN, seed=2, gpu='cpu')
    run_at('c', {**MARGIN, 'gamma': 1.0})
    run_at('d', train_N=100, model={'opt': 'gd'})
    run_at('e', train_N=100, model={'opt': 'adam'})
    found = {label: [str(run.path) for run in runs] for label, runs in by_settings(
        [Workdir(name) for name in 'abcde']).items()}
    assert found == {'cross entropy, model.opt=gd': ['d'], 'cross entropy, model.opt=adam': ['e'],
                     'l2 margin, all layers, objective.gamma=0.5': ['a', 'b'],
                     'l2 margin, all layers, objective.gamma=1.0': ['c']}
