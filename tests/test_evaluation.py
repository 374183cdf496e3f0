"""Evaluations of archived runs: what they write, that they go on after a kill, and what they refuse."""

from __future__ import annotations

import json
import os
import pickle
import runpy
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
from runs import FLAGS, Stop, die_in, train

import core
from core import AttackType, UserError
from core.flags import merge
from core.flags.likes import resolved
from core.tasks.arguments import attack_arguments, transfer_arguments
from core.workdir import Workdir
from models import BiasMode, SimpleSequential

ROOT = Path(__file__).resolve().parents[1]
EVALS = sorted((ROOT / 'evals').glob('eval-*.py'))
ATTACK = {'task': 'attack', 'log': 'run', 'attack_type': AttackType.DDN, 'attack_K': 20, 'attack_N': 50, 'attack_B': 20,
          'seed': 1, 'gpu': 'cpu'}

pytestmark = pytest.mark.usefixtures('networks_are_shared')


@pytest.fixture(scope='module')
def archived(tmp_path_factory, networks_are_shared):
    """A short run on the digits, with epochs 6 and 12 archived."""
    path = tmp_path_factory.mktemp('archived') / 'run'
    train(archive=6, E=12, log=str(path))
    return path


@pytest.fixture
def run(archived):
    Path('run').symlink_to(archived)


def clean_images(n):
    x, y = core.get_dataset('digits').train
    return x[:n], y[:n]


@pytest.mark.long
def test_results_have_the_originals_layout(run):
    res = core.run({**ATTACK, 'eid': [6, 12], 'eval_log': 'out'})
    with open('out/res', 'rb') as f:
        stored = pickle.load(f)
    assert list(res) == list(stored) == [6, 12]
    x, _ = clean_images(50)
    for eid in (6, 12):
        images, errors = stored[eid]['images'], stored[eid]['errors']
        assert set(stored[eid]) == {'images', 'errors'} and images.shape == (50, 8, 8, 1)
        assert errors.dtype == np.float64
        np.testing.assert_allclose(errors, np.square(images.astype(float) - x).sum(axis=(1, 2, 3)))
    assert not np.array_equal(stored[6]['errors'], stored[12]['errors'])


def test_the_summary_says_what_res_says(run):
    res = core.run({**ATTACK, 'eval_log': 'out', 'attack_eps_list': [0.1, 0.4]})
    x, y = clean_images(50)
    summary = json.loads(Path('out/summary.json').read_text())
    epoch, distances = summary['epochs']['12'], np.sqrt(res[12]['errors'])
    assert (summary['norm'], epoch['images'], summary['settings']['attack_K']) == ('L2', 50, 20)
    assert epoch['median'] == pytest.approx(np.median(distances)) and epoch['mean'] == pytest.approx(distances.mean())
    assert epoch['robust_accuracy'] == {'0.1': (distances > 0.1).mean(), '0.4': (distances > 0.4).mean()}
    assert epoch['success_rate'] == 1 and epoch['seconds'] > 0 and summary['device'] == 'CPU'
    model = SimpleSequential('m', (8, 8, 1), **FLAGS['model'])
    model.restore('run/model-12.keras')
    assert epoch['accuracy'] == (model.net(x).numpy().argmax(axis=1) == y).mean()


def test_budgets_are_the_errors_of_attacks_within_budgets(run):
    """The smallest that was enough; 1 and an image of zeros where none was; 0 where the class was wrong anyway."""
    res = core.run({**ATTACK, 'attack_type': 'L_INF', 'attack_eps_list': [0.02, 0.1], 'attack_E': 1, 'lr': 0.1})[12]
    assert set(res['errors']) == {0.0, 0.02, 0.1, 1.0}
    assert (res['images'][res['errors'] == 1] == 0).all()
    x, _ = clean_images(50)
    np.testing.assert_array_equal(res['images'][res['errors'] == 0], x[res['errors'] == 0])


def test_images_are_chosen_by_set_number_or_index(run):
    chosen = core.run({**ATTACK, 'attack': [7, 3, 7], 'eid': 12, 'eval_log': 'a'})[12]
    x, _ = core.get_dataset('digits').train
    assert np.abs(chosen['images'] - x[[7, 3, 7]]).max() < 1 and len(chosen['errors']) == 3
    assert Workdir('a').read_part(12, 0)['index'].tolist() == [7, 3, 7]
    np.testing.assert_allclose(chosen['errors'][0], chosen['errors'][2], rtol=1e-5)
    test = core.run({**ATTACK, 'attack_set': 'test', 'eid': 12, 'attack_N': 'all', 'attack_B': 64})[12]
    assert len(test['errors']) == 100, 'the test images of the run'


@pytest.mark.long(after=1)
@pytest.mark.parametrize('eid, expected', [('last', [12]), ('all', [6, 12]), (6, [6]), ([12, 6], [12, 6])])
def test_epochs_are_named_as_in_the_original(eid, expected, run):
    assert list(core.run({**ATTACK, 'eid': eid, 'attack_type': 'FGSM', 'attack_K': None, 'attack_N': 4})) == expected


def test_a_biased_network_is_evaluated_by_the_same_flags():
    train(E=1, model={**FLAGS['model'], 'bias_mode': BiasMode.ALL})
    assert np.isfinite(core.run({**ATTACK, 'attack_N': 5})[1]['errors']).all()
    radii = core.run({**ATTACK, 'task': 'certify', 'attack_K': None, 'attack_N': 5})[1]['radii']
    assert (radii <= np.sqrt(core.run({**ATTACK, 'attack_N': 5})[1]['errors'])).all()


def test_certified_radii_are_written_with_their_summary(run):
    res = core.run({'task': 'certify', 'log': 'run', 'eid': 'all', 'gpu': 'cpu', 'eval_log': 'out', 'attack_N': 30})
    summary = json.loads(Path('out/summary.json').read_text())
    for eid in (6, 12):
        assert res[eid]['radii'].shape == res[eid]['q'].shape == (30,)
        assert ((res[eid]['radii'] > 0) == (res[eid]['q'] > 0)).all()
        assert summary['epochs'][str(eid)]['lipschitz']['conv1'] == pytest.approx(res[eid]['lipschitz']['conv1'])


def same_results(a, b):
    with open(f'{a}/res', 'rb') as fa, open(f'{b}/res', 'rb') as fb:
        first, second = pickle.load(fa), pickle.load(fb)
    assert first.keys() == second.keys()
    for eid in first:
        np.testing.assert_array_equal(first[eid]['images'], second[eid]['images'])
        np.testing.assert_array_equal(first[eid]['errors'], second[eid]['errors'])


@pytest.mark.long
def test_an_evaluation_killed_in_mid_batch_goes_on_to_the_same_result(archived, tmp_path, server):
    """A real process and a real SIGKILL; the attack draws random starts."""
    flags = {'task': 'attack', 'attack_type': 'L_2_FAST', 'attack_N': 120, 'attack_B': 20, 'eid': [12], 'gpu': 'cpu'}
    config = tmp_path / 'eval-mine.py'
    config.write_text(f'import core\ncore.app_start({flags!r})\n')
    process = server.start(str(config), '--log', str(archived), '--seed', '5', '--eval_log', 'killed')
    try:
        while not Path('killed/parts/12-40.npz').exists():
            assert process.poll() is None, process.stderr
            time.sleep(0.005)
    finally:
        process.kill()
        process.wait()
    assert not Path('killed/parts/12-100.npz').exists(), 'it was killed before its end'
    kept = Path('killed/parts/12-20.npz').stat().st_mtime_ns
    for out in ('killed', 'whole'):
        core.Core(flags, {'log': str(archived), 'seed': 5, 'eval_log': out}, name='eval-mine').run()
    assert Path('killed/parts/12-20.npz').stat().st_mtime_ns == kept, 'what was finished is not done again'
    same_results('killed', 'whole')


@pytest.fixture(scope='module')
def uninterrupted(archived, tmp_path_factory):
    """An evaluation of two epochs in three batches, from its start to its end."""
    out = tmp_path_factory.mktemp('uninterrupted') / 'out'
    core.run({**ATTACK, 'log': str(archived), 'eid': [6, 12], 'attack_K': 3, 'eval_log': str(out)})
    return out


@pytest.mark.long
@pytest.mark.parametrize('function, before, number', [
    *(case for n in range(1, 14) for case in (('fsync', True, n), ('replace', False, n))),
    *(case for n in (1, 5, 8) for case in (('fsync', False, n), ('replace', True, n)))])  # the same is left behind
def test_an_evaluation_that_died_before_or_after_any_write_goes_on_to_the_same_result(
        function, number, before, run, uninterrupted, monkeypatch):
    flags = {**ATTACK, 'eid': [6, 12], 'attack_K': 3, 'eval_log': 'out'}
    with monkeypatch.context() as m:
        die_in(m, function, number, before)
        with pytest.raises(Stop):  # 13 writes: flags, 6 batches, and res and the summary after 1, 2 and 3 of each
            core.run(flags)
    Path('out/stdout').unlink(missing_ok=True)
    core.run(flags)
    same_results('out', uninterrupted)
    assert not list(Path('out').rglob('*.tmp'))


@pytest.mark.long
@pytest.mark.parametrize('function', ['fsync', 'replace'])
@pytest.mark.parametrize('number', [2, 8, *(pytest.param(n, marks=pytest.mark.long) for n in (5, 9))])
def test_a_write_that_fails_ends_an_evaluation_in_one_sentence_and_it_goes_on(
        function, number, run, uninterrupted, monkeypatch):
    flags = {**ATTACK, 'eid': [6, 12], 'attack_K': 3, 'eval_log': 'out'}
    original, calls = getattr(os, function), []

    def full(*args, **kwargs):
        calls.append(1)
        if len(calls) >= number:
            raise OSError(28, os.strerror(28))
        return original(*args, **kwargs)
    with monkeypatch.context() as m:
        m.setattr(os, function, full)
        with pytest.raises(UserError, match='cannot write out/.*: No space left on device; what was written before is'):
            core.run(flags)
    core.run(flags)
    same_results('out', uninterrupted)


@pytest.mark.long
def test_an_evaluation_killed_at_random_instants_goes_on_each_time_to_the_same_result(
        archived, tmp_path, server):
    """SIGKILL to real processes."""
    flags = {'task': 'attack', 'attack_type': 'L_2_FAST', 'attack_N': 60, 'attack_B': 10, 'eid': [6, 12], 'gpu': 'cpu'}
    (tmp_path / 'eval-mine.py').write_text(f'import core\ncore.app_start({flags!r})\n')
    command = [f'{tmp_path}/eval-mine.py', '--log', str(archived), '--seed', '5', '--eval_log', 'out']
    rng, kills = np.random.default_rng(0), 0
    done = lambda: sum(map(len, Workdir('out').parts().values()))  # noqa: E731
    while True:
        had = done()
        process = server.start(*command)
        while process.poll() is None and done() == had:
            time.sleep(0.002)  # until it attacks
        try:
            process.wait(rng.uniform(0, 0.5) if kills < 3 else 300)
        except subprocess.TimeoutExpired:
            process.kill()
            kills += 1
        if process.wait() == 0:
            break
    print(f'{kills} kills')
    assert kills >= 3
    core.Core(flags, {'log': str(archived), 'seed': 5, 'eval_log': 'whole'}, name='eval-mine').run()
    same_results('out', 'whole')


def test_going_on_with_other_flags_is_refused(run):
    core.run({**ATTACK, 'eval_log': 'out', 'attack_N': 4})
    with pytest.raises(UserError, match='was begun with attack_N=4, so it cannot go on with attack_N=8'):
        core.run({**ATTACK, 'eval_log': 'out', 'attack_N': 8})
    with pytest.raises(UserError, match='was begun with attack_K=20, so it cannot go on with attack_K=9'):
        core.Core({**ATTACK, 'attack_N': 4}, {'eval_log': 'out'}, [('attack_K', 9)])
    with pytest.raises(UserError, match='out does not hold an evaluation by eval-other'):
        core.Core({**ATTACK, 'attack_N': 4}, {'eval_log': 'out'}, name='eval-other')
    with pytest.raises(UserError, match='already holds results|does not hold an evaluation'):
        core.run({**ATTACK, 'eval_log': 'run'})


def test_settings_of_the_command_line_need_not_be_repeated_to_go_on(run):
    core.Core(ATTACK, {'eval_log': 'out'}, [('attack_N', 4)]).run()
    Path('out/res').unlink()
    assert len(core.Core(ATTACK, {'eval_log': 'out'}).run()[12]['errors']) == 4


def test_a_model_that_changed_meanwhile_is_refused():
    train(E=2)
    core.run({**ATTACK, 'eval_log': 'out', 'attack_N': 4})
    model = SimpleSequential('m', (8, 8, 1), seed=9, **FLAGS['model'])
    model.save('run/model-2.keras')
    with pytest.raises(UserError, match='the model of epoch 2 is not the one that the evaluation in out began with'):
        core.run({**ATTACK, 'eval_log': 'out', 'attack_N': 4})


@pytest.mark.parametrize('changes, message', [
    ({'attack_type': 'L_3'}, 'attack_type must be L_2, L_INF, L_2_BIM'),
    ({'attack_set': 'all'}, "attack_set must be 'train', 'validation' or 'test'"),
    ({'attack_N': 0}, "attack_N must be 'all', or a number of images"),
    ({'attack_N': 301}, 'attack_N is 301, but the train set of the run has 300 images'),
    ({'attack': [1, 300]}, 'there is no image 300 in the train set of the run (300 images, counted from 0)'),
    ({'attack': [-1]}, 'attack must be a list of indices'),
    ({'attack': []}, 'attack must be a list of indices'),
    ({'attack_type': 'PGD', 'attack_eps_list': [0.1, -0.1]}, 'attack_eps_list must be a list of numbers of at least 0'),
    ({'attack_type': 'PGD', 'attack_eps_list': [float('nan')]}, 'attack_eps_list must be a list of numbers of at'),
    ({'attack_E': 3, 'attack_type': 'L_2_DEEPFOOL'}, 'attack_E means nothing to the attack L_2_DEEPFOOL'),
    ({'lr': ('loss-based-v1', 0.1), 'attack_type': 'L_2'}, 'lr must be a float for an attack'),
    ({'attack_options': {'gama': 0.1}}, "has no option 'gama'; did you mean 'gamma'?"),
    ({'attack_options': {'gamma': 'x'}}, "gamma must be a number of at least 0, not 'x'"),
    ({'attack_options': {'starts': 0}}, 'starts must be a whole number of at least 1, not 0'),
    ({'attack_type': 'PGD', 'attack_options': {'norm': 'L3'}}, "norm must be 'Linf' or 'L2' or 'L1', not 'L3'"),
    ({'attack_type': 'PGD', 'eps': 8}, 'eps is 8; pixels are in [0, 1]: was 8/255 meant?'),
    ({'attack_type': 'DDN', 'eps': 0.5}, 'eps means nothing to the attack DDN, which looks for the nearest image'),
    ({'attack_type': 'L_INF', 'norm': 'L2'}, 'norm is L2, but the attack L_INF has no other norm than Linf'),
    ({'attack_type': 'PGD', 'eps': 0.1, 'attack_eps_list': [0.1]}, 'eps is 0.1, and attack_eps_list is given, too'),
    ({'eid': 7}, 'epoch 7 is not archived in run; archived epochs: 6, 12'),
    ({'log': 'elsewhere'}, 'elsewhere is not the working directory of a run'),
    ({'log': None}, 'name the working directory of a run with --log'),
    ({'eval_log': 'run/model-6.keras/x'}, 'cannot write in the directory')])
def test_evaluations_that_cannot_be_made_are_refused_in_one_sentence(changes, message, run):
    with pytest.raises(UserError) as e:
        core.run({**ATTACK, **changes})
    assert message in str(e.value) and '\n' not in str(e.value)


def test_images_that_are_not_finite_are_refused():
    x, y = clean_images(100)
    np.savez('data.npz', x_train=x, y_train=y, x_test=x, y_test=y)
    train(dataset='data.npz', train_N='all', test_N='all', E=1)
    record = json.loads(Path('run/flags.json').read_text())
    np.savez('data.npz', x_train=np.where(x > 0.5, np.nan, x), y_train=y, x_test=x, y_test=y)
    record['dataset'] = {**record['dataset'], 'sha256': core.datasets.provenance('data.npz')['sha256']}
    Path('run/flags.json').write_text(json.dumps(record))
    with pytest.raises(UserError, match='float images must be in'):
        core.run(ATTACK)


def test_relu2_has_no_certificate():
    train(E=1, model={**FLAGS['model'], 'act_type': 'relu2'})
    with pytest.raises(UserError, match='certificate: a certificate needs a network that is a chain of layers'):
        core.run({'task': 'certify', 'log': 'run', 'gpu': 'cpu'})


@pytest.mark.parametrize('path', EVALS, ids=lambda p: p.stem)
def test_an_evaluation_is_a_flags_dictionary_that_builds(path):
    given = resolved(runpy.run_path(str(path))['FLAGS'], path.parent)
    flags = merge({**{k: FLAGS[k] for k in ('dataset', 'model', 'train_mode')}, **given})
    if flags['task'] == 'attack':
        attack_arguments(flags)
    if flags['task'] == 'transfer':
        transfer_arguments({**flags, 'source': flags['source'] or None})
    assert f'./eval.sh {path.stem} logs/RUN' in path.read_text()


def test_the_originals_evaluations_have_its_settings():
    expected = {
        'mnist-l2': {'attack_type': AttackType.L_2, 'attack_set': 'train', 'lr': 0.01},
        'mnist-test-l2': {'attack_type': AttackType.L_2, 'attack_set': 'test', 'lr': 0.01},
        'mnist-l2-normalized': {'attack_type': AttackType.L_2, 'attack_normalize_output': True,
                                'attack_initial_const': 10, 'lr': 0.01},
        'mnist-inf': {'attack_type': AttackType.L_INF, 'attack_set': 'train', 'attack_E': 10, 'attack_K': 100,
                      'lr': 0.1, 'attack_eps_list': [k / 100 for k in range(11, 20)]},
        'mnist-test-inf': {'attack_type': AttackType.L_INF, 'attack_set': 'test', 'attack_E': 10, 'attack_K': 100,
                           'lr': 0.1, 'attack_eps_list': [k / 100 for k in range(11, 20)]},
        'mnist-l2-bim': {'attack_type': AttackType.L_2_BIM},
        'mnist-l2-deepfool': {'attack_type': AttackType.L_2_DEEPFOOL},
    }
    for name, flags in expected.items():
        found = runpy.run_path(str(ROOT / f'evals/eval-final-{name}.py'))['FLAGS']
        assert {**found, **flags, 'task': 'attack', 'attack_N': 'all', 'attack_B': 128, 'eid': [10000]} == found, name
    cw = attack_arguments(merge({**FLAGS, 'task': 'attack', **expected['mnist-l2']}))
    assert cw == {'learning_rate': 0.01}, 'the rest are the defaults: 9 constants from 1e-3, 10,000 iterations'
    bim = runpy.run_path(str(ROOT / 'evals/eval-final-mnist-l2-bim.py'))['FLAGS']
    assert attack_arguments(merge({**FLAGS, **bim})) == {'stepsize': 0.05, 'iterations': 10}
