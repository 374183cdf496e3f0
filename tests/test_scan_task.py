"""Scans and moved runs as evaluations: what they say is what the networks at these places have."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from runs import LINEAR, linear_run, train

import core
from core import AttackType, UserError
from core.workdir import Workdir

pytestmark = pytest.mark.long  # of a run each, whose making takes most of the time

FLAGS = {'attack_set': 'train', 'gpu': 'cpu', 'seed': 1, 'attack_type': AttackType.LOSS_PGD, 'attack_K': 3,
         'attack_E': 1, 'attack_options': {'losses': ['xent']}, 'norm': 'Linf'}


@pytest.fixture(scope='module')
def run(tmp_path_factory):
    return linear_run(tmp_path_factory.mktemp('run'), E=3)


@pytest.fixture(scope='module')
def other(tmp_path_factory):
    return linear_run(tmp_path_factory.mktemp('other'), E=1, seed=2)


def measured(run, task='scan', out=None, flags=None, **options):
    res = core.run({**FLAGS, 'task': task, 'log': str(run.path), 'eval_log': out and str(out), 'options': options,
                    **(flags or {})})
    ((_, found),) = res.items()
    return found


def history_of(run):
    """Logarithms of the training loss by epochs."""
    return {line['eid']: line['stats']['log_loss'] for line in run.read_history() if line['cmd'] == 'go'}


def test_a_scan_begins_at_the_run_goes_on_after_a_kill_and_is_drawn(run, tmp_path):
    options = {'directions': ['filter', 'random'], 'ranges': [(-0.5, 0.5, 0.25), (0, 1e38, 4e37)], 'adv_calc_freq': 2}
    flags = {'attack_eps_list': [0, 0.1]}
    found = measured(run, out=tmp_path / 'out', flags=flags, **options)
    assert found['log_loss'].shape == (2, 5, 3) and found['measured'].all()
    assert found['log_loss'][0, 2, 0] == pytest.approx(history_of(run)[3], rel=1e-6)
    assert (found['log_loss'][1, ::2, 0] > found['log_loss'][0, ::2, 0]).all(), 'within a budget it is larger'
    gaps = np.isnan(found['log_loss'])
    assert gaps[:, :, 1:].all() and not gaps[:, :, 0].any()
    summary = Workdir(tmp_path / 'out').read_summary()
    assert summary['epochs']['3']['non_finite'] == gaps.sum() and summary['norm'] == 'Linf'
    assert '20 of 30 points have no finite loss' in (tmp_path / 'out/stdout').read_text()

    parts = sorted((tmp_path / 'out/parts').iterdir())
    kept, before = parts[0], parts[0].stat().st_mtime_ns
    for path in [*parts[1::2], tmp_path / 'out/scan-3.npz']:
        path.unlink()  # as if it had been stopped in the middle
    again = measured(run, out=tmp_path / 'out', flags=flags, **options)
    assert kept.stat().st_mtime_ns == before
    for name in found:
        np.testing.assert_array_equal(again[name], found[name])
    with np.load(tmp_path / 'out/scan-3.npz') as f:
        assert f['direction-1/fc1_W'].shape == (64, 10) and f['log_loss'].shape == (2, 5, 3)

    figure = core.draw('figure-scan', tmp_path / 'out')
    assert len(figure.axes) == 2 * (3 + 2), 'a row for each budget; bars of two panels'
    assert '20 of 30 points without a finite loss are left out' in figure._supxlabel.get_text()
    with pytest.raises(UserError, match='so it cannot go on with'):
        measured(run, out=tmp_path / 'out', flags=flags, **{**options, 'adv_calc_freq': 1})


@pytest.mark.long
def test_several_devices_share_the_points_and_find_the_same(run, tmp_path):
    options = {'directions': 'filter', 'ranges': (-0.5, 0.5, 0.1)}
    flags = {'attack_eps_list': [0.1], 'attack_type': AttackType.SQUARE, 'attack_options': {}, 'attack_N': 20}
    one = measured(run, out=tmp_path / 'a', flags=flags, **options)
    several = measured(run, out=tmp_path / 'b', flags={**flags, 'gpu': 'cpu,cpu'}, **options)
    assert several['loss'] == pytest.approx(one['loss'], rel=1e-6) and (several['accuracy'] == one['accuracy']).all()
    lines = core.draw('figure-scan', tmp_path / 'a', tmp_path / 'b').axes[0].lines
    assert lines[0].get_ydata() == pytest.approx(np.log10(one['loss'][0]))


def test_in_the_plane_of_their_components_epochs_lie_where_the_trajectory_is_drawn(run, tmp_path):
    found = measured(run, out=tmp_path / 'out', flags={'eid': 'all'}, directions='pca')
    assert found['epochs'].tolist() == [1, 2, 3] and found['variance'].sum() == pytest.approx(1)
    assert found['trajectory'][-1] == pytest.approx([0, 0], abs=1e-9)
    for axis, coordinates in zip((found['axis-1'], found['axis-2']), found['trajectory'].T):
        assert axis[0] < coordinates.min() and axis[-1] > coordinates.max() and np.abs(axis).min() < 1e-9
    moved = measured(run, 'perturb', tmp_path / 'first', {'eid': 'all'}, directions='pca',
                     step=found['trajectory'][0].tolist())
    assert moved['log_loss'] == pytest.approx(history_of(run)[1], rel=1e-5)
    with pytest.raises(UserError, match="2 components of 'pca' take 3 archived epochs at least, and eid names 2"):
        measured(run, flags={'eid': [2, 3]}, directions='pca')


def test_a_run_that_is_moved_is_a_run_of_its_own(run, other, tmp_path):
    scanned = measured(run, out=tmp_path / 'scan', directions='filter', ranges=(0, 0.5, 0.5))
    same = measured(run, 'perturb', tmp_path / 'same', directions='filter', step=0)
    there = measured(run, 'perturb', tmp_path / 'there', directions='filter', step=0.5)
    assert same['distance'] == 0 and there['distance'] > 0
    assert [same['log_loss'], there['log_loss']] == pytest.approx(scanned['log_loss'][0].tolist(), rel=1e-6)
    before, after = (keras.saving.load_model(place / 'model-3.keras').get_weights()
                     for place in (run.path, tmp_path / 'same'))
    assert [w.tobytes() for w in before] == [w.tobytes() for w in after]
    again = measured(Workdir(tmp_path / 'there'), out=tmp_path / 'again', directions='filter', ranges=(0, 0, 1))
    assert again['log_loss'][0, 0] == pytest.approx(there['log_loss'], rel=1e-6)
    record = Workdir(tmp_path / 'there').read_flags()
    assert record['perturbed']['step'] == [0.5] and record['flags']['seed'] == run.read_flags()['flags']['seed']
    with pytest.raises(UserError, match='choose another directory'):
        measured(run, 'perturb', tmp_path / 'there', directions='filter', step=0)
    end = measured(run, 'perturb', tmp_path / 'end', directions=('towards', str(other.path)), step=1)
    assert end['log_loss'] == pytest.approx(history_of(other)[1], rel=1e-6)


def test_along_an_eigenvector_the_loss_bends_as_the_eigenvalue_says(run, tmp_path):
    spectrum = measured(run, 'hessian', tmp_path / 'hessian', {'attack_type': AttackType.L_2, 'attack_K': None,
                        'attack_E': None, 'attack_options': {}, 'norm': None}, k=2, probes=0, matrices='hessian')
    h = 0.05
    for place in (tmp_path / 'hessian', tmp_path / 'hessian/hessian-3.npz'):
        found = measured(run, directions=('eigenvector', str(place), 1), ranges=(-h, h, h))
        ratio = np.exp(found['log_loss'][0] - found['log_loss'][0, 1])
        assert (ratio[0] + ratio[2] - 2) / h ** 2 == pytest.approx(spectrum['hessian/values'][1], rel=0.02)
    with pytest.raises(UserError, match='no eigenvector 7; it has 4'):
        measured(run, directions=('eigenvector', str(place), 7))


def test_what_cannot_be_scanned_is_refused_before_anything_is_written(run, other, tmp_path):
    wider = tmp_path / 'wider'
    train(**{**LINEAR, 'E': 1, 'model': {'description': [['F', 4], ['F', 10, {'act': False}]]}}, log=str(wider))
    for said, directions, more in (
            ('differ in the shapes', ('towards', str(wider)), {}), ('filter', 'filtered', {}),
            ('there is no', ('eigenvector', 'nowhere'), {}), ('goes with', ['pca', 'random'], {}),
            ('holds no point', 'filter', {'ranges': (1, 0, 1)}), ('ranges must be', 'filter', {'ranges': [0, 1]})):
        with pytest.raises(UserError, match=said):
            measured(run, out=tmp_path / 'out', directions=directions, **more)
    with pytest.raises(UserError, match='has no budgets'):
        measured(run, out=tmp_path / 'out', flags={'attack_type': AttackType.DDN, 'attack_options': {}, 'norm': None,
                                                   'attack_E': None, 'attack_eps_list': [0.1]})
    assert not (tmp_path / 'out').exists()
