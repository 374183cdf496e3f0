"""What every attack promises, on a small CNN and on networks whose nearest boundary is known."""

from __future__ import annotations

import runpy
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import HealthCheck, given, settings, strategies as st
from hypothesis.extra.numpy import arrays
from nets import Made, scaled, small_mnist

from models import SimpleSequential
from models.attacks import (
    ANPGD,
    APGD,
    ATTACKS,
    DDN,
    FAB,
    FGSM,
    FMN,
    IFGSM,
    L2BIM,
    PGD,
    CarliniL2,
    L2DeepFool,
    L2Fast,
    LinfPGDAttack,
    LossPGD,
    Square,
)
from models.attacks.base import Attack, Proposal
from models.attacks.quick_gradient import quick_to_differentiate
from models.certificates.certifier import Crown
from models.measures.certificate import certified_radii, lipschitz

ROOT = Path(__file__).resolve().parents[1]
EPS = [0.05, 0.1, 0.15, 0.2, 0.3, 0.5]
EPS_L2 = [0.5, 1.0, 1.5, 2.0, 3.0, 5.0]
CW = {'binary_search_steps': 5, 'max_iterations': 100, 'learning_rate': 0.05}
KINDS = {
    'LinfPGDAttack': lambda net: LinfPGDAttack(net, EPS, k=20, repeat=2),
    'L2BIM': lambda net: L2BIM(net, search_steps=8),
    'L2DeepFool': lambda net: L2DeepFool(net, steps=50),
    'L2Fast': lambda net: L2Fast(net, steps=40, starts=4),
    'DDN': lambda net: DDN(net, steps=60),
    'DDN annealed, two starts': lambda net: DDN(net, 40, 0.2, 0.01, init_epsilon=None, starts=2),
    'FMN': lambda net: FMN(net, steps=60),
    'FMN Linf': lambda net: FMN(net, steps=60, norm='Linf'),
    'FGSM': lambda net: FGSM(net, EPS),
    'IFGSM': lambda net: IFGSM(net, EPS),
    'IFGSM L2': lambda net: IFGSM(net, EPS_L2, norm='L2'),
    'PGD': lambda net: PGD(net, EPS, k=20, repeat=2),
    'PGD L2': lambda net: PGD(net, EPS_L2, k=20, repeat=2, norm='L2'),
    'LossPGD': lambda net: LossPGD(net, EPS, k=20, repeat=2),
    'APGD': lambda net: APGD(net, EPS, k=20),
    'APGD L2, targeted': lambda net: APGD(net, EPS_L2, k=20, norm='L2', loss='dlr-targeted', target_classes=3),
    'ANPGD L2': lambda net: ANPGD(net, 'L2', 3.0, 5.0, k=20),
    'Square': lambda net: Square(net, EPS, k=150),
    'Square L2': lambda net: Square(net, EPS_L2, k=150, norm='L2'),
    'FAB': lambda net: FAB(net, k=20),
    'FAB L2 targeted': lambda net: FAB(net, k=30, repeat=2, target_classes=2, norm='L2'),
    'CarliniL2': lambda net: CarliniL2(net, **CW, initial_const=0.1),
    'CarliniL2 normalised': lambda net: CarliniL2(net, **CW, initial_const=100, normalize_output=True),
}


@pytest.fixture(scope='module')
def net():
    return small_mnist()


@pytest.fixture(scope='module')
def attacks(net):
    return {name: make(net) for name, make in KINDS.items()}


@pytest.fixture(scope='module')
def images(mnist_images):
    """24 training images, the last two of them given a wrong label."""
    x, y = (a[:24].copy() for a in mnist_images.train)
    y[-2:] = (y[-2:] + 1) % 10
    return x, y


@pytest.fixture(scope='module')
def results(attacks, images):
    return Made(lambda name: attacks[name].attack(*images, np.random.default_rng(0)), KINDS)


def test_every_attack_is_tested():
    """That which is made of others, in a file of its own."""
    net = small_mnist()
    assert {type(make(net)) for make in KINDS.values()} == set(ATTACKS.values()) - {ATTACKS['AUTO_ATTACK']}


@pytest.mark.long
@pytest.mark.parametrize('name', KINDS)
def test_results_are_in_the_box_misclassified_and_as_far_as_they_say(name, net, attacks, images, results):
    (x, y), result, attack = images, results[name], attacks[name]
    assert result.images.dtype == np.float32 and result.images.shape == x.shape
    assert result.images.min() >= 0 and result.images.max() <= 1
    assert result.success.mean() > 0.7
    found = result.images[result.success]
    assert (net.net(found).numpy().argmax(axis=1) != y[result.success]).all()
    assert (net.net(found[:1]).numpy().argmax(axis=1) != y[result.success][:1]).all(), 'also in a smaller batch'
    order = np.inf if attack.norm == 'Linf' else 2
    distances = np.linalg.norm((result.images - x.astype(float)).reshape(len(x), -1), order, axis=1)
    np.testing.assert_allclose(result.distances[result.success], distances[result.success], rtol=1e-12)
    assert (result.distances[~result.success] == np.inf).all() and (result.images[~result.success] == 0).all()
    assert (result.eps is not None) == attack.has_budgets
    if result.eps is not None:
        assert (result.distances <= result.eps * (1 + 1e-6)).all()


@pytest.mark.long
@pytest.mark.parametrize('name', KINDS)
def test_a_misclassified_image_has_distance_zero(name, images, results):
    assert (results[name].distances[-2:] == 0).all() and results[name].success[-2:].all()
    np.testing.assert_array_equal(results[name].images[-2:], images[0][-2:])
    assert (results[name].distances[:-2] > 0).all()


@pytest.mark.long(after=1)
@pytest.mark.parametrize('name, factor', [
    *((name, factor) for name in KINDS if name not in ('CarliniL2', 'LinfPGDAttack', 'LossPGD', 'ANPGD L2', 'APGD')
      for factor in (1e-30, 1e30)),
    *((name, factor) for name in ('L2DeepFool', 'DDN', 'PGD') for factor in (1e-3, 1e3))])
def test_distances_do_not_depend_on_the_scale_of_the_logits(name, factor, net, attacks, images, results):
    with scaled(net.net, factor):
        result = attacks[name].attack(*images, np.random.default_rng(0))
    np.testing.assert_array_equal(result.success, results[name].success)
    # The search of normalised CW lets an ulp grow to 5 % of a distance.
    np.testing.assert_allclose(result.distances, results[name].distances, rtol=0.1 if 'CarliniL2' in name else 0.01)
    if result.eps is not None:
        np.testing.assert_array_equal(result.eps, results[name].eps)


@pytest.mark.long
@pytest.mark.parametrize('factor', [2.0 ** -10, 2.0 ** 10])
def test_normalised_cw_does_not_depend_on_the_scale_of_the_logits(factor, net, attacks, images, results):
    """By powers of two, which change no rounding."""
    with scaled(net.net, factor):
        result = attacks['CarliniL2 normalised'].attack(*images)
    np.testing.assert_array_equal(result.distances, results['CarliniL2 normalised'].distances)


@pytest.mark.long
def test_cw_depends_on_the_scale_of_the_logits_and_says_so(net, attacks, images, results):
    with scaled(net.net, 1e-3):
        result = attacks['CarliniL2'].attack(*images)
    assert not np.allclose(result.distances, results['CarliniL2'].distances, rtol=0.05)
    assert 'depends on the scale of the logits' in CarliniL2.__doc__
    assert attacks['CarliniL2'].depends_on_scale and not attacks['CarliniL2 normalised'].depends_on_scale


@pytest.mark.long
def test_attacks_agree_on_the_distance_as_far_as_they_can(results):
    """Minimising attacks end within a few per cent of each other, and none is below the certificate's order."""
    best = np.min([results[n].distances for n in ('DDN', 'FMN', 'L2Fast', 'CarliniL2')], axis=0)[:-2]
    for name, ratio in {'L2Fast': 1.02, 'DDN annealed, two starts': 1.03, 'FMN': 1.04, 'DDN': 1.06, 'L2BIM': 1.5,
                        'L2DeepFool': 1.5, 'PGD L2': 2.0}.items():
        assert 1 <= np.median(results[name].distances[:-2] / best) < ratio, name


@pytest.mark.long
@pytest.mark.parametrize('name, make', [
    ('L2DeepFool', lambda net: L2DeepFool(net, steps=50, compact=False)),
    ('L2BIM', lambda net: L2BIM(net, search_steps=8, compact=False)),
    ('PGD', lambda net: PGD(net, EPS, k=20, repeat=2, compact=False))])
def test_leaving_out_finished_images_changes_no_result(name, make, net, attacks, images, results):
    assert attacks[name].compact
    compact, whole = results[name], make(net).attack(*images, np.random.default_rng(0))
    np.testing.assert_array_equal(compact.success, whole.success)
    np.testing.assert_allclose(compact.distances, whole.distances, rtol=1e-4)


@pytest.mark.long
def test_finished_images_do_leave_the_batch(images):
    """Counted by the network itself, in the loop of DeepFool."""
    seen = []
    net = small_mnist()
    attack = L2DeepFool(net, steps=30)
    inner = attack.quick_net
    attack.quick_net = lambda x: _counted(x, seen, inner)
    attack.attack(*images)
    assert seen[0] == 22 and min(seen) < 10 and seen == sorted(seen, reverse=True)


def _counted(x, seen, inner):
    count = tf.numpy_function(lambda n: seen.append(int(n)) or np.int32(0), [tf.shape(x)[0]], tf.int32)
    with tf.control_dependencies([count]):
        return inner(tf.identity(x))


@pytest.mark.long
@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_any_image_of_the_box_keeps_the_contract(data, net, attacks):
    """Random, constant and extreme images, any label or the right one."""
    n = data.draw(st.integers(1, 3))
    pixels = st.sampled_from([0.0, 1.0, 0.5, 1 / 255]) | st.floats(0, 1, width=32)
    x = data.draw(arrays(np.float32, (n, 28, 28, 1), elements=pixels, fill=pixels))
    y = np.array(data.draw(st.lists(st.integers(0, 9), min_size=n, max_size=n)))
    y = np.where(data.draw(st.booleans()), net.net(x).numpy().argmax(axis=1), y)
    attack = attacks[data.draw(st.sampled_from(['L2DeepFool', 'PGD', 'PGD L2', 'FGSM', 'DDN', 'FMN', 'FMN Linf']))]
    result = attack.attack(x, y, np.random.default_rng(0))
    assert result.images.min() >= 0 and result.images.max() <= 1 and np.isfinite(result.images).all()
    assert (net.net(result.images).numpy().argmax(axis=1) != y)[result.success].all()
    np.testing.assert_array_equal(np.isfinite(result.distances), result.success)


def test_misclassified_images_take_part_in_the_random_draws_of_linf_pgd_as_in_the_original(net, images):
    """Beside the original's loop in NumPy, which gives them the smallest budget; the others get the same budgets."""
    x, y = images
    x, y = x[:12], np.where(np.arange(12) % 3, y[:12], (y[:12] + 1) % 10)
    attack = LinfPGDAttack(net, EPS, k=10, repeat=2)
    rng, eps, active = np.random.RandomState(7), np.full(12, np.inf), np.arange(12)
    for budget in EPS:
        for _ in range(2):
            if len(active):
                clean = x[active].astype(float)
                start = clean + rng.uniform(-budget, budget, clean.shape)
                _, wrong, _ = attack._descended(start, clean, y[active], np.full(len(active), budget))
                eps[active[wrong]] = budget
                active = active[~wrong]
    assert (eps[::3] == EPS[0]).all() and len(set(eps)) > 2
    result = attack.attack(x, y, np.random.RandomState(7))
    np.testing.assert_array_equal(result.eps, np.where(np.arange(12) % 3, eps, 0))


class Boastful(Attack):
    """Claims success for whatever it is given to propose."""

    def __init__(self, model, proposed):
        super().__init__(model)
        self.proposed = proposed

    def _run(self, x, y, rng):
        return Proposal(self.proposed[:len(x)], np.ones(len(x), bool))


def test_an_attack_cannot_overstate_itself(net, images):
    x, y = (a[:8] for a in images)
    honest = Boastful(net, x).attack(x, y)
    assert not honest.success.any() and (honest.distances == np.inf).all() and (honest.images == 0).all()
    outside = Boastful(net, x - 7).attack(x, y)
    assert (outside.images == 0).all() and outside.success[y != net.net(0 * x).numpy().argmax(axis=1)].all()


@pytest.mark.parametrize('change, message', [
    (lambda x, y: (x * 2, y), 'images must be in [0, 1]'),
    (lambda x, y: (x[..., 0], y), 'images must have the shape N x 28 x 28 x 1'),
    (lambda x, y: (x[:, :20], y), 'images must have the shape N x 28 x 28 x 1'),
    (lambda x, y: (np.where(x > 0.5, np.nan, x), y), 'images must be finite'),
    (lambda x, y: ((x * 255).astype(np.uint8), y), 'images must be floats'),
    (lambda x, y: (x, y[:3]), 'labels must be 24 integers'),
    (lambda x, y: (x, y + 5), 'labels must be in 0..9'),
    (lambda x, y: (x, y.astype(float)), 'labels must be 24 integers')])
def test_what_is_no_image_or_label_is_refused(change, message, attacks, images):
    with pytest.raises(ValueError) as e:
        attacks['FGSM'].attack(*change(*images))
    assert message in str(e.value)


def test_one_hot_labels_are_labels(attacks, images):
    x, y = images
    one_hot = attacks['FGSM'].attack(x, np.eye(10)[y])
    np.testing.assert_array_equal(one_hot.distances, attacks['FGSM'].attack(x, y).distances)


@pytest.mark.parametrize('kernel, padding, channels', [((3, 5), 'same', 1), ((4, 2), 'same', 3), ((3, 3), 'valid', 2)])
def test_the_quick_network_is_the_same_function_with_the_same_gradient(kernel, padding, channels):
    net = keras.Sequential([
        keras.Input((9, 10, channels)), keras.layers.Conv2D(6, kernel, padding=padding, activation='relu'),
        keras.layers.MaxPooling2D(), keras.layers.Flatten(), keras.layers.Dense(4)])
    net.layers[0].bias.assign(np.linspace(-1, 1, 6))
    x = tf.constant(np.random.default_rng(0).normal(size=(5, 9, 10, channels)), tf.float32)
    quick = quick_to_differentiate(net)
    found = []
    for function in (net, quick):
        with tf.GradientTape() as tape:
            tape.watch(x)
            logits = function(x)
        found.append((logits.numpy(), tape.gradient(logits, x).numpy()))
    np.testing.assert_allclose(*(logits for logits, _ in found), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(*(gradient for _, gradient in found), rtol=1e-4, atol=1e-5)
    assert quick.__name__ == 'call', 'the quick way was taken'


# ---- a linear network, whose boundaries are known ----

@pytest.fixture(scope='module')
def linear(digits):
    """Logits W x + b of digits moved away from the box's walls, and each image's distance to its nearest boundary."""
    return train_linear(digits, 10)


@pytest.fixture(scope='module')
def linear_pair(digits):
    """The same for two classes, where the class that leads the others is the nearest, too."""
    return train_linear(digits, 2)


def train_linear(digits, classes):
    model = SimpleSequential('linear', (8, 8, 1), [['F', classes, {'act': False, 'bias': True}]], seed=3)
    (x, y), _ = digits
    x, y = (0.4 + 0.2 * x[y < classes]).astype(np.float32)[:300], y[y < classes][:300]
    keras.utils.set_random_seed(0)
    model.net.compile('adam', keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    model.net.fit(x, y, batch_size=50, epochs=40, verbose=0)
    right = model.net(x).numpy().argmax(axis=1) == y
    x, y = x[right][:16], y[right][:16]
    w, b = (v.numpy().astype(float) for v in model.net.trainable_variables)
    logits = x.reshape(len(x), -1).astype(float) @ w + b
    rows = np.arange(len(x))
    gaps = logits[rows, y][:, np.newaxis] - logits
    norms = np.linalg.norm(w[:, y].T[:, :, np.newaxis] - w[np.newaxis], axis=1)
    with np.errstate(invalid='ignore'):
        distances = np.nanmin(np.where(np.arange(classes) == y[:, np.newaxis], np.nan, gaps / norms), axis=1)
    return model, x, y, distances


@pytest.mark.long
@pytest.mark.parametrize('make', [
    lambda net: L2DeepFool(net, overshoot=1e-4), lambda net: DDN(net, 300, 0.1, 0.001, init_epsilon=None),
    lambda net: FMN(net, 300), lambda net: L2Fast(net, 200, 3),
    lambda net: CarliniL2(net, learning_rate=1e-3, max_iterations=4000, binary_search_steps=12, initial_const=0.1),
], ids=['L2DeepFool', 'DDN', 'FMN', 'L2Fast', 'CarliniL2'])
def test_on_a_linear_network_an_attack_finds_the_boundary(make, linear_pair):
    model, x, y, distances = linear_pair
    np.testing.assert_allclose(make(model).attack(x, y).distances, distances, rtol=1e-3)


@pytest.mark.long
@pytest.mark.parametrize('make', [lambda net: L2DeepFool(net, overshoot=1e-4), lambda net: L2Fast(net, 200, 3)],
                         ids=['L2DeepFool', 'L2Fast'])
def test_on_a_linear_network_an_attack_finds_the_nearest_of_nine_boundaries(make, linear):
    """Attacks that follow the largest other logit alone may end at the boundary of a class that is further away."""
    model, x, y, distances = linear
    np.testing.assert_allclose(make(model).attack(x, y).distances, distances, rtol=1e-3)


@pytest.mark.long
def test_on_a_linear_network_the_certificate_is_the_distance(linear):
    model, x, y, distances = linear
    last, below = lipschitz(model)
    assert set(below.values()) == {1.0}, 'flattening alone'
    np.testing.assert_allclose(certified_radii(model.net(x).numpy(), y, last, 1.0), distances, rtol=1e-3)


@pytest.mark.long
def test_no_attack_goes_below_the_certificate(net, images, results):
    x, y = images
    last, below = lipschitz(net)
    radii = certified_radii(net.net(x).numpy(), y, last, np.prod(list(below.values())))
    assert (radii[:-2] > 0).all() and (radii[-2:] == 0).all()
    for name, result in results.items():
        l2 = np.linalg.norm((result.images - x.astype(float)).reshape(len(x), -1), axis=1)
        assert (l2[result.success] >= radii[result.success]).all(), name


@pytest.mark.long
@pytest.mark.parametrize('norm, p', [('L2', 2), ('Linf', np.inf)])
def test_no_attack_finds_an_image_within_what_linear_relaxation_certifies(norm, p, net, images, results):
    """As far as the nearest image that any attack found, nothing is certified."""
    x, y = (a[:4] for a in images)
    nearest = np.full(4, np.inf)
    for result in results.values():
        far = np.linalg.norm((result.images[:4] - x.astype(float)).reshape(4, -1), p, axis=1)
        nearest = np.where(result.success[:4], np.minimum(nearest, far), nearest)
    crown = Crown(net, norm, images=4)
    assert np.isfinite(nearest).all() and (crown.margins(x, y, nearest).min(axis=1) <= 0).all()
    assert (crown.margins(x, y, nearest / 30).min(axis=1) > 0).all(), 'it certifies something'


# ---- a network trained to a loss below 1e-300 ----

@pytest.fixture(scope='module')
def far_trained(digits):
    """The quickstart's network after 2,871 epochs: see data/README.md."""
    flags = runpy.run_path(str(ROOT / 'experiments/exper-quickstart-digits.py'))['FLAGS']
    model = SimpleSequential('far', (8, 8, 1), flags['model']['description'])
    with np.load(Path(__file__).parent / 'data/digits-1e-300.npz') as f:
        model.set_weights(dict(f))
    return model, *(a[:40] for a in digits.train)


def test_that_network_has_a_loss_below_1e_300_and_no_cross_entropy_gradient(far_trained, digits):
    model, x, y = far_trained
    stats, _ = model.get_stats(digits, -690.0)
    assert stats['log_loss'] < -300 * np.log(10)
    images = tf.constant(x)
    with tf.GradientTape() as tape:
        tape.watch(images)
        loss = tf.nn.sparse_softmax_cross_entropy_with_logits(y, model.net(images))
    assert (tape.gradient(loss, images).numpy() == 0).all()


@pytest.mark.long
@pytest.mark.parametrize('name', ['PGD', 'DDN', 'L2DeepFool', 'LinfPGDAttack', *(
    pytest.param(name, marks=pytest.mark.long) for name in ('PGD L2', 'IFGSM', 'FMN', 'L2Fast'))])
def test_attacks_find_there_what_they_find_on_the_rescaled_network(name, far_trained):
    model, x, y = far_trained
    attack = KINDS[name](model)
    far = attack.attack(x, y, np.random.default_rng(0))
    with scaled(model.net, 1e-3):
        near = attack.attack(x, y, np.random.default_rng(0))
    assert far.success.mean() > 0.9
    np.testing.assert_array_equal(far.success, near.success)
    np.testing.assert_allclose(far.distances, near.distances, rtol=0.01)
