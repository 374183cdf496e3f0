"""CarliniL2 and LinfPGDAttack against numbers of the original implementation.

Cases, images, settings and tolerances are those that the reference has and states.
"""

from __future__ import annotations

import re

import numpy as np
import pytest
import tensorflow as tf
from conftest import OWN, REFERENCE, reference_images, reference_npz
from stated import carlini_settings, pgd_settings, stated

from models import BiasMode, SimpleSequential
from models.attacks import CarliniL2, LinfPGDAttack

ARRAYS = reference_npz('attacks')
COMPLETE = REFERENCE.resolve() != OWN.resolve()  # MAX_MARGIN_REFERENCE: all batches, not one of each case
CW = [key.split('/')[0] for key in ARRAYS if key.endswith('/trace_loss')]
PGD = [key.split('/')[0] for key in ARRAYS if key.endswith('/grad_at_clean')]


def attacked_network(shape: tuple[int, ...]) -> SimpleSequential:
    """The network whose weights the reference stores; what has a number but no weights is a pooling layer."""
    weights = {key.removeprefix('weights/'): v for key, v in ARRAYS.items() if key.startswith('weights/')}
    numbers = {int(re.findall(r'\d+', name)[0]): name for name in weights if not name.endswith('_b')}
    description: list[list] = []
    for i in range(1, max(numbers) + 1):
        size = weights[numbers[i]].shape if i in numbers else ()
        description.append(['P'] if not size else ['F', size[1]] if len(size) == 2 else ['C', size[3], list(size[:2])])
    description[-1].append({'act': False})
    biases = sum(name.endswith('_b') for name in weights)
    mode = {0: BiasMode.NONE, 1: BiasMode.FIRST_LAYER}.get(biases, BiasMode.ALL)
    model = SimpleSequential('attacked', shape, description, mode)
    model.set_weights(weights)
    return model


@pytest.fixture(scope='module')
def train():
    return reference_images().train


@pytest.fixture(scope='module')
def net(train):
    return attacked_network(train[0].shape[1:])


@pytest.fixture(scope='module')
def attacked(net, train):
    """From a case to the images and labels that the reference attacked: those that give its clean logits."""
    logits = net.predict(train[0]).numpy()

    def images_of(name: str) -> tuple[np.ndarray, np.ndarray]:
        expected = ARRAYS[f'{name}/clean_logits']
        apart = np.abs(logits[np.newaxis] - expected[:, np.newaxis]).max(axis=2)
        index = apart.argmin(axis=1)
        assert apart.min(axis=1).max() < 1e-4 * np.abs(expected).max(), 'images of the reference, and of no other'
        return train[0][index], train[1][index]
    return images_of


def carlini(name: str) -> dict:
    return {**carlini_settings(name, CW[0]), 'batch_size': ARRAYS[f'{name}/trace_l2'].shape[1]}


def labels_of(name: str, labels: np.ndarray) -> np.ndarray:
    """What the attack is given: the targets, if it has some."""
    return ARRAYS['targets_cw_targeted'] if carlini(name)['targeted'] else labels


@pytest.mark.long
@pytest.mark.parametrize('name', CW)
def test_cw_finds_what_the_original_finds(name, net, attacked):
    settings, (x, labels) = carlini(name), attacked(name)
    labels, size = labels_of(name, labels), settings['batch_size']
    batches = -(-len(x) // size)
    last = batches - 1 if COMPLETE else CW.index(name) % batches
    part = slice(0 if COMPLETE else last * size, min(len(x), (last + 1) * size))
    x, labels = x[part], labels[part]
    attack = CarliniL2(net, **settings)
    result = attack.attack(x, labels)
    there_already = (ARRAYS[f'{name}/clean_logits'][part].argmax(axis=1) == labels) == settings['targeted']
    np.testing.assert_array_equal(result.success, ARRAYS[f'{name}/success'][part])
    if not there_already.any():  # the original attacks these along with the others, so that it stops elsewhere
        steps = settings['binary_search_steps']
        np.testing.assert_array_equal(attack.iterations,
                                      ARRAYS[f'{name}/iterations'][last * steps:(last + 1) * steps])
    new = result.success & ~there_already
    errors = np.square(result.images - x.astype(float)).sum(axis=(1, 2, 3))[new]
    expected = ARRAYS[f'{name}/errors'][part][new]
    relative = np.abs(errors / expected - 1)
    if settings['targeted'] or not settings['abort_early']:
        assert relative.max() < stated('cw_repeat10_noabort: per sample') and np.median(relative) < stated('median')
    else:
        assert relative.max() < stated('cw errors per sample rtol')
        assert abs(errors.mean() / expected.mean() - 1) < stated('and mean rtol')


@pytest.mark.long
@pytest.mark.parametrize('name', CW)
def test_cw_begins_as_the_original_does(name, net, attacked):
    """The first iterations: the loss of the batch and every image's squared distance."""
    settings, (x, labels), expected = carlini(name), attacked(name), ARRAYS[f'{name}/trace_l2']
    size = settings['batch_size']
    x, labels = x[:size], labels_of(name, labels)[:size]
    attack = CarliniL2(net, **settings)
    start = tf.constant(np.arctanh((x.astype(float) - 0.5) / 0.5 * 0.999999), tf.float32)
    clean, const = attack._to_image(start), tf.fill([size], np.float32(settings['initial_const']))
    look, state = tf.function(attack._look), attack._initial(start)
    losses, distances = [], []
    for _ in range(len(expected)):
        loss, gradient, _, l2, _ = look(state[0], start, clean, tf.constant(labels), const)
        state = attack._adam(gradient, *state)
        losses.append(loss.numpy()), distances.append(l2.numpy())
    rtol = stated('trace_loss / trace_l2 rtol')
    np.testing.assert_allclose(losses, ARRAYS[f'{name}/trace_loss'], rtol=rtol)
    # With other kernels than the reference's, an image that meets a kink of the network departs by rounding.
    assert np.isclose(distances, expected, rtol=rtol, atol=1e-6).mean() > 0.9
    np.testing.assert_allclose(distances, expected, rtol=max(100 * rtol, 1e-3), atol=1e-5)


def pgd_budgets(name: str, right: np.ndarray) -> np.ndarray:
    """The budgets of the original, as an attack here tells them: inf, not 1, without success (unless 1 is a budget),
    and 0 for images that are misclassified as they are."""
    settings, _ = pgd_settings(name)
    errors = ARRAYS[f'{name}/errors']
    lost = errors == 1 if 1 not in settings['eps_list'] else np.zeros(len(errors), bool)
    return np.where(right, np.where(lost, np.inf, errors), 0)


@pytest.mark.long
@pytest.mark.parametrize('name', PGD)
def test_linf_pgd_finds_what_the_original_finds(name, net, attacked):
    (x, y), (settings, seed) = attacked(name), pgd_settings(name)
    result = LinfPGDAttack(net, **settings).attack(x, y, np.random.RandomState(seed))
    right = ARRAYS[f'{name}/clean_logits'].argmax(axis=1) == y
    np.testing.assert_array_equal(result.eps, pgd_budgets(name, right))
    new = right & result.success
    same = np.abs(result.images - ARRAYS[f'{name}/images']).max(axis=(1, 2, 3))[new] < 1e-6
    assert same.mean() >= stated('PGD images: at least') / 100


class Recording(np.random.RandomState):
    """Remembers for how many images something was drawn."""

    def __init__(self):
        super().__init__(0)
        self.images: list[int] = []

    def uniform(self, low, high, size):
        self.images.append(size[0])
        return super().uniform(low, high, size)


def test_what_is_misclassified_moves_no_random_start(net, train):
    """The original draws for all images; those that are left out here must not shift the others' draws."""
    x, y = (a[:10] for a in train)
    labels = np.where(np.arange(10) % 5 == 0, (y + 1) % net.num_labels, y)
    rng = Recording()
    result = LinfPGDAttack(net, [0.001], k=1, repeat=1).attack(x, labels, rng)
    assert rng.images == [10] and (result.eps[::5] == 0).all()


@pytest.mark.parametrize('name', PGD)
def test_linf_pgd_steps_along_the_gradient_of_the_original(name, net, attacked):
    x, y = attacked(name)
    attack = LinfPGDAttack(net)
    with tf.GradientTape() as tape:
        images = tf.constant(x)
        tape.watch(images)
        objective = attack._objective(attack.quick_net(images), tf.constant(y))
    expected = ARRAYS[f'{name}/grad_at_clean']
    np.testing.assert_allclose(tape.gradient(objective, images), expected, rtol=0,
                               atol=stated('gradient rtol') * np.abs(expected).max())


def test_the_objective_of_linf_pgd_is_the_originals():
    """With its masked zero, its ties and its flat part, on logits made by hand."""
    logits, labels = tf.constant(ARRAYS['pgd_loss/logits']), tf.constant(ARRAYS['pgd_loss/labels'])
    with tf.GradientTape() as tape:
        tape.watch(logits)
        objective = LinfPGDAttack._objective(logits, labels)
    np.testing.assert_array_equal(tape.gradient(objective, logits), ARRAYS['pgd_loss/grad'])
