"""Optimizers whose steps do not depend on the scale of the loss: the margins of theory, frames, state, the table."""

from __future__ import annotations

import json

import numpy as np
import pytest
import tensorflow as tf
from conftest import in_eager_mode
from runs import FLAGS, LINEAR, train
from scipy.optimize import linprog
from sklearn.svm import LinearSVC

import core
from core import UserError
from core.devices import use_device
from core.workdir import Workdir
from models import BiasMode, SimpleSequential, TrainMode
from models.flavours import Adam, Muon, Normalised, Sign
from models.margins import log_losses, log_mean_exp, margins
from models.measures.norm_margins import norm_margins
from models.replicas import Replicas

X = np.array([[1, .2, 0], [.8, -.3, .4], [-.1, 1, .3], [.3, .9, -.4], [.2, -.1, 1], [-.5, .1, .7]], np.float32)
Y = np.array([0, 0, 1, 1, 2, 2])
PAIRS = [(n, j) for n in range(len(Y)) for j in range(3) if j != Y[n]]
"""Of an image and a wrong class."""
GAPS = np.zeros((len(PAIRS), 3, 3))
"""G_nj, whose inner product with the matrix W of a linear network is the gap of class j for image n."""
for k, (n, j) in enumerate(PAIRS):
    GAPS[k, :, Y[n]] += X[n]
    GAPS[k, :, j] -= X[n]


def most_in_linf() -> float:
    """The largest margin with |W_ij| <= 1, a linear programme in W and the margin."""
    constraints = np.concatenate([-GAPS.reshape(-1, 9), np.ones((len(PAIRS), 1))], axis=1)
    found = linprog([0] * 9 + [-1], constraints, np.zeros(len(PAIRS)), bounds=[(-1, 1)] * 9 + [(None, None)])
    return -found.fun


def most_in_l2() -> float:
    """The margin of Crammer and Singer's support vector machine."""
    svm = LinearSVC(C=1e6, multi_class='crammer_singer', fit_intercept=False, tol=1e-9, max_iter=1_000_000)
    svm.fit(X.astype(np.float64), Y)
    w = svm.coef_.T
    return float((GAPS * w).sum(axis=(1, 2)).min() / np.linalg.norm(w))


def most_in_spectral(w: np.ndarray) -> float:
    """A bound, by duality: no W of spectral norm 1 has a larger margin than the nuclear norm of any mean of GAPS."""
    gaps = (GAPS * w).sum(axis=(1, 2))
    bounds = []
    for beta in np.geomspace(0.01, 100, 400):
        p = np.exp(-beta * (gaps - gaps.min()))
        bounds.append(np.linalg.norm(np.tensordot(p / p.sum(), GAPS, 1), 'nuc'))
    return min(bounds)


def linear(opt, frame: float = 1.0) -> tuple[SimpleSequential, float]:
    """A linear network after 3,500 steps on whole batches, its norm large beside a step; ln of its loss."""
    net = SimpleSequential('linear', (1, 3, 1), [['F', 3, {'act': False}]], bias_mode=BiasMode.NONE, opt=opt, seed=1)
    net.set_weights({'fc1_W': np.zeros((3, 3), np.float32)})
    x = X[:, np.newaxis, :, np.newaxis]
    for rate, calls in ((0.03, 1), (0.3, 5), (0.1, 1)):
        for _ in range(calls):
            net.train_epoch(x, Y, np.tile(np.arange(6), 500), 6, rate, frame)
            frame = log_mean_exp(log_losses(net.net(x).numpy(), Y))
    return net, frame


@pytest.mark.parametrize('opt', ['sign', 'scale-free-adam', 'normalised', 'muon'])
def test_on_a_linear_network_the_margin_is_the_largest_in_the_norm_of_the_optimizer(opt):
    """As a linear programme, a support vector machine and duality have it; at losses of 1e-160 to 1e-380."""
    net, log_loss = linear(opt)
    w = net.weights()['fc1_W'].astype(np.float64)
    q_min = (GAPS * w).sum(axis=(1, 2)).min()
    assert log_loss < -360
    found, most = {
        'sign': lambda: (q_min / np.abs(w).max(), most_in_linf()),
        'scale-free-adam': lambda: (q_min / np.abs(w).max(), most_in_linf()),
        'normalised': lambda: (q_min / np.linalg.norm(w), most_in_l2()),
        'muon': lambda: (q_min / np.linalg.norm(w, 2), most_in_spectral(w)),
    }[opt]()
    assert 0.995 * most <= found <= most * (1 + 1e-5)
    assert norm_margins(q_min, net.network.layers, 1)[
        {'normalised': 'l2_margin', 'muon': 'spectral_margin'}.get(opt, 'linf_margin')] == pytest.approx(found)


# ---- directions ----


def test_directions_are_those_of_numpy_and_the_same_for_any_multiple(eagerly):
    rng = np.random.default_rng(0)
    g = [rng.normal(size=s).astype(np.float32) for s in ((3, 3, 2, 4), (4,), (6, 5))]
    layers, variables = [[0, 1], [2]], [tf.Variable(a) for a in g]
    stacked = np.concatenate([g[0].reshape(18, 4), g[1][np.newaxis]])
    expected = {}
    for name, matrices in (('muon', (stacked, g[2])),):
        polar = [(lambda u, s, v: u @ v)(*np.linalg.svd(m, full_matrices=False)) for m in matrices]
        expected[name] = [polar[0][:18].reshape(3, 3, 2, 4), polar[0][18], polar[1]]
    expected['sign'] = [np.sign(a) for a in g]
    norms = [np.linalg.norm(stacked)] * 2 + [np.linalg.norm(g[2])]
    expected['normalised'] = [a / norm for a, norm in zip(g, norms)]
    for name, made in (('muon', Muon()), ('sign', Sign()), ('normalised', Normalised())):
        made.build(variables, layers)
        for factor in (1.0, 1e-25, 1e25):
            found = made.direction([tf.constant(a * np.float32(factor)) for a in g])
            for a, b in zip(found, expected[name]):
                np.testing.assert_allclose(a, b, atol=2e-6, err_msg=f'{name} {factor}')
        assert all((a.numpy() == 0).all() for a in made.direction([tf.zeros_like(a) for a in g]))
    quick = Muon(steps=5)
    quick.build(variables, layers)
    s = np.linalg.svd(quick.direction([tf.constant(a) for a in g])[2].numpy(), compute_uv=False)
    assert 0.6 < s.min() and s.max() < 1.3


def test_adam_without_weights_of_losses_is_that_of_its_paper_and_epsilon_is_a_share(eagerly):
    rng, replicas = np.random.default_rng(0), Replicas()
    made = Adam(beta_1=0.8, beta_2=0.95, epsilon=0.1)
    made.build([tf.Variable(tf.zeros(4))], [[0]])
    m = v = np.zeros(4)
    for t in range(1, 6):
        g = rng.normal(size=4) * 1e-6
        m, v = 0.8 * m + 0.2 * g, 0.95 * v + 0.05 * g ** 2
        root = np.sqrt(v / (1 - 0.95 ** t))
        expected = m / (1 - 0.8 ** t) / (root + 0.1 * np.sqrt(np.mean(root ** 2)))
        (found,) = made._steps([tf.constant(g, tf.float32)], tf.constant(-900.0 * t, tf.float64), replicas)
        np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_a_weighed_average_is_that_of_gradients_of_losses_that_float64_cannot_hold(eagerly):
    from decimal import Decimal
    rng, replicas = np.random.default_rng(0), Replicas()
    made = Normalised(momentum=0.9, weigh=True)
    made.build([tf.Variable(tf.zeros(3))], [[0]])
    total = [Decimal(0)] * 3
    for log_loss in (-900.0, -902.0, -899.0, -901.5):
        g = rng.normal(size=3).astype(np.float32)
        total = [Decimal('0.9') * a + Decimal(log_loss).exp() * Decimal(float(b)) for a, b in zip(total, g)]
        (found,) = made._steps([tf.constant(g)], tf.constant(log_loss, tf.float64), replicas)
    norm = sum(a * a for a in total).sqrt()
    np.testing.assert_allclose(found, [float(a / norm) for a in total], rtol=1e-5)


# ---- frames, devices, runs ----

SMALL = [['C', 4, [3, 3]], ['P'], ['F', 10, {'act': False}]]
OPTS = [{'type': 'scale-free-adam', 'weigh': True}, {'type': 'muon', 'momentum': 0.5}]


def trained(digits, opt, log_frames, parts: int = 1):
    with use_device(['cpu'] * parts).strategy.scope():
        net = SimpleSequential('net', (8, 8, 1), SMALL, train_mode=TrainMode.USE_FRAME, seed=1, opt=opt,
                               init={'weight': 'he_normal'})
    x, y = digits.train
    for log_frame in log_frames:
        net.train_epoch(x, y, np.arange(32), 16, 0.01, log_frame)
    return net.state()


@pytest.mark.parametrize('opt', OPTS, ids=['adam', 'muon'])
def test_steps_are_the_same_in_any_frame_and_when_it_moves(opt, digits, eagerly):
    states = [trained(digits, opt, log_frames) for log_frames in ((1.0, 1.0), (3.0, -60.0))]
    for name, value in states[0].items():
        np.testing.assert_allclose(states[1][name], value, rtol=1e-4, atol=1e-5, err_msg=name)


@pytest.mark.long
def test_several_devices_take_the_steps_of_one(digits):
    states = [trained(digits, OPTS[0], (1.0, 0.5), parts) for parts in (1, 3)]
    for name, value in states[0].items():
        np.testing.assert_allclose(states[1][name], value, rtol=1e-3, atol=1e-4, err_msg=name)


def lines(path):
    return [{k: v for k, v in line.items() if k != 'time'} for line in Workdir(path).read_history()]


@pytest.fixture(scope='module')
def runs(tmp_path_factory):
    """One run that was not stopped, one that was resumed, and one with gradient descent."""
    folder = tmp_path_factory.mktemp('flavours')
    flags = {**LINEAR, 'B': 60, 'E': 3, 'lr': ('loss-based-v1', 2.0, 2.0, 8.0), 'monitors': [('norm-margins', 1)]}
    with in_eager_mode():
        for name, opt in (('whole', OPTS[0]), ('resumed', OPTS[0]), ('gd', 'gd')):
            log, changes = str(folder / name), {**flags, 'model': {**LINEAR['model'], 'opt': opt}}
            train(**{**changes, 'E': 1 if name == 'resumed' else 3}, log=log)
            if name == 'resumed':
                core.run({**FLAGS, **changes, 'log': None, 'resume': log})
    return folder


def test_a_resumed_run_has_the_moments_and_the_history_of_one_that_was_not_stopped(runs):
    assert lines(runs / 'resumed') == lines(runs / 'whole')
    assert {line['cmd'] for line in lines(runs / 'whole')} == {'go', 'back'}
    (_, a), (_, b) = (Workdir(runs / name).read_state() for name in ('resumed', 'whole'))
    assert a.keys() == b.keys() and sum('average' in name for name in a) == 4
    assert all(np.array_equal(a[name], b[name]) for name in a)


def test_the_table_has_the_margins_that_the_runs_recorded_and_marks_the_largest(runs):
    table = core.draw('table-flavours', runs / 'whole', runs / 'gd')
    names = [cell.value for cell in table.head]
    deepest = max(-300, *(int(np.ceil(min(line['stats']['log_loss'] for line in lines(runs / name)
                                           if line['cmd'] == 'go') / np.log(10))) for name in ('whole', 'gd')))
    margin = []
    for row, name in zip(table.rows, ('whole', 'gd')):
        line = next(line for line in lines(runs / name)
                    if line['cmd'] == 'go' and line['stats']['log_loss'] <= deepest * np.log(10))
        assert row[names.index('epochs')].value == line['eid']
        margin.append(line['monitors']['norm-margins']['l2_margin'])
        assert float(row[names.index('L2')].value) == pytest.approx(margin[-1], rel=1e-4)
        assert margin[-1] == pytest.approx(line['stats']['q_bar_min'], rel=1e-5)
        json.dumps(line)
    bold = [row[names.index('L2')].markdown.startswith('**') for row in table.rows]
    assert bold == [margin[0] > margin[1], margin[0] <= margin[1]]


def test_margins_are_over_norms_by_numpy_and_the_same_at_any_scale(digits):
    net = SimpleSequential('net', (8, 8, 1), SMALL, seed=1, init={'weight': 'he_normal'})
    x, y = (np.asarray(t)[:50] for t in digits.train)
    w, b, v = (net.weights()[name].astype(np.float64) for name in ('conv1_f', 'conv1_b', 'fc3_W'))
    first = np.concatenate([w.reshape(9, 4), b[np.newaxis]])
    q = margins(net.net(x).numpy(), y).min()
    found = norm_margins(q, net.network.layers, 2)
    norms = {'linf': max(abs(first).max(), abs(v).max()), 'layer': max(np.linalg.norm(first), np.linalg.norm(v)),
             'spectral': max(np.linalg.norm(first, 2), np.linalg.norm(v, 2)),
             'l2': np.hypot(np.linalg.norm(first), np.linalg.norm(v))}
    for name, norm in norms.items():
        assert found[f'{name}_norm'] == pytest.approx(norm)
        assert found[f'{name}_margin'] == pytest.approx(q / norm ** 2)
    assert found['spectral_product_margin'] == pytest.approx(q / np.linalg.norm(first, 2) / np.linalg.norm(v, 2))
    assert found['l2_product_margin'] == pytest.approx(q / net.norms().prod)
    net.set_weights({name: 3 * value for name, value in net.weights().items()})
    for name, value in norm_margins(margins(net.net(x).numpy(), y).min(), net.network.layers, 2).items():
        if name.endswith('_margin'):
            assert value == pytest.approx(found[name], rel=1e-4)


@pytest.mark.parametrize('changes, message', [
    ({'opt': 'adam'}, 'model: opt belongs to train_mode=NORMAL; with a frame, training is gradient descent '
                                 "at the scheduler's rate, or by sign, normalised, muon, scale-free-adam"),
    ({'opt': 'sign', 'lr': 0.1}, "model.opt='sign' does not go with lr=0.1: its steps do not shrink with the loss"),
    ({'opt': 'sgin'}, "model: there is no optimizer 'sgin'; did you mean 'sign'?"),
    ({'opt': {'type': 'muon', 'steps': -1}}, "model: the optimizer 'muon': steps must be a whole number of at least 0"),
    ({'opt': {'type': 'sign', 'momentum': 1}}, "model: the optimizer 'sign': momentum must be a finite number of at"),
    ({'opt': {'type': 'sign', 'beta_1': 1}}, "model: the optimizer 'sign' takes no 'beta_1'"),
    ({'opt': 'sign', 'train_mode': TrainMode.NORMAL}, "model.opt does not go with lr=('loss-based-v1'")])
def test_what_does_not_go_together_is_refused_in_one_sentence(changes, message):
    flags = {'model': {**FLAGS['model'], 'opt': changes['opt']}, **{k: v for k, v in changes.items() if k != 'opt'}}
    with pytest.raises(UserError) as e:
        train(**flags)
    assert message in str(e.value) and '\n' not in str(e.value)
