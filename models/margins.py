"""Margins of a classifier on a set of samples, from its logits and its norms (NumPy, float64).

Notation of Lyu & Li, arXiv 1906.05890: q_n is the margin of sample n, rho the norm of all parameters, L the degree of
homogeneity of the network in its parameters; q_min / rho^L is the normalised margin.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from .logits import class_labels, require_logit_shape


@dataclass(frozen=True)
class Norms:
    """Euclidean norms of a network's parameters.

    Attributes:
        rho: of all parameters together.
        layers: of each layer, in order.
        prod: their product, each to the power with which the layer enters the output.
        order: degree of homogeneity of the output in all parameters (L for a ReLU network of L layers).
    """

    rho: float
    layers: tuple[float, ...]
    prod: float
    order: int

    @property
    def rhoL(self) -> float:
        """rho to the power of the order; inf where that overflows."""
        with np.errstate(over='ignore'):
            return float(np.float64(self.rho) ** self.order)


def margins(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """q_n, the logit of the right class minus the largest other logit.

    Args:
        logits: float [N, C].
        labels: integers [N].

    Returns:
        [N], in the dtype of the logits; positive where the sample is classified correctly.

    Raises:
        ValueError: logits of less than two classes, or labels that are not in 0..C - 1.
    """
    logits, labels = _checked(logits, labels, 'a margin')
    rows = np.arange(len(labels))
    others = logits.copy()
    others[rows, labels] = -np.inf
    return logits[rows, labels] - others.max(axis=1)


def _checked(logits: np.ndarray, labels: np.ndarray, what: str) -> tuple[np.ndarray, np.ndarray]:
    """As arrays; a negative label would count from the last class, and with one class there is no other logit."""
    logits = np.asarray(logits)
    require_logit_shape(logits.shape, what)
    return logits, class_labels(labels, logits.shape[1], len(logits))


def log_losses(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Natural logarithm of each sample's cross entropy; never underflows, whatever the gap.

    Args:
        logits: float [N, C].
        labels: integers [N].

    Returns:
        float64 [N].

    Raises:
        ValueError: see ``margins``.
    """
    logits, labels = _checked(logits, labels, 'a cross entropy')
    rows = np.arange(len(labels))
    gaps = logits.astype(np.float64)
    gaps -= gaps[rows, labels][:, np.newaxis]
    gaps[rows, labels] = -np.inf
    z = _logsumexp(gaps, axis=1)
    # ln softplus(z) = z - exp(z) / 2 + ...: below -37 the correction is under half an ulp
    return np.where(z < -37, z, np.log(np.logaddexp(0, np.maximum(z, -37))))


def log_mean_exp(a: np.ndarray) -> float:
    """ln of the mean of exp(a)."""
    return float(_logsumexp(a, axis=0)) - math.log(len(a))


def _logsumexp(a: np.ndarray, axis: int) -> np.ndarray:
    top = a.max(axis=axis, keepdims=True)
    return np.squeeze(top, axis) + np.log(np.exp(a - top).sum(axis=axis))


def support_counts(q: np.ndarray) -> dict[str, int]:
    """n_supp_k for k = 1..7: the samples whose margin is within ln(10^k) of the smallest.

    Their exponential loss is within a factor of 10^k of the largest.
    """
    q = q.astype(np.float64)
    return {f'n_supp_{k}': int((q < q.min() + math.log(10 ** k)).sum()) for k in range(1, 8)}


def normalized_margins(q_min: float, norms: Norms) -> dict[str, float]:
    """rhoL, and the two normalised margins: q_bar_min = q_min / rho^L and q_bar2_min = q_min / norm_prod."""
    return {'rhoL': norms.rhoL, 'q_bar_min': _ratio(q_min, norms.rhoL), 'q_bar2_min': _ratio(q_min, norms.prod)}


def smoothed_margins(log_loss: float, n: int, norms: Norms) -> dict[str, float]:
    """The smoothed normalised margin, ln(1 / L) / rho^L, and the same over the product of the layers' norms.

    This is the paper's gamma-tilde for the exponential loss; for the cross entropy it has ln(1 / (exp(L) - 1)), which
    differs by at most L / 2. The paper's training loss L is the *sum* over the samples, not their mean, which is what
    makes the smoothed margin a lower bound of the normalised one (at small losses), by at most ln(n (C - 1)) / rho^L.

    Args:
        log_loss: natural logarithm of the real *mean* training loss.
        n: number of training samples.
        norms: the network's.
    """
    minus_log_sum = -(log_loss + math.log(n))
    return {'smoothed_margin': _ratio(minus_log_sum, norms.rhoL), 'smoothed_margin2': _ratio(minus_log_sum, norms.prod)}


def _ratio(a: float, b: float) -> float:
    """a / b; infinite or nan where a norm is 0."""
    with np.errstate(divide='ignore', invalid='ignore'):
        return float(np.float64(a) / b)
