"""Normalised margins in the norms that flavours of gradient descent are known, or believed, to maximise them in."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from ..networks.network import CountedLayer
from .spectral import matrix_norm

NORMS = {
    'l2': 'L2 norm of all weights',
    'linf': 'largest absolute value of a weight',
    'spectral': "largest of the layers' spectral norms",
    'layer': "largest of the layers' L2 norms",
}
"""Names of norms, and what they are."""
PRODUCTS = ('l2', 'linf', 'spectral')
"""Norms of single layers that have a product."""


def norm_margins(q_min: float, layers: Sequence[CountedLayer], order: int) -> dict[str, float]:
    """q_min over norms of the weights to the power of the order (Tsilivis et al., arXiv 2410.22069).

    For a network that is homogeneous of this order the numbers do not depend on the scale of its weights. A layer's
    norms are those of its kernel with its bias; the spectral one that of the matrix [inputs (and 1), outputs], for a
    convolution that of its kernel [height * width * channels, channels out], which is not that of the operator.

    Args:
        q_min: the smallest margin.
        layers: those that count in norms, with their weights as they are now.
        order: degree of homogeneity of the logits in all of them.

    Returns:
        'q_min'; of each of NORMS, '<name>_norm' and '<name>_margin'; of each of PRODUCTS, '<name>_product_margin',
        q_min over the product of the layers' norms, each to its degree, which no scaling of one layer against another
        changes: that of 'l2' is q_bar2_min.
    """
    weights = [[v.numpy().astype(np.float64) for v in layer.variables] for layer in layers]
    of_layers = {
        'l2': [math.sqrt(sum(float(np.sum(np.square(w))) for w in ws)) for ws in weights],
        'linf': [max(float(np.abs(w).max()) for w in ws) for ws in weights],
        'spectral': [max(matrix_norm(m) for m in _matrices(ws)) for ws in weights]}
    norms = {'l2': math.hypot(*of_layers['l2']), 'linf': max(of_layers['linf']),
             'spectral': max(of_layers['spectral']), 'layer': max(of_layers['l2'])}
    found = {'q_min': q_min}
    with np.errstate(divide='ignore', over='ignore', invalid='ignore'):
        for name in NORMS:
            found[f'{name}_norm'] = norms[name]
            found[f'{name}_margin'] = float(q_min / np.float64(norms[name]) ** order)
        for name in PRODUCTS:
            powers = [np.float64(norm) ** layer.degree for norm, layer in zip(of_layers[name], layers)]
            found[f'{name}_product_margin'] = float(q_min / np.prod(powers))
    return found


def _matrices(weights: Sequence[np.ndarray]) -> list[np.ndarray]:
    """The matrices of a layer: one, if its variables fit together as rows."""
    rows = [w.reshape(-1, w.shape[-1] if w.ndim else 1) for w in weights]
    return [np.concatenate(rows)] if len({m.shape[1] for m in rows}) == 1 else rows
