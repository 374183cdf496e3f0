"""Several devices, here parts of the CPU, and several workers on this machine: the numbers of one device."""

from __future__ import annotations

import json
import shutil
import signal
import socket
import sys
import time
from contextlib import ExitStack
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from forked import Process, Server
from runs import FLAGS, train

import core
from core import AttackType, UserError
from core.cli import sweep_app
from core.devices import use_device
from core.workdir import Workdir
from models import NumericalFailure, SimpleSequential, TrainMode
from models.measures.kkt import KKTMeter

DESCRIPTION = [['C', 8, [3, 3]], ['P'], ['F', 16], ['F', 10, {'act': False}]]


@cache
def made(parts: int, mode: TrainMode) -> tuple[SimpleSequential, dict]:
    """A network, compiled once for all tests, and its initial weights."""
    with use_device(['cpu'] * parts).strategy.scope():
        net = SimpleSequential('net', (8, 8, 1), DESCRIPTION, init={'weight': 'he_normal'}, seed=1, train_mode=mode,
                               weight_decay=1e-3)
    return net, net.weights()


def network(parts: int, mode: TrainMode = TrainMode.USE_FRAME) -> SimpleSequential:
    """A network as it begins."""
    net, start = made(parts, mode)
    net.set_weights(start)
    return net


@cache
def meter(parts: int) -> KKTMeter:
    return KKTMeter(network(parts))


def same_run(a: list, b: list) -> None:
    """The same attempts and decisions. Rounding grows from attempt to attempt, at the edge of stability fast."""
    assert [(x['eid'], x['cmd']) for x in a] == [(x['eid'], x['cmd']) for x in b]
    for number, (x, y) in enumerate(zip(a, b)):
        tolerance = 1e-6 if number < 5 else 0.05
        assert x['lr'] == pytest.approx(y['lr'], rel=tolerance)
        assert x['log_frame'] == pytest.approx(y['log_frame'], rel=tolerance)
        for name, value in (y['stats'] or {}).items():
            if name not in ('acc', 'test_acc') and not name.startswith('n_supp'):
                size = {'log_loss': 1, 'log_T': 1}.get(name, abs(value))  # an error of a logarithm is relative already
                if name in ('q_bar_min', 'q_bar2_min'):
                    size = abs(y['stats']['q_min'])
                assert x['stats'][name] == pytest.approx(value, abs=tolerance * size + 1e-9), (number, name)


# ---- a network on several devices ----


@pytest.mark.long
@pytest.mark.parametrize('parts, batch', [(2, 50), (2, 7), (3, 50), (3, 2), (3, 1)])
@pytest.mark.parametrize('frame', [None, -40.0])
def test_steps_are_those_of_one_device_for_batches_of_any_size(digits, parts, batch, frame):
    """Also batches that do not divide evenly, and with fewer images than there are devices."""
    mode = TrainMode.NORMAL if frame is None else TrainMode.USE_FRAME
    (x, y), order = digits.train, np.random.default_rng(1).permutation(1400)[:5 * batch]
    one, several = (network(n, mode) for n in (1, parts))
    if frame is not None:  # the loss has to be near the frame: a trained network, scaled up
        weights = one.weights()
        for net in (one, several):
            net.set_weights({k: 3 * v for k, v in weights.items()})
    lr = 0.1 if frame is None else 1e-20
    losses = [net.train_epoch(x, y, order, batch, lr, frame) for net in (one, several)]
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-6)
    for name, value in one.weights().items():
        np.testing.assert_allclose(several.weights()[name], value, rtol=1e-5, atol=1e-6, err_msg=name)


@pytest.mark.long(after=1)
@pytest.mark.parametrize('images', [1, 2, 100, 355])
def test_evaluations_are_split_over_the_devices_and_joined_in_order(digits, images):
    x, y = (a[:images] for a in digits.test)
    one, several = (network(n).test(x, y, B=30) for n in (1, 3))
    np.testing.assert_allclose(several['y_'], one['y_'], rtol=1e-4, atol=1e-5)
    assert several['loss'] == pytest.approx(one['loss'], rel=1e-6) and several['acc'] == one['acc']


def test_all_devices_hold_the_same_weights_bit_for_bit_also_after_a_roll_back(digits):
    net = network(3)
    before = net.weights()
    net.keep()
    net.train_epoch(*digits.train, np.arange(1400), 33, 0.2, 1.0)
    for when in ('trained', 'rolled back'):
        for v in net.vars:
            first, *others = (t.numpy() for t in net.replicas.strategy.experimental_local_results(v))
            assert len(others) == 2 and all(np.array_equal(first, other) for other in others), when
        assert all(np.array_equal(before[k], v) for k, v in net.weights().items()) == (when == 'rolled back')
        net.roll_back()


def test_a_loss_above_its_bound_on_one_device_is_a_failure(digits):
    net, (x, y) = network(3), digits.train
    bad = np.array(x)
    bad[5] = 1e30
    with pytest.raises(NumericalFailure):
        net.train_epoch(bad, y, np.arange(60), 20, 0.1, 1.0, loss_ub=100.0)


@pytest.mark.long
@pytest.mark.parametrize('images', [2, 200])
def test_the_kkt_conditions_are_those_of_one_device(digits, images):
    x, y = (a[:images] for a in digits.train)
    one, several = (meter(n).measure(x, y) for n in (1, 3))
    assert several.epsilon_relative == pytest.approx(one.epsilon_relative, rel=1e-6)
    assert several.euler_error < 1e-6
    np.testing.assert_allclose(several.shares, one.shares, rtol=1e-4)


# ---- whole runs, in one process ----


@pytest.fixture(scope='module')
def one(tmp_path_factory):
    """A run on one device, with epochs 6 and 12 archived."""
    path = tmp_path_factory.mktemp('one') / 'run'
    train(log=str(path), archive=6)
    return path


@pytest.fixture
def run(one):
    """The same in the folder of the test."""
    shutil.copytree(one, 'run')


@pytest.mark.long
@pytest.mark.parametrize('parts', [2, pytest.param(3, marks=pytest.mark.long)])
def test_a_run_has_the_retries_the_frame_and_the_statistics_of_one_device(parts, one):
    history = list(Workdir(one).read_history())
    _, several = train(log='several', gpu=','.join(['cpu'] * parts))
    assert sum(line['cmd'] == 'back' for line in history) > 10
    same_run(several, history)


@pytest.mark.long
def test_a_run_is_resumed_on_another_number_of_devices(one):
    train(log='run', E=3, gpu='cpu,cpu')
    core.run({**FLAGS, 'log': None, 'resume': 'run', 'gpu': 'cpu'})
    same_run(list(Workdir('run').read_history()), list(Workdir(one).read_history()))


@pytest.mark.long
@pytest.mark.parametrize('attack', ['DDN', 'L_INF'])
def test_an_evaluation_on_several_devices_finds_what_one_finds(attack, run):
    evaluation = {'task': 'attack', 'log': 'run', 'attack_type': AttackType[attack], 'attack_N': 50, 'attack_B': 8,
                  'attack_K': 5, 'eid': [6, 12], 'seed': 1}
    if attack == 'L_INF':
        evaluation |= {'attack_eps_list': [0.1], 'attack_E': 1}
    one, several = (core.run({**evaluation, 'eval_log': gpu, 'gpu': gpu}) for gpu in ('cpu', 'cpu,cpu,cpu'))
    for eid in (6, 12):
        assert np.array_equal(one[eid]['images'], several[eid]['images']) and one[eid]['errors'].any()
    assert Workdir('cpu').parts() == Workdir('cpu,cpu,cpu').parts()


@pytest.mark.long
def test_each_batch_is_attacked_on_the_device_that_it_was_given_to(run, monkeypatch):
    used = []
    from models.attacks import ATTACKS
    attack = ATTACKS['DDN']
    logits = attack.logits
    monkeypatch.setattr(attack, 'logits', lambda self, x: used.append(self.net(x).device) or logits(self, x))
    core.run({'task': 'attack', 'log': 'run', 'attack_type': AttackType.DDN, 'attack_N': 40, 'attack_B': 20,
              'attack_K': 2, 'seed': 1, 'gpu': 'cpu,cpu'})
    assert {device[-5:] for device in used} == {'CPU:0', 'CPU:1'}


# ---- what is asked for ----


@pytest.mark.parametrize('gpu', ['0,0', '0,cpu', 'cpu,gpu', '0,', '', ',', (0, 'one'), []])
def test_devices_that_cannot_be_meant_are_refused(gpu):
    with pytest.raises(UserError, match='--gpu takes the index of a GPU'):
        use_device(gpu)


def test_gpus_that_are_not_there_are_left_out_with_a_warning(capfd, monkeypatch):
    monkeypatch.setattr(tf.config, 'set_visible_devices', lambda *args: None)
    assert use_device('0,3').local == (None,)
    assert 'there is no GPU 0 or 3 that TensorFlow can use here; running on the CPU' in capfd.readouterr().err


@pytest.mark.parametrize('text', ['{', '[]', '{"cluster": {"worker": ["a:1", "b:2"]}}', '{"cluster": {"ps": ["a:1"]}}',
                                  '{"cluster": {"worker": ["a:1", "b:2"]}, "task": {"type": "worker", "index": 2}}'])
def test_a_tf_config_that_describes_no_workers_is_refused(text, monkeypatch):
    monkeypatch.setenv('TF_CONFIG', text)
    with pytest.raises(UserError, match='TF_CONFIG must be JSON such as'):
        train()
    assert not Path('run').exists()


# ---- workers ----


def start(server: Server, *flags: str, configs: tuple[str, ...] = ('flags', 'flags'),
          measured: bool = False) -> list[Process]:
    """Starts two workers with the config files of these names."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in configs]
        for s in sockets:
            s.bind(('localhost', 0))
        hosts = [f'localhost:{s.getsockname()[1]}' for s in sockets]
    tasks = [{'cluster': {'worker': hosts}, 'task': {'type': 'worker', 'index': i}} for i in range(len(configs))]
    return [server.start(f'{config}.py', *flags, measured=measured, TF_CONFIG=json.dumps(task))
            for config, task in zip(configs, tasks)]


def ends(processes: list[Process]) -> list[tuple[int, str, str]]:
    """The status, standard output and standard error of each."""
    return [(p.wait(timeout=120), p.stdout, p.stderr) for p in processes]


def write_config(name: str = 'flags', **changes) -> None:
    flags = {k: v for k, v in {**FLAGS, **changes}.items() if k not in ('log', 'gpu')}
    flags['train_mode'] = 'USE_FRAME'
    Path(f'{name}.py').write_text(f"import core\n\nif __name__ == '__main__':\n    core.app_start({flags!r})\n")


@pytest.mark.long
def test_two_workers_train_as_one_device_and_only_the_first_writes_and_prints(server):
    write_config(seed=None, E=4)  # whatever the seed, so early there is little rounding to tell runs apart
    (rc, out, err), (other_rc, other_out, other_err) = ends(start(server, '--log', 'run', measured=True))
    assert (rc, other_rc) == (0, 0), err + other_err
    assert other_out == '' and 'epoch #4' in out
    assert other_err == 'worker 1 of 2, waiting for the others\n'
    assert sorted(p.name for p in Path().iterdir()) == ['flags.py', 'run']
    record = Workdir('run').read_flags()
    assert record['device'] == 'CPU, worker 0 of 2'
    _, alone = train(log='alone', E=4, seed=record['flags']['seed'])
    same_run(list(Workdir('run').read_history()), alone)
    net = SimpleSequential('net', (8, 8, 1), **FLAGS['model'])
    net.restore('run/model-4.keras')
    assert net.is_finite()


@pytest.fixture(scope='module')
def whole(tmp_path_factory):
    """A run on two parts of a CPU."""
    path = tmp_path_factory.mktemp('whole') / 'run'
    train(log=str(path), gpu='cpu,cpu')
    return path


@pytest.mark.long
def test_a_worker_that_dies_ends_the_run_which_is_then_resumed(whole, server):
    """Three times in one run: whichever worker dies, by whatever signal."""
    write_config()
    flags, size = ['--log', 'run', '--seed', '1'], 0
    for victim, number in [(1, signal.SIGKILL), (0, signal.SIGKILL), (0, signal.SIGTERM)]:
        processes, size = start(server, *flags), size + 1600
        while Workdir('run').history_size() < size:
            assert processes[0].poll() is None, processes[0].stderr
            time.sleep(0.05)
        processes[victim].send_signal(number)
        results = ends(processes)
        rc, _, err = results[1 - victim]
        assert rc == 1 and 'another worker has ended, or cannot be reached' in err and '--resume run' in err
        assert Workdir('run').last_epoch() < FLAGS['E']
        flags, size = ['--resume', 'run'], Workdir('run').history_size()
    assert [rc for rc, _, err in ends(start(server, *flags))] == [0, 0]
    strip = lambda run: [{k: v for k, v in x.items() if k != 'time'} for x in Workdir(run).read_history()]  # noqa: E731
    assert strip('run') == strip(whole)  # that of two parts of a CPU is that of two workers, bit for bit


@pytest.mark.long
def test_workers_with_different_flags_are_refused(server):
    write_config()
    write_config('other', B=20)
    for rc, _, err in ends(start(server, configs=('flags', 'other'))):
        assert rc == 1
        assert 'error: worker 1 was started with B=20, worker 0 with 50; all workers take the same command' in err
    assert not Path('logs').exists()


@pytest.mark.long
def test_two_workers_share_an_evaluation(run, server):
    flags = {'task': 'attack', 'log': 'run', 'attack_type': 'DDN', 'attack_N': 50, 'attack_B': 8, 'attack_K': 5,
             'eid': [6, 12], 'seed': 1}
    Path('flags.py').write_text(f"import core\n\nif __name__ == '__main__':\n    core.app_start({flags!r})\n")
    results = ends(start(server, '--eval_log', 'two', measured=True))
    assert [rc for rc, _, _ in results] == [0, 0], results
    alone = core.run({**flags, 'eval_log': 'one'})
    assert Workdir('one').parts() == Workdir('two').parts()
    for eid, start_ in [(6, 0), (12, 48)]:
        a, b = (Workdir(d).read_part(eid, start_) for d in ('one', 'two'))
        assert np.array_equal(a['images'], b['images'])
    assert Workdir('two').read_summary()['epochs']['12']['median'] == np.median(np.sqrt(alone[12]['errors']))


def test_a_run_of_a_sweep_is_made_by_one_process(monkeypatch, capsys):
    monkeypatch.setenv('TF_CONFIG', '{"cluster": {"worker": ["a:1", "b:2"]}, "task": {"type": "worker", "index": 0}}')
    monkeypatch.setattr(sys, 'argv', ['sweep-x.py'])
    with pytest.raises(SystemExit) as e:
        sweep_app._main(['sweep-x.py'], {})
    assert str(e.value).startswith('error: each process of a sweep makes runs of its own, so TF_CONFIG must not be set')
