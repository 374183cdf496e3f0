"""Radii within which no perturbation can change the predicted class, from a network's Lipschitz constant."""

from __future__ import annotations

from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf
from scipy.sparse.linalg import ArpackNoConvergence, LinearOperator, eigsh

from .base_model import Model
from .chains import chain_of

TOLERANCE = 1e-10
"""Relative, of the squared spectral norms; the norms are then rounded up by as much as that can hide."""


def certified_radii(logits: np.ndarray, labels: np.ndarray, last: np.ndarray, constant: float) -> np.ndarray:
    """L2 radii within which images keep their class, float64 [N]; 0 where the class is wrong.

    The gap of classes y and j is ``(w_y - w_j) . h(x) + b``, and h is Lipschitz with the constant of the layers below:
    it takes a perturbation of at least gap / (||w_y - w_j|| * constant) to close it. The radius is the least of these
    over j (Tsuzuku, Sato & Sugiyama, arXiv 1802.04034, with the last layer taken pair by pair).

    Args:
        logits: float [N, C].
        labels: integers [N].
        last: float [units, C], kernel of the last layer.
        constant: Lipschitz constant of the layers below it, see ``lipschitz``.
    """
    rows = np.arange(len(labels))
    logits, last = logits.astype(np.float64), last.astype(np.float64)
    between = np.linalg.norm(last[:, :, np.newaxis] - last[:, np.newaxis, :], axis=0)[labels]
    gaps = logits[rows, labels][:, np.newaxis] - logits
    with np.errstate(divide='ignore', invalid='ignore'):
        # Two classes with the same weights never change places: infinitely far apart if their logits differ.
        radii = np.where(gaps > 0, gaps / (between * constant), 0.0)
    radii[rows, labels] = np.inf
    return radii.min(axis=1)


def lipschitz(model: Model | keras.Model) -> tuple[np.ndarray, dict[str, float]]:
    """The kernel of the last layer, and an L2 Lipschitz constant of every layer below it by the layer's name.

    Convolutions and dense layers have their spectral norm, that of the real operator with its padding at its input
    size, by Lanczos iteration in float64 (ARPACK); max pooling over disjoint windows, ReLU and flattening have 1;
    average pooling over disjoint windows has 1 / sqrt(pixels of a window).

    Raises:
        ValueError: a layer that has no such constant, or a network that is not a chain ending in a dense layer.
    """
    net = model.net if isinstance(model, Model) else model
    layers = chain_of(net)
    if not layers:
        raise ValueError('a certificate needs a network that is a chain of layers (relu2, a product, has no constant)')
    *below, last = layers
    if not isinstance(last, keras.layers.Dense) or last.activation is not keras.activations.linear:
        raise ValueError('a certificate needs a network that ends in a dense layer without activation')
    return last.kernel.numpy(), {layer.name: _constant(layer) for layer in below}


def _constant(layer: keras.Layer) -> float:
    if isinstance(layer, (keras.layers.Flatten, keras.layers.Dropout)):
        return 1.0
    if isinstance(layer, keras.layers.ReLU) and not layer.threshold:
        return max(1.0, float(layer.negative_slope))
    if isinstance(layer, (keras.layers.MaxPooling2D, keras.layers.AveragePooling2D)):
        if tuple(layer.strides) != tuple(layer.pool_size) or layer.padding != 'valid':
            raise ValueError(f'{layer.name}: a certificate needs pooling over disjoint windows')
        pixels = int(np.prod(layer.pool_size))
        return 1.0 if isinstance(layer, keras.layers.MaxPooling2D) else pixels ** -0.5
    if getattr(layer, 'activation', None) in (keras.activations.linear, keras.activations.relu):
        if isinstance(layer, keras.layers.Dense):
            return float(np.linalg.norm(layer.kernel.numpy().astype(np.float64), 2))
        if isinstance(layer, keras.layers.Conv2D) and layer.data_format == 'channels_last':
            return float(_convolution_norm(layer))
    raise ValueError(f'{layer.name}: a certificate has no Lipschitz constant for a {type(layer).__name__}')


def _convolution_norm(layer: keras.layers.Conv2D) -> float:
    kernel, shape = layer.kernel.numpy().astype(np.float64), tuple(layer.input.shape[1:])
    options = {'strides': layer.strides, 'padding': layer.padding.upper(), 'dilations': layer.dilation_rate}

    @tf.function
    def gram(x):
        """The convolution, and then its adjoint, which is its gradient."""
        with tf.GradientTape() as tape:
            tape.watch(x)
            half = tf.reduce_sum(tf.square(tf.nn.convolution(x, kernel, **options))) / 2
        return tape.gradient(half, x)

    return np.sqrt(_largest_eigenvalue(lambda v: gram(tf.reshape(tf.constant(v), [1, *shape])).numpy().ravel(),
                                       int(np.prod(shape))))


def _largest_eigenvalue(apply: Callable[[np.ndarray], np.ndarray], size: int) -> float:
    """Of a symmetric positive semi-definite operator, rounded up."""
    if size < 3:  # too small for ARPACK
        return float(np.linalg.eigvalsh(np.stack([apply(e) for e in np.eye(size)]))[-1])
    operator = LinearOperator((size, size), matvec=apply, dtype=np.float64)
    start = np.random.default_rng(0).normal(size=size)
    try:
        value = eigsh(operator, k=1, which='LA', tol=TOLERANCE, v0=start, return_eigenvectors=False)[0]
    except ArpackNoConvergence:
        raise ValueError('the norm of a convolution did not converge') from None
    return max(float(value), 0.0) * (1 + 10 * TOLERANCE)
