"""Lipschitz constants of layers against dense singular value decompositions."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from models import BiasMode, SimpleSequential
from models.certificate import certified_radii, lipschitz


def matrix_of(layer: keras.Layer, shape: tuple[int, ...]) -> np.ndarray:
    """The matrix of a layer that is linear but for its bias, column by column."""
    basis = np.eye(int(np.prod(shape)), dtype=np.float32).reshape(-1, *shape)
    return (layer(basis).numpy() - layer(np.zeros((1, *shape), np.float32)).numpy()).reshape(len(basis), -1).T


@pytest.mark.parametrize('options', [
    {'kernel_size': 3, 'padding': 'same'}, {'kernel_size': (5, 3), 'padding': 'same'},
    {'kernel_size': 3, 'padding': 'valid'}, {'kernel_size': 3, 'padding': 'same', 'strides': 2},
    {'kernel_size': 3, 'padding': 'same', 'dilation_rate': 2}, {'kernel_size': 1, 'padding': 'valid', 'strides': 3}])
def test_a_convolution_has_the_norm_of_its_matrix(options):
    keras.utils.set_random_seed(1)
    conv = keras.layers.Conv2D(5, bias_initializer='random_normal', **options)
    net = keras.Sequential([keras.Input((7, 6, 3)), conv, keras.layers.Flatten(), keras.layers.Dense(2)])
    _, constants = lipschitz(net)
    np.testing.assert_allclose(constants[conv.name], np.linalg.norm(matrix_of(conv, (7, 6, 3)), 2), rtol=1e-5)


@pytest.mark.parametrize('layer', [keras.layers.AveragePooling2D(2), keras.layers.AveragePooling2D((3, 2))])
def test_average_pooling_has_the_norm_of_its_matrix(layer):
    net = keras.Sequential([keras.Input((7, 6, 3)), layer, keras.layers.Flatten(), keras.layers.Dense(2)])
    np.testing.assert_allclose(lipschitz(net)[1][layer.name], np.linalg.norm(matrix_of(layer, (7, 6, 3)), 2), rtol=1e-6)


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


def test_the_radius_is_the_least_over_pairs_of_classes():
    last = np.array([[1.0, 0.0, 0.5], [0.0, 2.0, 0.0]])
    logits, labels = np.array([[3.0, 1.0, 2.5], [1.0, 3.0, 0.0]]), np.array([0, 0])
    expected = min(2 / np.sqrt(5), 0.5 / 0.5) / 10
    np.testing.assert_allclose(certified_radii(logits, labels, last, 10.0), [expected, 0])


@pytest.mark.parametrize('net, message', [
    (lambda: SimpleSequential('m', (8, 8, 1), [['F', 4], ['F', 10, {'act': False}]], act_type='relu2'),
     'a chain of layers'),
    (lambda: keras.Sequential([keras.Input((8, 8, 1)), keras.layers.MaxPooling2D(3, 2), keras.layers.Flatten(),
                               keras.layers.Dense(2)]), 'pooling over disjoint windows'),
    (lambda: keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Flatten(), keras.layers.Dense(3, 'sigmoid'),
                               keras.layers.Dense(2)]), 'no Lipschitz constant for a Dense'),
    (lambda: keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Flatten(), keras.layers.Dense(2, 'softmax')]),
     'ends in a dense layer without activation')])
def test_networks_without_a_certificate_are_refused(net, message):
    with pytest.raises(ValueError) as e:
        lipschitz(net())
    assert message in str(e.value)
