"""What rounding can move in the evaluation of a network, and in the computation of its bounds.

A certificate of the real function that a network stands for can be broken by the network as it is evaluated (Jin et
al., arXiv 2205.10159). Here every layer is taken with an error: what it gives is anything within ``E`` of what it
would give in real numbers to the same input, where

    E = gamma(n) (|W| |h| + |b|) + underflow,    gamma(n) = n u / (1 - n u),    u = 2**-24 in float32,

for a sum of n terms in any order (Higham, Accuracy and Stability of Numerical Algorithms, section 3.1), and |h| is the
largest that the input can be in the ball. ReLU and max pooling are exact. So is what a bound says of any evaluation
whose sums are sums: whatever the order, with fused multiplication and addition or without, with numbers below 2**-126
taken for zero or not. It is not so of TensorFloat-32, or of a convolution by Winograd's or Fourier's transform, which
compute other sums.

Bounds are computed in float64. Every rounding there is 2**-29 of one of the network's own, of sums no larger than
those of which ``E`` is gamma(n): of a sum of N coefficients it is at most ``N 2**-53 |A| |W| |h|``. ``SLACK`` is more
than that of all of them together, for layers of fewer than 2**20 numbers.
"""

from __future__ import annotations

import numpy as np
import tensorflow as tf

SLACK = 1.02
"""Times the error of the network, which then holds that of its bounds, too."""
UNITS = {'float32': 2.0 ** -24, 'float64': 2.0 ** -53}
SMALLEST = 2.0 ** -126
"""Below it float32 has fewer digits, or none: an operation that underflows is wrong by no more."""
LARGEST = 1e38
"""A bound beyond it certifies nothing, as float32 overflows there."""


def gamma(terms: int, dtype: str = 'float32') -> float:
    """The relative error of a sum of so many products, over the sum of their magnitudes, and the ``SLACK``.

    What is evaluated in float64 is given the error of a hundredth of float32's, which holds that of the bounds.
    """
    unit = max(UNITS[dtype], UNITS['float32'] / 100)
    n = (terms + 2) * unit
    return SLACK * n / (1 - n) if n < 0.5 else np.inf


def underflow(terms: int, magnitudes: tf.Tensor) -> tf.Tensor:
    """What underflow of so many products and sums can move, and of the input, each times its weight.

    Args:
        terms: of a sum.
        magnitudes: the sums of the magnitudes of the weights.
    """
    return SMALLEST * (magnitudes + 2.0 * terms + 2.0)


def of_a_sum(terms: int) -> float:
    """The error in float64 of a sum of so many products, over the sum of their magnitudes."""
    return (terms + 16) * 2.0 ** -52
