"""Training laid beside whole runs of the original, attempt by attempt.

The runs sit at the edge of stability, where rounding grows a thousandfold an epoch. So each is replayed from weights
stored in it, and from its start only as far as re-runs of the original agree with each other. Losses are as near as the
reference states, or as ten times the spread of those re-runs.
"""

from __future__ import annotations

import copy
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from conftest import REFERENCE, reference_images, reference_json, reference_npz
from stated import gentle_runs, stated

from core.flags import scheduler_of
from models import BiasMode, LossBasedLRv1, NumericalFailure, SimpleSequential, TrainMode

NAMES = sorted(p.name.removesuffix('.npz') for p in (REFERENCE / 'trajectories').glob('*.npz'))
RUNS = {name: reference_json(f'trajectories/{name}') for name in NAMES}
GENTLE = gentle_runs(NAMES)
FULL_BATCH = [name for name in NAMES if RUNS[name]['config']['batch'] == RUNS[name]['config']['n_train']]
ATTEMPTS = 20
"""Attempts from the start that are repeated of a run that is not gentle, at most."""
GROWTH = 1000
"""By how much, as the reference says, a difference of rounding may grow in an epoch."""


_networks: dict[str, SimpleSequential] = {}
"""By kind; most runs are of one, and compiling it takes longer than an attempt."""


def network(config: dict, shape: tuple[int, ...]) -> SimpleSequential:
    """The network of a run, with any weights."""
    kind = shape, config['description'], config['bias_mode'], config['train_mode'], config['act_type']
    if repr(kind) not in _networks:
        _networks[repr(kind)] = SimpleSequential(
            'replay', shape, config['description'], BiasMode[config['bias_mode']], TrainMode[config['train_mode']],
            act_type=config['act_type'])
    return _networks[repr(kind)]


class Replay:
    """The original's run, and this project's model and data to repeat it with."""

    def __init__(self, name: str):
        self.name, self.run = name, RUNS[name]
        self.arrays = reference_npz(f'trajectories/{name}')
        self.config = c = self.run['config']
        self.attempts = self.run['attempts']
        (x, y), (x_test, y_test) = reference_images(c['data_file'])
        self.data = ((tf.constant(x[:c['n_train']]), tf.constant(y[:c['n_train']])),
                     (tf.constant(x_test[:c['n_test']]), tf.constant(y_test[:c['n_test']])))
        self.model = network(c, x.shape[1:])

    def start_from(self, prefix: str) -> None:
        self.model.set_weights({k.split('/')[1]: v for k, v in self.arrays.items() if k.startswith(prefix + '/')})
        self.model.keep()

    def has(self, prefix: str) -> bool:
        """Whether weights are stored under a prefix; an extract has not all of them."""
        return any(k.startswith(prefix + '/') for k in self.arrays)

    def has_order(self, index: int) -> bool:
        """Whether the permutation of an attempt is recorded; an extract has zeros in place of the others."""
        return 'perm' not in self.arrays or bool(self.arrays['perm'][index].any())

    def order(self, index: int) -> np.ndarray:
        return self.arrays['perm'][index] if 'perm' in self.arrays else np.arange(self.config['n_train'])

    def attempt(self, index: int, lr: float, log_frame: float | None):
        """(statistics or None, batch losses) of one attempt."""
        try:
            losses = self.model.train_epoch(*self.data[0], self.order(index), self.config['batch'], lr, log_frame,
                                            self.config['loss_ub'])
            return self.model.get_stats(self.data, log_frame)[0], losses
        except NumericalFailure as e:
            return None, e.batch_losses

    def spread_from_start(self) -> dict[int, dict[str, float]]:
        """By attempt, the spread of each quantity among re-runs of the original that still decide alike."""
        spread = self.run['spread_end_to_end']
        return {row[0]: {k: v or 0.0 for k, v in zip(spread['columns'], row)} for row in spread['rows']}

    def spread_from_stored(self, index: int) -> dict[str, float]:
        """The spread of an attempt among re-runs of the original from the same stored weights."""
        rows = [row for rows in self.run.get('spread_from_stored_weights', {}).values() for row in rows]
        return next(({k: v or 0.0 for k, v in row.items()} for row in rows if row['attempt'] == index), {})

    def agreed(self) -> int:
        """Attempts for which all re-runs of the original decide alike."""
        first = [i for i in self.run['spread_end_to_end']['first_decision_difference'].values() if i is not None]
        return min([*first, len(self.attempts)])


@pytest.fixture(params=NAMES)
def replay(request):
    return Replay(request.param)


def fresh_scheduler(config):
    """The scheduler of a recorded run, told its frame, past the first call."""
    lr = tuple(config['lr']) if isinstance(config['lr'], list) else config['lr']
    scheduler = scheduler_of(lr, config['log_frame0'])
    return scheduler, scheduler.get().lr


def decision(scheduler, attempt, stats) -> str:
    """What a scheduler would answer to statistics of an attempt, which it does not remember."""
    return copy.deepcopy(scheduler).get({'eid': attempt['eid'], 'stats': stats, 'log_frame': attempt['log_frame']}).cmd


def is_near_a_decision(scheduler, attempt, rtol: float) -> bool:
    """Whether another loss within a tolerance would be decided upon otherwise."""
    stats = attempt['stats']
    return stats is not None and any(
        decision(scheduler, attempt, {**stats, 'loss': stats['loss'] * factor}) != attempt['cmd']
        for factor in (1 - rtol, 1 + rtol))


@pytest.mark.long
def test_every_attempt_after_a_stored_epoch_ends_as_the_original_did(replay):
    first, whole = stated('first batch loss rtol'), stated('(?<!attempt 0 )epoch loss rtol')
    scheduler, _ = fresh_scheduler(replay.config)
    for a in replay.attempts:
        epoch = a['eid'] - 1
        start = 'init' if epoch == 0 else f'epoch_{epoch}'
        if epoch in [0, *replay.run['stored_epochs']] and replay.has(start) and replay.has_order(a['index']):
            spread = replay.spread_from_stored(a['index'])
            replay.start_from(start)
            stats, losses = replay.attempt(a['index'], a['lr'], a['log_frame'])
            where = f"attempt {a['index']}"
            if len(losses) and a['batch_losses']:
                rtol = max(first, 10 * spread.get('max_rel_first_batch_loss', 0))
                np.testing.assert_allclose(losses[0], a['batch_losses'][0], rtol=rtol, err_msg=where)
            if not spread.get('outcome_differs'):
                assert decision(scheduler, a, stats) == a['cmd'], where
                if a['cmd'] == 'go':  # of what is rejected, the losses may differ by any factor
                    rtol = max(whole, 10 * spread.get('max_rel_loss', 0))
                    np.testing.assert_allclose(stats['loss'], a['stats']['loss'], rtol=rtol, err_msg=where)
        scheduler.get({'eid': a['eid'], 'stats': a['stats'], 'log_frame': a['log_frame']})  # it remembers its history


@pytest.mark.long(after=1)
def test_the_first_epoch_agrees_to_as_many_digits_as_the_reference_states(replay):
    a, spread = replay.attempts[0], replay.spread_from_start().get(0, {})
    replay.start_from('init')
    stats, _ = replay.attempt(0, a['lr'], a['log_frame'])
    if a['stats'] is None:
        assert stats is None or a['cmd'] == 'back'
    else:
        for key in ('loss', 'test_loss', 'rho', 'norm_prod'):
            rtol = max(stated('attempt 0 epoch loss rtol'), 10 * spread.get(f'max_rel_{key}', 0))
            np.testing.assert_allclose(stats[key], a['stats'][key], rtol=rtol, err_msg=key)


def hangs_by_less_than(share: float, scheduler, a) -> bool:
    """Whether a loss that differs by this share would be decided upon otherwise."""
    return a['stats'] is not None and any(
        decision(scheduler, a, {**a['stats'], 'loss': a['stats']['loss'] * factor}) != a['cmd']
        for factor in (1 - share, 1 + share))


def check_follows(replay: Replay, attempts: float, least: float, is_gentle: bool = False) -> int:
    """Asserts that a run repeated from its start decides alike, and returns for how many attempts.

    Losses are within ``least``, ten times the spread, or what rounding makes of the difference in the attempt before.
    It stops, of itself, where the re-runs of the original part ways, and, unless it is gentle, where another loss
    within that tolerance would be decided upon otherwise.
    """
    replay.start_from('init')
    scheduler, lr = fresh_scheduler(replay.config)
    log_frame, spread, rtol, followed = replay.config['log_frame0'], replay.spread_from_start(), least, 0
    apart = 0.0
    for a in replay.attempts[:replay.agreed()]:
        rtol = max(rtol, 10 * spread.get(a['index'], {}).get('max_rel_loss', 0), 0 if is_gentle else GROWTH * apart)
        if followed >= attempts or rtol >= 1 or not replay.has_order(a['index']):
            break
        if not is_gentle and hangs_by_less_than(rtol / 10, scheduler, a):
            break
        stats, _ = replay.attempt(a['index'], lr, log_frame)
        cmd, next_lr = scheduler.get({'eid': a['eid'], 'stats': stats, 'log_frame': log_frame})
        assert cmd == a['cmd'], a['index']
        np.testing.assert_allclose(lr, a['lr'], rtol=1e-12 if isinstance(scheduler, LossBasedLRv1) else max(0.1, rtol))
        if cmd == 'go':
            np.testing.assert_allclose(stats['loss'], a['stats']['loss'], rtol=rtol, err_msg=f"attempt {a['index']}")
            apart = abs(stats['loss'] / a['stats']['loss'] - 1)
        lr, followed = next_lr, followed + 1
        if cmd == 'go':
            replay.model.keep()
            log_frame = None if log_frame is None else log_frame + np.log(stats['loss'])
        else:
            replay.model.roll_back()
    return followed


@pytest.mark.long
@pytest.mark.parametrize('name', [name for name in NAMES if name not in GENTLE])
def test_runs_stay_within_ten_times_the_spread_of_the_originals_own_reruns(name):
    """Of those that are gentle, the next two tests repeat more attempts, and stop at none that is near a decision."""
    replay = Replay(name)
    followed = check_follows(replay, ATTEMPTS, stated('not less than'))
    assert followed or not replay.agreed(), 'it was compared at all'


@pytest.mark.long
@pytest.mark.parametrize('name', [name for name in GENTLE if name not in FULL_BATCH])
def test_a_gentle_run_decides_alike_from_start_to_end(name):
    attempts, rtol = GENTLE[name]
    replay = Replay(name)
    assert check_follows(replay, attempts, rtol, is_gentle=True) == min(attempts, len(replay.attempts))


@pytest.mark.long
@pytest.mark.parametrize('name', [name for name in GENTLE if name in FULL_BATCH])
def test_a_full_batch_run_decides_alike_for_as_many_attempts_as_the_reference_states(name):
    """With oneDNN off, one of the reference's own variations, and so in a process of its own.

    Of run xi, oneDNN's AVX2 kernels agree for 100 attempts too; its AVX-512 kernels, whose rounding sends the run its
    own way at the seventh attempt, for 87.
    """
    code = ('import models, conftest, test_trajectories as t; '
            f't.check_follows(t.Replay({name!r}), *t.GENTLE[{name!r}], is_gentle=True)')
    here = Path(__file__).parent
    env = {**os.environ, 'TF_ENABLE_ONEDNN_OPTS': '0', 'PYTHONPATH': f'{here.parent}:{here}'}
    subprocess.run([sys.executable, '-c', code], env=env, check=True)


@pytest.mark.parametrize('name', NAMES)
def test_rates_and_frames_follow_from_the_recorded_losses(name):
    run, rtol = RUNS[name], stated('recorded losses: rtol')
    scheduler, first_lr = fresh_scheduler(run['config'])
    log_frame = run['config']['log_frame0']
    np.testing.assert_allclose(first_lr, run['first_lr'], rtol=rtol)
    for a in run['attempts']:
        if log_frame is not None:
            np.testing.assert_allclose(log_frame, a['log_frame'], rtol=rtol, atol=rtol)
        cmd, next_lr = scheduler.get({'eid': a['eid'], 'stats': a['stats'], 'log_frame': a['log_frame']})
        assert cmd == a['cmd']
        np.testing.assert_allclose(next_lr, a['next_lr'], rtol=rtol)
        if cmd == 'go' and log_frame is not None:
            log_frame += np.log(a['stats']['loss'])
