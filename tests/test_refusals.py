"""What is refused of data, networks, evaluations and sweeps as they are used, before anything is written."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import keras
import numpy as np
import pytest
from runs import FLAGS, train

import core
from core import UserError
from core.sweeps.directory import SweepDirectory
from core.sweeps.grid import grid_of
from core.sweeps.running import Sweep
from models import InitPolicy, SimpleSequential, TrainMode
from models.types import did_you_mean, lookup, shown

LINEAR = {'description': [['F', 3, {'act': False}]]}
PLAIN = {'train_N': 'all', 'test_N': 'all', 'train_mode': 'NORMAL', 'lr': 0.1, 'E': 1, 'B': 20, 'model': LINEAR}


def refused(flags) -> str:
    """The sentence of a task that leaves the directory as it was."""
    before = sorted(Path().rglob('*'))
    with pytest.raises(UserError) as e:
        core.run(flags)
    assert '\n' not in str(e.value) and sorted(Path().rglob('*')) == before
    return str(e.value)


@pytest.fixture
def by_class(digits):
    """Digits of three classes, sorted by class, as a file."""
    def write(shift=0, scale=1.0, dtype=np.float32, order=slice(None)) -> str:
        x, y = digits.train
        kept = np.flatnonzero(y < 3)
        kept = kept[np.argsort(y[kept], kind='stable')][order]
        images = (x[kept] * scale).astype(dtype)
        np.savez('data.npz', x_train=images, y_train=y[kept] + shift, x_test=images, y_test=y[kept] + shift)
        return 'data.npz'
    return write


# ---- the data as they are used ----

@pytest.mark.parametrize('changes, says', [
    ({'train_N': 50}, r'the 50 training images, which train_N=50 leaves of \d+, are all of the class 0'),
    ({'train_N': 60, 'train_fraction': 0.5}, 'the 30 training images, which train_N=60 and train_fraction=0.5 leaves'),
    ({'train_N': 50, 'task': 'train_peek', 'eid': 1, 'eval_log': 'out'}, 'are all of the class 0')])
def test_training_images_of_one_class_are_refused_as_they_are_used(changes, says, by_class):
    data = by_class()
    if 'task' in changes:
        train(**PLAIN, dataset=data)
    assert re.search(says, refused({**FLAGS, **PLAIN, 'dataset': data, **changes}))


@pytest.mark.long
def test_label_noise_may_bring_in_the_second_class_and_a_fraction_of_all_keeps_it(by_class):
    data = by_class()
    train(**{**PLAIN, 'dataset': data, 'train_N': 50, 'label_noise': 0.5, 'log': 'noisy'})
    train(**{**PLAIN, 'dataset': data, 'train_fraction': 0.5, 'log': 'half'})
    assert Path('noisy/model-1.keras').exists() and Path('half/model-1.keras').exists()


def test_labels_from_one_on_are_told_from_too_many_classes(by_class):
    sentence = refused({**FLAGS, **PLAIN, 'dataset': by_class(shift=1)})
    assert 'has 3 outputs, but the data set has the label 3; labels count from 0: subtract 1 from them' in sentence
    assert 'count from 0' not in refused({**FLAGS, **PLAIN, 'dataset': by_class(shift=4)})
    two = {'description': [['F', 2, {'act': False}]]}
    assert 'count from 0' not in refused({**FLAGS, **PLAIN, 'dataset': by_class(), 'model': two})


def test_images_of_zeros_and_ones_as_uint8_are_noted_in_one_line(by_class, capsys):
    train(**PLAIN, dataset=by_class(dtype=np.uint8, order=slice(None, None, 3)))
    lines = [line for line in capsys.readouterr().out.split('\n') if line.startswith('note: ')]
    assert [line.split(' images')[0] for line in lines] == ['note: the training', 'note: the test']
    assert all('0 and 1, which were divided by 255' in line for line in lines)
    train(**PLAIN, dataset=by_class(), log='bright')
    assert 'note: ' not in capsys.readouterr().out


# ---- weights that cannot be used ----

def test_initial_weights_of_infinite_logits_are_refused():
    model = {'description': [['F', 10], ['F', 10, {'act': False}]], 'init': {'weight_rescale': 1e30}}
    assert 'the initial weights cannot be used' in refused({**FLAGS, **PLAIN, 'train_N': 100, 'model': model})


def test_dropout_that_leaves_nothing_out_trains():
    train(**{**PLAIN, 'train_N': 100, 'model': {'description': [['D', 0], ['F', 10, {'act': False}]]}})


def test_labels_of_a_model_in_ones_own_loop_are_classes(digits):
    x, _ = digits.train
    net = SimpleSequential('m', (8, 8, 1), LINEAR['description'], train_mode=TrainMode.NORMAL)
    for y in (np.full(20, 3), np.full(20, -1), np.zeros(20), np.zeros(19, int)):
        for run in (lambda y=y: net.train_epoch(x[:20], y, np.arange(20), 10, 0.1), lambda y=y: net.test(x[:20], y)):
            with pytest.raises(ValueError, match='labels must be'):
                run()
    with pytest.raises(ValueError, match='an image at least'):
        net.test(x[:0], np.zeros(0, int))


@pytest.mark.parametrize('option, value', [('bias_mode', 'ALL'), ('train_mode', 'USE_FRAME')])
def test_a_mode_by_its_name_is_refused_where_only_flags_have_names(option, value):
    with pytest.raises(ValueError, match=f'{option} must be '):
        SimpleSequential('m', (8, 8, 1), LINEAR['description'], **{option: value})


def test_an_initializer_is_a_name_or_what_gives_tensors():
    for init in (keras.initializers.Zeros(), keras.ops.zeros, 'zeros'):
        assert not np.any(InitPolicy({'weight': init}).weight_init(0)((2, 3), dtype='float32'))
    for init in (len, print, lambda shape: shape):
        with pytest.raises(ValueError, match='init.weight must be a name or a Keras initializer'):
            InitPolicy({'weight': init})


def test_a_rate_that_grows_without_bound_ends_the_run():
    with pytest.raises(UserError, match='the next learning rate is inf; let lr grow more slowly'):
        train(train_N=100, E=30, lr=('loss-based-v1', 2.0, 1.7e308, 2, 100.0), log_frame0=2.0, loss_ub=1e9)


# ---- evaluations that do not fit the run ----

@pytest.fixture(scope='module')
def trained(tmp_path_factory):
    place = tmp_path_factory.mktemp('trained') / 'run'
    core.run({**FLAGS, 'E': 1, 'log': str(place)})
    return place


@pytest.fixture
def run(trained):
    shutil.copytree(trained, 'logs/a')
    return {'gpu': 'cpu', 'log': 'logs/a', 'task': 'attack', 'attack_type': 'FGSM', 'attack_N': 4, 'eval_log': 'out'}


@pytest.mark.long(after=6)
@pytest.mark.parametrize('task', ['attack', 'certify', 'kkt', 'transfer', 'train_peek'])
@pytest.mark.parametrize('model, says', [
    ({'description': [['C', 4, [3, 3]], ['P'], ['F', 9], ['F', 10, {'act': False}]]},
     "was trained with entry 3 of model.description ['F', 10, {'act': False}], which is ['F', 9] here"),
    ({**FLAGS['model'], 'bias_mode': 'ALL'},
     "was trained with model.bias_mode 'FIRST_LAYER', which is 'ALL' here: leave out model.bias_mode")])
def test_a_network_that_is_not_the_runs_names_the_flag_that_differs(task, model, says, run):
    flags = {**run, 'task': task, 'model': model}
    if task in ('kkt', 'train_peek'):
        flags = {k: v for k, v in flags.items() if not k.startswith('attack')}
    if task == 'train_peek':
        flags.update(lr=0.1, E=1, B=50)
    sentence = refused(flags)
    assert 'model-1.keras does not hold the weights of this network; the run in logs/a ' in sentence
    assert says in sentence and 'Skipping' not in sentence and 'freshly' not in sentence


@pytest.mark.parametrize('size, classes, says', [(9, 10, 'does not hold the weights'), (8, 12, 'has the label 11')])
def test_a_data_set_that_does_not_fit_names_that_of_the_run(size, classes, says, run):
    x, y = np.random.default_rng(0).random((400, size + size % 2 * 3, 8)), np.arange(400) % classes
    np.savez('other.npz', x_train=x, y_train=y, x_test=x, y_test=y)
    sentence = refused({**run, 'dataset': 'other.npz'})
    assert says in sentence and "was trained with dataset 'digits', which is 'other.npz' here" in sentence


def test_another_architecture_is_said_to_be_one(run):
    assert "; the run was trained with arch='simple_sequential'" in refused({**run, 'arch': 'residual'})


@pytest.mark.long
def test_what_fits_but_is_not_the_runs_is_noted(run, capsys):
    core.run({**run, 'model': {**FLAGS['model'], 'act_type': 'linear'}})
    (note,) = [line for line in capsys.readouterr().out.split('\n') if line.startswith('note: ')]
    assert "model.act_type 'relu', which is 'linear' here" in note
    core.run({**run, 'eval_log': 'own'})
    assert 'note: ' not in capsys.readouterr().out


@pytest.mark.long(after=13)
@pytest.mark.parametrize('log, says', [
    ('nowhere', 'there is no such directory'), ('logs', 'there are runs below it: logs/a'),
    ('logs/a/model-1.keras', 'it is a file of logs/a: name that'), ('own', 'holds an evaluation; name the run that it'),
    ('file', 'it is a file')])
@pytest.mark.parametrize('flag', ['log', 'resume', 'like', 'source'])
def test_a_directory_that_is_no_run_is_told_what_it_is(flag, log, says, run):
    Path('file').touch()
    if log == 'own':
        core.run({**run, 'eval_log': 'own'})
    flags = {**FLAGS, 'E': 2, 'log': None} if flag in ('resume', 'like') else {**run, 'task': 'transfer'}
    assert says in refused({**flags, flag: log})


@pytest.mark.parametrize('record, says', [
    ('{"flags": ', 'cannot be read, it is not JSON'), ('[]', 'it has no flags'),
    ('{"flags": {"E": 3}}', "lacks the flag 'dataset'"), ({'images': 3}, "its 'images' is 3"),
    ({'config': [1]}, "its 'config' is [1]"), ({'versions': 'x'}, "its 'versions'"),
    ('[' * 100_000, 'cannot be read, it is not JSON')], ids=lambda v: str(v)[:20])
def test_a_record_of_another_shape_is_a_sentence(record, says, run):
    path = Path('logs/a/flags.json')
    text = record if isinstance(record, str) else json.dumps({**json.loads(path.read_text()), **record})
    path.write_text(text)
    assert says in refused(run)
    assert 'flags' in refused({**FLAGS, 'resume': 'logs/a', 'log': None, 'E': 3})


def test_a_damaged_model_among_several_is_refused_before_the_others_are_measured(run):
    Path('logs/a/model-9.keras').write_text('not a model')
    assert 'epoch 9: model-9.keras cannot be read' in refused({**run, 'eid': 'all'})


def test_training_on_that_fails_at_once_leaves_no_directory(run):
    flags = {'gpu': 'cpu', 'log': 'logs/a', 'task': 'train_peek', 'lr': 1e30, 'E': 1, 'B': 50}
    assert 'choose a smaller lr' in refused({**flags, 'eval_log': 'out'})


def test_permutations_that_are_none_are_refused_before_anything_is_written():
    np.savez('perm.npz', perm=np.zeros((2, 300), int))
    assert 'is not a permutation' in refused({**FLAGS, 'permutations': 'perm.npz'})


# ---- sweeps ----

@pytest.mark.long(after=1)
@pytest.mark.parametrize('base, evaluations, says', [
    ({'objective': {'type': 'large-margin', 'layers': ['input'], 'top_k': 10}}, {}, 'top_k must be at most 9'),
    ({'lr': 'fast'}, {}, "there is no scheduler 'fast'"), ({'model': {'description': [['P']]}}, {}, 'last layer'),
    ({'train_N': 2000}, {}, 'train_N is 2000, but digits has 1442'),
    ({}, {'eval-x': {'task': 'attack', 'attack_type': 'PGD', 'attack_eps_list': [1e999]}}, 'eval-x: attack_eps_list'),
    ({}, {'eval-x': {'task': 'attack', 'attack_options': {'gama': 1}}}, "eval-x: the attack L_2 has no option 'gama'"),
    ({}, {'eval-x': {'task': 'attack', 'attack_N': 5000}}, 'eval-x: attack_N is 5000'),
    ({}, {'eval-x': {'task': 'kkt', 'lr': 1.0}}, 'eval-x: lr means nothing here'),
    ({}, {'eval-x': {'task': 'transfer', 'attack_type': 'PGD', 'source': {'run': {'seed': 'next'}}}},
     'eval-x: attack_type must be FGSM or IFGSM')])
def test_a_sweep_is_refused_before_its_directory_is_made(base, evaluations, says):
    sweep = {'base': {**FLAGS, **PLAIN, 'train_N': 100, 'model': {'description': [['F', 10, {'act': False}]]},
                      'log': None, 'gpu': None, 'seed': None, **base},
             'axes': {'size': {'a': {'B': 20}, 'b': {'B': 50}}}, 'seeds': [1, 2], 'evaluations': evaluations}
    sweep['base'] = {k: v for k, v in sweep['base'].items() if v is not None}
    with pytest.raises(UserError) as e:
        Sweep(grid_of(sweep, Path()), SweepDirectory('swept'), 'sweep-x', {}, {'gpu': 'cpu'}).run()
    assert says in str(e.value) and str(e.value).startswith('a/seed-1: ') and '\n' not in str(e.value)
    assert not list(Path().iterdir())


# ---- words ----

def test_known_names_follow_a_semicolon_with_and_without_a_near_one():
    assert did_you_mean('realu', ['relu', 'linear']) == "did you mean 'relu'? (known: relu, linear)"
    assert did_you_mean('zzz', ['relu', 'linear']) == 'known: relu, linear'
    with pytest.raises(ValueError, match="^there is no activation 'zzz'; known: relu, linear$"):
        lookup('activation', 'zzz', {'relu': 1, 'linear': 2})


@pytest.mark.parametrize('value, text', [
    ('a', "'a'"), ([1] * 100, '[1, 1, 1, 1'), (10 ** 5000, 'a int'), (np.eye(2), 'array([[1., 0.], [0., 1.]])')],
    ids=['text', 'list', 'number', 'array'])
def test_what_was_given_is_shown_in_one_short_line(value, text):
    assert shown(value).startswith(text) and len(shown(value)) <= 60 and '\n' not in shown(value)
