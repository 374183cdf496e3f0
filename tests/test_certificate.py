"""Lipschitz constants of layers against dense singular value decompositions, and radii against attacks."""

from __future__ import annotations

from collections.abc import Iterator

import keras
import numpy as np
import pytest
import tensorflow as tf

from models import BiasMode, SimpleSequential
from models.chains import chain_of
from models.measures.certificate import certified_radii, lipschitz

L = keras.layers


def matrix_of(layer: keras.Layer, shape: tuple[int, ...]) -> np.ndarray:
    """The matrix of a layer that is linear but for its bias, column by column."""
    basis = np.eye(int(np.prod(shape)), dtype=np.float32).reshape(-1, *shape)
    return (layer(basis).numpy() - layer(np.zeros((1, *shape), np.float32)).numpy()).reshape(len(basis), -1).T


def chain(*layers: keras.Layer, shape: tuple[int | None, ...] = (7, 6, 3), classes: int = 2) -> keras.Sequential:
    return keras.Sequential([keras.Input(shape), *layers, L.Flatten(), L.Dense(classes, name='last')])


def norm_of(layer: keras.Layer, shape: tuple[int, ...] = (7, 6, 3)) -> tuple[float, float]:
    """(constant, norm of the matrix)."""
    return lipschitz(chain(layer, shape=shape))[1][layer.name], float(np.linalg.norm(matrix_of(layer, shape), 2))


@pytest.mark.long(after=10)
@pytest.mark.parametrize('options', [
    {'kernel_size': 3, 'padding': 'same'}, {'kernel_size': (5, 3), 'padding': 'same'},
    {'kernel_size': 3, 'padding': 'valid'}, {'kernel_size': 3, 'padding': 'same', 'strides': 2},
    {'kernel_size': 3, 'padding': 'same', 'strides': 3}, {'kernel_size': 2, 'padding': 'valid', 'strides': 3},
    {'kernel_size': 3, 'padding': 'same', 'dilation_rate': 2}, {'kernel_size': 1, 'padding': 'valid', 'strides': 3},
    {'kernel_size': 3, 'padding': 'valid', 'dilation_rate': (2, 1)}, {'kernel_size': (9, 8), 'padding': 'same'},
    {'kernel_size': 3, 'groups': 3}, {'kernel_size': 3, 'groups': 3, 'strides': 2, 'padding': 'same'},
    {'kernel_size': 3, 'groups': 3, 'dilation_rate': 2}, {'kernel_size': (7, 6)}])
def test_a_convolution_has_the_norm_of_its_matrix(options):
    keras.utils.set_random_seed(1)
    found, expected = norm_of(L.Conv2D(6, bias_initializer='random_normal', **options))
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_groups_have_the_norm_of_the_largest_of_them():
    conv = L.Conv2D(4, 3, groups=2, padding='same')
    conv.build((None, 7, 6, 4))
    conv.kernel.assign(conv.kernel * np.array([1, 1, 0.01, 0.01], np.float32))
    np.testing.assert_allclose(*norm_of(conv, (7, 6, 4)), rtol=1e-5)


@pytest.mark.parametrize('options', [{'padding': 'same'}, {'padding': 'same', 'strides': 2}, {'groups': 3}])
def test_with_channels_first_a_convolution_has_the_norm_of_the_same_numbers_with_channels_last(options):
    """Keras does not run it on a CPU; with a GPU it does."""
    first, last = (L.Conv2D(6, 3, data_format=f, **options) for f in ('channels_first', 'channels_last'))
    nets = chain(first, shape=(3, 7, 6)), chain(last, shape=(7, 6, 3))
    nets[0].layers[0].set_weights(nets[1].layers[0].get_weights())
    constant = lipschitz(nets[0])[1][first.name]
    np.testing.assert_allclose(constant, np.linalg.norm(matrix_of(last, (7, 6, 3)), 2), rtol=1e-5)


@pytest.mark.parametrize('make', [
    lambda: L.AveragePooling2D(2),
    lambda: L.AveragePooling2D((3, 2)),
    lambda: L.AveragePooling2D(2, 3),
    lambda: L.AveragePooling2D((1, 2), (2, 3)),
    lambda: L.AveragePooling2D(2, data_format='channels_first')])
def test_average_pooling_has_the_norm_of_its_matrix(make):
    layer = make()
    np.testing.assert_allclose(*norm_of(layer), rtol=1e-6)


@pytest.mark.parametrize('make', [
    lambda: L.Dense(5),
    lambda: L.Dense(5, use_bias=False),
    lambda: L.Flatten(),
    lambda: L.Flatten(data_format='channels_first'),
    lambda: L.Dropout(0.5),
    lambda: L.Activation('linear'),
    lambda: L.Conv2D(4, 3, activation=None)])
def test_other_linear_layers_have_the_norms_of_their_matrices(make):
    """A dense layer of an image works along its last axis."""
    layer = make()
    np.testing.assert_allclose(*norm_of(layer), rtol=1e-5)


@pytest.mark.parametrize('make', [
    lambda: L.Dense(5),
    lambda: L.Conv2D(4, 3)])
def test_low_rank_adaptation_counts(make):
    layer = make()
    net = chain(layer)
    before = lipschitz(net)[1][layer.name]
    layer.enable_lora(2, lora_alpha=5)
    layer.lora_kernel_b.assign(np.random.default_rng(0).normal(size=layer.lora_kernel_b.shape))
    found = lipschitz(net)[1][layer.name]
    assert found > 1.1 * before
    np.testing.assert_allclose(found, np.linalg.norm(matrix_of(layer, (7, 6, 3)), 2), rtol=1e-5)
    assert lipschitz(net)[0].shape == (np.prod(layer.output.shape[1:]), 2)


@pytest.mark.parametrize('factor', [1e-30, 1e30])
@pytest.mark.parametrize('make', [
    lambda: L.Dense(5),
    lambda: L.Conv2D(4, 3, padding='same')])
def test_norms_of_kernels_of_any_size(make, factor):
    layer = make()
    net = chain(layer)
    before = lipschitz(net)[1][layer.name]
    layer.kernel.assign(factor * layer.kernel)
    np.testing.assert_allclose(lipschitz(net)[1][layer.name], factor * before, rtol=1e-6)


def test_weights_of_zero_and_kernels_that_meet_no_pixel_have_the_norm_0():
    dense, conv, centre = L.Dense(5), L.Conv2D(4, 3), L.Conv2D(4, 3, padding='same')
    net = chain(dense, conv)
    for layer in (dense, conv):
        layer.kernel.assign(0 * layer.kernel)
    constants = lipschitz(net)[1]
    assert constants[dense.name] == constants[conv.name] == 0
    net = chain(centre, shape=(1, 1, 4))  # of whose kernel only the centre lies on the image
    kernel = centre.kernel.numpy()
    np.testing.assert_allclose(lipschitz(net)[1][centre.name], np.linalg.norm(kernel[1, 1], 2), rtol=1e-6)
    kernel[1, 1] = 0
    centre.kernel.assign(kernel)
    assert lipschitz(net)[1][centre.name] == 0


def test_the_slope_of_a_relu_below_zero_counts_where_it_is_above_1():
    for options, expected in (({}, 1), ({'negative_slope': 0.3}, 1), ({'negative_slope': 3.0}, 3),
                              ({'max_value': 2.0}, 1), ({'max_value': 6, 'negative_slope': 2.0}, 2)):
        layer = L.ReLU(**options)
        assert lipschitz(chain(layer))[1][layer.name] == expected
        x = np.random.default_rng(0).normal(scale=5, size=(2, 500, 1)).astype(np.float32)
        a, b = layer(x[0]).numpy(), layer(x[1]).numpy()
        steepest = (np.abs(a - b) / np.abs(x[0] - x[1])).max()
        assert 0.9 * expected < steepest <= expected * (1 + 1e-5)


def test_no_pair_of_images_is_further_apart_in_the_logits_than_the_constants_allow():
    """A bound on differences, on a biased network with both poolings, near and far."""
    model = SimpleSequential('m', (8, 8, 1), [['C', 4, [3, 3]], ['P'], ['C', 6, [3, 3]], ['A'], ['F', 16],
                                              ['F', 10, {'act': False}]], bias_mode=BiasMode.ALL, seed=2)
    last, below = lipschitz(model)
    bound = np.prod(list(below.values())) * np.linalg.norm(last[:, 0] - last[:, 1])
    rng = np.random.default_rng(0)
    a = rng.uniform(size=(200, 8, 8, 1)).astype(np.float32)
    b = np.clip(a + rng.normal(size=a.shape) * rng.choice([1e-2, 1], size=(200, 1, 1, 1)), 0, 1).astype(np.float32)
    gap = [z[:, 0] - z[:, 1] for z in (model.net(a).numpy(), model.net(b).numpy())]
    distance = np.linalg.norm((a - b).reshape(200, -1), axis=1)
    ratio = np.abs(gap[0] - gap[1]) / distance
    assert (ratio <= bound).all() and ratio.max() > bound / 100


# ---- radii ----

def random_layers(rng: np.random.Generator) -> list[keras.Layer]:
    """Of each supported kind, with options drawn."""
    activation = {'activation': rng.choice(['relu', 'linear']), 'bias_initializer': 'random_normal'}
    groups = int(rng.choice([1, 2]))
    pools = [L.MaxPooling2D(2), L.AveragePooling2D(2), L.AveragePooling2D((2, 1), 2), L.MaxPooling2D((1, 2), 3)]
    return [L.Conv2D(4, int(rng.integers(1, 4)), padding=rng.choice(['same', 'valid']), **activation),
            L.ReLU(negative_slope=float(rng.choice([0, 0.5, 1.5]))), pools[rng.integers(len(pools))], L.Dropout(0.5),
            L.Conv2D(4, 2, padding='same', groups=groups, strides=1 if groups == 2 else int(rng.integers(1, 3)),
                     dilation_rate=1, **activation),
            L.Activation('relu'), L.Dense(5, **activation)]


def deepfool(net: keras.Model, x: np.ndarray, y: np.ndarray, steps: int) -> Iterator[np.ndarray]:
    """After each step images just across the linearised boundary that is nearest to each (arXiv 1511.04599)."""
    moved, rows = tf.constant(x), np.arange(len(x))
    for _ in range(steps):
        with tf.GradientTape(persistent=True) as tape:
            tape.watch(moved)
            logits = net(moved, training=False)
            gaps = [tf.gather(logits, y, axis=1, batch_dims=1) - z for z in tf.unstack(logits, axis=1)]
        slopes = np.stack([tape.gradient(gap, moved).numpy() for gap in gaps])
        lengths = np.linalg.norm(slopes.reshape(*slopes.shape[:2], -1), axis=2)
        far = np.abs(np.stack(gaps)) / np.where(lengths > 0, lengths, 1e-30)
        nearest = np.where(np.arange(len(gaps))[:, None] == y, np.inf, far).argmin(axis=0)
        size = 1.02 * np.stack(gaps)[nearest, rows] / np.square(lengths[nearest, rows])
        moved -= size[:, None, None, None] * slopes[nearest, rows]
        yield moved.numpy()


@pytest.mark.long
@pytest.mark.parametrize('seed', [0, 2, 3])
def test_no_attack_and_no_draw_changes_a_class_below_the_radius(seed):
    keras.utils.set_random_seed(seed)
    net = chain(*random_layers(np.random.default_rng(seed)), shape=(8, 8, 1), classes=4)
    rng = np.random.default_rng(seed)
    x = rng.uniform(0.3, 0.7, size=(12, 8, 8, 1)).astype(np.float32)
    logits = net(x, training=False).numpy()
    y = logits.argmax(axis=1)
    last, below = lipschitz(net)
    radii = certified_radii(logits, y, last, np.prod(list(below.values())))
    assert (radii > 0).all()
    tried = list(deepfool(net, x, y, 5))
    for _ in range(10):
        step = rng.normal(size=x.shape)
        step *= (1.5 * radii / np.linalg.norm(step.reshape(12, -1), axis=1))[:, None, None, None]
        tried.append((x + step).astype(np.float32))
    nearest = np.full(12, np.inf)
    for moved in tried:
        wrong = net(moved, training=False).numpy().argmax(axis=1) != y
        distance = np.linalg.norm((moved.astype(float) - x).reshape(12, -1), axis=1)
        nearest = np.where(wrong, np.minimum(nearest, distance), nearest)
    assert (nearest >= radii * (1 - 1e-5)).all() and np.isfinite(nearest).any()


def test_the_radius_is_the_least_over_pairs_of_classes():
    last = np.array([[1.0, 0.0, 0.5], [0.0, 2.0, 0.0]])
    logits, labels = np.array([[3.0, 1.0, 2.5], [1.0, 3.0, 0.0]]), np.array([0, 0])
    expected = min(2 / np.sqrt(5), 0.5 / 0.5) / 10
    np.testing.assert_allclose(certified_radii(logits, labels, last, 10.0), [expected, 0])


def test_classes_of_the_same_weights_never_meet_and_numbers_that_overflow_are_no_infinity():
    last = np.array([[1.0, 1.0, 1.0]])
    assert certified_radii(np.array([[3.0, 1.0, 2.0]]), [0], last, 2.0) == np.inf
    last = np.array([[1e-250, 3e-250, 1e-250]])
    np.testing.assert_allclose(certified_radii(np.array([[3.0, 1.0, 2.0]]), [0], last, 1.0), 1e250)
    assert np.isfinite(certified_radii(np.array([[3.0, 1.0, 2.0]]), [0], last, 1e-300))
    assert certified_radii(np.zeros((0, 3)), np.zeros(0, int), last, 1.0).shape == (0,)


GOOD = {'logits': np.array([[3.0, 1.0], [1.0, 4.0]]), 'labels': np.array([0, 1]), 'last': np.ones((5, 2)),
        'constant': 1.0}


@pytest.mark.parametrize('changes, message', [
    ({'labels': [0, 2]}, 'labels must be in 0..1'), ({'labels': [-1, 1]}, 'labels must be in 0..1'),
    ({'labels': [0]}, 'labels must be 2 integers'), ({'labels': [0.0, 1.0]}, 'labels must be 2 integers'),
    ({'logits': [[3.0], [1.0]], 'last': np.ones((5, 1)), 'labels': [0, 0]}, 'the model gives one logit'),
    ({'logits': [[0.9, 0.1], [0.2, 0.8]]}, 'the model gives probabilities'),
    ({'logits': [[np.nan, 0.1], [0.2, 0.8]]}, 'logits must be finite numbers'),
    ({'logits': [[np.inf, 0.1], [0.2, 0.8]]}, 'logits must be finite numbers'),
    ({'logits': [3.0, 1.0]}, 'logits of shape [N, C]'), ({'logits': [['a', 'b']]}, 'logits must be numbers'),
    ({'last': np.ones((2, 5))}, 'a column for each of 2 classes'), ({'last': np.ones(2)}, 'a column for each'),
    ({'last': np.full((5, 2), np.nan)}, 'the kernel of the last layer must be finite'),
    *(({'constant': c}, 'the Lipschitz constant of the layers below the last must be a finite number above 0')
      for c in (0.0, -1.0, np.nan, np.inf, None))])
def test_a_radius_is_of_logits_labels_and_a_constant_that_make_sense(changes, message):
    assert (certified_radii(**GOOD) == np.inf).all()
    with pytest.raises(ValueError) as e:
        certified_radii(**{**GOOD, **changes})
    assert message in str(e.value)


# ---- what has no certificate ----

class Twice(L.Dense):
    def call(self, inputs, training=None):
        return 2 * super().call(inputs)


class Same(L.Flatten):
    pass


class TwiceAtTheEnd(keras.Sequential):
    def call(self, inputs, **kwargs):
        return 2 * super().call(inputs, **kwargs)


class FunctionalTwice(keras.Model):
    def call(self, inputs, training=None, mask=None):
        return 2 * super().call(inputs)


class Own(keras.Model):
    def __init__(self):
        super().__init__()
        self.flatten, self.last = L.Flatten(), L.Dense(2)

    def call(self, x):
        return self.last(self.flatten(x))


def functional(kind=keras.Model, between=lambda h: h):
    x = keras.Input((8, 8, 1))
    return kind(x, L.Dense(2)(between(L.Flatten()(x))))


def changed(net, change):
    change(net)
    return net


def set_kernel(value, at=0):
    return lambda net: net.layers[at].kernel.assign(np.full(net.layers[at].kernel.shape, value, np.float32))


def built(net):
    net(np.zeros((1, 8, 8, 1), np.float32))
    return net


def twice(h):
    shared = L.Dense(64, name='shared')
    return shared(shared(h))


IMAGE = (8, 8, 1)
CONV = {'name': 'here'}


@pytest.mark.parametrize('make, message', [
    (lambda: SimpleSequential('m', IMAGE, [['F', 4], ['F', 10, {'act': False}]], act_type='relu2'),
     'a chain of layers'),
    (lambda: functional(between=lambda h: L.Add(name='here')([h, L.Dense(64)(h)])), 'chain of layers; here takes 2'),
    (lambda: functional(between=lambda h: 2 * h), 'is no layer but an operation'),
    (lambda: functional(between=twice), 'shared is used twice'),
    (lambda: functional(between=lambda h: L.Dropout(0.5, name='here')(h, training=True)), 'here is called with'),
    (lambda: functional(FunctionalTwice), 'is a FunctionalTwice that may compute'),
    (lambda: TwiceAtTheEnd([keras.Input(IMAGE), L.Flatten(), L.Dense(2)]), 'is a TwiceAtTheEnd that may compute'),
    (lambda: changed(functional(), lambda net: setattr(net, 'call', lambda *a, **k: None)), 'is a Functional that may'),
    (lambda: built(Own()), 'is a Own that may compute'),
    (lambda: Own(), 'has not been built'), (lambda: keras.Sequential([L.Flatten(), L.Dense(2)]), 'has not been built'),
    (lambda: 3, 'needs a Keras model'),
    (lambda: chain(shape=IMAGE, classes=1), 'the model gives one logit'),
    (lambda: keras.Sequential([keras.Input(IMAGE), L.Flatten(), L.Dense(2, 'softmax')]), 'probabilities'),
    (lambda: keras.Sequential([keras.Input(IMAGE), L.Flatten(), L.Dense(2, 'tanh', name='here')]),
     'ends in a dense layer without activation; here is not one'),
    (lambda: keras.Sequential([keras.Input(IMAGE), L.Flatten(), Twice(2, name='here')]), 'here is not one'),
    (lambda: keras.Sequential([keras.Input((2,)), L.Activation('relu', name='here')]), 'here is not one'),
    (lambda: keras.Sequential([keras.Input((2,), dtype='float16'), L.Dense(2)]), 'rounds them to float16'),
    (lambda: keras.Sequential([keras.Input((2,), dtype='int32'), L.Dense(2)]), 'rounds them to int32'),
    *((lambda layer=layer, shape=shape: chain(layer, shape=shape), f'{layer.name}: {message}')
      for layer, shape, message in [
        (L.MaxPooling2D(3, 2, name='p1'), IMAGE, 'a certificate needs pooling over disjoint windows'),
        (L.MaxPooling2D(2, padding='same', name='p2'), IMAGE, 'a certificate needs pooling over disjoint windows'),
        (L.AveragePooling2D(2, padding='same', name='p3'), (7, 7, 1), 'a certificate needs pooling over disjoint'),
        (L.AveragePooling2D(2, 1, name='p4'), IMAGE, 'a certificate needs pooling over disjoint windows'),
        (L.Dense(3, 'sigmoid', name='d1'), IMAGE, 'a certificate has no Lipschitz constant for a Dense with the'
                                                  ' activation sigmoid'),
        (L.Dense(3, 'relu6', name='d2'), IMAGE, 'a certificate has no Lipschitz constant for a Dense with the activ'),
        (L.Dense(3, lambda z: 9 * z, name='d3'), IMAGE, 'a certificate has no Lipschitz constant for a Dense with'),
        (L.Conv2D(3, 3, activation='gelu', name='c1'), IMAGE, 'a certificate has no Lipschitz constant for a Conv2D'),
        (L.Activation('elu', name='a1'), IMAGE, 'a certificate has no Lipschitz constant for a Activation with'),
        (Twice(3, name='t1'), IMAGE, 'a certificate has no Lipschitz constant for a Twice'),
        (Same(name='t2'), IMAGE, 'a certificate has no Lipschitz constant for a Same'),
        (L.ReLU(threshold=1.0, name='r1'), IMAGE, 'a certificate has no Lipschitz constant for a ReLU that jumps'),
        (L.DepthwiseConv2D(3, name='l1'), IMAGE, 'a certificate has no Lipschitz constant for a DepthwiseConv2D'),
        (L.SeparableConv2D(3, 3, name='l2'), IMAGE, 'a certificate has no Lipschitz constant for a SeparableConv2D'),
        (L.Conv2DTranspose(3, 3, name='l3'), IMAGE, 'a certificate has no Lipschitz constant for a Conv2DTranspose'),
        (L.BatchNormalization(name='l4'), IMAGE, 'a certificate has no Lipschitz constant for a BatchNormalization'),
        (L.SpectralNormalization(L.Dense(3), name='l5'), IMAGE, 'a certificate has no Lipschitz constant for a Spec'),
        (L.TimeDistributed(L.Dense(3), name='l6'), IMAGE, 'a certificate has no Lipschitz constant for a TimeDist'),
        (L.Dense(3, dtype='float16', name='h1'), IMAGE, 'a certificate has no Lipschitz constant for a layer in fl'),
        (L.Dense(3, dtype='mixed_bfloat16', name='h2'), IMAGE, 'a certificate has no Lipschitz constant for a layer'),
        (L.Flatten(dtype='mixed_float16', name='h3'), IMAGE, 'a certificate has no Lipschitz constant for a layer'),
        (L.Dense(3, dtype='int8_from_float32', name='h4'), IMAGE, 'a certificate has no Lipschitz constant for a layer '
                                                                  'quantised to int8')]),
    (lambda: chain(L.GaussianNoise(0.1, name='l7'), shape=IMAGE),
     'l7: a certificate has no Lipschitz constant for a GaussianNoise'),
    (lambda: chain(keras.Sequential([keras.Input(IMAGE), L.Dense(3)], name='l8'), shape=IMAGE),
     'l8: a certificate has no Lipschitz constant for a Sequential'),
    (lambda: keras.Sequential([keras.Input((None, None, 1)), L.Conv2D(2, 3, **CONV), L.GlobalMaxPooling2D(),
                               L.Dense(2)]), 'here: a certificate needs images of a known size'),
    (lambda: keras.Sequential([keras.Input((2,)), L.Dense(2, name='here', dtype='mixed_float16')]), 'here: a cert'),
    (lambda: changed(chain(L.Dense(3, name='here')), lambda net: setattr(net.layers[0], 'activation', tf.tanh)),
     'for a Dense with the activation tanh'),
    (lambda: changed(chain(L.Dense(3, name='here')), lambda net: setattr(net.layers[0], 'call', tf.exp)),
     'here: a certificate has no Lipschitz constant for a Dense whose methods were replaced'),
    (lambda: changed(chain(L.Dense(3, name='here')), set_kernel(np.nan)), 'here: a certificate needs weights that are'),
    (lambda: changed(chain(L.Conv2D(3, 3, name='here')), set_kernel(np.inf)), 'here: a certificate needs weights that'),
    (lambda: changed(chain(), set_kernel(np.nan, -1)), 'last: a certificate needs weights that are finite'),
    (lambda: changed(chain(L.Dense(3, name='here')), lambda net: net.layers[0].bias.assign([0, np.nan, 0])),
     'here: a certificate needs weights that are finite')])
def test_networks_without_a_certificate_are_refused_in_a_sentence_that_says_where(make, message):
    with pytest.raises(ValueError) as e:
        lipschitz(make())
    assert message in str(e.value) and '\n' not in str(e.value)


@pytest.mark.parametrize('mode', ['int8', 'int4', 'float8'])
@pytest.mark.filterwarnings('ignore:Layer .* does not have a `quantize` method')
def test_a_quantised_network_has_no_certificate(mode):
    net = chain(L.Dense(4, name='here'), shape=(8, 8, 1))
    net.quantize(mode)
    with pytest.raises(ValueError, match=f'quantised to {mode}, which rounds'):
        lipschitz(net)


def test_networks_in_float64_and_networks_of_several_kinds_of_precision_have_a_certificate():
    single, double = L.Dense(5), L.Dense(5, dtype='float64')
    last, constants = lipschitz(chain(single, double))
    assert last.dtype == np.float32
    for layer in (single, double):
        np.testing.assert_allclose(constants[layer.name], np.linalg.norm(layer.kernel.numpy(), 2), rtol=1e-6)


# ---- chains ----

def test_a_chain_is_what_the_model_runs_whatever_else_its_layers_are_used_for():
    grown = keras.Sequential([keras.Input((8, 8, 1))])
    for layer in (L.Conv2D(2, 3), L.Flatten(), L.Dense(2)):
        grown.add(layer)  # which calls all of them again
    conv = grown.layers[0]
    conv(keras.Input((20, 20, 1)))
    small = keras.Input((5, 5, 1))
    other = keras.Model(small, L.Dense(2)(L.Flatten()(conv(small))))
    assert chain_of(grown) == grown.layers and chain_of(other)[0] is conv
    for net, size in ((grown, 8), (other, 5)):
        expected = np.linalg.norm(matrix_of(conv, (size, size, 1)), 2)
        np.testing.assert_allclose(lipschitz(net)[1][conv.name], expected, rtol=1e-5)


def test_training_and_prediction_leave_a_chain_a_chain(digits):
    net = chain(L.Dropout(0.1), shape=(8, 8, 1), classes=10)
    net.compile('sgd', keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=['accuracy'])
    net.fit(digits.train[0][:20], digits.train[1][:20], verbose=0)
    net.predict(digits.train[0][:20], verbose=0)
    assert chain_of(net) == net.layers and chain_of(keras.Model(net.inputs, net.outputs)) == net.layers
    assert chain_of(functional(FunctionalTwice)) is None
