"""Optimizers against numbers of PyTorch's, in the released code of arXiv 2006.08403; tolerances are its README's."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import ADVERSARIAL, reference_json, reference_npz

from models import BiasMode, SimpleSequential, TrainMode
from models.optimizers import Optimizer

SETTINGS = reference_json('optimizers', ADVERSARIAL)
NUMBERS = reference_npz('optimizers', ADVERSARIAL)
WEIGHTS, DATA = (reference_npz(name, ADVERSARIAL) for name in ('models', 'data'))
FIRST, LAST = (int(n) for n in SETTINGS['images'].split('[')[1].split(']')[0].split(':'))
X, Y = DATA['x8'][FIRST:LAST], DATA['y8'][FIRST:LAST]
NAMES = {'conv1_f': 'conv1.kernel', 'conv1_b': 'conv1.bias', 'fc3_W': 'fc1.kernel', 'fc3_b': 'fc1.bias',
         'fc4_W': 'fc2.kernel', 'fc4_b': 'fc2.bias'}
CALLED = {'beta1': 'beta_1', 'beta2': 'beta_2', 'eps': 'epsilon'}


def network(start, **options) -> SimpleSequential:
    filters, units = (WEIGHTS[f'{start}.{layer}'].shape[-1] for layer in ('conv1.bias', 'fc1.bias'))
    net = SimpleSequential('net', X.shape[1:], [['C', filters, [3, 3]], ['P'], ['F', units], ['F', 10, {'act': False}]],
                           bias_mode=BiasMode.ALL, train_mode=TrainMode.NORMAL, **options)
    net.set_weights({ours: WEIGHTS[f'{start}.{theirs}'] for ours, theirs in NAMES.items()})
    return net


@pytest.mark.long(after=1)
@pytest.mark.parametrize('case', SETTINGS['cases'], ids=lambda case: case['name'])
def test_losses_and_weights_of_every_policy_are_those_of_pytorch(case, eagerly):
    """Weight decay is of every weight and bias; the reference's loss leaves it out."""
    policy = {'type': f"torch-{case['policy']['name']}"}
    policy |= {CALLED.get(k, k): v for k, v in case['policy'].items() if k not in ('name', 'lr', 'weight_decay')}
    if case['policy']['name'] == 'sgd':
        policy['momentum'] = case['defaults_used']['momentum']
    if 'amsgrad' in policy:
        policy['amsgrad'] = bool(policy['amsgrad'])
    decay, steps = case['policy'].get('weight_decay', 0.0), SETTINGS['steps']
    net = network(SETTINGS['start'], opt=policy, weight_decay=decay)
    losses = []
    for _ in range(steps):
        penalty = decay / 2 * sum(np.square(w, dtype=np.float64).sum() for w in net.weights().values())
        losses.append(net.train_epoch(X, Y, np.arange(len(X)), len(X), case['policy']['lr'])[0] - penalty)
    np.testing.assert_allclose(losses, NUMBERS[f"{case['name']}.loss"], rtol=1e-5)
    for ours, theirs in NAMES.items():
        want = NUMBERS[f"{case['name']}.final.{theirs}"]
        np.testing.assert_allclose(net.weights()[ours], want, rtol=0, atol=5e-5 * np.abs(want).max(), err_msg=theirs)
    assert all(np.isfinite(v).all() for v in net.state().values())


@pytest.mark.long(after=1)
@pytest.mark.parametrize('kind', ['torch-sgd', 'torch-adam', 'torch-adagrad', 'torch-adadelta', 'torch-rmsprop'])
def test_what_is_rolled_back_is_trained_again_with_the_same_steps(kind, eagerly):
    net = network(SETTINGS['start'], opt={'type': kind, **({'momentum': 0.5} if kind in (
        'torch-sgd', 'torch-rmsprop') else {})})
    order = np.arange(len(X))
    net.train_epoch(X, Y, order, 8, 1e-2)
    net.keep()
    found = []
    for _ in range(2):
        net.train_epoch(X, Y, order, 8, 1e-2)
        found.append(net.state())
        net.roll_back()
    for name, value in found[0].items():
        np.testing.assert_array_equal(value, found[1][name], err_msg=name)


@pytest.mark.parametrize('opt, message', [
    ({'type': 'torch-sgd', 'nesterov': True}, 'nesterov needs a momentum, and no dampening'),
    ({'type': 'torch-sgd', 'nesterov': True, 'momentum': 0.9, 'dampening': 0.1}, 'and no dampening'),
    ({'type': 'torch-adam', 'beta_2': 1.0}, "the optimizer 'torch-adam': beta_2 must be a finite number"),
    ({'type': 'torch-adagrad', 'epsilon': -1}, "the optimizer 'torch-adagrad': epsilon must be"),
    ({'type': 'torch-rmsprop', 'rho': 0.9}, 'rho')])
def test_wrong_arguments_are_refused_in_a_sentence(opt, message):
    with pytest.raises(ValueError, match=message):
        Optimizer(opt)
