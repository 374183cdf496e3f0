"""train_peek: training on from archived epochs of a run."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
from runs import FLAGS, train

import core
from core import UserError
from core.workdir import Workdir
from models import TrainMode

pytestmark = pytest.mark.usefixtures('networks_are_shared')


@pytest.mark.long
def test_peek_trains_on_from_an_archived_epoch_without_touching_the_run():
    train(archive=6, E=12)
    before = {p.name: p.read_bytes() for p in Path('run').iterdir()}
    res = core.run({'task': 'train_peek', 'log': 'run', 'eid': [6, 12], 'E': 3, 'B': 50, 'lr': 1e-3, 'gpu': 'cpu',
                    'eval_log': 'peeked'})
    assert {p.name: p.read_bytes() for p in Path('run').iterdir()} == before
    history = {a['eid']: a for a in Workdir('run').read_history() if a['cmd'] == 'go'}
    for eid in (6, 12):
        (first, extra), *epochs = res[eid]
        np.testing.assert_allclose(first['q_min'], history[eid]['stats']['q_min'], rtol=1e-6)
        np.testing.assert_allclose(first['loss'], 1, rtol=1e-6, err_msg='the frame is the real loss of that epoch')
        assert extra['q'].shape == (300,) and extra['q'].min() == np.float32(first['q_min'])
        assert [info['eid'] for info, _ in epochs] == [eid + 1, eid + 2, eid + 3]
        assert epochs[-1][0]['stats']['loss'] < first['loss']
    with open('peeked/res', 'rb') as f:
        assert pickle.load(f)[12][1][0]['stats'] == res[12][1][0]['stats']


def test_peek_works_without_a_frame():
    """B10: the original's fails in NORMAL mode."""
    train(train_mode=TrainMode.NORMAL, lr=0.02, E=2)
    res = core.run({'task': 'train_peek', 'log': 'run', 'E': 1, 'B': 50, 'lr': 0.02, 'gpu': 'cpu'})
    assert res[2][1][0]['log_frame'] is None


@pytest.mark.long(after=1)
@pytest.mark.parametrize('changes, message', [
    ({'eid': 7}, 'epoch 7 is not archived in run; archived epochs: 2'),
    ({'lr': ('loss-based-v1', 0.1)}, 'lr must be a float for train_peek'),
    ({'log': 'elsewhere'}, 'elsewhere is not the working directory of a run: it has no flags.json'),
    ({'eval_log': 'run'}, 'run already holds results; choose another directory'),
    ({'eval_log': 'run/stdout'}, 'cannot write in the directory run/stdout'),
    ({'model': {**FLAGS['model'], 'act_type': 'linear'}, 'eid': 3}, 'epoch 3 is not archived in run'),
    ({'log': None}, 'name the working directory of a run with --log')])
def test_peeks_that_cannot_be_made_are_refused(changes, message):
    train(E=2)
    with pytest.raises(UserError) as e:
        core.run({'task': 'train_peek', 'log': 'run', 'E': 1, 'B': 50, 'lr': 0.02, 'gpu': 'cpu', **changes})
    assert message in str(e.value)


@pytest.mark.long(after=1)
@pytest.mark.parametrize('file, content, message', [
    ('flags.json', b'[]', "flags.json is not a run's record"), ('flags.json', b'{"flags"', 'flags.json cannot be read'),
    ('model-2.keras', b'', 'epoch 2: model-2.keras cannot be read'),
    ('model-2.keras', b'PK\x03\x04 torn', 'epoch 2: model-2.keras cannot be read')])
def test_a_damaged_run_is_refused(file, content, message):
    train(E=2)
    (Path('run') / file).write_bytes(content)
    with pytest.raises(UserError) as e:
        core.run({'task': 'train_peek', 'log': 'run', 'E': 1, 'B': 50, 'lr': 0.02, 'gpu': 'cpu'})
    assert message in str(e.value) and '\n' not in str(e.value)


@pytest.mark.long
def test_a_data_set_that_changed_since_the_run_is_refused():
    x, y = (part[:100] for part in core.get_dataset('digits').train)
    np.savez('data.npz', x_train=x, y_train=y, x_test=x, y_test=y)
    train(dataset='data.npz', train_N='all', test_N='all', E=1)
    np.savez('data.npz', x_train=x, y_train=y[::-1], x_test=x, y_test=y)
    with pytest.raises(UserError, match='is not the file that the run in run was trained on'):
        core.run({'task': 'train_peek', 'log': 'run', 'E': 1, 'B': 50, 'lr': 0.02, 'gpu': 'cpu'})


@pytest.mark.long
def test_a_setting_reaches_into_the_recorded_model():
    train(E=1)
    changed = core.Core({'task': 'train_peek', 'log': 'run', 'lr': 0.1}, settings=[('model.act_type', 'linear')])
    assert changed.flags['model'] == {**FLAGS['model'], 'act_type': 'linear'}
