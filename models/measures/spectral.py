"""Spectral norms of linear layers, in float64."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf

TOLERANCE = 1e-10
"""Relative, of the squared spectral norms; the norms are then rounded up by as much as that can hide."""


def matrix_norm(kernel: np.ndarray) -> float:
    """The largest singular value of a matrix of finite numbers, by a singular value decomposition."""
    kernel, unit = _in_units(kernel)
    return unit * float(np.linalg.norm(kernel, 2))


def convolution_norm(kernel: np.ndarray, size: Sequence[int], strides: Sequence[int], padding: str,
                     dilation: Sequence[int], groups: int) -> float:
    """The spectral norm of a convolution, that of the real operator with its padding at its input size.

    Args:
        kernel: finite numbers [height, width, channels in / groups, channels out].
        size: height and width of the input.
        strides, padding, dilation: those of ``tf.nn.convolution``.
        groups: each sees its own part of the channels and makes its own, so that the norm is the largest of theirs.

    Raises:
        ValueError: the iteration does not converge.
    """
    return max(_group_norm(part, size, strides, padding, dilation) for part in np.split(kernel, groups, axis=3))


def _group_norm(kernel: np.ndarray, size: Sequence[int], strides: Sequence[int], padding: str,
                dilation: Sequence[int]) -> float:
    """By Lanczos iteration (ARPACK) with the operator and its adjoint."""
    kernel, unit = _in_units(kernel)
    shape = [1, *size, kernel.shape[2]]

    @tf.function
    def gram(x):
        """The convolution, and then its adjoint, which is its gradient."""
        with tf.GradientTape() as tape:
            tape.watch(x)
            out = tf.nn.convolution(x, kernel, strides, padding, dilations=dilation)
            half = tf.reduce_sum(tf.square(out)) / 2
        return tape.gradient(half, x)

    return unit * np.sqrt(_largest_eigenvalue(lambda v: gram(tf.reshape(tf.constant(v), shape)).numpy().ravel(),
                                              int(np.prod(shape))))


def _in_units(kernel: np.ndarray) -> tuple[np.ndarray, float]:
    """A kernel in float64 and in units of its largest entry, whose square neither under- nor overflows; the unit."""
    kernel = kernel.astype(np.float64)
    unit = float(np.abs(kernel).max()) or 1.0
    return kernel / unit, unit


def _largest_eigenvalue(apply: Callable[[np.ndarray], np.ndarray], size: int) -> float:
    """Of a symmetric positive semi-definite operator, rounded up."""
    from scipy.sparse.linalg import ArpackNoConvergence, LinearOperator, eigsh  # takes a while, and few need it
    if size < 3:  # too small for ARPACK
        return max(float(np.linalg.eigvalsh(np.stack([apply(e) for e in np.eye(size)]))[-1]), 0.0)
    operator = LinearOperator((size, size), matvec=apply, dtype=np.float64)
    start = np.random.default_rng(0).normal(size=size)
    if not apply(start).any():  # the operator is zero, as no other takes this vector to zero; ARPACK stops at it
        return 0.0
    try:
        value = eigsh(operator, k=1, which='LA', tol=TOLERANCE, v0=start, return_eigenvectors=False)[0]
    except ArpackNoConvergence:
        raise ValueError('the norm of a convolution did not converge') from None
    return max(float(value), 0.0) * (1 + 10 * TOLERANCE)
