"""Joining attack evaluations: of each image the worst that any of them found, and no other images than all have."""

from __future__ import annotations

import json
import runpy
import shutil
from pathlib import Path

import numpy as np
import pytest
from conftest import in_eager_mode
from runs import train

import core
from core import UserError
from core.plotting.histories import distances
from core.workdir import Workdir
from models import TrainMode

pytestmark = pytest.mark.long  # of a run each, whose making takes most of the time

EVALS = Path(__file__).resolve().parents[1] / 'evals'
BUDGETS = [0.02, 0.06, 0.15]
UNION = {**runpy.run_path(str(EVALS / 'eval-union.py'))['FLAGS'], 'gpu': 'cpu'}


def attacked(run, name, **flags):
    flags = {'task': 'attack', 'attack_set': 'test', 'attack_N': 30, 'attack_B': 16, 'seed': 1, 'gpu': 'cpu', **flags}
    core.core.Core({**flags, 'log': str(run), 'eval_log': str(run / name / '1')}, name=name).run()


def joined(run, **flags):
    """The union's summary of the last epoch, and its images."""
    made = core.core.Core({**UNION, 'log': str(run), **flags}, name='eval-union')
    made.run()
    out = Workdir(made.flags['eval_log'])
    return out.read_summary(), out.read_part(2, 0)


@pytest.fixture(scope='module')
def run(tmp_path_factory):
    """A short run; two attacks within budgets, of which neither finds all that the other does, and one in L2."""
    path = tmp_path_factory.mktemp('union') / 'run'
    with in_eager_mode():
        train(train_N=120, test_N=60, B=40, E=2, print=False, lr=0.05, train_mode=TrainMode.NORMAL, log=str(path),
              model={'description': [['F', 10, {'act': False}]], 'init': {'weight': 'he_normal'}, 'opt': 'adam'})
        attacked(path, 'eval-one', attack_type='PGD', attack_K=2, attack_E=1, attack_eps_list=BUDGETS[:2], lr=0.6)
        attacked(path, 'eval-two', attack_type='SQUARE', attack_K=60, attack_eps_list=BUDGETS[1:], attack_N=25)
        attacked(path, 'eval-l2', attack_type='DDN', attack_K=5, attack_N=10)
    return path


def parts(run, name, n):
    place = Workdir(run / name / '1')
    several = [place.read_part(2, start) for start in place.parts()[2]]
    return {k: np.concatenate([p[k] for p in several])[:n] for k in several[0] if k != 'time'}


def test_an_image_is_as_robust_as_the_attack_that_came_nearest_says(run, capsys):
    summary, made = joined(run)
    assert summary['norm'] == 'Linf' and summary['joined'] == ['eval-one/1', 'eval-two/1']
    said = capsys.readouterr().out
    assert 'joined: eval-one/1 (PGD)' in said and 'eval-l2/1 is left out: it is in L2' in said
    one, two = (parts(run, name, 25) for name in ('eval-one', 'eval-two'))
    numbers = summary['epochs']['2']
    assert numbers['images'] == 25, 'that both have'
    np.testing.assert_array_equal(made['eps'], np.minimum(one['eps'], two['eps']))
    for eps in BUDGETS:
        assert numbers['robust_accuracy'][f'{eps:g}'] == pytest.approx((made['eps'] > eps).mean())
    first = one['eps'] < two['eps']
    np.testing.assert_array_equal(made['images'][first], one['images'][first])
    np.testing.assert_array_equal(made['images'][two['eps'] < one['eps']], two['images'][two['eps'] < one['eps']])
    assert first.any() and (two['eps'] < one['eps']).any(), 'each is the better one somewhere'
    wrong = one['eps'] == 0
    assert sum(numbers['broken_by'].values()) == made['success'].sum() - wrong.sum()
    np.testing.assert_array_equal(made['by'] == 1, (two['eps'] < one['eps']) | (
        (two['eps'] == one['eps']) & (two['distances'] < one['distances']) & ~wrong))
    assert numbers['only_by']['eval-one/1'] == (one['success'] & ~two['success']).sum()
    assert numbers['accuracy'] == pytest.approx((~wrong).mean())
    np.testing.assert_array_equal(distances(Workdir(run))['test'][0].sizes, parts(run, 'eval-l2', 10)['distances'])


def test_evaluations_in_one_norm_may_be_within_budgets_and_not(run):
    with in_eager_mode():
        attacked(run, 'eval-fab', attack_type='FAB', attack_K=5, attack_options={'norm': 'Linf'}, attack_N=20)
    summary, made = joined(run, options={'evaluations': ['eval-two/1', str(run / 'eval-fab' / '1')]})
    two, fab = (parts(run, name, 20) for name in ('eval-two', 'eval-fab'))
    np.testing.assert_array_equal(made['distances'], np.minimum(two['distances'], fab['distances']))
    assert 'eps' not in made
    robust = summary['epochs']['2']['robust_accuracy']
    assert robust['0.15'] == pytest.approx(((two['eps'] > 0.15) & (fab['distances'] > 0.15)).mean())


def test_an_evaluation_of_another_epoch_is_left_out_and_a_union_that_is_repeated_is_the_same(run):
    copy = Path(shutil.copytree(run, 'run'))
    shutil.copytree(copy / 'eval-one', copy / 'eval-old')
    flags = json.loads((copy / 'eval-old/1/flags.json').read_text())
    (copy / 'eval-old/1/flags.json').write_text(json.dumps({**flags, 'models': {'1': 'f' * 64}}))
    for _ in range(2):
        made = core.core.Core({**UNION, 'log': str(copy), 'eval_log': 'out'}, {}, [('eid', 'last')], name='eval-union')
        made.run()
        said = Path('out/stdout').read_text()
        assert 'eval-old/1 is left out: it has no epoch 2 (--set eid=1 joins those of 1)' in said
        joined_now = Workdir('out').read_summary()['joined']
        assert {'eval-one/1', 'eval-two/1'} <= {*joined_now} and 'eval-old/1' not in joined_now


def test_evaluations_of_other_images_or_models_are_refused(run):
    record = json.loads((run / 'eval-two' / '1' / 'flags.json').read_text())
    other = Workdir(run.parent / 'other')
    train_set = {**record['flags'], 'attack_set': 'train'}
    for change, message in (({'flags': train_set}, 'images of the set test, and .*train'),
                            ({'models': {'2': 'f' * 64}}, 'attacked another model than the one that is epoch 2'),
                            ({'models': {'1': 'f' * 64}}, 'have no epoch in common: eval-one/1 2, '),
                            ({'norm': 'L2'}, 'in the norm Linf, and .*L2')):
        other.path.mkdir(exist_ok=True)
        other.flags_path.write_text(json.dumps({**record, **change}))
        other.summary_path.write_bytes((run / 'eval-two' / '1' / 'summary.json').read_bytes())
        with pytest.raises(UserError, match=message):
            joined(run, options={'evaluations': ['eval-one/1', str(other.path)]})
    with pytest.raises(UserError, match='nothing/1 is not the directory of an attack evaluation'):
        joined(run, options={'evaluations': ['nothing/1']})
    with pytest.raises(UserError, match='no finished attack evaluation of the test set in the norm L1 to join'):
        joined(run, norm='L1')
