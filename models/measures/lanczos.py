"""Eigenvalues of a symmetric matrix of which only products are known (NumPy, float64)."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from .. import checks

Apply = Callable[[np.ndarray], np.ndarray]
WHICH = ('largest', 'smallest', 'magnitude', 'both')


class Pairs(NamedTuple):
    """Eigenvalues and what goes with them.

    Attributes:
        values: float64 [k], the wanted ones first.
        vectors: float64 [k, n], of norm 1.
        residuals: ||A v - value v||, float64 [k], by a further product each.
        products: how many were taken, those for the residuals included.
    """

    values: np.ndarray
    vectors: np.ndarray
    residuals: np.ndarray
    products: int


class Tridiagonal:
    """The Lanczos process with full reorthogonalisation: A V = V T + beta v e^T, V orthonormal, T tridiagonal.

    Args:
        apply: v -> A v, float64 [n] both; A symmetric.
        start: float64 [n], not 0.

    Attributes:
        diagonal, beside: of T, [m] and [m], the last of ``beside`` being beta.
        basis: V, float64 [m, n].
    """

    def __init__(self, apply: Apply, start: np.ndarray):
        self._apply = apply
        self.diagonal: list[float] = []
        self.beside: list[float] = []
        self._kept = np.empty((16, len(start)))
        self._next = np.asarray(start, np.float64) / np.linalg.norm(start)

    @property
    def basis(self) -> np.ndarray:
        return self._kept[:len(self.diagonal)]

    @property
    def ended(self) -> bool:
        """Whether the vectors span all that the start reaches; beta is then nothing but rounding."""
        scale = max(map(abs, (*self.diagonal, *self.beside[:-1])), default=0.0)
        return bool(self.beside) and (self.beside[-1] <= 1e-12 * scale or len(self.basis) == len(self._next))

    def step(self) -> None:
        """One product, one more vector."""
        v, m = self._next, len(self.diagonal)
        if m == len(self._kept):
            self._kept = np.concatenate([self._kept, np.empty_like(self._kept)])
        self._kept[m] = v
        w = self._apply(v)
        self.diagonal.append(float(v @ w))
        w = self._orthogonal(w)
        self.beside.append(float(np.linalg.norm(w)))
        self._next = w / self.beside[-1] if self.beside[-1] else w

    def go_on_from(self, w: np.ndarray) -> None:
        """Takes what of a vector is orthogonal to all so far for the next, where the process has ended."""
        w = self._orthogonal(w)
        self.beside[-1], self._next = 0.0, w / np.linalg.norm(w)

    def _orthogonal(self, w: np.ndarray) -> np.ndarray:
        for _ in range(2):  # once leaves some of what rounding made
            w = w - self.basis.T @ (self.basis @ w)
        return w

    def ritz(self) -> tuple[np.ndarray, np.ndarray]:
        """Eigenvalues of T, ascending, [m], and its eigenvectors as columns, [m, m]."""
        from scipy.linalg import eigh_tridiagonal  # takes a while, and few need it
        return eigh_tridiagonal(self.diagonal, self.beside[:-1])


def eigenpairs(apply: Apply, n: int, k: int, rng: np.random.Generator, which: str = 'largest', tol: float = 1e-6,
               most: int | None = None, told: Callable[[int], None] | None = None) -> Pairs:
    """The ``k`` largest eigenvalues, or smallest, or largest by magnitude, and their eigenvectors.

    All copies of a multiple eigenvalue are found where the start reaches no more than a few values, as it does of a
    matrix that has no others; else one copy is sure to be.

    Args:
        apply: v -> A v, float64 [n] both; A symmetric.
        n: the size of A.
        k: how many; of 'both', of either end.
        rng: of the start.
        which: 'largest', descending; 'smallest', ascending; 'magnitude', descending; 'both', the largest and then the
            smallest.
        tol: residuals that are wanted, over the largest magnitude of an eigenvalue.
        most: products after which it ends in any case, those for the residuals not counted; None for max(20 k, 200).
            As many vectors are kept.
        told: called after each product with their number.

    Raises:
        ValueError: k larger than n, or another argument that is not such.
    """
    checks.one_of('which', which, WHICH)
    if checks.count('k', k, 1) > n:
        raise ValueError(f'k is {k}, but there are only {n} eigenvalues')
    most = min(n, max(20 * k, 200) if most is None else checks.count('most', most, k))
    process = Tridiagonal(apply, rng.normal(size=n))
    at_end: np.ndarray | None = None  # the wanted values when the process last ended
    while True:
        if process.ended:  # copies of an eigenvalue hide in what no power of A reached
            process.go_on_from(rng.normal(size=n))
        process.step()
        m = len(process.basis)
        if told is not None:
            told(m)
        if m < most and not process.ended and m % (1 + m // 60):  # more and more seldom: looking takes time, too
            continue
        values, s = process.ritz()
        rows, largest = wanted(values, k, which), np.abs(values).max()
        if m >= most:
            break
        if process.ended:
            if at_end is not None and len(at_end) == len(rows) and (abs(at_end - values[rows]) <= tol * largest).all():
                break
            at_end = values[rows]
        rest = process.beside[-1] * np.abs(s[-1, rows])
        if at_end is None and m >= len(rows) + 2 and (rest <= tol * largest).all():
            break
    vectors = s[:, rows].T @ process.basis
    residuals = [np.linalg.norm(apply(v) - value * v) for v, value in zip(vectors, values[rows])]
    return Pairs(values[rows], vectors, np.array(residuals), len(process.basis) + len(rows))


def wanted(values: np.ndarray, k: int, which: str) -> np.ndarray:
    """Indices of the wanted of ascending values, fewer where there are fewer."""
    m = len(values)
    if which == 'largest':
        return np.arange(m)[::-1][:k]
    if which == 'smallest':
        return np.arange(m)[:k]
    if which == 'magnitude':
        return np.argsort(-np.abs(values), kind='stable')[:k]
    high = np.arange(m)[::-1][:k]
    return np.concatenate([high, np.setdiff1d(np.arange(m)[:k], high)])


def power_iteration(apply: Apply, starts: np.ndarray, max_iter: int = 50, tol: float = 1e-3
                    ) -> tuple[np.ndarray, np.ndarray, list[list[float]]]:
    """Eigenvalues by magnitude as the released code of Liu et al. (arXiv 2006.08403) has them.

    The value is the Rayleigh quotient of the vector before the last product; the vector is that after it. It ends where
    the value changes by less than ``tol`` of itself, and says nothing where it does not; values need not be sorted.

    Args:
        apply: v -> A v, float64 [n] both; A symmetric.
        starts: float64 [k, n], the start of each.
        max_iter: products for each, at most.
        tol: relative.

    Returns:
        (values, float64 [k]; vectors, float64 [k, n]; the quotients of each iteration, for each).
    """
    values: list[float] = []
    vectors: list[np.ndarray] = []
    quotients: list[list[float]] = []
    for start in starts:
        v, seen = _normalised(start), []
        for _ in range(checks.count('max_iter', max_iter, 1)):
            w = apply(v)
            for value, vector in zip(values, vectors):
                w = w - value * (vector @ v) * vector
            seen.append(float(w @ v))
            v = _normalised(w)
            if len(seen) > 1 and abs(seen[-1] - seen[-2]) <= tol * abs(seen[-2]):
                break
        values.append(seen[-1])
        vectors.append(v)
        quotients.append(seen)
    return np.array(values), np.array(vectors), quotients


def _normalised(v: np.ndarray) -> np.ndarray:
    return v / (np.linalg.norm(v) + 1e-6)


class Quadrature(NamedTuple):
    """A spectral density as points with weights.

    Attributes:
        nodes: float64 [probes, m], ascending in each row.
        weights: float64 [probes, m]; each row sums to 1.
    """

    nodes: np.ndarray
    weights: np.ndarray

    def density(self, at: np.ndarray, width: float) -> np.ndarray:
        """The density at some places, float64 [len(at)], smoothed by a Gaussian of a standard deviation."""
        apart = (np.asarray(at)[:, None, None] - self.nodes) / width
        bumps = np.exp(-apart ** 2 / 2) / (width * np.sqrt(2 * np.pi))
        return (self.weights * bumps).sum(axis=2).mean(axis=1)

    def trace(self, n: int) -> tuple[float, float]:
        """The trace of a matrix of size n, and its standard error (nan of a single probe): Hutchinson's estimate from
        the same probes, for the quadrature of v^T A v is exact."""
        return _mean_and_error(n * (self.nodes * self.weights).sum(axis=1))


def quadrature(apply: Apply, n: int, rng: np.random.Generator, probes: int = 10, steps: int = 80,
               told: Callable[[int], None] | None = None) -> Quadrature:
    """The spectral density by stochastic Lanczos quadrature (Ubaru, Chen & Saad 2017, SIAM J. Matrix Anal. 38(4);
    Ghorbani et al., arXiv 1901.10159).

    Args:
        apply: v -> A v, float64 [n] both; A symmetric.
        n: the size of A.
        rng: of the probes, vectors of +-1.
        probes: how many.
        steps: products for each, at most.
        told: called after each product with their number.

    Returns:
        nodes with weights; rows that end early are filled with weights of 0.
    """
    steps = min(checks.count('steps', steps, 1), n)
    nodes, weights, taken = [], [], 0
    for _ in range(checks.count('probes', probes, 1)):
        process = Tridiagonal(apply, rng.choice([-1.0, 1.0], size=n))
        while len(process.basis) < steps and not process.ended:
            process.step()
            taken += 1
            if told is not None:
                told(taken)
        values, s = process.ritz()
        spare = steps - len(values)
        nodes.append(np.pad(values, (0, spare), mode='edge'))
        weights.append(np.pad(s[0] ** 2, (0, spare)))
    return Quadrature(np.array(nodes), np.array(weights))


def trace(apply: Apply, n: int, rng: np.random.Generator, probes: int = 30,
          told: Callable[[int], None] | None = None) -> tuple[float, float]:
    """The trace by Hutchinson's estimate from probes of +-1, and its standard error (nan of a single probe).

    Args:
        apply: v -> A v, float64 [n] both; A symmetric.
        n: the size of A.
        rng: of the probes.
        probes: how many, a product each.
        told: called after each product with their number.
    """
    return quadrature(apply, n, rng, probes, 1, told).trace(n)


def _mean_and_error(samples: np.ndarray) -> tuple[float, float]:
    error = float(np.std(samples, ddof=1) / np.sqrt(len(samples))) if len(samples) > 1 else float('nan')
    return float(samples.mean()), error
