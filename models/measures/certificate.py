"""Radii within which no perturbation can change the predicted class, from a network's Lipschitz constant."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np

from .. import checks
from ..chains import Link, is_exactly, links_of
from ..logits import class_labels, require_logit_structure, require_logit_values
from ..model import Model
from ..networks.orthogonal import MaxMin, OrthogonalConv2D, OrthogonalDense
from .spectral import convolution_norm, matrix_norm

L = keras.layers
LINEAR = (None, keras.activations.linear)
FULL = ('float32', 'float64')


def certified_radii(logits: np.ndarray, labels: np.ndarray, last: np.ndarray, constant: float) -> np.ndarray:
    """L2 radii within which images keep their class, float64 [N]; 0 where the class is wrong.

    The gap of classes y and j is ``(w_y - w_j) . h(x) + b``, and h is Lipschitz with the constant of the layers below:
    it takes a perturbation of at least gap / (||w_y - w_j|| * constant) to close it. The radius is the least of these
    over j (Tsuzuku, Sato & Sugiyama, arXiv 1802.04034, with the last layer taken pair by pair). It is that of the
    logits as numbers: what rounding moves, about 1e-6 of the largest logit in float32, it does not see.

    Args:
        logits: float [N, C], C of at least 2.
        labels: integers [N].
        last: float [units, C], kernel of the last layer.
        constant: Lipschitz constant of the layers below it, above 0; see ``lipschitz``.

    Raises:
        ValueError: arguments that are not such, logits that are probabilities, or numbers that are not finite.
    """
    logits, last = _finite_numbers('logits', logits), _finite_numbers('the kernel of the last layer', last)
    require_logit_values(logits, 'a certificate')
    labels = class_labels(labels, logits.shape[1], len(logits))
    if last.ndim != 2 or last.shape[1] != logits.shape[1]:
        raise ValueError(f'the kernel of the last layer must have a column for each of {logits.shape[1]} classes, not '
                         f'the shape {last.shape}')
    constant = checks.number('the Lipschitz constant of the layers below the last', constant)
    rows = np.arange(len(labels))
    between = _lengths(last[:, :, np.newaxis] - last[:, np.newaxis, :])[labels]
    gaps = logits[rows, labels][:, np.newaxis] - logits
    with np.errstate(divide='ignore', invalid='ignore', over='ignore'):
        # Two classes with the same weights never change places: infinitely far apart if their logits differ. What is
        # only beyond the largest number is not that far.
        far = np.minimum(gaps / between / constant, np.finfo(np.float64).max)
        radii = np.where(gaps > 0, np.where(between > 0, far, np.inf), 0.0)
    radii[rows, labels] = np.inf
    return radii.min(axis=1)


def _finite_numbers(name: str, values: Any) -> np.ndarray:
    values = np.asarray(values)
    if values.dtype.kind not in 'fiu' and values.dtype.name != 'bfloat16':
        raise ValueError(f'{name} must be numbers, not {values.dtype}')
    values = values.astype(np.float64)
    if not np.isfinite(values).all():
        raise ValueError(f'{name} must be finite numbers; these have values that are not')
    return values


def _lengths(vectors: np.ndarray) -> np.ndarray:
    """L2 norms along the first axis, of vectors of any finite size."""
    unit = np.abs(vectors).max(axis=0, initial=0.0)
    return unit * np.linalg.norm(np.divide(vectors, unit, out=np.zeros_like(vectors), where=unit > 0), axis=0)


def lipschitz(model: Model | keras.Model) -> tuple[np.ndarray, dict[str, float]]:
    """The kernel of the last layer, and an L2 Lipschitz constant of every layer below it by the layer's name.

    It knows what these layers of Keras compute, in float32 or float64, with or without a bias and low-rank adaptation,
    and no others, subclasses of them among those: Conv2D and Dense, linear or with ReLU, have their spectral norm, that
    of the real operator with its padding and groups at its input size, by Lanczos iteration in float64 (ARPACK), and so
    have orthogonal ones, whose norm is not taken to be 1; MaxMin has 1;
    MaxPooling2D over disjoint windows, Flatten, Dropout (at rest, as it evaluates) and Activation, linear or ReLU, have
    1; AveragePooling2D over disjoint windows has 1 / sqrt(pixels of a window); ReLU has 1, or its slope below zero if
    that is larger.

    Raises:
        ValueError: a layer that has no such constant, weights that are not finite, or a network that is not a chain
            of layers ending in a dense layer of two units at least.
    """
    net = model.net if isinstance(model, Model) else model
    require_logit_structure(net, 'a certificate')
    try:
        links = links_of(net)
    except ValueError as e:
        raise ValueError(f'a certificate needs a network that is a chain of layers; {e}') from None
    if net.inputs[0].dtype not in FULL:
        raise ValueError(f'a certificate needs a network that takes images as they are; {net.name} rounds them to '
                         f'{net.inputs[0].dtype}')
    last = links[-1].layer if links else net
    is_dense = is_exactly(last, L.Dense) or is_exactly(last, OrthogonalDense)
    if not is_dense or not _is_one_of(last.activation, LINEAR):
        raise ValueError(f'a certificate needs a network that ends in a dense layer without activation; {last.name} is '
                         'not one')
    _require_numbers_as_they_are(last)
    return _kernel(last), {link.layer.name: _constant(link) for link in links[:-1]}


def _constant(link: Link) -> float:
    layer = link.layer
    kind = next((kind for kind in _CONSTANTS if is_exactly(layer, kind)), None)
    if kind is None:
        plain = ' whose methods were replaced' if type(layer) in _CONSTANTS else ''
        raise ValueError(f'{layer.name}: a certificate has no Lipschitz constant for a {type(layer).__name__}{plain}')
    _require_numbers_as_they_are(layer)
    return _CONSTANTS[kind](link)


def _require_numbers_as_they_are(layer: keras.Layer) -> None:
    """Rounding to few bits is a function with steps, which has no Lipschitz constant."""
    if layer.quantization_mode is not None:
        raise ValueError(f'{layer.name}: a certificate has no Lipschitz constant for a layer quantised to '
                         f'{layer.quantization_mode}, which rounds what it is given')
    for dtype in (layer.compute_dtype, layer.variable_dtype):
        if dtype not in FULL:
            raise ValueError(f'{layer.name}: a certificate has no Lipschitz constant for a layer in {dtype}; it needs '
                             'float32 or float64')


def _kernel(layer: keras.Layer) -> np.ndarray:
    """The kernel that a layer works with, once it and the bias are seen to be finite."""
    kernel, bias = (np.asarray(keras.ops.convert_to_numpy(v)) for v in (layer.kernel, 0.0 if layer.bias is None
                                                                        else layer.bias))
    if not (np.isfinite(kernel).all() and np.isfinite(bias).all()):
        raise ValueError(f'{layer.name}: a certificate needs weights that are finite numbers')
    return kernel


def _is_one_of(activation: Any, functions: Sequence[Callable | None]) -> bool:
    return any(activation is function for function in functions)


def _require_linear_or_relu(layer: keras.Layer) -> None:
    if not _is_one_of(layer.activation, (*LINEAR, keras.activations.relu)):
        name = getattr(layer.activation, '__name__', type(layer.activation).__name__)
        raise ValueError(f'{layer.name}: a certificate has no Lipschitz constant for a {type(layer).__name__} with the '
                         f'activation {name}, only with relu or without')


def _of_nothing_but_order(link: Link) -> float:
    return 1.0


def _of_activation(link: Link) -> float:
    _require_linear_or_relu(link.layer)
    return 1.0


def _of_relu(link: Link) -> float:
    layer = link.layer
    slope = abs(float(layer.negative_slope))
    if layer.threshold or not np.isfinite(slope):
        raise ValueError(f'{layer.name}: a certificate has no Lipschitz constant for a ReLU that jumps, at a threshold '
                         f'of {layer.threshold} and with a slope of {layer.negative_slope} below it')
    return max(1.0, slope)


def _of_max_pooling(link: Link) -> float:
    _require_disjoint_windows(link.layer)
    return 1.0


def _of_average_pooling(link: Link) -> float:
    _require_disjoint_windows(link.layer)
    return float(np.prod(link.layer.pool_size)) ** -0.5


def _require_disjoint_windows(layer: keras.Layer) -> None:
    if any(step < size for step, size in zip(layer.strides, layer.pool_size)) or layer.padding != 'valid':
        raise ValueError(f'{layer.name}: a certificate needs pooling over disjoint windows, without padding')


def _of_dense(link: Link) -> float:
    _require_linear_or_relu(link.layer)
    return matrix_norm(_kernel(link.layer))


def _of_convolution(link: Link) -> float:
    """The order of the axes does not change it: with channels first the same numbers are convolved."""
    layer, shape = link.layer, link.shape
    _require_linear_or_relu(layer)
    sides = shape[:2] if layer.data_format == 'channels_last' else shape[1:]
    size = [n for n in sides if n is not None]
    if len(size) < 2:
        raise ValueError(f'{layer.name}: a certificate needs images of a known size, and this layer is given '
                         f'{" x ".join(str(n or "any") for n in sides)}')
    return convolution_norm(_kernel(layer), size, layer.strides, layer.padding.upper(), layer.dilation_rate,
                            layer.groups)


_CONSTANTS: dict[type[keras.Layer], Callable[[Link], float]] = {
    L.Conv2D: _of_convolution, L.Dense: _of_dense, L.MaxPooling2D: _of_max_pooling,
    L.AveragePooling2D: _of_average_pooling, L.ReLU: _of_relu, L.Activation: _of_activation,
    OrthogonalConv2D: _of_convolution, OrthogonalDense: _of_dense, MaxMin: _of_nothing_but_order,
    L.Flatten: _of_nothing_but_order, L.Dropout: _of_nothing_but_order}
