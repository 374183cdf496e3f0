"""Losses, PGD, AN-PGD and MMA training, against numbers of the released code; see reference/mma/README.md.

Tolerances are those that the README there derives from re-runs of the released code itself.
"""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf
from conftest import MMA as REFERENCE, reference_json, reference_npz

from models import Model
from models.attacks import ANPGD, LossPGD
from models.attacks.bisection import bisected
from models.batch import Batch
from models.margin_losses import MARGIN_LOSSES
from models.objectives import MMA
from models.objectives.mma import Adversaries
from models.replicas import Replicas

SETTINGS = reference_json('settings', REFERENCE)
DATA = reference_npz('data', REFERENCE)
MODEL = reference_npz('model', REFERENCE)
LOSSES = reference_npz('losses', REFERENCE)
PGD = reference_npz('pgd', REFERENCE)
CHAINS = reference_npz('anpgd', REFERENCE)
TESTED = reference_npz('anpgd_test', REFERENCE)
BATCHES = reference_npz('train_batch', REFERENCE)
STEPS = reference_npz('train_steps', REFERENCE)
SPREAD = reference_json('spread', REFERENCE)['train_steps']
NORMS = SETTINGS['norms']
CASES = sorted({key.split('/')[0] for key in LOSSES})
IMAGES = DATA['images'].astype(np.float32) / np.float32(255)
LABELS = DATA['labels']
K, SEARCH = SETTINGS['nb_iter'], SETTINGS['num_search_steps']


def network(weights=MODEL, prefix='weights/', scale=1.0) -> keras.Model:
    """The network of the reference: convolutions, each pooled, then dense layers."""
    layers = sorted({key[len(prefix):].split('/')[0] for key in weights if key.startswith(prefix)})
    net = keras.Sequential([keras.Input(IMAGES.shape[1:])])
    convs = [name for name in layers if name.startswith('conv')]
    dense = [name for name in layers if name.startswith('fc')]
    for name in convs:
        h, w, _, filters = weights[f'{prefix}{name}/w'].shape
        net.add(keras.layers.Conv2D(filters, (h, w), padding='same', activation='relu', name=name))
        net.add(keras.layers.MaxPooling2D(2))
    net.add(keras.layers.Flatten())
    for name in dense:
        activation = None if name == dense[-1] else 'relu'
        net.add(keras.layers.Dense(weights[f'{prefix}{name}/w'].shape[1], activation=activation, name=name))
    factors = {name: scale if name == dense[-1] else 1.0 for name in layers}
    net.set_weights([factors[name] * weights[f'{prefix}{name}/{v}'] for name in convs + dense for v in 'wb'])
    return net


@pytest.fixture(scope='module')
def net():
    return network()


def at(files, key):
    """What a folder of an .npz file holds, by the names within it."""
    return {name[len(key) + 1:]: value for name, value in files.items() if name.startswith(key + '/')}


def runs_of(files):
    """(norm, 'rand' or 'norand') of the runs with a budget for each image that an .npz file has."""
    return sorted({tuple(key.split('/')[0].split('_')) for key in files if key.split('/')[0].endswith('rand')})


def gradients_of(net, losses) -> dict[str, np.ndarray]:
    """Of the mean of ``losses(net)``, by the reference's names of weights."""
    with tf.GradientTape() as tape:
        mean = tf.reduce_mean(losses(net))
    found = tape.gradient(mean, [v.value for v in net.trainable_variables])
    return dict(zip(SETTINGS['weight_names'], (g.numpy() for g in found)))


# ---- losses ----

@pytest.mark.parametrize('name', MARGIN_LOSSES)
@pytest.mark.parametrize('case', CASES)
def test_losses_and_their_gradients(case, name):
    logits, y = LOSSES[f'{case}/logits'], LOSSES[f'{case}/labels']
    scale = max(1.0, np.abs(logits).max())
    for suffix, dtype, atol, grad_atol in (
            ('', np.float32, 4e-6 * scale, 2e-6), ('64', np.float64, 1e-12 * scale, 1e-12)):
        z = tf.constant(logits.astype(dtype))
        with tf.GradientTape() as tape:
            tape.watch(z)
            value = MARGIN_LOSSES[name](z, tf.constant(y))
        grad = tape.gradient(value, z).numpy()
        want = {k: LOSSES[f'{case}/{name}/{k}{suffix}'] for k in ('value', 'grad')}
        assert value.dtype == dtype
        np.testing.assert_allclose(value, want['value'], rtol=0, atol=atol)
        if name in ('lm', 'cw'):  # which of the tied classes has it is not said
            others = np.sort(np.where(np.arange(logits.shape[1]) == y[:, None], -np.inf, logits))
            tied = others[:, -1] == others[:, -2]
            grad[tied], want['grad'][tied] = np.sort(grad[tied]), np.sort(want['grad'][tied])
        np.testing.assert_allclose(grad, want['grad'], rtol=0, atol=grad_atol)


# ---- PGD ----

def pgd(net, norm, loss='slm', floor=0.0, a=SETTINGS['eps_iter_scale'] / K, eps=0.5):
    return LossPGD(net, [eps], K, a, 1, True, norm, [loss], floor)


@pytest.mark.long(after=1)
@pytest.mark.parametrize('norm, start', runs_of(PGD))
def test_pgd_steps_from_every_stored_iterate(norm, start, net):
    run = at(PGD, f'{norm}_{start}')
    x, y, eps = IMAGES[PGD['index']], tf.constant(LABELS[PGD['index']]), tf.constant(run['eps'])
    one = LossPGD(net, [0.5], 1, SETTINGS['eps_iter_scale'] / K, 1, True, norm, ['slm'])
    for before, after, grads, slm in zip(run['iterates'], run['iterates'][1:], run['grads'], run['slm']):
        way = one._way(0, tf.constant(before), y)
        np.testing.assert_allclose(-way.gradient, grads, rtol=0, atol=6e-6)
        np.testing.assert_allclose(MARGIN_LOSSES['slm'](way.logits, y), slm, rtol=0, atol=3e-5)
        moved = one.perturb_from(tf.constant(before), tf.constant(x), y, eps)
        np.testing.assert_allclose(moved, after, rtol=0, atol=2e-6)


@pytest.mark.parametrize('norm, start', runs_of(PGD))
def test_all_steps_of_pgd(norm, start, net):
    run = at(PGD, f'{norm}_{start}')
    x = IMAGES[PGD['index']]
    begin = x + run.get('start_delta', np.zeros_like(x))
    end = pgd(net, norm).perturb_from(*map(tf.constant, (begin, x, LABELS[PGD['index']], run['eps'])))
    np.testing.assert_allclose(end, run['iterates'][-1], rtol=0, atol=2e-6)


@pytest.mark.long(after=2)
@pytest.mark.parametrize('loss', ['xent', 'cw'])
@pytest.mark.parametrize('norm', NORMS)
def test_pgd_with_one_budget_for_all(norm, loss, net):
    run = at(PGD, f'{norm}_scalar_{loss}')
    x, y = IMAGES[PGD['index']], LABELS[PGD['index']]
    eps = np.full(len(x), SETTINGS['test_eps'][norm], np.float32)
    attack = pgd(net, norm, loss, 1e-6, SETTINGS['test_eps_iter'][norm] / SETTINGS['test_eps'][norm])
    end = attack.perturb_from(*map(tf.constant, (x + run['start_delta'], x, y, eps)))
    off = np.abs(end - run['adv'])
    if loss == 'cw':
        assert off.max() < 2e-6
    elif norm == 'Linf':
        assert (off > 2e-6).mean() < 0.01
    else:
        assert off.max() < 2e-3
    final = MARGIN_LOSSES[loss](net(end), tf.constant(y))
    np.testing.assert_allclose(final, run['final_loss'], rtol=0, atol=1e-3 if loss == 'xent' else 3e-5)


def test_small_gradients_make_small_steps_with_the_floor():
    run = at(PGD, 'L2_scalar_slm_logits_tiny')
    x, y = IMAGES[PGD['index']], LABELS[PGD['index']]
    eps = np.full(len(x), SETTINGS['test_eps']['L2'], np.float32)
    a = SETTINGS['test_eps_iter']['L2'] / SETTINGS['test_eps']['L2']
    tiny = network(scale=float(run['logit_scale']))
    ends = [pgd(tiny, 'L2', 'slm', floor, a).perturb_from(*map(tf.constant, (x, x, y, eps))) for floor in (1e-6, 0.0)]
    np.testing.assert_allclose(ends[0], run['adv'], rtol=0, atol=2e-6)
    assert (run['grad_norms'] < 1e-6).any() and np.abs(ends[1] - run['adv']).max() > 1e-3, 'without it, they do not'


# ---- AN-PGD ----

@pytest.mark.parametrize('kind', ['nomin', 'withmin'])
def test_bisection_without_a_network(kind):
    toy, run = at(CHAINS, 'bisection_toy'), at(CHAINS, f'bisection_toy/{kind}')
    sizes, margins = [], []

    def margin(size):
        sizes.append(size.numpy())
        z = tf.clip_by_value(toy['data'] + size[:, None] * toy['ptb'], 0.0, 1.0)
        margins.append((tf.reduce_sum(toy['ptb'] * z, axis=1) - toy['thr']).numpy())
        return tf.constant(margins[-1])
    size, wrong = bisected(margin, *map(tf.constant, (toy['cur_eps'], run['margin_init'], toy['maxeps'])),
                           len(run['eps_path']) - 1, tf.constant(run['cur_min']) if 'cur_min' in run else None)
    np.testing.assert_allclose(sizes, run['eps_path'][1:-1], rtol=0, atol=1e-6)  # the last is not looked at
    np.testing.assert_allclose(margins, run['margins'][:-1], rtol=0, atol=1e-6)
    np.testing.assert_allclose(size, run['curr_eps'], rtol=0, atol=1e-6)
    seen = np.where(np.array([run['margin_init'], *margins]) >= 0, run['eps_path'][:-1], np.inf).min(axis=0)
    np.testing.assert_allclose(wrong, np.minimum(seen, toy['maxeps']), rtol=0, atol=1e-6)


def sizes_agree(found, want, most):
    """But for one image, off by two of the search's last steps."""
    off = np.abs(np.asarray(found, np.float64) - want)
    assert (off > 1e-6).sum() <= 1 and off.max() <= 2 * most / 2 ** SEARCH


def ends_agree(found, want):
    off = np.abs(found - want)
    assert (off <= 2e-6).mean() >= 0.998 and off.max() <= 1e-3


@pytest.mark.long(after=1)
@pytest.mark.parametrize('norm, start', runs_of(CHAINS))
def test_an_pgd_of_training(norm, start, net):
    run = at(CHAINS, f'{norm}_{start}')
    x, y, most = IMAGES[CHAINS['index']], LABELS[CHAINS['index']], SETTINGS['maxeps'][norm]
    attack = ANPGD(net, norm, float(run['prev_eps'].min()), most, K, SETTINGS['eps_iter_scale'] / K, SEARCH,
                   SETTINGS['attack_loss'], SETTINGS['search_loss'], 'end')
    begin = x + run.get('start_delta', np.zeros_like(x))
    found = attack.crossing(*map(tf.constant, (begin, x, y, run['prev_eps'])))
    ends_agree(found.end, run['x_pgd'])
    np.testing.assert_allclose(found.direction, run['unit_ptb'], rtol=0, atol=(
        5 * 1e-3 if norm == 'Linf' else 2e-3 * np.abs(run['unit_ptb']).max()))
    sizes_agree(found.size, run['curr_eps'], most)
    np.testing.assert_allclose(found.images, run['xadv'], rtol=0, atol=5e-3)


@pytest.mark.long(after=1)
@pytest.mark.parametrize('norm, start', runs_of(TESTED))
def test_an_pgd_of_tests_as_released(norm, start, net):
    run = at(TESTED, f'{norm}_{start}')
    x, y = IMAGES[TESTED['index']], LABELS[TESTED['index']]
    attack = attack_of_tests(net, norm, 'released')
    eps = np.full(len(x), attack.eps, np.float32)
    begin = x + run.get('start_delta', np.zeros_like(x))
    found = attack.crossing(*map(tf.constant, (begin, x, y, eps)))
    ends_agree(found.end, run['xadv'])
    sizes_agree(found.size, run['curr_eps'], attack.most)


def attack_of_tests(net, norm, first):
    eps = SETTINGS['test_eps'][norm]
    return ANPGD(net, norm, eps, SETTINGS['maxeps'][norm], K, SETTINGS['test_eps_iter'][norm] / eps, SEARCH,
                 first=first, random_start=False)


@pytest.mark.long
@pytest.mark.parametrize('norm', NORMS)
def test_numbers_of_the_evaluator(norm, net):
    run = at(TESTED, f'{norm}_evaluator')
    x, y = IMAGES[TESTED['index']], LABELS[TESTED['index']]
    attack = attack_of_tests(net, norm, 'released')
    sizes, distances, ends = attack.measure(x, y)
    sizes_agree(sizes, run['eps'], attack.most)
    assert abs(sizes.mean() - run['avg_eps']) < 2 * attack.most / 2 ** SEARCH / len(x) + 1e-6
    assert (distances <= sizes + attack.ball.rounding(sizes, x[0].size)).all(), 'the direction is no longer than 1'
    for images, part in ((x, 'clean'), (ends, 'adv')):
        logits = net(images).numpy()
        assert (logits.argmax(axis=1) == y).mean() == run[f'{part}_acc']
        loss = MARGIN_LOSSES['xent'](tf.constant(logits), tf.constant(y)).numpy().mean()
        assert abs(loss - run[f'{part}_loss']) < 2e-5
    repaired, _, _ = attack_of_tests(net, norm, 'half').measure(x, y)
    stuck = np.abs(sizes - attack.most / 2) < attack.most / 2 ** (SEARCH - 1)
    assert stuck.sum() >= 10 and (np.abs(repaired[stuck] - sizes[stuck]) > 0.01 * attack.most).sum() >= 10


# ---- training ----

def objective(norm, kind='mma', **more):
    return MMA(**{'hinge': SETTINGS['hinge_maxeps'][norm], 'norm': norm, 'min_eps': SETTINGS['mineps'][norm],
                  'c': SETTINGS['clean_loss_coeff'][kind], 'k': K, 'step': SETTINGS['eps_iter_scale'],
                  'search_steps': SEARCH, 'random_start': False, 'clip': False, **more})


def a_step_on(net, of, index, state=None, start=None) -> Batch:
    """The batch of a training step on some images, of which the objective knows the margins ``state``."""
    n = len(index)
    of.build(net, n)
    if state is not None:
        of.variables()['margins'].assign(state)
    if start is not None:
        of._starts = lambda batch, x, eps: x + start
    rows = tf.range(n)
    return Batch(net, tf.constant(IMAGES[index]), tf.constant(LABELS[index]), True, rows, whole=rows,
                 replicas=Replicas())


def taken(of: MMA, batch: Batch) -> tuple[Adversaries, float, dict[str, np.ndarray]]:
    """What the attack of a step finds, the mean of the step's losses, and its gradients."""
    found, losses, adversaries = [], [], of.adversaries
    of.adversaries = lambda *given: found.append(adversaries(*given)) or found[0]
    gradients = gradients_of(batch.net, lambda net: losses.append(of.losses(batch)) or losses[0])
    return found[0], losses[0].numpy().mean(), gradients


@pytest.mark.long(after=1)
@pytest.mark.parametrize('kind', ['mma', 'omma'])
@pytest.mark.parametrize('norm', NORMS)
def test_a_training_batch(norm, kind, net):
    run, index = at(BATCHES, norm), BATCHES['index']
    of = objective(norm, kind)
    batch = a_step_on(net, of, index, run['state_eps'], run['start_delta'])
    found, loss, gradients = taken(of, batch)
    np.testing.assert_array_equal(found.correct, run['correct'])
    np.testing.assert_array_equal(found.kept, run['kept'])
    assert (found.margins.numpy()[~run['correct']] == 0).all()
    sizes_agree(found.margins, run['curr_eps'], SETTINGS['maxeps'][norm])
    want = {name: run[f'grad_combined/{name}' if kind == 'mma' else f'grad_mma/{name}']
            for name in SETTINGS['weight_names']}
    gradients_agree(gradients, want, 0.01)
    c = of.c
    assert abs(loss - ((1 - c) * run['mma_loss'] + c * run['clean_loss'])) < 5e-4
    batch.apply_updates()
    np.testing.assert_array_equal(of.variables()['margins'], found.margins)


def gradients_agree(found, want, share):
    for name, gradient in want.items():
        np.testing.assert_allclose(found[name], gradient, rtol=0, atol=share * max(np.abs(gradient).max(), 1e-30),
                                   err_msg=name)


@pytest.mark.parametrize('norm', NORMS)
def test_the_gradient_at_stored_boundary_points(norm, net):
    run, y = at(BATCHES, norm), tf.constant(LABELS[BATCHES['index']])
    chosen = tf.constant(run['kept'] | ~run['correct'])

    def losses(net):
        return tf.where(chosen, MMA(1.0)._loss(net(run['data_after']), y), 0.0)
    found, want = gradients_of(net, losses), at(run, 'grad_mma')
    gradients_agree(found, want, 0.01)
    crossed = set()  # filters with a ReLU, or a pooling window, so near the edge that it falls to another side here
    for name, gradient in want.items():
        off = np.abs(found[name] - gradient) > 5e-6 * np.abs(gradient).max()
        crossed |= {(name, unit) for unit in np.flatnonzero(off.reshape(-1, off.shape[-1]).any(axis=0))}
    assert len(crossed) <= 1


@pytest.mark.long(after=1)
@pytest.mark.parametrize('kind', ['mma', 'omma'])
@pytest.mark.parametrize('name', sorted({key.split('/')[1] for key in BATCHES if key.startswith('special/')}))
def test_special_batches(name, kind, net):
    index, run = BATCHES[f'special/{name}/index'], at(BATCHES, f'special/{name}/{kind}')
    of = objective('Linf', kind)
    if name.endswith('beyond_hinge'):
        of.hinge = 1e-6  # as there: the search looks as far as before
    batch = a_step_on(net, of, index)
    found, mma, gradients = taken(of, batch)
    np.testing.assert_array_equal(found.kept, run['kept'])
    sizes_agree(found.margins, run['curr_eps'], of.most)
    assert abs(mma - ((1 - of.c) * run['mma_loss'] + of.c * run['clean_loss'])) < 5e-4
    norms = np.array([np.linalg.norm(gradients[weight]) for weight in SETTINGS['weight_names']])
    np.testing.assert_allclose(norms, run['grad_norm'], rtol=0, atol=5e-5 * max(run['grad_norm'].max(), 1e-30))
    gradients_agree({k: v for k, v in gradients.items() if k in at(run, 'grad')}, at(run, 'grad'), 5e-5)


@pytest.mark.long
@pytest.mark.parametrize('run', sorted({key.split('/')[0] for key in STEPS if key != 'batches'}))
def test_twenty_training_steps(run):
    values, (norm, kind) = at(STEPS, run), run.split('_', 1)
    rate = SETTINGS['train_steps_lr'][kind]
    model, of = model_of(norm, kind.removesuffix('_gentle'))
    flipped = [step for key in ('correct', 'kept') for steps in SPREAD[f'{run}/{key}'].values() for step in steps]
    for i, rows in enumerate(STEPS['batches']):
        if i >= min(flipped, default=99):
            break
        compare_step(model, of, values, i, rows, rate, tolerances(run, i, rate))
        if f'after_{i + 1}/fc1/w' in values and i < 4:
            weights = dict(zip(SETTINGS['weight_names'], model.net.get_weights()))
            gradients_agree(weights, at(values, f'after_{i + 1}'), 1e-4)


def model_of(norm, kind, weights=MODEL, prefix='weights/') -> tuple[Model, MMA]:
    model, of = Model(network(weights, prefix)), objective(norm, kind)
    model.minimise(of, len(IMAGES))
    return model, of


def tolerances(run, step, rate):
    early = {'loss': 5e-4 if rate > 0.01 else 5e-6, 'eps': 1e-6}
    if step < 4:
        return early
    seen = {key: max(v for name, v in SPREAD[f'{run}/{key}'].items() if not name.endswith('_per_step'))
            for key in ('clean_loss', 'mma_loss', 'curr_eps')}
    return {'loss': max(early['loss'], 5 * seen['clean_loss'], 5 * seen['mma_loss']),
            'eps': max(early['eps'], 5 * seen['curr_eps'])}


def compare_step(model, of, values, i, rows, rate, tolerance):
    logits = model.net(IMAGES[rows])
    correct = (MARGIN_LOSSES['slm'](logits, tf.constant(LABELS[rows])) < 0).numpy()
    np.testing.assert_array_equal(correct, values['correct'][i])
    (loss,) = model.train_epoch(IMAGES, LABELS, rows, len(rows), rate)
    margins = of.variables()['margins'].numpy()[rows]
    np.testing.assert_array_equal(correct & (margins < np.float32(of.hinge)), values['kept'][i])
    want = (1 - of.c) * values['mma_loss'][i] + of.c * values['clean_loss'][i]
    assert abs(loss - want) < tolerance['loss'], f'step {i}'
    off = np.abs(margins - values['curr_eps'][i])
    assert (off > tolerance['eps']).sum() <= 1 and off.max() <= max(2 * of.most / 2 ** SEARCH, tolerance['eps']), i


@pytest.mark.long
@pytest.mark.parametrize('start', sorted({int(key.split('_')[-1].split('/')[0]) for key in STEPS
                                          if key.startswith('Linf_mma/after_')})[:-1])
def test_four_steps_from_stored_weights_and_margins(start):
    values = at(STEPS, 'Linf_mma')
    model, of = model_of('Linf', 'mma', values, f'after_{start}/')
    margins = np.full(len(IMAGES), np.nan, np.float32)
    for rows, sizes in zip(STEPS['batches'][:start], values['curr_eps']):
        margins[rows] = sizes
    of.variables()['margins'].assign(margins)
    for i in range(start, start + 4):
        compare_step(model, of, values, i, STEPS['batches'][i], SETTINGS['train_steps_lr']['mma'],
                     {'loss': 5e-4, 'eps': 1e-6})
