"""Bad input of every kind: one sentence, nothing damaged, nothing executed."""

from __future__ import annotations

import os
import pickle
import zipfile
from pathlib import Path

import hypothesis
import keras
import numpy as np
import pytest
from hypothesis import strategies as st
from runs import FLAGS, train

import core
from core import UserError
from core.flags import FLAGS as KNOWN
from core.workdir import Workdir

# ---- flags of any kind ----

ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 300) | st.floats(allow_nan=True) | st.text(max_size=5)
    | st.sampled_from(['all', 'last', 'digits', 'gd', 'relu2', 'USE_FRAME', 'NORMAL', 'ALL', 'const', 'loss-based-v1',
                       'aggressive', 'logloss', 'train', 'test', 'cpu', 'F', 'C', 'P', 'he_normal', 0.1, 1e-300,
                       1e300]),
    lambda inner: st.lists(inner, max_size=4) | st.tuples(inner, inner) | st.dictionaries(
        st.text(max_size=4) | st.sampled_from(['weight', 'bias', 'act', 'description']), inner, max_size=3),
    max_leaves=6)
LAYERS = st.lists(
    st.tuples(st.just('C'), st.integers(1, 3), st.lists(st.integers(1, 3), min_size=2, max_size=2)).map(list)
    | st.tuples(st.just('F'), st.integers(1, 12)).map(list) | st.just(['P']) | st.just(['A']) | ANYTHING, max_size=4)
MODELS = st.fixed_dictionaries(
    {'description': LAYERS.map(lambda layers: [*layers, ['F', 10, {'act': False}]]) | ANYTHING},
    optional={'bias_mode': st.sampled_from(['NONE', 'ALL', 'FIRST_LAYER']) | ANYTHING,
              'act_type': st.sampled_from(['relu', 'relu2', 'linear']) | ANYTHING,
              'init': st.dictionaries(st.sampled_from(['weight', 'bias', 'weight_rescale', 'weight_normalized']),
                                      ANYTHING, max_size=2) | ANYTHING,
              'weight_decay': ANYTHING, 'opt': ANYTHING, 'seeds': ANYTHING})
RATES = st.floats(1e-3, 1) | st.tuples(
    st.sampled_from(['loss-based-v1', 'aggressive', 'aggressive-v2', 'aggressive-v3', 'const-lr-and-loss-based-lr']),
    st.floats(1e-3, 1), st.floats(1, 2)) | ANYTHING
OWN = {'model': MODELS, 'lr': RATES, 'train_N': st.integers(1, 40) | ANYTHING, 'test_N': st.integers(1, 40) | ANYTHING,
       'train_mode': st.sampled_from(['NORMAL', 'USE_FRAME']) | ANYTHING}
PLACES = ('log', 'eval_log', 'data_dir', 'resume', 'like', 'gpu', 'threads', 'E', 'init_weights', 'permutations')
MUTATIONS = st.dictionaries(
    st.sampled_from([name for name in KNOWN if name not in PLACES]) | st.text(max_size=4), st.none(),
    max_size=3).flatmap(lambda keys: st.fixed_dictionaries(
        {key: OWN.get(key, ANYTHING) for key in keys}))


def any_flags(mutation) -> None:
    """Runs the flags, or gets a sentence."""
    place = Path(f'run-{len(list(Path().iterdir()))}')
    flags = {**FLAGS, 'train_N': 40, 'test_N': 10, 'B': 20, 'print': False, **mutation, 'E': 1, 'log': str(place)}
    try:
        core.run(flags)
    except UserError as e:
        sentence = str(e)
        assert sentence and '\n' not in sentence.strip() and len(sentence) < 1000
    else:
        assert Workdir(place).archived_epochs() == [1]


SETTINGS = {'deadline': None, 'database': None, 'print_blob': False, 'derandomize': True,
            'suppress_health_check': list(hypothesis.HealthCheck)}


@pytest.mark.long
@hypothesis.settings(max_examples=60, **SETTINGS)
@hypothesis.given(MUTATIONS)
def test_any_flags_run_or_give_a_sentence(eagerly, mutation):
    any_flags(mutation)


@pytest.mark.long
@hypothesis.settings(max_examples=600, **SETTINGS)
@hypothesis.given(MUTATIONS)
def test_many_flags_run_or_give_a_sentence(eagerly, mutation):
    any_flags(mutation)


@pytest.mark.long
@hypothesis.settings(max_examples=60, **SETTINGS)
@hypothesis.given(MUTATIONS)
def test_any_flags_run_in_graphs_or_give_a_sentence(mutation):
    any_flags(mutation)


DEEP: list = []
for _ in range(100):
    DEEP = [DEEP]
NASTY = [float('inf'), float('-inf'), float('nan'), 10 ** 400, -10 ** 400, 10 ** 5000, 10 ** 30, 2 ** 31, 1.5, 2.0, -1,
         0, True, None, '', 'x', 'x' * 5000, 'a\0b', b'1', b'', [], (), {}, set(), {1}, [[]], [None], [True], ['a'],
         [1.5], [float('inf')], [10 ** 400], [10 ** 5000], {'type': 'x'}, {1: 2}, {None: None}, np.int64(3),
         np.float32(.1), np.float64('nan'), np.array([1, 2]), np.array([]), np.array('a'), np.bool_(True), DEEP, len,
         3 + 4j, range(3), ('loss-based-v1', float('inf')), ('aggressive', 0.1, 0.5), ('logloss', float('nan'))]


def said(flags) -> str | None:
    """The sentence with which a task is refused before it runs; None if it is not."""
    try:
        core.Core(flags)
    except UserError as e:
        assert str(e) and '\n' not in str(e) and len(str(e)) < 700
        return str(e)
    return None


@pytest.mark.parametrize('name', KNOWN)
def test_no_flag_takes_a_nasty_value_without_a_sentence(name):
    refused = [said({**FLAGS, name: value}) for value in NASTY]
    assert sum(s is not None for s in refused) > len(NASTY) // 3
    assert not list(Path().iterdir())


NUMBERS = {'train_fraction': 1, 'label_noise': 1, 'lr': 0.1, 'E': 3, 'B': 9, 'lr_lb': 0.1, 'loss_ub': 9.0,
           'log_frame0': 1.0, 'seed': 4, 'threads': 2, 'attack_B': 9, 'attack_K': 3, 'attack_E': 3,
           'attack_initial_const': 0.1}


@pytest.mark.parametrize('name', NUMBERS)
def test_a_flag_that_is_a_number_takes_no_other(name):
    for value in (float('inf'), float('-inf'), float('nan'), 10 ** 400, -10 ** 400, b'1', [1], {}, True, 1j):
        assert said({**FLAGS, name: value}), value
    for kind in (np.float32, np.float64) if isinstance(NUMBERS[name], float) else (np.int64, np.int8):
        value = core.Core({**FLAGS, name: kind(NUMBERS[name])}).flags[name]
        assert value == pytest.approx(NUMBERS[name]) and type(value) in (int, float)


@pytest.mark.parametrize('changes', [
    *({'model': {**FLAGS['model'], key: value}} for key, value in [
        ('weight_decay', float('inf')), ('weight_decay', 10 ** 400), ('clip_norm', 1e39), ('clip_norm', True),
        ('opt', {'type': 'sgd', 'momentum': float('nan')}), ('opt', {'type': 'sgd', 'momentum': [0.9]}),
        ('opt', {'type': 'sgd', 'nesterov': 1}), ('opt', {'type': 'adam', 'beta_1': 10 ** 300}), ('opt', 3),
        ('schedule', {'type': 'exponential', 'decay_steps': 1.5, 'rate': 0.5}),
        ('schedule', {'type': 'exponential', 'decay_steps': 3, 'rate': 10 ** 400}),
        ('schedule', {'type': 'piecewise', 'boundaries': 3, 'factors': [1]}),
        ('schedule', {'type': 'piecewise', 'boundaries': [3], 'factors': [float('inf')]}),
        ('schedule', {'type': 'cosine'}), ('schedule', {'type': 'cosine', 'decay_steps': True}),
        ('init', {'weight_rescale': float('inf')}), ('init', {'weight_rescale': 10 ** 400}), ('init', {'weight': len}),
        ('init', {'bias_normalized': 1}), ('init', []), ('description', [['F', 10 ** 30], ['F', 10]]),
        ('description', [['F', 10.0]]), ('description', [['C', 8.5, [3, 3]], ['F', 10]]),
        ('description', [['C', 2, [10 ** 400, 1]], ['F', 10]]), ('description', [['D', float('nan')], ['F', 10]]),
        ('description', [['D', 10 ** 400], ['F', 10]]), ('description', {1: 2}), ('description', 'F10')]),
    *({'arch': 'residual', 'model': {'widths': [2], 'repeats': 1, **model}} for model in [
        {'widths': 8}, {'widths': '16'}, {'widths': [2.0]}, {'widths': [10 ** 30]}, {'repeats': 10 ** 30},
        {'repeats': True}, {'num_labels': 10 ** 30}]),
    *({'objective': objective} for objective in [
        {'type': 'large-margin', 'gamma': float('inf')}, {'type': 'large-margin', 'gamma': 10 ** 400},
        {'type': 'large-margin', 'top_k': 1.0}, {'type': 'large-margin', 'top_k': 10},
        {'type': 'large-margin', 'layer_weights': 1.0}, {'type': 'large-margin', 'layer_weights': [1.0]},
        {'type': 'large-margin', 'layers': []}, ['cross-entropy', {'type': 'large-margin-released', 'top_k': 11}],
        [{'type': 'cross-entropy', 'weight': float('nan')}], {'type': {}}, [[]]]),
    *({'lr': lr} for lr in [
        ('loss-based-v1', 0.1, 10 ** 400), ('loss-based-v1', 0.1, 1.1, float('inf')), ('aggressive-v2', 0.1, 1e-9),
        ('const', True), ('aggressive-v3', 0.1, 1.0, '2')]),
    {'lr': 1e300, 'train_mode': 'USE_FRAME', 'log_frame0': 600},
    *({'archive': archive} for archive in [('logloss', 10 ** 400), ('logloss', True), ('const-epoch', 10 ** 30)]),
    {'dataset': 'data.npz'}, {'train_N': 10 ** 6}, {'B': 301}, {'gpu': '²'}, {'init_weights': 'nowhere.npz'},
    {'permutations': 'nowhere.npz'}, {'tensorboard': 1}], ids=lambda c: str(c)[:60])
def test_a_refused_run_is_one_sentence_and_leaves_no_directory(changes):
    flags = {**FLAGS, 'lr': 0.1, 'train_mode': 'NORMAL', 'train_N': 300, 'E': 1, **changes}
    with pytest.raises(UserError) as e:
        core.run(flags)
    assert '\n' not in str(e.value) and len(str(e.value)) < 500
    assert not list(Path().iterdir())


@pytest.mark.long
@pytest.mark.parametrize('name', KNOWN)
def test_every_flag_with_every_nasty_value_runs_or_leaves_no_directory(eagerly, name):
    for k, value in enumerate(NASTY):
        place = Path(f'run-{k}')
        try:
            core.run({**FLAGS, 'train_N': 40, 'test_N': 10, 'B': 20, 'print': False, 'E': 1, 'log': str(place),
                      'lr_lb': 0.2,  # so that one whose every attempt is rejected ends soon
                      name: value})
        except UserError as e:
            assert '\n' not in str(e) and len(str(e)) < 1000
            assert not place.exists() or Workdir(place).history_size(), e  # it diverged


@pytest.fixture(scope='module')
def trained(tmp_path_factory):
    """A run, for evaluations of it that are refused."""
    place = tmp_path_factory.mktemp('trained') / 'run'
    core.run({**FLAGS, 'E': 1, 'log': str(place)})
    return place


@pytest.mark.long
@pytest.mark.parametrize('task', [
    {'task': 'attack', 'attack_type': 'PGD', 'attack_K': 2, 'attack_E': 1}, {'task': 'certify'}, {'task': 'kkt'},
    {'task': 'transfer', 'attack_type': 'FGSM'}, {'task': 'train_peek', 'lr': 0.1, 'E': 1, 'B': 50}],
    ids=lambda task: task['task'])
@pytest.mark.parametrize('changes', [
    {'attack_eps_list': [1e999]}, {'attack_eps_list': 0.1}, {'attack': 3}, {'attack': [10 ** 30]}, {'attack': []},
    {'eid': 10 ** 30}, {'eid': 1.0}, {'eid': 9}, {'lr': float('inf')}, {'lr': -1.0}, {'attack_N': 1.0},
    {'attack_options': {'norm': float('nan')}}, {'attack_B': 10 ** 20}, {'dataset': 'none.npz'}, {'eval_log': ''},
    {'model': {'description': [['F', 10]]}}, {'log': ''}, {'log': 5}], ids=lambda c: str(c)[:40])
def test_a_refused_evaluation_is_one_sentence_and_leaves_no_directory(task, changes, trained):
    before = sorted(trained.rglob('*'))
    if task['task'] in ('certify', 'train_peek') and 'attack_options' in changes:
        return  # it has no use for them
    with pytest.raises(UserError) as e:
        core.run({'log': str(trained), 'gpu': 'cpu', 'eval_log': 'out', **task, **changes})
    assert '\n' not in str(e.value) and len(str(e.value)) < 700
    assert not list(Path().iterdir()) and sorted(trained.rglob('*')) == before


# ---- files that are not ours ----

class Bomb:
    """Pickled, it writes a file when it is unpickled."""

    def __reduce__(self):
        return (os.system, ('touch exploded',))


@pytest.mark.long
def test_nothing_in_a_run_directory_is_ever_unpickled_or_executed():
    train(E=2)
    Path('run/res').write_bytes(pickle.dumps(Bomb()))
    core.run({**FLAGS, 'log': None, 'resume': 'run', 'E': 3})
    Path('run/res').write_bytes(pickle.dumps(Bomb()))
    core.draw('figure-quickstart', 'run')
    for task in ({'task': 'kkt'}, {'task': 'attack', 'attack_N': 4, 'attack_type': 'FGSM'}, {'task': 'certify'},
                 {'task': 'train_peek', 'E': 1, 'B': 50, 'lr': 1e-6}):
        core.run({**task, 'eid': 3, 'log': 'run', 'gpu': 'cpu'})
    for name in ('state.npz', 'history.jsonl', 'flags.json'):
        kept = Path('run', name).read_bytes()
        Path('run', name).write_bytes(pickle.dumps(Bomb()))
        with pytest.raises(UserError):
            core.run({**FLAGS, 'log': None, 'resume': 'run', 'E': 4})
        Path('run', name).write_bytes(kept)
    assert not Path('exploded').exists()
    pickle.loads(pickle.dumps(Bomb()))
    assert Path('exploded').exists(), 'it would have'


def test_a_model_file_with_code_in_it_is_read_for_its_weights_only():
    train(E=2)
    net = keras.saving.load_model('run/model-2.keras')
    evil = keras.Sequential([net, keras.layers.Lambda(lambda z: __import__('os').system('touch exploded') * 0 + z)])
    evil.save('evil.keras')
    with zipfile.ZipFile('run/model-2.keras') as ours, zipfile.ZipFile('evil.keras') as theirs, \
            zipfile.ZipFile('mixed.keras', 'w') as mixed:
        for name in ours.namelist():
            mixed.writestr(name, (theirs if name == 'config.json' else ours).read(name))
    Path('exploded').unlink(missing_ok=True)
    for name, runs in (('evil', False), ('mixed', True)):
        Path('run/model-2.keras').write_bytes(Path(f'{name}.keras').read_bytes())
        if runs:
            core.run({'task': 'certify', 'eid': 2, 'log': 'run', 'gpu': 'cpu'})
        else:
            with pytest.raises(UserError, match='epoch 2: '):
                core.run({'task': 'certify', 'eid': 2, 'log': 'run', 'gpu': 'cpu'})
    assert not Path('exploded').exists()


@pytest.mark.long(after=1)
@pytest.mark.parametrize('damage', [b'', b'PK\x03\x04', b'x' * 5000, None], ids=['empty', 'cut', 'noise', 'half'])
def test_a_damaged_model_is_a_sentence(damage):
    train(E=1)
    path = Path('run/model-1.keras')
    path.write_bytes(path.read_bytes()[:path.stat().st_size // 2] if damage is None else damage)
    with pytest.raises(UserError, match='epoch 1: model-1.keras cannot be read'):
        core.run({'task': 'certify', 'eid': 1, 'log': 'run', 'gpu': 'cpu'})


# ---- data ----

def dataset(**changes) -> str:
    rng = np.random.default_rng(0)
    arrays = {'x_train': rng.integers(0, 256, (60, 8, 8), np.uint8), 'y_train': np.arange(60) % 10,
              'x_test': rng.integers(0, 256, (10, 8, 8), np.uint8), 'y_test': np.arange(10), **changes}
    np.savez('data.npz', **arrays)
    return 'data.npz'


@pytest.mark.parametrize('changes', [
    {'x_train': np.zeros((0, 8, 8), np.uint8), 'y_train': np.zeros(0, int)}, {'x_test': np.zeros((0, 8, 8), np.uint8),
                                                                             'y_test': np.zeros(0, int)},
    {'y_train': np.full(60, 10)}, {'y_train': np.full(60, -1)}, {'y_train': np.arange(59)},
    {'y_train': np.zeros(60, int)}, {'y_train': np.linspace(0, 1, 60)}, {'x_train': np.full((60, 8, 8), 1.5)},
    {'x_train': np.full((60, 8, 8), -0.1)},
    {'x_train': np.full((60, 8, 8), np.nan)}, {'x_train': np.zeros((60, 64), np.uint8)},
    {'x_test': np.zeros((10, 9, 8), np.uint8)}, {'y_train': np.array(['a'] * 60)}])
def test_data_that_cannot_be_used_is_refused_before_anything_is_written(changes):
    with pytest.raises(UserError) as e:
        train(dataset=dataset(**changes), train_N='all', test_N='all', B=5)
    assert 'data.npz' in str(e.value) or 'model' in str(e.value) or 'B is' in str(e.value)
    assert not Path('run').exists()


# ---- places ----

def test_a_directory_that_cannot_be_written_in_is_refused():
    Path('file').touch()
    with pytest.raises(UserError, match='cannot write in the directory file/run'):
        train(log='file/run', E=1)


def test_a_read_only_directory_is_one_sentence():
    run = Workdir.create('run', parent=Path())
    Path('run').chmod(0o555), Path().chmod(0o555)
    euid = os.geteuid()
    try:
        if euid == 0:
            os.seteuid(65534)  # root may write anywhere
        for path in (None, 'other'):
            with pytest.raises(UserError, match='cannot write in the directory .*: Permission denied'):
                Workdir.create(path, parent=Path())
        for write, args in ((run.append_history, [{}]), (run.write_state, [{}, {}]), (run.write_res, [{}])):
            with pytest.raises(UserError, match='cannot write run/.*: Permission denied; what was written before is'):
                write(*args)
    finally:
        os.seteuid(euid)
        Path('run').chmod(0o755), Path().chmod(0o755)


@pytest.mark.long
def test_the_torn_last_line_of_a_history_is_dropped_with_a_warning(capsys):
    train(E=2)
    lines = Path('run/history.jsonl').read_bytes()
    Path('run/history.jsonl').write_bytes(lines + b'{"eid": 3, "cm')
    assert len(list(Workdir('run').read_history())) == lines.count(b'\n')
    assert capsys.readouterr().err == 'warning: run/history.jsonl: the last line is torn, and left out\n'
    core.run({**FLAGS, 'log': None, 'resume': 'run', 'E': 3})
    assert [line['eid'] for line in Workdir('run').read_history() if line['cmd'] == 'go'] == [1, 2, 3]
