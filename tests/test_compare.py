"""Comparisons of runs: cosines of perturbations and distances of parameters, with the released code's numbers."""

from __future__ import annotations

import json
import re
import shutil
from itertools import combinations
from pathlib import Path

import keras
import numpy as np
import pytest
from conftest import ADVERSARIAL, reference_json, reference_npz
from runs import FLAGS, train
from test_adversarial_reference import X, lenet

import core
from core import AttackType, UserError
from models import BiasMode, SimpleSequential, TrainMode
from models.measures.likeness import likeness, parameter_distance
from models.measures.matching import blocks_of, match, permuted

OF = reference_json('analysis', ADVERSARIAL)
COMPARE = {'task': 'compare', 'attack_type': AttackType.PGD, 'attack_eps_list': [0.1], 'attack_K': 5, 'attack_E': 1,
           'lr': 0.25, 'attack_set': 'test', 'attack_N': 20, 'attack_B': 12, 'seed': 1, 'gpu': 'cpu', 'eval_log': 'out'}

pytestmark = pytest.mark.usefixtures('networks_are_shared')


def test_cosines_of_perturbations_are_those_that_the_released_code_prints():
    of, sets = OF['compare'], reference_npz('pgd', ADVERSARIAL)
    moved = [sets[re.sub(r'.*npz ', '', of[name])] - X[:12] for name in ('first', 'second')]
    for part, rows in (('train', slice(0, 6)), ('test', slice(6, 12))):
        alike = likeness(*(delta[rows] for delta in moved))
        for found, name in zip(alike, ('cosine', 'sign_cosine')):
            np.testing.assert_allclose(found.mean(), of[f'{name}_{part}'], atol=10.0 ** -of['digits_printed'])


def test_an_image_that_stays_has_no_direction_and_any_other_has_at_any_size():
    d = np.random.default_rng(0).normal(size=(4, 3, 3, 1))
    e = d * np.array([1, -1, 0, 1e-200])[:, np.newaxis, np.newaxis, np.newaxis]
    for found in likeness(d, e):
        np.testing.assert_allclose(found, [1, -1, np.nan, 1], rtol=1e-12)


def test_the_distance_of_parameters_is_that_of_the_released_code_and_its_square_the_sum_over_layers():
    total, layers, everything = parameter_distance(lenet('C'), lenet('D'))
    np.testing.assert_allclose(total, OF['distance_C_D_float64'], rtol=1e-6)
    np.testing.assert_allclose(total, OF['distance_C_D_printed'], atol=1e-4)
    np.testing.assert_allclose(sum(d ** 2 for d in layers.values()), total ** 2, rtol=1e-12)
    assert list(layers) == ['conv1', 'conv3', 'fc5', 'fc6'] and everything == total
    with pytest.raises(ValueError, match=r'the networks differ in their layers \(conv1\)'):
        parameter_distance(lenet('A'), lenet('C'))


DEEP = [['C', 6, 3], ['B'], ['P'], ['C', 5, 3], ['P'], ['F', 8], ['B', {'act': True}], ['F', 7], ['F', 3]]


def deep(seed: int) -> SimpleSequential:
    net = SimpleSequential('net', (8, 8, 2), DEEP, bias_mode=BiasMode.ALL, train_mode=TrainMode.NORMAL, seed=seed)
    rng = np.random.default_rng(seed)
    net.set_weights({name: rng.uniform(0.5, 2, w.shape) if 'variance' in name else
                     w + rng.normal(0, 0.3, w.shape) for name, w in net.weights().items()})
    return net


def test_a_permuted_copy_of_a_network_is_at_no_distance_after_matching_and_the_function_stays(eagerly):
    first, second = deep(1), deep(2)
    rng, blocks = np.random.default_rng(0), blocks_of(first.net)
    orders = [rng.permutation(n) for n in (6, 5, 8, 7)] + [np.arange(3)]
    second.net.set_weights(permuted(blocks, first.net.get_weights(), orders))
    x = rng.uniform(size=(5, 8, 8, 2)).astype(np.float32)
    np.testing.assert_allclose(second.predict(x), first.predict(x), rtol=1e-4, atol=1e-4)
    far, near = parameter_distance(first, second), parameter_distance(first, second, match(first, second))
    assert far.total > 5 and far.with_statistics > far.total + 0.1
    assert near.total == near.with_statistics == 0 and set(near.layers.values()) == {0}

    other = deep(2)  # of another network it is nearer than before, and its function is as it was
    before, logits = parameter_distance(first, other).total, other.predict(x)
    matched = match(first, other)
    assert parameter_distance(first, other, matched).total < 0.97 * before
    other.set_weights(matched)
    mine, theirs = first.net.get_weights(), other.net.get_weights()

    def apart(orders):
        moved = permuted(blocks, theirs, orders)
        return sum(np.square(mine[k] - moved[k], dtype=float).sum() for block in blocks for k in block.trained)
    as_is = [np.arange(n) for n in (6, 5, 8, 7, 3)]
    for i, n in enumerate((6, 5, 8, 7)):
        for a, b in combinations(range(n), 2):
            swapped = as_is[i].copy()
            swapped[[a, b]] = b, a
            assert apart([*as_is[:i], swapped, *as_is[i + 1:]]) > apart(as_is) - 1e-6, 'no two channels are better so'
    np.testing.assert_allclose(other.predict(x), logits, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(match(other, other)['conv1_f'], matched['conv1_f'])


def test_networks_that_are_no_chain_of_channels_have_no_matching():
    squared = SimpleSequential('net', (8, 8, 1), [['F', 4], ['F', 3]], act_type='relu2')
    with pytest.raises(ValueError, match='there is no matching of neurons: square2 takes 2'):
        match(squared, squared)
    with pytest.raises(ValueError, match='of different layers'):
        match(deep(1), lenet('C'))


@pytest.fixture(scope='module')
def trained(tmp_path_factory, networks_are_shared):
    """Two runs, and one of another architecture."""
    path = tmp_path_factory.mktemp('trained')
    for seed in (1, 2):
        train(E=2, seed=seed, log=str(path / f'run{seed}'))
    train(E=1, log=str(path / 'linear'), model={**FLAGS['model'], 'description': [['F', 10, {'act': False}]]})
    return path


@pytest.fixture
def runs(trained):
    for path in trained.iterdir():
        Path(path.name).symlink_to(path)


def test_each_two_of_several_runs_are_compared_in_the_directory_of_the_first(runs, capsys):
    flags = {k: v for k, v in COMPARE.items() if k != 'eval_log'}
    core.run({**flags, 'log': ['run1', 'run2', 'linear']})
    (out,) = Path('run1').glob('temp/*')
    numbers = json.loads((out / 'summary.json').read_text())['epochs']['2']
    assert [pair['runs'] for pair in numbers['pairs']] == [['run1', 'run2'], ['run1', 'linear'], ['run2', 'linear']]
    one, two = (core.Workdir(run).find_model(2) for run in ('run1', 'run2'))
    weights = [np.concatenate([w.ravel() for w in keras_weights(path)]) for path in (one, two)]
    pair, other, _ = numbers['pairs']
    np.testing.assert_allclose(pair['parameter_distance'], np.linalg.norm(weights[0] - weights[1]), rtol=1e-6)
    assert set(pair['layers']) == {'conv1', 'fc3'} and -1 <= pair['cosine'] < 0.999
    assert pair['images'] + pair['unchanged'] == 20
    assert other['parameter_distance'] is None and other['reason'].startswith('the networks differ in their layers')
    printed = capsys.readouterr().out
    assert f'run1 (epoch 2) and run2 (epoch 2): cosine {pair["cosine"]:.4f}, of signs' in printed
    assert 0 < pair['matched']['parameter_distance'] < pair['parameter_distance'] == pair['with_statistics']
    assert (f'parameters {pair["parameter_distance"]:.4f} apart, {pair["matched"]["parameter_distance"]:.4f} with '
            'matched neurons') in printed and f'{out}/res written' in printed


def keras_weights(path):
    return keras.saving.load_model(path).get_weights()


@pytest.mark.long
def test_the_perturbations_are_those_of_the_attack_on_each_network(runs):
    """A run compared with a copy of itself has cosines of 1; of an attack that changed nothing there are none."""
    shutil.copytree('run1', 'copy')
    (numbers,) = core.run({**COMPARE, 'log': ['run1', 'copy']}).values()
    np.testing.assert_allclose(numbers['cosine'], 1, rtol=1e-6)
    core.run({**COMPARE, 'log': ['run1', 'copy']})  # goes on, and has nothing left to do
    shutil.copytree('run1', 'later')
    Path('later/model-2.keras').rename('later/model-7.keras')
    (numbers,) = core.run({**COMPARE, 'log': ['run1', 'later'], 'eval_log': 'later-out'}).values()
    np.testing.assert_allclose(numbers['cosine'], 1, rtol=1e-6, err_msg='the same draws, whatever the epoch')
    few = {'attack_type': AttackType.SQUARE, 'attack_eps_list': [1e-6], 'attack_K': 2, 'attack_E': None, 'lr': None}
    (numbers,) = core.run({**COMPARE, **few, 'log': ['run1', 'copy'], 'eval_log': 'none'}).values()
    assert np.isnan(numbers['cosine']).all()
    ((_, said),) = json.loads(Path('none/summary.json').read_text())['epochs'].items()
    assert said['pairs'][0]['cosine'] is None and said['pairs'][0]['unchanged'] == 20
    assert said['pairs'][0]['parameter_distance'] == 0


@pytest.mark.parametrize('changes, message', [
    ({'log': 'run1'}, 'name two runs at least'), ({'log': ['run1', 'run1']}, 'log names the run run1 twice'),
    ({'log': ['run1', 'nowhere']}, 'nowhere is not the working directory of a run'),
    ({'log': ['run1', 'run2'], 'ensemble': True}, 'ensemble means nothing here'),
    ({'log': ['run1', 'run2'], 'eid': 9}, 'epoch 9 is not archived in run1')])
def test_what_cannot_be_compared_is_refused_in_a_sentence(changes, message, runs):
    with pytest.raises(UserError, match=message):
        core.run({**COMPARE, **changes})
