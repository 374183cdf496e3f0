"""Curvature of the loss, against the released code's numbers (see reference/README.md), dense Hessians and closed
forms."""

from __future__ import annotations

import math

import keras
import numpy as np
import pytest
import tensorflow as tf
from conftest import ADVERSARIAL as REFERENCE, reference_json, reference_npz
from scipy.stats import wasserstein_distance

from models import hp_sparse_softmax_cross_entropy_with_logits_v1
from models.attacks import LossPGD
from models.measures import hessian, lanczos
from models.measures.curvature import Curvature

SETTINGS = reference_json('hessian', REFERENCE)
NUMBERS = reference_npz('hessian', REFERENCE)
DATA = reference_npz('data', REFERENCE)
WHOLE = sum(n for n in SETTINGS['batches'] if n == SETTINGS['batches'][0])  # the last, partial batch was dropped
CASES = {case['name']: case for case in SETTINGS['cases']}
PARAMETERS = {'mlp': ('fc1', 'fc2'), 'conv': ('conv1', 'fc1', 'fc2')}


def weights_of(prefix, model, numbers):
    return [numbers[f'{prefix}.{layer}.{kind}'] for layer in PARAMETERS[model] for kind in ('kernel', 'bias')]


@pytest.fixture(scope='module')
def nets():
    made = {}
    for model, layers in PARAMETERS.items():
        weights = weights_of(model, model, reference_npz('models', REFERENCE))
        net, flat = keras.Sequential([keras.Input(DATA['x8'].shape[1:])]), False
        for name, kernel in zip(layers, weights[::2]):
            if kernel.ndim == 4:
                net.add(keras.layers.Conv2D(kernel.shape[3], kernel.shape[:2], padding='same', activation='relu'))
                net.add(keras.layers.MaxPooling2D(2))
                continue
            if not flat:
                net.add(keras.layers.Flatten())
                flat = True
            net.add(keras.layers.Dense(kernel.shape[1], activation=None if name == layers[-1] else 'relu'))
        net.set_weights(weights)
        made[model] = net
    return made


@pytest.fixture(scope='module')
def matrix_of(nets):
    """The matrix of a model on clean or attacked images, made once."""
    made = {}

    def matrix(model, attacked, kind='hessian'):
        if (model, attacked, kind) not in made:
            x = NUMBERS[f'{model}_pgd.x_adv'] if attacked else DATA['x8'][:WHOLE]
            made[model, attacked, kind] = Curvature(nets[model], (x, DATA['y8'][:WHOLE]), kind)
        return made[model, attacked, kind]
    return matrix


@pytest.mark.parametrize('name', [pytest.param(name, marks=pytest.mark.long if i else ()) for i, name in
                                  enumerate(CASES)])
def test_the_released_power_iteration_has_its_numbers(matrix_of, name):
    case = CASES[name]
    matrix = matrix_of(case['model'], bool(case['pgd']))
    scale = math.exp(matrix.log_loss)
    starts = [matrix.join(weights_of(f"{case['model']}.start{i}", case['model'], NUMBERS))
              for i in range(case['topk'])]
    values, vectors, quotients = lanczos.power_iteration(matrix, np.array(starts), case['max_iter'], case['tol'])
    assert values * scale == pytest.approx(case['eigenvalues'], rel=1e-4 if case['tol'] > 1e-4 else 2e-5)
    if case['tol'] > 1e-4:
        assert [len(q) for q in quotients] == case['iterations']
    for i, v in enumerate(vectors):
        assert abs(v @ matrix.join(weights_of(f'{name}.vec{i}', case['model'], NUMBERS))) > 0.999


@pytest.mark.parametrize('model,attacked', [('mlp', False), pytest.param('conv', True, marks=pytest.mark.long)])
def test_lanczos_finds_both_ends_of_the_dense_spectrum(matrix_of, model, attacked):
    matrix = matrix_of(model, attacked)
    name, scale = f"{model}_{'pgd' if attacked else 'clean'}", math.exp(matrix.log_loss)
    assert scale == pytest.approx(float(NUMBERS[f'{name}.loss_f64']), rel=1e-5)
    pairs = lanczos.eigenpairs(matrix, matrix.size, 5, np.random.default_rng(0), 'both', tol=1e-6)
    assert pairs.values[:5] * scale == pytest.approx(NUMBERS[f'{name}.exact_largest'][:5], rel=5e-5)
    assert pairs.values[5:] * scale == pytest.approx(NUMBERS[f'{name}.exact_smallest'][:5], rel=5e-4)
    assert (pairs.residuals <= 1e-5 * pairs.values[0]).all()
    for i in range(3):
        v = matrix.join(weights_of(f'{name}.exact_vec{i}', model, NUMBERS))
        assert np.abs(pairs.vectors @ v).max() > 0.999
    mean, error = lanczos.trace(matrix, matrix.size, np.random.default_rng(0), 40)
    assert abs(mean * scale - NUMBERS[f'{name}.exact_trace']) < 3 * error * scale


def released_attack(net, of):
    """The attack of a case, from the random numbers that are stored."""
    eps, n = np.float32(of['threshold']), SETTINGS['batches'][0]
    assert of['order'] <= 0, 'L-infinity'
    attack = LossPGD(net, [of['threshold']], of['iter_num'], of['step_size'] / of['threshold'], 1, True, 'Linf',
                     ['xent'], start='step')

    def made(x, y, first):
        x, budgets = tf.constant(x), tf.fill([len(x)], eps)
        start = attack.ball.start(x, budgets, tf.constant(NUMBERS['rand01'][first // n]))
        return attack.perturb_from(start, x, tf.constant(y), budgets).numpy()
    return made


@pytest.mark.long(after=1)
@pytest.mark.parametrize('model', PARAMETERS)
def test_adversarial_images_are_made_once_for_each_batch_and_their_spectrum_is_the_dense_one(nets, model):
    (of,) = (case for case in CASES.values() if case['name'] == f'{model}_pgd_tight')
    net, data, calls = nets[model], (DATA['x8'][:WHOLE], DATA['y8'][:WHOLE]), []
    attack = released_attack(net, of['pgd'])

    def counted(x, y, first):
        calls.append(attack(x, y, first))
        return calls[-1]
    found = hessian.top(net, None, data, k=5, which='both', batch=SETTINGS['batches'][0], attack=counted)
    assert len(calls) * SETTINGS['batches'][0] == WHOLE
    off = np.abs(np.concatenate(calls) - NUMBERS[f'{model}_pgd.x_adv'])
    assert (off < 1e-5).mean() > 0.99 and off.max() <= 2 * of['pgd']['threshold'] + 1e-6
    values = found.values * math.exp(found.log_frame)
    assert values[:5] == pytest.approx(NUMBERS[f'{model}_pgd.exact_largest'][:5], rel=3e-3)
    assert values[5:] == pytest.approx(NUMBERS[f'{model}_pgd.exact_smallest'][:5], rel=3e-3)
    assert math.exp(found.log_loss) == pytest.approx(float(NUMBERS[f'{model}_pgd.loss_f64']), rel=1e-3)
    assert np.abs(values[0] / NUMBERS[f'{model}_clean.exact_largest'][0] - 1) > 0.1


def test_gauss_newton_is_the_hessian_without_that_of_the_logits(matrix_of, nets):
    """J^T A J by an explicit Jacobian, A = diag(p) - p p^T."""
    matrix, net = matrix_of('mlp', False, 'gauss-newton'), nets['mlp']
    variables = [v.value for v in net.trainable_variables]
    with tf.GradientTape() as tape:
        logits = net(DATA['x8'][:WHOLE])
    parts = tape.jacobian(logits, variables)
    J = np.concatenate([np.asarray(j, np.float64).reshape(*logits.shape, -1) for j in parts], axis=2)
    p = tf.nn.softmax(tf.cast(logits, tf.float64)).numpy()
    rng = np.random.default_rng(0)
    for v in rng.normal(size=(3, matrix.size)):
        u = J @ v
        expected = np.einsum('ncp,nc->p', J, p * (u - (p * u).sum(axis=1, keepdims=True))) / WHOLE
        found = matrix(v) * math.exp(matrix.log_loss)
        assert found == pytest.approx(expected, rel=1e-3, abs=1e-5 * np.abs(expected).max())


def test_the_density_is_that_of_the_dense_spectrum():
    rng = np.random.default_rng(0)
    values = np.concatenate([rng.normal(0, 0.1, 290), np.linspace(1, 5, 10)])
    turn, _ = np.linalg.qr(rng.normal(size=(300, 300)))
    found = lanczos.quadrature(lambda v: turn @ (values * (turn.T @ v)), 300, rng, probes=10, steps=60)
    apart = wasserstein_distance(found.nodes.ravel(), values, found.weights.ravel())
    assert apart < 0.01 * np.ptp(values)
    assert found.weights.sum(axis=1) == pytest.approx(np.ones(10))
    at = np.linspace(-2, 7, 2001)
    assert np.trapezoid(found.density(at, 0.1), at) == pytest.approx(1, abs=1e-3)


@pytest.fixture(scope='module')
def dense_hessian(nets):
    """Of the small CNN on the attacked images, by nested differentiation, float64 [n, n]."""
    net, x, y = nets['conv'], NUMBERS['conv_pgd.x_adv'], DATA['y8'][:WHOLE]
    variables = [v.value for v in net.trainable_variables]
    with tf.GradientTape() as outer:
        with tf.GradientTape() as inner:
            losses = tf.nn.sparse_softmax_cross_entropy_with_logits(y, net(x))
            loss = tf.reduce_mean(losses)
        flat = tf.concat([tf.reshape(g, [-1]) for g in inner.gradient(loss, variables)], axis=0)
    rows = outer.jacobian(flat, variables)
    dense = np.concatenate([np.asarray(r, np.float64).reshape(len(flat), -1) for r in rows], axis=1)
    return (dense + dense.T) / 2, float(loss)


def test_density_trace_and_eigenvalues_are_those_of_a_dense_adversarial_hessian(dense_hessian, matrix_of):
    dense, loss = dense_hessian
    values, matrix = np.linalg.eigvalsh(dense) / loss, matrix_of('conv', True)
    assert values[::-1][:10] * loss == pytest.approx(NUMBERS['conv_pgd.exact_largest'], rel=5e-5)
    rng = np.random.default_rng(0)
    v = rng.normal(size=matrix.size)
    assert matrix(v) == pytest.approx(dense @ v / loss, rel=1e-3, abs=1e-5 * np.linalg.norm(dense @ v / loss))
    found = lanczos.quadrature(matrix, matrix.size, rng, probes=6, steps=40)
    apart = wasserstein_distance(found.nodes.ravel(), values, found.weights.ravel())
    assert apart < 0.01 * np.ptp(values)
    mean, error = found.trace(matrix.size)
    assert abs(mean - values.sum()) < 3 * error and error < 0.3 * values.sum()


@pytest.mark.parametrize('which,expected', [
    ('largest', [5, 4, 3]), ('smallest', [-6, -1, 0]), ('magnitude', [-6, 5, 4]), ('both', [5, 4, 3, -6, -1, 0])])
def test_a_quadratic_has_its_known_spectrum(which, expected):
    diagonal = np.array([0.0, 3, -6, 5, 2, -1, 4])
    pairs = lanczos.eigenpairs(lambda v: diagonal * v, 7, 3, np.random.default_rng(0), which)
    assert pairs.values == pytest.approx(expected, abs=1e-9)
    assert np.abs(diagonal * pairs.vectors - pairs.values[:, None] * pairs.vectors).max() < 1e-8


@pytest.mark.parametrize('diagonal, k', [([2] * 5, 5), ([5, 4, 3, 2, 1] * 6, 5), ([5] * 3 + [0, 0.3, 0.6, 1] * 10, 3),
                                         ([0] * 4, 2)])
def test_a_matrix_of_few_eigenvalues_has_all_of_their_copies(diagonal, k):
    diagonal = np.array(diagonal, float)
    pairs = lanczos.eigenpairs(lambda v: diagonal * v, len(diagonal), k, np.random.default_rng(0))
    assert pairs.values == pytest.approx(np.sort(diagonal)[::-1][:k], abs=1e-9)
    assert pairs.vectors @ pairs.vectors.T == pytest.approx(np.eye(k), abs=1e-9)
    assert lanczos.power_iteration(lambda v: 0 * v, np.ones((1, 4)))[0] == [0]


# ---- at any loss ----

def two_layers(n=6, width=3, classes=3):
    """Images, labels, and weights that have them right: of images that do, those of the largest margins."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(50, width)).astype(np.float32)
    w1, w2 = (rng.normal(size=(width, k)).astype(np.float32) for k in (width, classes))
    z = np.maximum(x @ w1, 0) @ w2
    far = np.argsort(np.diff(np.sort(z), axis=1)[:, -1])[-n:]
    return x[far], z[far].argmax(axis=1), w1, w2


def dense_in_long_doubles(x, y, w1, w2):
    """log of the mean loss, and the Hessian over it, of relu(x w1) w2, by hand."""
    x, w1, w2 = (a.astype(np.longdouble) for a in (x, w1, w2))
    h = np.maximum(x @ w1, 0)
    z, on = h @ w2, h > 0
    (n, inputs), (width, classes) = x.shape, w2.shape
    J = np.zeros((n, classes, inputs * width + width * classes), np.longdouble)
    second = np.zeros((n, classes, J.shape[2], J.shape[2]), np.longdouble)
    for c in range(classes):
        for k in range(width):
            out = inputs * width + k * classes + c
            J[:, c, out] = h[:, k]
            for i in range(inputs):
                J[:, c, i * width + k] = x[:, i] * on[:, k] * w2[k, c]
                second[:, c, i * width + k, out] = second[:, c, out, i * width + k] = x[:, i] * on[:, k]
    gaps = np.exp(z - z[np.arange(n), y][:, None])
    gaps[np.arange(n), y] = 0
    losses = np.log1p(gaps.sum(axis=1))
    p = gaps / (1 + gaps.sum(axis=1, keepdims=True))
    r = p.copy()
    r[np.arange(n), y] = -p.sum(axis=1)
    D = J - J[np.arange(n), y][:, None]
    mean = np.einsum('nc,ncp->np', p, D)
    H = (np.einsum('nc,ncp,ncq->pq', p, D, D) - np.einsum('np,nq->pq', mean, mean)
         + np.einsum('nc,ncpq->pq', r, second))
    return float(np.log(losses.mean())), (H / losses.sum()).astype(np.float64)


def at_loss(log_loss):
    """The two layers with weights so large that the loss is exp(log_loss), and a network of them."""
    x, y, w1, w2 = two_layers()
    low, high = 0.1, 100.0
    for _ in range(100):
        c = math.sqrt(low * high)
        found, _ = dense_in_long_doubles(x, y, c * w1, c * w2)
        low, high = (c, high) if found > log_loss else (low, c)
    w1, w2 = (np.float32(c) * w for w in (w1, w2))
    net = keras.Sequential([keras.Input((3,)), keras.layers.Dense(3, 'relu', use_bias=False),
                            keras.layers.Dense(3, use_bias=False)])
    net.set_weights([w1, w2])
    return net, (x, y), dense_in_long_doubles(x, y, w1, w2)


@pytest.mark.parametrize('decades', [5, 100, pytest.param(300, marks=pytest.mark.long), 880])
def test_relative_eigenvalues_are_those_of_long_doubles_at_any_loss(decades):
    net, data, (log_loss, dense) = at_loss(-decades * math.log(10))
    found = hessian.top(net, None, data, k=2, which='both')
    values = np.linalg.eigvalsh(dense)
    assert log_loss == pytest.approx(-decades * math.log(10), rel=1e-3)
    rounding = 1e-6 + 1e-7 * decades  # of logits in float32, of the size of ln(1 / loss)
    assert found.log_frame == pytest.approx(log_loss, abs=rounding)
    assert found.values[:2] == pytest.approx(values[::-1][:2], rel=10 * rounding)
    assert found.values[2:] == pytest.approx(values[:2], rel=10 * rounding, abs=10 * rounding * values[-1])
    assert math.exp(found.log_frame) * found.values[0] >= 0  # no less a number where it underflows


def test_the_scaled_eigenvalue_of_a_homogeneous_network_tends_to_a_constant():
    scaled = []
    for decades in (5, 100, 300):
        net, data, _ = at_loss(-decades * math.log(10))
        found = hessian.top(net, None, data)
        rho = float(np.sqrt(sum(np.square(w).sum() for w in net.get_weights())))
        scaled.append(hessian.homogeneous_constant(found.values[0], rho, found.log_loss))
    assert scaled[2] == pytest.approx(scaled[1], rel=0.03) and abs(scaled[2] / scaled[0] - 1) < 0.5


# ---- in Keras ----

def test_a_keras_loss_and_a_data_set_give_what_arrays_give(nets):
    x, y = DATA['x8'][:WHOLE], DATA['y8'][:WHOLE]
    of_arrays = hessian.top(nets['mlp'], hp_sparse_softmax_cross_entropy_with_logits_v1, (x, y))
    data = tf.data.Dataset.from_tensor_slices((x, y)).batch(40)  # the last batch is smaller, and counts by its size
    theirs = hessian.top(nets['mlp'], keras.losses.SparseCategoricalCrossentropy(from_logits=True), data)
    assert theirs.values[0] == pytest.approx(of_arrays.values[0] * math.exp(of_arrays.log_frame), rel=1e-5)
    assert theirs.log_loss == pytest.approx(of_arrays.log_loss, rel=1e-5) and theirs.log_frame == 0
    assert [v.shape for v in theirs.vectors[0]] == [v.shape for v in nets['mlp'].trainable_variables]


@pytest.mark.parametrize('change,said', [
    ({'k': 1211}, 'only 1210 eigenvalues'), ({'which': 'most'}, "'largest'"), ({'data': (np.zeros((0, 8, 8, 1)), [])},
                                                                             'no images'),
    ({'data': (DATA['x8'], np.eye(10, dtype=int)[DATA['y8']])}, 'one-hot'),
    ({'data': (DATA['x8'], DATA['y8'] + 0.7)}, 'integers'),
    ({'attack': lambda x, y, first: x[:1]}, r'here of the shape \(.*, 8, 8, 1\)'),
    ({'loss': 3}, 'Keras loss'), ({'kind': 'fisher'}, "'gauss-newton'")])
def test_what_is_no_spectrum_is_refused_with_what_would_be(nets, change, said):
    with pytest.raises(ValueError, match=said):
        hessian.top(**{'net': nets['mlp'], 'loss': None, 'data': (DATA['x8'], DATA['y8']), **change})
