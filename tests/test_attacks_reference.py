"""CarliniL2 and LinfPGDAttack against numbers of the original implementation."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from conftest import REFERENCE, reference_npz
from nets import small_mnist

from models.attacks import CarliniL2, LinfPGDAttack

COMPLETE = REFERENCE.name != 'reference'  # MAX_MARGIN_REFERENCE: all batches, not one of each case
CW = {
    # settings; the batches of 16 that the reference attacked, and those that are tested by default
    'cw_plain': (dict(max_iterations=300), 32, slice(0, 16)),
    'cw_normalized': (dict(max_iterations=300, normalize_output=True, initial_const=10), 32, slice(16, 32)),
    'cw_targeted_conf': (dict(targeted=True, confidence=1.5, initial_const=1e-2, max_iterations=200), 16, slice(0, 16)),
    'cw_repeat10_noabort': (dict(binary_search_steps=10, abort_early=False, initial_const=0.1, max_iterations=100), 16,
                            slice(0, 16)),
}


@pytest.fixture(scope='module')
def reference():
    return reference_npz('attacks')


@pytest.fixture(scope='module')
def net():
    return small_mnist()


def cw_images(name, reference, mnist_images):
    x, y = mnist_images.train
    if name == 'cw_targeted_conf':
        return x[:16], reference['targets_cw_targeted']
    return (x[16:32], y[16:32]) if name == 'cw_repeat10_noabort' else (x[:32], y[:32])


@pytest.mark.parametrize('name', CW)
def test_cw_finds_what_the_original_finds(name, net, reference, mnist_images):
    settings, count, default = CW[name]
    part = slice(0, count) if COMPLETE else default
    x, labels = (a[part] for a in cw_images(name, reference, mnist_images))
    attack = CarliniL2(net, batch_size=16, **settings)
    result = attack.attack(x, labels)
    np.testing.assert_array_equal(result.success, reference[f'{name}/success'][part])
    steps = len(attack.iterations)
    batch = slice(-steps, None) if part.stop == count else slice(0, steps)  # those of the last batch attacked
    np.testing.assert_array_equal(attack.iterations, reference[f'{name}/iterations'][batch])
    errors, expected = np.square(result.images - x.astype(float)).sum(axis=(1, 2, 3)), reference[f'{name}/errors'][part]
    relative = np.abs(errors / expected - 1)
    if name in ('cw_plain', 'cw_normalized'):
        assert relative.max() < 0.15 and abs(errors.mean() / expected.mean() - 1) < 0.02
    else:
        assert relative.max() < 0.1 and np.median(relative) < 1e-4


@pytest.mark.parametrize('name', CW)
def test_cw_begins_as_the_original_does(name, net, reference, mnist_images):
    """The first 40 iterations: the loss of the batch and every image's squared distance."""
    settings, _, _ = CW[name]
    x, labels = (a[:16] for a in cw_images(name, reference, mnist_images))
    attack = CarliniL2(net, **settings)
    start = tf.constant(np.arctanh((x.astype(float) - 0.5) / 0.5 * 0.999999), tf.float32)
    clean, const = attack._to_image(start), tf.fill([16], np.float32(settings.get('initial_const', 1e-3)))
    look, state = tf.function(attack._look), attack._initial(start)
    losses, distances = [], []
    for _ in range(40):
        loss, gradient, _, l2, _ = look(state[0], start, clean, tf.constant(labels), const)
        state = attack._adam(gradient, *state)
        losses.append(loss.numpy()), distances.append(l2.numpy())
    np.testing.assert_allclose(losses, reference[f'{name}/trace_loss'], rtol=1e-5)
    # With other kernels than the reference's, an image that meets a kink of the network departs by rounding.
    expected = reference[f'{name}/trace_l2']
    assert np.isclose(distances, expected, rtol=1e-5, atol=1e-6).mean() > 0.9
    np.testing.assert_allclose(distances, expected, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize('name', ['pgd_nostart', 'pgd_random'])
def test_linf_pgd_finds_what_the_original_finds(name, net, reference, mnist_images):
    x, y = (a[:64] for a in mnist_images.train)
    attack = LinfPGDAttack(net, [0.02, 0.05, 0.1, 0.15, 0.2, 0.3], k=40, a=0.1, repeat=2,
                           random_start=name == 'pgd_random')
    result = attack.attack(x, y, np.random.RandomState(12345))
    np.testing.assert_array_equal(result.eps, reference[f'{name}/errors'])
    same = np.abs(result.images - reference[f'{name}/images']).max(axis=(1, 2, 3)) < 1e-6
    assert same.mean() >= 0.95


def test_linf_pgd_steps_along_the_gradient_of_the_original(net, reference, mnist_images):
    x, y = (a[:64] for a in mnist_images.train)
    attack = LinfPGDAttack(net)
    with tf.GradientTape() as tape:
        images = tf.constant(x)
        tape.watch(images)
        objective = attack._objective(attack.quick_net(images), tf.constant(y))
    expected = reference['pgd_nostart/grad_at_clean']
    np.testing.assert_allclose(tape.gradient(objective, images), expected, atol=1e-5 * np.abs(expected).max())


def test_the_objective_of_linf_pgd_is_the_originals(reference):
    """With its masked zero, its ties and its flat part, on logits made by hand."""
    logits, labels = tf.constant(reference['pgd_loss/logits']), tf.constant(reference['pgd_loss/labels'])
    with tf.GradientTape() as tape:
        tape.watch(logits)
        objective = LinfPGDAttack._objective(logits, labels)
    np.testing.assert_array_equal(tape.gradient(objective, logits), reference['pgd_loss/grad'])
