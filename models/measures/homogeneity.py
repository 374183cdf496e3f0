"""Homogeneity in the parameters, measured by Euler's identity: f is homogeneous of degree k if <theta, grad f> = k f.

One forward-mode derivative in the direction of the parameters gives <theta, grad z> for all logits of all samples.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf

TOLERANCE = 1e-3
"""Relative to the largest logit: far above float32's rounding, which is about 1e-6 for deep networks, and far below
what a bias does."""


class Degrees(NamedTuple):
    """How a network depends on its layers' scales.

    Attributes:
        layers: degree of homogeneity of the logits in each layer alone.
        order: in all parameters together.
        is_homogeneous: whether the logits are homogeneous at all; if not, the degrees are those of the network without
            the biases above its first layer, or 1 for each layer where that is not homogeneous either; 0 for a layer
            of biases alone.
    """

    layers: tuple[int, ...]
    order: int
    is_homogeneous: bool


def euler_products(net: keras.Model, variables: Sequence[tf.Variable], x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Logits z, and <theta, grad z> over the given variables theta, both float32 [N, C], of images ``x`` [N, ...]."""
    with tf.autodiff.ForwardAccumulator(list(variables), [tf.convert_to_tensor(v) for v in variables]) as forward:
        logits = net(x, training=False)
    products = forward.jvp(logits)
    return logits, tf.zeros_like(logits) if products is None else products


def euler_error(logits: np.ndarray, products: np.ndarray, degree: float) -> float:
    """The largest deviation from Euler's identity, |<theta, grad z> - degree z|, over ``degree`` times the sample's
    largest logit; 0 for a network whose logits are all 0.

    Args:
        logits, products: finite floats [N, C], N of at least 1; see ``euler_products``.
        degree: the degree of homogeneity.

    Raises:
        ValueError: arrays that are not such.
    """
    logits, products = np.asarray(logits).astype(np.float64), np.asarray(products).astype(np.float64)
    if logits.ndim != 2 or logits.shape != products.shape or not logits.size:
        raise ValueError(f"Euler's identity is one of logits [N, C] and as many products, of one sample at least, not "
                         f'of {logits.shape} and {products.shape}')
    if not (np.isfinite(logits).all() and np.isfinite(products).all()):
        raise ValueError("Euler's identity cannot be looked at: logits, or their derivatives, are not finite")
    size = max(abs(degree), 1) * np.abs(logits).max(axis=1, keepdims=True)
    off = np.abs(products - degree * logits)
    return float(np.divide(off, size, out=np.where(off > 0, np.inf, 0.0), where=size > 0).max())


def trained_layers(net: keras.Model) -> dict[str, tuple[tf.Variable, ...]]:
    """The trainable variables of each leaf layer, nested or not, in the order in which they were made, by layer name.

    A name that occurs again is counted: 'dense', 'dense (2)'. What a wrapper and the layer within both hold, such as
    the kernel under a spectral normalisation, is the inner layer's. Left out are the slopes of PReLU, which are no
    kernels: an activation that is learned.
    """
    trained = {id(v) for v in net.trainable_variables}
    found: dict[str, tuple[tf.Variable, ...]] = {}

    def visit(layer: keras.Layer) -> None:
        if isinstance(layer, keras.layers.PReLU):
            return
        within = {id(v) for inner in layer._layers for v in inner.variables}
        own = [v for v in layer._trainable_variables if id(v) in trained - within]
        if own:
            trained.difference_update(map(id, own))  # a layer that is used twice counts once
            names = [layer.name, *(f'{layer.name} ({i})' for i in range(2, len(found) + 2))]
            found[next(n for n in names if n not in found)] = tuple(v.value for v in own)
        for inner in layer._layers:
            visit(inner)

    visit(net)
    return found


def split_biases(layer: Sequence[tf.Variable]) -> tuple[list[tf.Variable], list[tf.Variable]]:
    """Kernels and biases of a layer: a bias is what is called bias or beta. Of a normalisation without scale nothing
    is a kernel."""
    biases = [v for v in layer if _is_bias(v)]
    return [v for v in layer if not any(v is b for b in biases)], biases


def _is_bias(v: tf.Variable | keras.Variable) -> bool:
    name = v.name.split('/')[-1].split(':')[0]
    return 'bias' in name or name == 'beta'


@contextmanager
def _in_float32(net: keras.Model) -> Iterator[None]:
    """Lets layers that compute in half precision compute in float32 for a while: 16 bits are too coarse to tell
    whether Euler's identity holds."""
    halves = [layer for layer in net._flatten_layers() if layer.compute_dtype in ('float16', 'bfloat16')]
    kept = [layer._dtype_policy for layer in halves]  # the attribute, as the property's setter writes into maps
    try:
        for layer in halves:
            policy = keras.DTypePolicy('float32')
            policy._variable_dtype = layer.variable_dtype  # so that Keras casts variables of 16 bits
            layer._dtype_policy = policy
        yield
    finally:
        for layer, policy in zip(halves, kept):
            layer._dtype_policy = policy


def degrees_of(net: keras.Model, layers: Sequence[Sequence[tf.Variable]], x) -> Degrees:
    """Measures the degree with which each layer enters the logits.

    It is a property of the architecture, so it is measured where it shows: with kernels, in their own directions, of
    the size of He's initialisation, and with biases that move the logits by about a tenth each. So neither a bias that
    is still zero nor one that is negligible beside trained kernels is overlooked. All variables get their values back.

    Args:
        net: from inputs to logits.
        layers: variables of each layer: its kernels, then its biases.
        x: some inputs, at least one of them not zero.

    Raises:
        ValueError: inputs that are none, not finite, or all zero.
    """
    _require_inputs(x)
    with _in_float32(net):
        return _degrees(net, layers, keras.tree.map_structure(tf.convert_to_tensor, x))


def _degrees(net: keras.Model, layers: Sequence[Sequence[tf.Variable]], x) -> Degrees:
    variables = [v for vs in layers for v in vs]
    kernels, biases = ([v for vs in layers for v in split_biases(vs)[i]] for i in (0, 1))
    has_kernel = [bool(split_biases(vs)[0]) for vs in layers]
    # What is subtracted though not trained, by a batch normalisation for instance, is a bias like any other.
    means = [v.value for v in net.non_trainable_weights if v.name.endswith('mean')]
    kept = [v.numpy() for v in [*variables, *means]]
    rng = np.random.default_rng(0)
    try:
        for kernel in kernels:
            kernel.assign(_standard(kernel.numpy(), rng))
        for bias in biases + means:
            bias.assign(tf.zeros_like(bias))
        directions = [tf.constant(rng.uniform(1, 2, b.shape), b.dtype) for b in biases + means]
        sizes = [_tenth(net, b, u, x) for b, u in zip(biases + means, directions)]
        for bias, direction, size in zip(biases + means, directions, sizes):
            bias.assign(size * direction)
        whole = _degree(net, variables, x)
        if whole is not None:  # what is cut off above some size, as by relu6, shows at another scale
            factor = 10 ** min(2.0, 12 / max(whole, 1))
            scaled = [v.numpy() for v in variables]
            for v, value in zip(variables, scaled):
                v.assign(factor * value)
            whole = whole if _degree(net, variables, x) == whole else None
            for v, value in zip(variables, scaled):
                v.assign(value)
        if whole is None:
            first = has_kernel.index(True) if any(has_kernel) else None
            for bias in [b for i, vs in enumerate(layers) if i != first for b in split_biases(vs)[1]] + means:
                bias.assign(tf.zeros_like(bias))
        measured = [_degree(net, vs, x) for vs in layers]
    finally:
        for v, value in zip([*variables, *means], kept):
            v.assign(value)
    each = [k for k in measured if k is not None]
    if len(each) < len(layers):
        return Degrees(tuple(map(int, has_kernel)), sum(has_kernel), False)
    return Degrees(tuple(each), sum(each), whole == sum(each))


def _require_inputs(x) -> None:
    """Zeros are homogeneous of any degree; but zeros among whole numbers may name something."""
    arrays = [np.asarray(a) for a in keras.tree.flatten(x)]
    if not arrays or any(not a.size for a in arrays):
        raise ValueError('homogeneity is measured at one input at least')
    floats = [a for a in arrays if np.issubdtype(a.dtype, np.floating)]
    if not all(np.isfinite(a).all() for a in floats):
        raise ValueError('homogeneity is measured at inputs that are finite numbers')
    if len(floats) == len(arrays) and not any(a.any() for a in floats):
        raise ValueError('homogeneity cannot be measured at inputs that are all zero')


def _tenth(net: keras.Model, bias: tf.Variable, direction: tf.Tensor, x: tf.Tensor) -> float:
    """How far, to first order, ``bias`` must go in a direction to move the logits by a tenth of their size."""
    with tf.autodiff.ForwardAccumulator([bias], [direction]) as forward:
        logits = net(x, training=False)
    slope = forward.jvp(logits)
    slope, size = (0.0 if t is None else float(tf.reduce_max(tf.abs(t))) for t in (slope, logits))
    return size / slope / 10 if 0 < size < math.inf and 0 < slope < math.inf else 1.0


def _standard(kernel: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The kernel with entries of the root mean square sqrt(2 / fan-in); 1 for vectors."""
    if not kernel.any() or not np.isfinite(kernel).all():
        kernel = rng.normal(size=kernel.shape)
    fan_in = math.prod(kernel.shape[:-1]) if kernel.ndim > 1 else 2
    return kernel * math.sqrt(2 / fan_in / np.mean(np.square(kernel, dtype=np.float64)))


def _degree(net: keras.Model, variables: Sequence[tf.Variable], x: tf.Tensor) -> int | None:
    """The degree of homogeneity in these variables; None if there is none, or it is not a whole number."""
    logits, products = (t.numpy() for t in euler_products(net, variables, x))
    square = float(np.sum(np.square(logits, dtype=np.float64)))
    inner = float(np.sum(np.multiply(logits, products, dtype=np.float64)))
    if not (0 < square < math.inf and math.isfinite(inner)):
        return None
    degree = round(inner / square)
    return degree if euler_error(logits, products, degree) < TOLERANCE else None
