"""Flags: how they merge, and what is said of those that cannot be used."""

from __future__ import annotations

import pytest

from core import UserError
from core.flags import (
    CHANGEABLE,
    FLAGS,
    PLACES,
    RECORDED_FLAGS,
    apply_setting,
    archiver_of,
    merge,
    parse_setting,
    scheduler_of,
)
from core.flags.table import ONCE
from models import (
    BiasMode,
    ConstEpochArchiver,
    ConstLR,
    IdleArchiver,
    LossBasedLRv1,
    TrainMode,
    TwoPhaseConstEpochArchiver,
)

BASE = {'dataset': 'digits', 'lr': 0.1, 'model': {'description': [['F', 10, {'act': False}]]}}


def test_later_layers_win_and_defaults_fill_in():
    flags = merge(BASE, {'E': 7, 'lr': 0.5}, {'E': 8})
    assert (flags['E'], flags['lr'], flags['B'], flags['loss_ub']) == (8, 0.5, 128, 100.0)
    assert flags['train_mode'] is TrainMode.NORMAL


def test_what_is_recorded_and_what_may_change_is_said_by_each_flag():
    assert {'dataset', 'train_N', 'test_N', 'train_fraction', 'label_noise', 'arch', 'model',
            'train_mode'} <= set(RECORDED_FLAGS) and not set(RECORDED_FLAGS) & {'lr', 'E', 'B', 'seed', *PLACES}
    assert set(PLACES) == {'log', 'eval_log', 'gpu', 'threads', 'data_dir'}
    assert set(CHANGEABLE) == {*PLACES, 'E', 'print', 'tensorboard', 'monitors', 'lr_lb', 'resume', 'like'}
    assert set(ONCE) == {*PLACES, 'resume', 'like'}


@pytest.mark.parametrize('name', FLAGS)
def test_a_flag_says_what_it_does_and_what_it_may_be(name):
    flag = FLAGS[name]
    assert flag.meaning and flag.expects and '\n' not in flag.meaning + flag.expects and flag.meaning[-1] != '.'


@pytest.mark.parametrize('lr, archive', [
    ({'type': 'loss-based-v1', 'lr': 0.3, 'eps': 1}, {'type': 'two-phase-const-epoch', 'nS1': 5, 'nS2': 50}),
    (('loss-based-v1', 0.3, 2 ** 0.2, 2 ** 0.1, 1), ('two-phase-const-epoch', 5, 50))])
def test_a_scheduler_and_an_archiver_may_be_described_by_a_dictionary_or_a_tuple(lr, archive):
    flags = merge(BASE, {'lr': lr, 'archive': archive})
    scheduler, archiver = scheduler_of(flags['lr']), archiver_of(flags['archive'])
    assert (scheduler.lr, scheduler.eps, archiver.nS1, archiver.nS2) == (0.3, 1, 5, 50)


def test_enumerations_may_be_given_by_name():
    flags = merge(BASE, {'train_mode': 'USE_FRAME', 'model': {**BASE['model'], 'bias_mode': 'ALL'}})
    assert (flags['train_mode'], flags['model']['bias_mode']) == (TrainMode.USE_FRAME, BiasMode.ALL)


@pytest.mark.parametrize('text, expected', [
    ('E=100', ('E', 100)), ('lr=0.1', ('lr', 0.1)), ('model.act_type=relu2', ('model.act_type', 'relu2')),
    ("archive=('logloss', 10)", ('archive', ('logloss', 10))), ('dataset=a=b.npz', ('dataset', 'a=b.npz')),
    ('print=False', ('print', False)), ('seed=None', ('seed', None)), ('eps=8/255', ('eps', 8 / 255)),
    ('attack_eps_list=[4/255, 8/255]', ('attack_eps_list', [4 / 255, 8 / 255])), ('lr=1/3', ('lr', 1 / 3)),
    ("objective={'type': 'adversarial', 'eps': 8/255}", ('objective', {'type': 'adversarial', 'eps': 8 / 255})),
    ('objective.eps=8/255', ('objective.eps', 8 / 255)), ('log=logs/1/2', ('log', 'logs/1/2')),
    ('log=1/2', ('log', '1/2')), ('dataset=8/255', ('dataset', '8/255')),
    ('eps=8/0', ('eps', '8/0')), ('eps=1/2/3', ('eps', '1/2/3'))])
def test_settings_are_python_literals_or_else_strings(text, expected):
    assert parse_setting(text) == expected


def test_a_dotted_setting_reaches_into_dictionaries_without_touching_the_config_files():
    flags = dict(BASE)
    apply_setting(flags, 'model.act_type', 'relu2')
    apply_setting(flags, 'model.init.weight', 'he_normal')
    assert flags['model'] == {**BASE['model'], 'act_type': 'relu2', 'init': {'weight': 'he_normal'}}
    assert BASE['model'] == {'description': [['F', 10, {'act': False}]]}


@pytest.mark.parametrize('lr, cls', [(0.1, ConstLR), (1, ConstLR), ('loss-based-v1', LossBasedLRv1),
                                     (['loss-based-v1', 0.1], LossBasedLRv1)])
def test_lr_is_a_float_or_names_a_scheduler(lr, cls):
    assert type(scheduler_of(merge(BASE, {'lr': lr})['lr'])) is cls


@pytest.mark.parametrize('archive, cls', [(50, ConstEpochArchiver), ('idle', IdleArchiver),
                                          (('two-phase-const-epoch', 50, 500), TwoPhaseConstEpochArchiver)])
def test_archive_is_an_int_or_names_an_archiver(archive, cls):
    assert type(archiver_of(merge(BASE, {'archive': archive})['archive'])) is cls


@pytest.mark.parametrize('settings, message', [
    ({'Epochs': 3}, "there is no flag 'Epochs'"),
    ({'dataste': 'digits'}, "there is no flag 'dataste'; did you mean 'dataset'?"),
    ({'model.act_typ': 'relu'}, "there is no flag 'model.act_typ'; did you mean 'model.act_type'?"),
    ({'model.init.weigth': 'zeros'}, "there is no flag 'model.init.weigth'; did you mean 'model.init.weight'?"),
    ({'E.x': 3}, 'E is 100, not a dictionary, so E.x cannot be set'),
    ({'E': 'many'}, "E must be a number of epochs, at least 1, not 'many'"),
    ({'E': 0}, 'E must be a number of epochs'),
    ({'E': True}, 'E must be a number of epochs'),
    ({'B': 1.5}, 'B must be a number of images'),
    ({'lr': None}, "the flag 'lr' is missing"),
    ({'lr': (0.1, 2)}, "lr must be a float, or a tuple of a scheduler's name"),
    ({'lr': ()}, 'lr must be a float, or'),
    ({'lr': {'lr': 0.1}}, 'lr must be a float, or'),
    ({'lr': float('nan')}, 'lr must be a float, or'),
    ({'archive': -1}, 'archive must be an int'),
    ({'loss_ub': 0}, 'loss_ub must be a number above 0'),
    ({'log_frame0': float('nan')}, 'log_frame0 must be a number from -700 to 700'),
    ({'log_frame0': 1000}, 'log_frame0 must be a number from -700 to 700'),
    ({'model.init': 'he_normal'}, 'model.init must be a dictionary such as'),
    ({'train_mode': 'FRAME'}, 'train_mode must be NORMAL, USE_FRAME or ASCENT'),
    ({'model.bias_mode': 'SOME'}, 'model.bias_mode must be NONE, FIRST_LAYER or ALL'),
    ({'model': {}}, "the flag 'model.description' is missing"),
    ({'model': 5}, 'model must be a dictionary'),
    ({'task': 'trian'}, "task must be train, train_peek, attack, certify, compare, curve, generate, hessian, kkt, "
     "perturb, sandwich, scan, transfer or union, not 'trian'"),
    ({'print': 'yes'}, 'print must be True or False'),
    ({'eid': [-1]}, 'eid must be an epoch'),
    ({'dataset': 5}, "dataset must be a data set's name")])
def test_flags_that_cannot_be_used_are_refused_in_one_sentence(settings, message):
    flags = {'E': 100, **BASE}
    with pytest.raises(UserError) as e:
        for key, value in settings.items():
            apply_setting(flags, key, value)
        merge(flags)
    assert message in str(e.value) and '\n' not in str(e.value)


@pytest.mark.parametrize('of, value, message', [
    (scheduler_of, ('loss-based', 0.1), "lr: there is no scheduler 'loss-based'; did you mean 'loss-based-v1'?"),
    (scheduler_of, ('loss-based-v1', 0.1, 2, 3, 4, 5, 6), "lr: 'loss-based-v1' takes lr"),
    (scheduler_of, 'aggressive', "lr: 'aggressive' takes lr"),
    (scheduler_of, -0.1, 'lr: lr must be a finite number above 0, not -0.1'),
    (scheduler_of, ('loss-based-v1', 'fast'), "lr: lr must be a finite number above 0, not 'fast'"),
    (scheduler_of, {'type': 'const', 'rate': 1}, "lr: the scheduler 'const' takes no 'rate'; known: lr"),
    (archiver_of, ('log', 10), "archive: there is no archiver 'log'; did you mean 'logloss'?"),
    (archiver_of, ('two-phase-const-epoch', 5), "archive: 'two-phase-const-epoch' takes nS1")])
def test_schedulers_and_archivers_that_cannot_be_built_are_refused_in_one_sentence(of, value, message):
    with pytest.raises(UserError) as e:
        of(value)
    assert message in str(e.value) and '\n' not in str(e.value)


@pytest.mark.parametrize('value', ["('loss-based-v1', 0.1, 2 ** (1 / 5))", '{[]: 1}', '[' * 5000])
def test_a_tuple_that_is_no_literal_is_said_to_be_none(value):
    with pytest.raises(UserError, match='is not a Python literal'):
        parse_setting(f'lr={value}')


def test_a_tilde_in_a_path_is_the_home_directory(monkeypatch):
    monkeypatch.setenv('HOME', '/home/someone')
    flags = merge(BASE, {'log': '~/run', 'dataset': '~/x.npz'})
    assert (flags['log'], flags['dataset']) == ('/home/someone/run', '/home/someone/x.npz')


def test_text_without_an_equals_sign_is_no_setting():
    with pytest.raises(UserError, match="--set takes key=value, not 'E'"):
        parse_setting('E')
