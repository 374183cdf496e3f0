"""TensorBoard summaries, read back with TensorBoard's own reader."""

from __future__ import annotations

import math
import sys
from pathlib import Path

import numpy as np
import pytest
from runs import train
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.util import tensor_util

from core import UserError
from models import TrainMode


def scalars(path: str) -> dict[str, dict[int, float]]:
    """Tag -> step -> value."""
    events = EventAccumulator(path, size_guidance={'tensors': 0})
    events.Reload()
    return {tag: {e.step: float(tensor_util.make_ndarray(e.tensor_proto)) for e in events.Tensors(tag)}
            for tag in events.Tags()['tensors']}


@pytest.mark.long(after=1)
@pytest.mark.parametrize('mode', [TrainMode.NORMAL, TrainMode.USE_FRAME])
def test_every_statistic_of_accepted_epochs_is_there_and_the_relative_rate(mode):
    lr = ('loss-based-v1', 0.3, 2.0, 2.0) if mode is TrainMode.USE_FRAME else ('aggressive-v3', 0.1, 2.0, 2.0)
    _, lines = train(tensorboard=True, E=10, train_mode=mode, lr=lr)
    tags = scalars('run/tensorboard')
    accepted = [line for line in lines if line['cmd'] == 'go']
    assert len(accepted) < len(lines)
    for k, line in enumerate(accepted):
        eid, stats = line['eid'], line['stats']
        found = {tag.split('/')[1]: values[eid] for tag, values in tags.items() if eid in values}
        assert set(stats) <= set(found) and found['attempts'] == sum(other['eid'] == eid for other in lines)
        for name in stats:
            expected = math.exp(stats['log_loss']) if name == 'loss' else stats[name]
            np.testing.assert_allclose(found[name], expected, rtol=1e-6, err_msg=name)
        if mode is TrainMode.USE_FRAME:
            np.testing.assert_allclose(found['alpha'], line['lr'], rtol=1e-6)
        elif k:
            np.testing.assert_allclose(found['alpha'], line['lr'] * accepted[k - 1]['stats']['loss'], rtol=1e-6)
    assert {'loss/log_loss', 'margin/q_bar2_min', 'norm/rho', 'accuracy/test_acc', 'rate/log_T'} <= set(tags)


def test_without_the_flag_nothing_is_written():
    train(E=1)
    assert not Path('run/tensorboard').exists()


def test_a_missing_tensorboard_is_one_sentence_before_anything_is_written(monkeypatch):
    for name in [n for n in sys.modules if n.split('.')[0] == 'tensorboard']:
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(UserError, match='tensorboard=True needs TensorBoard; pip install tensorboard'):
        train(tensorboard=True, E=1)
    assert not Path('run').exists()
