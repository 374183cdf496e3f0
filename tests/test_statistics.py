"""Statistics of an epoch, against the original's, closed forms and the homogeneity that they rest on."""

from __future__ import annotations

import re

import numpy as np
import pytest
from conftest import reference_images, reference_json, reference_npz
from stated import stated

from models import BiasMode, NumericalFailure, SimpleSequential, TrainMode
from models.margins import Norms, margins, smoothed_margins, support_counts

REFERENCE = reference_json('stats')
ARRAYS = reference_npz('stats')
SMALL = [['C', 4, [3, 3]], ['P'], ['F', 12], ['F', 10, {'act': False}]]


def weights_of(case):
    """The weights of a case, where the reference says that they are: 'FILE, keys PREFIX<variable>, every array times
    float32 FACTOR'."""
    where = REFERENCE[case].get('weights', f'stats.npz, keys {case}/weights/<variable>')
    file, prefix = re.match(r'(\w+)\.npz, keys ([^<]*)<', where).groups()
    factor = re.search(r'times float32 ([\d.]+)', where)
    arrays = ARRAYS if file == 'stats' else reference_npz(file)
    return {k.removeprefix(prefix): v * np.float32(factor.group(1) if factor else 1)
            for k, v in arrays.items() if k.startswith(prefix)}


def build(case):
    spec = REFERENCE[case]
    shape = reference_images().train[0].shape[1:]
    model = SimpleSequential(case, shape, spec['description'], BiasMode[spec['bias_mode']], TrainMode.USE_FRAME,
                             act_type=spec['act_type'])
    model.set_weights(weights_of(case))
    return model


def is_corrected(case, key):
    """B3: the original's degree of homogeneity is wrong for relu2 networks of more than two layers."""
    spec = REFERENCE[case]
    return spec['act_type'] == 'relu2' and spec['num_layers'] > 2 and key in ('rhoL', 'q_bar_min')


def near_a_threshold(key, q, atol):
    """How many samples of these margins may be counted otherwise: those that are as near to the threshold."""
    threshold = 0 if key.endswith('acc') else q.min() + float(key.removeprefix('n_supp_')) * np.log(10)
    return int((np.abs(q - threshold) <= 2 * atol).sum())


@pytest.mark.long(after=1)
@pytest.mark.parametrize('case', [c for c in REFERENCE if f'{c}/q' in ARRAYS])
def test_every_statistic_is_the_originals(case):
    spec = REFERENCE[case]
    model = build(case)
    assert model.is_homogeneous == spec['is_homogeneous']
    (x, y), (x_test, y_test) = reference_images()
    data = ((x[:spec['n_train']], y[:spec['n_train']]), (x_test[:spec['n_test']], y_test[:spec['n_test']]))
    logits = [model.test(*part)['y_'] for part in data]
    scale = max(np.abs(z).max() for z in logits)
    atol, of_norms, of_loss = stated('q_max: atol') * scale, stated('rhoL: rtol'), stated('test_loss: rtol')
    of_q = {'acc': margins(logits[0], data[0][1]), 'test_acc': margins(logits[1], data[1][1])}
    for log_frame, result in spec['results'].items():
        stats, extra = model.get_stats(data, None if log_frame == 'none' else float(log_frame))
        expected = result['stats']
        assert [k for k in stats if k in expected] == list(expected), 'names, in the original order'
        np.testing.assert_allclose(extra['q'], ARRAYS[f'{case}/q'], atol=atol)
        for key, value in expected.items():
            if is_corrected(case, key):
                continue
            if key in ('acc', 'test_acc') or key.startswith('n_supp'):
                q = of_q.get(key, extra['q'])
                unit = len(q) if key in of_q else 1
                np.testing.assert_allclose(stats[key], value, rtol=1e-6, atol=near_a_threshold(key, q, atol) / unit,
                                           err_msg=key)
            elif 'loss' in key:
                np.testing.assert_allclose(stats[key], value, rtol=of_loss + of_loss * scale, err_msg=key)
            elif key in ('q_min', 'q_max'):
                np.testing.assert_allclose(stats[key], value, atol=atol, err_msg=key)
            elif key in ('q_bar_min', 'q_bar2_min'):
                norm = expected['rhoL' if key == 'q_bar_min' else 'norm_prod']
                np.testing.assert_allclose(stats[key], value, atol=atol / norm, rtol=2 * of_norms, err_msg=key)
            else:
                np.testing.assert_allclose(stats[key], value, rtol=of_norms, err_msg=key)
        assert all(type(v) in (int, float) for v in stats.values())


@pytest.mark.long(after=2)
@pytest.mark.parametrize('act_type, description', [
    ('relu', SMALL), ('linear', SMALL), ('relu2', SMALL), ('relu2', SMALL[2:]), ('relu2', SMALL[3:]),
    ('relu2', [['F', 5], ['F', 6], ['F', 7], ['F', 10, {'act': False}]])])
def test_scaling_all_parameters_scales_the_margin_by_rho_to_the_order(act_type, description, digits):
    (x, y), test = digits
    init = {'weight': 'he_normal', 'bias': 'random_normal'}
    model = SimpleSequential('m', (8, 8, 1), description, act_type=act_type, init=init, seed=1)
    before = model.get_stats(((x, y), test), 0.0)[0]
    c = 1.3
    model.set_weights({k: c * v for k, v in model.weights().items()})
    after = model.get_stats(((x, y), test), 0.0)[0]
    np.testing.assert_allclose(after['q_min'], before['q_min'] * c ** model.norms().order, rtol=1e-4)
    for key in ('q_bar_min', 'q_bar2_min'):
        np.testing.assert_allclose(after[key], before[key], rtol=1e-4, err_msg=key)


@pytest.mark.parametrize('layers, order', [(1, 1), (2, 3), (3, 7), (4, 15)])
def test_a_relu2_network_of_L_layers_is_homogeneous_of_order_2_to_the_L_minus_1(layers, order):
    description = [['F', 5]] * (layers - 1) + [['F', 10, {'act': False}]]
    assert SimpleSequential('m', (4, 4, 1), description, act_type='relu2').norms().order == order


def test_margins_against_a_loop(digits):
    rng = np.random.default_rng(0)
    logits, labels = rng.normal(size=(50, 7)).astype(np.float32), rng.integers(0, 7, 50)
    expected = [z[y] - max(z[j] for j in range(7) if j != y) for z, y in zip(logits, labels)]
    np.testing.assert_array_equal(margins(logits, labels), np.array(expected))


def test_support_counts_are_strict_at_the_threshold():
    q = np.array([1.0, 1.0 + np.log(10), 1.0 + np.log(10) + 1e-9, 1.0 + np.log(100) - 1e-9])
    counts = support_counts(q)
    assert (counts['n_supp_1'], counts['n_supp_2'], counts['n_supp_7']) == (1, 4, 4)


@pytest.mark.parametrize('scale', [1.0, 30.0, 300.0])
def test_the_smoothed_margin_bounds_the_normalised_margin_from_below_at_any_loss(scale, digits):
    """-ln(sum of losses) <= q_min <= -ln(sum) + ln(n (C - 1)), for a network that fits its data."""
    (x, _), test = digits
    model = SimpleSequential('m', (8, 8, 1), [['F', 10, {'act': False}]], BiasMode.NONE, seed=1)
    labels = model.test(x, np.zeros(len(x), int))['y_'].argmax(axis=1)  # the network's own, so that it is right
    keep = np.argsort(margins(model.predict(x).numpy(), labels))[-200:]
    model.set_weights({'fc1_W': 50 * scale * model.weights()['fc1_W']})
    stats = model.get_stats(((x[keep], labels[keep]), test), 0.0)[0]
    assert stats['q_min'] > 2
    n, norms = 200, model.norms()
    assert stats['smoothed_margin'] <= stats['q_bar_min'] * (1 + 1e-6) + np.exp(-stats['q_min'])
    assert stats['q_bar_min'] <= stats['smoothed_margin'] + np.log(n * 9) / norms.rhoL
    np.testing.assert_allclose(stats['smoothed_margin'], -(stats['log_loss'] + np.log(n)) / stats['rhoL'], rtol=1e-12)


def test_log_loss_is_the_frame_plus_the_logarithm_of_the_relative_loss():
    model = build(next(iter(REFERENCE)))
    (x, y), test = reference_images()
    for log_frame in (0.8, -3.0, None):
        stats, _ = model.get_stats(((x[:300], y[:300]), test), log_frame)
        np.testing.assert_allclose(stats['log_loss'], (log_frame or 0) + np.log(stats['loss']), rtol=1e-12)


def test_orders_so_high_that_rho_overflows_give_infinity_and_no_error():
    norms = Norms(1e10, (1.0,), 1.0, 1000)
    assert norms.rhoL == np.inf
    assert smoothed_margins(-5.0, 10, norms)['smoothed_margin'] == 0


def test_a_network_of_zeros_has_no_normalised_margin_and_no_error(digits):
    model = SimpleSequential('m', (8, 8, 1), SMALL, init={'weight': 'zeros'})
    stats = model.get_stats(digits, 0.0)[0]
    assert stats['q_min'] == stats['rho'] == 0 and np.isnan(stats['q_bar_min'])


def test_a_loss_that_is_not_finite_is_a_numerical_failure(digits):
    model = SimpleSequential('m', (8, 8, 1), SMALL, seed=1)
    model.set_weights({k: np.full_like(v, np.nan) if k == 'fc3_W' else v for k, v in model.weights().items()})
    with pytest.raises(NumericalFailure, match='not finite'):
        model.get_stats(digits, 0.0)
