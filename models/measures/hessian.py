"""The spectrum of the Hessian of a loss, or of its Gauss-Newton matrix, on any Keras model.

    from models.measures import hessian
    spectrum = hessian.top(net, None, (x, y), k=5)
    spectrum.values * math.exp(spectrum.log_frame)      # the eigenvalues, where that is a number

Of the cross entropy (loss None, or this package's) everything is in units of the mean loss, exp(log_frame), so that
lambda / loss is an ordinary number at a loss of 1e-880, too; see ``curvature``. With ``attack`` it is the loss on
adversarial images, made once for each batch:

    pgd = LossPGD(net, repeat=1, losses=['xent'])
    hessian.top(net, None, (x, y), attack=lambda x, y, first: pgd.of_size(x, y, 0.1, rng=first))
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from .. import checks
from . import lanczos
from .curvature import BATCH, Curvature, Net
from .lanczos import Quadrature
from .samples import Attacked

Told = Callable[..., None]
PURPOSES = {'top': 0, 'density': 1, 'trace': 2}


class Spectrum(NamedTuple):
    """Eigenvalues with their eigenvectors.

    Attributes:
        values: in units of exp(log_frame), float64 [k].
        vectors: of each value, arrays in the shapes of the trainable parameters, in the network's order; of norm 1
            together.
        residuals: ||H v - value v||, in the same units, float64 [k].
        log_loss: natural logarithm of the mean loss.
        log_frame: of the units: log_loss of the cross entropy, 0 of another loss.
        products: how many products with the matrix it took.
    """

    values: np.ndarray
    vectors: list[list[np.ndarray]]
    residuals: np.ndarray
    log_loss: float
    log_frame: float
    products: int


def top(net: Net, loss: Any, data: Any, k: int = 1, which: str = 'largest', kind: str = 'hessian', tol: float = 1e-6,
        most: int | None = None, seed: int = 0, batch: int = BATCH, told: Told | None = None,
        attack: Attacked | None = None) -> Spectrum:
    """The top of the spectrum by Lanczos with full reorthogonalisation.

    Args:
        net, data, kind, batch, attack: see ``curvature.Curvature``.
        loss: None for the cross entropy, at any loss, or a Keras loss.
        k, which, tol, most, told: see ``lanczos.eigenpairs``.
        seed: of the start.

    Raises:
        ValueError: an argument that is not such; k above the number of parameters.
    """
    matrix = Curvature(net, data, kind, batch, loss, attack)
    pairs = lanczos.eigenpairs(matrix, matrix.size, k, rng_of(seed, 'top'), which, tol, most, told)
    return spectrum(matrix, pairs.values, pairs.vectors, pairs.residuals, pairs.products)


def power(net: Net, loss: Any, data: Any, k: int = 1, max_iter: int = 50, tol: float = 1e-3, starts: Any = None,
          kind: str = 'hessian', seed: int = 0, batch: int = BATCH, attack: Attacked | None = None) -> Spectrum:
    """The same by power iteration with deflation as released by Liu et al.; see ``lanczos.power_iteration``.

    Args:
        net, loss, data, k, kind, seed, batch, attack: see ``top``.
        max_iter: products for each, at most.
        tol: relative change of the value at which it ends.
        starts: vectors to start from, float [k, parameters]; standard normal ones for None.

    Raises:
        ValueError: as there.
    """
    matrix = Curvature(net, data, kind, batch, loss, attack)
    if checks.count('k', k, 1) > matrix.size:
        raise ValueError(f'k is {k}, but there are only {matrix.size} eigenvalues')
    if starts is None:
        starts = rng_of(seed, 'top').normal(size=(k, matrix.size))
    values, vectors, _ = lanczos.power_iteration(matrix, np.asarray(starts, np.float64), max_iter, tol)
    residuals = np.array([np.linalg.norm(matrix(v) - value * v) for v, value in zip(vectors, values)])
    return spectrum(matrix, values, vectors, residuals, matrix.products)


def density(net: Net, loss: Any, data: Any, probes: int = 10, steps: int = 80, kind: str = 'hessian', seed: int = 0,
            batch: int = BATCH, told: Told | None = None, attack: Attacked | None = None) -> Quadrature:
    """The spectral density, in units of exp(log_frame) as ``top`` has them; see ``lanczos.quadrature``."""
    matrix = Curvature(net, data, kind, batch, loss, attack)
    return lanczos.quadrature(matrix, matrix.size, rng_of(seed, 'density'), probes, steps, told)


def trace(net: Net, loss: Any, data: Any, probes: int = 30, kind: str = 'hessian', seed: int = 0, batch: int = BATCH,
          told: Told | None = None, attack: Attacked | None = None) -> tuple[float, float]:
    """The trace and its standard error, in units of exp(log_frame) as ``top`` has them; see ``lanczos.trace``."""
    matrix = Curvature(net, data, kind, batch, loss, attack)
    return lanczos.trace(matrix, matrix.size, rng_of(seed, 'trace'), probes, told)


def spectrum(matrix: Curvature, values: np.ndarray, vectors: np.ndarray, residuals: np.ndarray, products: int
             ) -> Spectrum:
    """Pairs of a matrix as a ``Spectrum``."""
    return Spectrum(values, [matrix.split(v) for v in vectors], residuals, matrix.log_loss, matrix.log_frame, products)


def rng_of(seed: int, purpose: str) -> np.random.Generator:
    """What is drawn from for one of ``PURPOSES``."""
    return np.random.default_rng([checks.count('seed', seed, 0), PURPOSES[purpose]])


def homogeneous_constant(value: float, rho: float, log_loss: float) -> float:
    """lambda ||theta||^2 / (loss ln(1 / loss)^2), which tends to a constant as the weights of a homogeneous network
    are scaled up.

    With one sample and two classes, loss = exp(-q) and q = c^L q_1 at c theta: the Hessian is exp(-q) (grad q grad q^T
    - Hess q), whose largest eigenvalue times ||theta||^2 is of the order of L^2 q^2 = L^2 ln(1 / loss)^2.

    Args:
        value: lambda / loss.
        rho: ||theta||.
        log_loss: natural logarithm of the loss.
    """
    return value * rho ** 2 / log_loss ** 2
