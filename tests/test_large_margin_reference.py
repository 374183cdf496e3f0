"""The large margin losses, against numbers of the released code and of the paper's formula."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf
from conftest import LARGE_MARGIN, reference_json, reference_npz

from models.objectives import (
    CrossEntropy,
    LargeMargin,
    ReleasedLargeMargin,
    Weighted,
    boundary_distances,
    forward_pass,
    layers_of,
    released_distances,
    released_large_margin_losses,
)

L = keras.layers
LAYERS = ('input', 'conv', 'dense')
NORMS = ('1', '2', 'inf')
WEIGHTS = ('conv_k', 'conv_b', 'dense_k', 'dense_b', 'out_k', 'out_b')
NETWORK = reference_npz('network', LARGE_MARGIN)
RELEASE = reference_npz('release_loss', LARGE_MARGIN)
RELEASE_CASES = reference_json('release_loss', LARGE_MARGIN)['cases']
EDGES = reference_npz('edge_cases', LARGE_MARGIN)
EDGE_CASES = reference_json('edge_cases', LARGE_MARGIN)
PAPER = reference_npz('paper_form', LARGE_MARGIN)
PAPER_CASES = reference_json('paper_form', LARGE_MARGIN)['cases']
STEPS = reference_npz('train_step', LARGE_MARGIN)
STEP_CASES = reference_json('train_step', LARGE_MARGIN)
EPSILON = reference_json('release_loss', LARGE_MARGIN)['epsilon']
COMPETITORS = sorted({int(key[1:].split('/')[0]) for key in reference_npz('release_intermediates', LARGE_MARGIN)
                      if key[0] == 'k'})


def network(arrays=NETWORK, dtype='float64') -> keras.Model:
    options = {'dtype': dtype}
    *kernel, _, filters = arrays['w_conv_k'].shape
    x = keras.Input(arrays['x'].shape[1:], dtype=dtype)
    h = L.Conv2D(filters, kernel, padding='same', activation='relu', name='conv', **options)(x)
    h = L.Dense(len(arrays['w_dense_b']), activation='relu', name='dense', **options)(L.Flatten(**options)(h))
    net = keras.Model(x, L.Dense(len(arrays['w_out_b']), name='out', **options)(h))
    net.set_weights([arrays[f'w_{name}'] for name in WEIGHTS])
    return net


@pytest.fixture(scope='module')
def nets():
    return {dtype: network(dtype=dtype) for dtype in ('float32', 'float64')}


def mean_and_gradients(losses, net, *args):
    """The mean of losses(net, ...), and its gradients with respect to the weights."""
    with tf.GradientTape() as tape:
        mean = tf.reduce_mean(losses(net, *args))
    return float(mean), [g.numpy() for g in tape.gradient(mean, net.trainable_variables)]


def assert_near(gradients, expected, share):
    """Entries differ by at most this share of the largest of all."""
    largest = max(np.abs(e).max() for e in expected)
    for gradient, e in zip(gradients, expected):
        np.testing.assert_allclose(gradient, e, rtol=0, atol=share * largest)


def released(case) -> ReleasedLargeMargin:
    return ReleasedLargeMargin(
        case['layers'], case['gamma'], case['alpha_factor'], float(case['dist_norm']), case['top_k'],
        case['worst_case_loss'], case['layers_weights'] or [1] * len(case['layers']), not case['use_approximation'],
        eps=EPSILON)


def exact_to(gamma):
    """What float64 leaves of a difference from gamma: 1e-13 at 0.5, 1e-10 at 10000."""
    return max(1e-13, 1e-14 * gamma)


def check_released(case, nets):
    objective, (x, y) = released(case), (NETWORK['x'], NETWORK['labels'])
    atol = exact_to(case['gamma'])
    expected = [RELEASE[f'grad_{name}'][case['index']] for name in WEIGHTS]
    has_gradient = any(e.any() for e in expected) or not case['grad_max']  # an extract has not all of them
    for dtype, net in nets.items() if has_gradient else ():
        loss, gradients = mean_and_gradients(objective.losses, net, x, y, True)
        np.testing.assert_allclose(loss, case['loss_f64'], rtol=0,
                                   atol=atol if dtype == 'float64' else 2e-6 * max(1, abs(loss)))
        assert_near(gradients, expected, 2e-5)
    if not has_gradient:
        loss = tf.reduce_mean(objective.losses(nets['float64'], x, y, True))
        np.testing.assert_allclose(loss, case['loss_f64'], rtol=0, atol=atol)


KEPT = [case for case in RELEASE_CASES if case['index'] % 31 == 7]


@pytest.mark.parametrize('case', KEPT, ids=lambda case: str(case['index']))
def test_the_released_loss_and_its_gradients(nets, case):
    check_released(case, nets)


def test_the_released_loss_with_safe_samples_only_has_no_gradient(nets):
    for case in [case for case in RELEASE_CASES if not case['grad_max']][:1]:
        check_released(case, nets)


@pytest.mark.long
def test_the_released_loss_for_the_whole_grid_of_arguments(nets):
    assert len(RELEASE_CASES) == len(RELEASE['loss_f64'])
    for case in RELEASE_CASES:
        check_released(case, nets)


@pytest.mark.parametrize('norm', NORMS)
@pytest.mark.parametrize('k', COMPETITORS)
def test_the_released_distances_and_what_they_are_made_of(nets, norm, k):
    expected = reference_npz('release_intermediates', LARGE_MARGIN)
    for dtype, rtol in (('float64', 1e-11), ('float32', 2e-5)):
        run = forward_pass(nets[dtype], NETWORK['x'], NETWORK['labels'], False, LAYERS)
        found = released_distances(run.tape, run.logits, run.y, [*run.activations.values()], float(norm), k)
        np.testing.assert_array_equal(found.classes, expected['competitor'][:, :k])
        np.testing.assert_allclose(found.difference, expected[f'k{k}/difference_prob_f64'], rtol=rtol)
        for i, layer in enumerate(LAYERS):
            for name, values in (('gradnorm', found.gradient_norm), ('distance', found.distance)):
                np.testing.assert_allclose(values[i], expected[f'k{k}/{name}/p{norm}/{layer}_f64'], rtol=rtol)


def check_edge_case(name):
    case = EDGE_CASES[name]
    arrays = {key: EDGES.get(f'{name}/{key}', value) for key, value in NETWORK.items()}
    options = {'norm': float(case['dist_norm']), 'top_k': case['top_k'], 'layer_weights': case['layers_weights'],
               'second_order': not case['use_approximation'], 'eps': case['epsilon']}
    # The release loses digits of saturated probabilities, in float32: its gradients are as good as they say, and so is,
    # with other kernels, what float32 makes of them here.
    saturated = name.startswith('saturated')
    share = 5e-2 if saturated else 2e-5
    of_distances = {'float64': 1e-6, 'float32': 0.3} if saturated else {'float64': 1e-11, 'float32': 1e-4}
    single = 5e-3 if saturated else max(1e-5, 5e-8 * case['gamma'])
    for dtype, rtol in (('float64', 1e-6 if saturated else max(1e-12, exact_to(case['gamma']))), ('float32', single)):
        net = network(arrays, dtype)
        run = forward_pass(net, arrays['x'], arrays['labels'], False, tuple(case['layers']))
        found = released_distances(run.tape, run.logits, run.y, [*run.activations.values()], **options)
        np.testing.assert_allclose(found.distance, EDGES[f'{name}/distance_f64'], rtol=of_distances[dtype],
                                   atol=1e-12)

        def losses(net):
            run = forward_pass(net, arrays['x'], arrays['labels'], True, tuple(case['layers']))
            return released_large_margin_losses(run.tape, run.logits, run.y, [*run.activations.values()],
                                                case['gamma'], case['alpha_factor'],
                                                worst_case=case['worst_case_loss'], **options)

        loss, gradients = mean_and_gradients(losses, net)
        np.testing.assert_allclose(loss, case['loss_f64'], rtol=rtol, atol=rtol)
        assert all(np.isfinite(g).all() for g in gradients)
        if f'{name}/grad_out_b' in EDGES:
            assert_near(gradients, [EDGES[f'{name}/grad_{weight}'] for weight in WEIGHTS], share)


QUICK = ('defaults', 'topk_all_classes_sum_g0.5_a2', 'saturated_full_eps1e-06', 'dead_input_p2_full_g0.5',
         'ties_k1_p2_full', 'ties_k3_p1', 'tie_with_correct_class_p2_full')


@pytest.mark.parametrize('name', [name for name in QUICK if name in EDGE_CASES] or list(EDGE_CASES)[:7])
def test_edge_cases_of_the_released_loss(name):
    check_edge_case(name)


@pytest.mark.long
@pytest.mark.parametrize('name', [name for name in EDGE_CASES if name not in QUICK])
def test_all_edge_cases_of_the_released_loss(name):
    check_edge_case(name)


@pytest.mark.parametrize('norm', NORMS)
def test_the_papers_distances(nets, norm):
    for dtype, share in (('float64', 1e-11), ('float32', 1e-5)):
        run = forward_pass(nets[dtype], NETWORK['x'], NETWORK['labels'], False, LAYERS)
        found = boundary_distances(run.tape, run.logits, run.y, [*run.activations.values()], float(norm))
        rows = np.arange(len(NETWORK['labels']))[:, np.newaxis]
        for i, layer in enumerate(LAYERS):
            for sign, name, values in ((1, 'gradnorm', found.gradient_norm), (-1, 'distance', found.distance)):
                expected = sign * PAPER[f'{name}/p{norm}/{layer}'][rows, found.classes]
                np.testing.assert_allclose(values[i], expected, rtol=0, atol=share * np.abs(expected).max())


def check_paper_form(nets, norm):
    for case in PAPER_CASES:
        if case['p'] != norm:
            continue
        layers = 'all' if case['layer'] == 'all' else [case['layer']]
        objective = LargeMargin(layers, case['gamma'], float(norm), aggregate=case['aggregate'])
        count = len(LAYERS) if layers == 'all' else 1  # the reference adds layers up, where we average
        expected = [PAPER.get(f"grad/{case['key']}/{name}") for name in WEIGHTS]
        for dtype, rtol, share in (('float64', 1e-11, 1e-11), ('float32', 5e-6, 1e-5)):
            net = nets[dtype]
            losses = count * objective.losses(net, NETWORK['x'], NETWORK['labels'], True)
            assert losses.dtype == tf.float64
            np.testing.assert_allclose(losses, PAPER[f"per_sample/{case['key']}"], rtol=rtol, atol=rtol)
            if expected[0] is not None:
                _, gradients = mean_and_gradients(objective.losses, net, NETWORK['x'], NETWORK['labels'], True)
                assert_near([count * g for g in gradients], expected, share)


@pytest.mark.long(after=1)
@pytest.mark.parametrize('norm', NORMS)
def test_the_papers_losses_and_their_gradients_with_the_norm_held_constant(nets, norm):
    check_paper_form(nets, norm)


# ---- a training step of the release ----

BLOCKS = range(sum(f'w0/conv_layer{i}_kernel' in STEPS for i in range(100)))
STEP_LAYERS = {'images': 'input', **{f'conv_layer{i}': f'bn{i}' for i in BLOCKS}}


def step_network(mode, step) -> keras.Model:
    x = h = keras.Input(STEPS['images'].shape[2:])
    variables = []
    for i in BLOCKS:
        size, _, _, filters = STEPS[f'w0/conv_layer{i}_kernel'].shape
        h = L.Conv2D(filters, size, padding='same', use_bias=False, activation='relu', name=f'conv{i}')(h)
        h = L.BatchNormalization(momentum=0.9, epsilon=1e-5, name=f'bn{i}')(L.MaxPooling2D()(h))
        variables += [f'conv_layer{i}_{v}' for v in ('kernel', 'bn_gamma', 'bn_beta', 'bn_moving_mean',
                                                     'bn_moving_variance')]
    h = L.Dense(len(STEPS['w0/fc_layer0_bias']), activation='relu', name='fc0')(L.Flatten()(h))
    net = keras.Model(x, L.Dense(len(STEPS['w0/output_layer_bias']), name='fc1')(h))
    variables += ['fc_layer0_kernel', 'fc_layer0_bias', 'output_layer_kernel', 'output_layer_bias']
    before = 'w0' if step == 0 else f'{mode}/step{step - 1}/after'
    net.set_weights([STEPS[f'{before}/{v}'] for v in variables])
    assert layers_of(net, 'all') == (*STEP_LAYERS.values(), 'fc0')
    return net


@pytest.mark.parametrize('mode', [mode for mode in STEP_CASES if f'{mode}/step0/margin' in STEPS])
def test_a_training_step_with_batch_norm(mode):
    settings = STEP_CASES[mode]['settings']
    steps = sum(f'{mode}/step{t}/margin' in STEPS for t in range(len(STEPS['images'])))
    margin = ReleasedLargeMargin(list(STEP_LAYERS.values()), settings['gamma'], settings['alpha'],
                                 float(settings['dist_norm']), settings['top_k'], eps=settings['epsilon'])
    assert margin.options['worst_case'] and not margin.options['second_order']
    objective = Weighted([(settings['margin_loss_wt'], margin), (settings['xent_loss_wt'], CrossEntropy())])
    assert steps
    for t in range(steps):
        net = step_network(mode, t)
        expected = {k.removeprefix(f'{mode}/step{t}/'): v for k, v in STEPS.items() if k.startswith(f'{mode}/step{t}/')}
        x, y = STEPS['images'][t].astype(np.float32) / 255, STEPS['labels'][t]
        run = forward_pass(net, x, y, True, margin.layers(net))
        found = released_distances(run.tape, run.logits, y, [*run.activations.values()], margin.options['norm'],
                                   margin.options['top_k'], settings['layers_weights'], eps=settings['epsilon'])
        np.testing.assert_allclose(run.logits, expected['logits'], rtol=0, atol=1e-4)
        np.testing.assert_allclose(found.difference, expected['difference_prob'], rtol=1e-4, atol=1e-6)
        for i, layer in enumerate(STEP_LAYERS):
            np.testing.assert_allclose(found.gradient_norm[i], expected[f'gradnorm/{layer}'], rtol=1e-4)
            np.testing.assert_allclose(found.distance[i], expected[f'distance/{layer}'], rtol=2e-4)
        # The release rounds: at gamma = 10000 to 2^-10, and what it clips from below to the digits of the distance.
        tolerance = 2e-3 if settings['gamma'] >= 1e3 else 1e-6 + 2 ** -24 * np.abs(found.distance).max()
        np.testing.assert_allclose(tf.reduce_mean(margin.losses_of(run)), expected['margin'], rtol=0, atol=tolerance)
        np.testing.assert_allclose(tf.reduce_mean(CrossEntropy().losses_of(run)), expected['xent'], rtol=1e-5)

        with tf.GradientTape() as tape:
            # The square norms in float32, as the release has them: their sum is what the total is rounded to.
            l2 = tf.add_n([tf.nn.l2_loss(v) for v in net.trainable_variables])
            total = tf.reduce_mean(objective.losses(net, x, y, True)) + settings['l2_loss_wt'] * tf.cast(l2, tf.float64)
        gradients = tape.gradient(total, net.trainable_variables)
        np.testing.assert_allclose(total, expected['total'], rtol=0, atol=tolerance)
        order = [f'conv_layer{i}_{v}' for i in BLOCKS for v in ('kernel', 'bn_gamma', 'bn_beta')]
        order += ['fc_layer0_kernel', 'fc_layer0_bias', 'output_layer_kernel', 'output_layer_bias']
        assert_near([g.numpy() for g in gradients], [expected[f'grad/{name}'] for name in order], 5e-5)
