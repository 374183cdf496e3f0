"""PGD and adversarial training against numbers of the released code of arXiv 2006.08403; tolerances are its README's.

The released code draws starts within a step, and takes the gradient of the mean over the batch, to which its L2 steps
add 1e-8. Its steps are 1e-6 of the budget shorter than in proportion to it, which is within the tolerances of training.
"""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from conftest import ADVERSARIAL, reference_json, reference_npz
from test_schedules import described

from models import BiasMode, SimpleSequential, TrainMode
from models.attacks import LossPGD
from models.batch import Batch
from models.losses import hp_sparse_softmax_cross_entropy_with_logits_v1 as cross_entropies
from models.objectives import Adversarial
from models.schedules import Control

WEIGHTS, DATA, PGD, TRAINED = (reference_npz(name, ADVERSARIAL) for name in ('models', 'data', 'pgd', 'training'))
CASES = reference_json('pgd', ADVERSARIAL)['cases']
TRAINING = reference_json('training', ADVERSARIAL)
X, Y = DATA['x_u8'].astype(np.float32) / np.float32(255), DATA['y']
NAMES = {'conv1_f': 'conv1.kernel', 'conv1_b': 'conv1.bias', 'conv3_f': 'conv2.kernel', 'conv3_b': 'conv2.bias',
         'fc5_W': 'fc1.kernel', 'fc5_b': 'fc1.bias', 'fc6_W': 'fc2.kernel', 'fc6_b': 'fc2.bias'}
SHIFT = 1e-8


def lenet(start, **options) -> SimpleSequential:
    """The LeNet of some stored weights, which say its width."""
    first, second, units, classes = (WEIGHTS[f'{start}.{name}.bias'].size for name in ('conv1', 'conv2', 'fc1', 'fc2'))
    net = SimpleSequential('net', X.shape[1:], [
        ['C', first, 5], ['P'], ['C', second, 5], ['P'], ['F', units], ['F', classes, {'act': False}]],
        bias_mode=BiasMode.ALL, train_mode=TrainMode.NORMAL, **options)
    net.set_weights({ours: WEIGHTS[f'{start}.{theirs}'] for ours, theirs in NAMES.items()})
    return net


def pgd(net, eps, step, k, order, n) -> LossPGD:
    """As the released code has it, of a batch of n images."""
    is_l2 = order == 2
    return LossPGD(net, [0.1], max(k, 1), step / eps if eps else 1.0, 1, True, 'L2' if is_l2 else 'Linf', ['xent'],
                   start='step', shift=SHIFT * n if is_l2 else 0.0)


# ---- PGD ----

@pytest.fixture(scope='module')
def nets():
    dead = lenet('A')
    dead.set_weights({**dead.weights(), 'fc5_b': np.full_like(dead.weights()['fc5_b'], -1e4)})
    return {'A': lenet('A'), **{case['weights']: dead for case in CASES if '-1e4' in case['weights']}}


@pytest.mark.long(after=1)
@pytest.mark.parametrize('case', CASES, ids=lambda case: case['name'])
def test_pgd_from_a_start_within_a_step_ends_where_the_released_one_does(case, nets, eagerly):
    net, of = nets[case['weights']], {k.split('.', 1)[1]: v for k, v in PGD.items() if k.startswith(case['name'] + '.')}
    n, eps = len(PGD['rand01']), case['threshold']
    x, y, budgets = tf.constant(X[:n]), tf.constant(Y[:n]), tf.fill([n], np.float32(eps))
    attack = pgd(net, eps, case['step_size'], case['iter_num'], case['order'], n)
    start = attack.ball.start(x, budgets, tf.constant(PGD['rand01']))
    end = attack.perturb_from(start, x, y, budgets).numpy() if case['iter_num'] else start.numpy()
    assert_images(end, of['adv'], eps)
    logits = net.predict(end)
    np.testing.assert_allclose(logits, of['adv_logits'], rtol=1e-4, atol=1e-4 * np.abs(of['adv_logits']).max())
    np.testing.assert_allclose(cross_entropies(Y[:n], logits).numpy().mean(), of['adv_loss'], rtol=1e-4)
    if 'iterates' in of:
        assert_images(start.numpy(), of['iterates'][0], eps)
        one = pgd(net, eps, case['step_size'], 1, case['order'], n)
        for before, after in zip(of['iterates'], [*of['iterates'][1:], of['adv']]):
            assert_images(one.perturb_from(tf.constant(before), x, y, budgets).numpy(), after, eps)


def assert_images(found, want, eps):
    off = np.abs(found - want)
    assert (off <= 1e-5).mean() >= 0.995 and off.max() <= 2 * eps + 1e-6


# ---- training ----

PER_EPOCH = len(TRAINING['train_batches'])
STEPS = TRAINING['epochs'] * PER_EPOCH


class Released(Adversarial):
    """Started from the rows of random numbers of its steps; each step is an epoch of its own to the model, for the last
    batch of an epoch is smaller."""

    def __init__(self, rows, **arguments):
        super().__init__(**arguments, start='step', shift=SHIFT if arguments['norm'] == 'L2' else 0.0)
        self.rows = rows

    def controls(self, steps, per_epoch):
        return super().controls(steps, PER_EPOCH)

    def adversaries(self, batch):
        if self.norm == 'L2':
            self.attack_on(batch.net).ball.shift = SHIFT * len(batch.x)
        return super().adversaries(batch)


@pytest.mark.long(after=1)
@pytest.mark.parametrize('case', TRAINING['cases'], ids=lambda case: case['name'])
def test_two_epochs_are_those_of_the_released_code(case, eagerly, monkeypatch):
    of = {k.split('.', 1)[1]: v for k, v in TRAINED.items() if k.startswith(case['name'] + '.')}
    by, optim = case['schedule_update_mode'], case['optim']
    rates = Control('lr', {'schedule': schedule(case['lr_schedule']), 'by': by})(np.arange(STEPS), PER_EPOCH)
    np.testing.assert_allclose(rates, of['lr'], rtol=1e-12)
    momentum = {'momentum': optim.get('momentum', 0.9)} if optim['name'] == 'sgd' else {}
    decay = optim.get('weight_decay', 0.0)
    net = lenet(TRAINING['start'], opt={'type': f"torch-{optim['name']}", **momentum}, weight_decay=decay)
    objective = None
    if case['attack'] is not None:
        objective = adversarial(case, of)
        net.minimise(objective)
        monkeypatch.setattr(Batch, 'uniform_like', lambda batch, x: tf.constant(
            TRAINED['rand01'][objective.rows[int(batch.step)]][:len(x)]))
    first, _ = TRAINING['train_images']
    bounds = first + np.cumsum([0, *TRAINING['train_batches']])
    losses, tests = [], []
    for step in range(STEPS):
        a, b = bounds[step % PER_EPOCH:][:2]
        penalty = decay / 2 * sum(np.square(w, dtype=np.float64).sum() for w in net.weights().values())
        losses.append(net.train_epoch(X[a:b], Y[a:b], np.arange(b - a), b - a, rates[step])[0] - penalty)
        if step % PER_EPOCH == PER_EPOCH - 1:
            tests.append(on_test_images(net, case, of, step // PER_EPOCH))
    rtol, atol = (1e-5, 5e-6) if objective is None else (5e-3, 2e-3)
    np.testing.assert_allclose(losses, of['loss'], rtol=rtol)
    np.testing.assert_allclose([loss for loss, _ in tests], of['test_loss'], rtol=rtol)
    np.testing.assert_allclose([accuracy for _, accuracy in tests], of['test_acc'], rtol=1e-6)
    for ours, theirs in NAMES.items():
        want = of[f'final.{theirs}']
        np.testing.assert_allclose(net.weights()[ours], want, rtol=0, atol=atol * np.abs(want).max(), err_msg=theirs)


def schedule(named):
    return described(named['name'], {k: v for k, v in named.items() if k != 'name'})


def adversarial(case, of) -> Released:
    attack, given = case['attack'], case['attack_threshold_schedule']
    rows = rows_of(of['eps'])
    eps = attack['threshold'] if given is None else {'schedule': schedule(given), 'by': case['schedule_update_mode']}
    k, norm = attack['iter_num'], 'L2' if attack['order'] == 2 else 'Linf'
    objective = Released(rows[~is_test(rows)], eps=eps, norm=norm, k=k,
                         step=k * attack['step_size'] / attack['threshold'])
    np.testing.assert_allclose(objective.controls(np.arange(STEPS), 1)['eps'], of['eps'][~is_test(rows)], rtol=1e-12)
    return objective


def rows_of(eps):
    """The row of random numbers of each attack; there is none for an attack without a budget."""
    return np.cumsum(eps >= 1e-6) - 1


def is_test(rows):
    return np.arange(len(rows)) % (PER_EPOCH + 1) == PER_EPOCH


def on_test_images(net, case, of, epoch):
    """The loss and the accuracy on the test images, attacked within the last budget of the epoch."""
    a, b = TRAINING['test_images']
    x, y = X[a:b], Y[a:b]
    if case['attack'] is not None:
        i = epoch * (PER_EPOCH + 1) + PER_EPOCH
        eps, step = of['eps'][i], of['step'][i]
        attack = pgd(net, eps, step, case['attack']['iter_num'], case['attack']['order'], len(x))
        budgets = tf.fill([len(x)], np.float32(eps))
        uniform = tf.constant(TRAINED['rand01'][rows_of(of['eps'])[i]][:len(x)])
        start = attack.ball.start(tf.constant(x), budgets, uniform)
        x = attack.perturb_from(start, tf.constant(x), tf.constant(y), budgets)
    logits = net.predict(x)
    return cross_entropies(y, logits).numpy().mean(), (np.argmax(logits, 1) == y).mean()
