"""How near parameters are to a KKT point of the max-margin problem (Lyu & Li, arXiv 1906.05890, appendix C).

The problem is to minimise ||theta||^2 / 2 subject to s_nj(theta) >= 1 for every sample n and every wrong class j, where
s_nj is the logit of the right class minus that of class j; the margin of sample n is q_n = min_j s_nj. For a network
homogeneous of order L, theta / q_min^(1/L) is feasible. The gradient of the loss offers the multipliers: with p_nj the
softmax probability of the wrong class j, -grad(loss) = sum_nj p_nj grad s_nj.

Nothing here sees the loss itself: the p_nj are taken in the log domain and divided by their sum, so that a loss of
1e-800 is like any other.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import tensorflow as tf

from .. import checks, margins
from ..in_graphs import graph_function
from ..logits import class_labels, require_logit_shape, require_logit_structure, require_logit_values
from ..model import Model
from ..types import NumericalFailure
from .homogeneity import euler_error, euler_products

NEGLIGIBLE = 1e-20
"""Share of all multipliers below which a sample is left out of the gradient: far below float32's rounding of the rest,
even of 1e9 samples, and at small losses it leaves out nearly all of them."""
WHAT = 'a KKT point'
EULER_SAMPLES = 2048
"""A forward-mode derivative takes several times as long as the logits alone."""


class KKTPoint(NamedTuple):
    """Parameters as an approximate KKT point, an (epsilon, delta)-KKT point in the sense of Definition C.6.

    Attributes:
        log_loss: natural logarithm of the mean training loss, at the scale of the multipliers.
        rho: norm of all parameters.
        q_min: smallest margin.
        one_minus_cosine: 1 - <theta, -grad loss> / (||theta|| ||grad loss||), without cancellation.
        epsilon: ||theta~ - sum_nj lambda_nj grad s_nj(theta~)|| at theta~ = theta / q_min^(1/L). Equals
            ||theta~|| sqrt(2 one_minus_cosine). Like delta, delta_sum and multipliers it is nan where a sample is
            misclassified or the network is not homogeneous: theta~ is then not feasible.
        epsilon_relative: epsilon / ||theta~||; defined everywhere.
        delta: the largest lambda_nj (s_nj(theta~) - 1).
        delta_sum: their sum; for a linear network epsilon^2 / 2 + delta_sum is the duality gap.
        shares: the samples' shares in all multipliers, float64 [N].
        multipliers: lambda_nj summed over j, float64 [N].
        q: margins, float32 [N].
        direction: theta / ||theta||, float64 [parameters].
        euler_error: largest deviation from Euler's identity <theta, grad z> = L z, relative to the largest logit, over
            at most EULER_SAMPLES samples, which are evenly spaced.
    """

    log_loss: float
    rho: float
    q_min: float
    one_minus_cosine: float
    epsilon: float
    epsilon_relative: float
    delta: float
    delta_sum: float
    shares: np.ndarray
    multipliers: np.ndarray
    q: np.ndarray
    direction: np.ndarray
    euler_error: float


class KKTMeter:
    """Measures the parameters that a model has at the time of each call; compiled once.

    Args:
        model: the network.
        sharpness: the smallest margin that the weights are scaled to for the multipliers, all by one factor; None for
            the weights as they are. A direction has many scales, and the multipliers of its loss at small margins are
            nearly equal, at large ones those of the smallest margins alone.

    Raises:
        ValueError: it is no ``Model``, or gives no logits of two classes at least; or it has no scales, as it is not
            homogeneous.
    """

    def __init__(self, model: Model, sharpness: float | None = None):
        if not isinstance(model, Model):
            raise ValueError(f'the KKT conditions need a Model, which knows its norms, not a {type(model).__name__}')
        require_logit_structure(model.net, WHAT)
        self.model, self.sharpness = model, None if sharpness is None else checks.number('sharpness', sharpness)
        if sharpness is not None and not model.is_homogeneous:
            raise ValueError('sharpness scales weights, and this network is not homogeneous in them')
        self._batch = max(1, model.eval_batch // 8)  # a gradient keeps every activation, not only the largest
        images, logits = tf.TensorSpec(model.net.input_shape), tf.TensorSpec(model.net.output_shape)
        replicas = model.replicas
        self._products = graph_function(lambda x: replicas.concat(self._products_of_part, x), [images])
        self._gradient = graph_function(lambda *args: replicas.sum(self._gradient_of_part, *args), [images, logits])

    def _products_of_part(self, x):
        start, stop = self.model.replicas.part(tf.shape(x)[0])
        return euler_products(self.model.net, self.model.vars, x[start:stop])

    def _gradient_of_part(self, x, weights):
        """Gradient of sum(weights * logits) in all parameters."""
        rows = tf.range(tf.shape(x)[0])
        share = self.model.replicas.share(rows)
        with tf.GradientTape() as tape:
            logits = self.model.net(tf.gather(x, share), training=False)
            total = self.model.replicas.total(tf.reduce_sum(tf.gather(weights, share) * logits, axis=1), rows)
        return tape.gradient(total, self.model.vars, unconnected_gradients='zero')

    def measure(self, x, y) -> KKTPoint:
        """Measures over a training set.

        Args:
            x: images, float32 [N, H, W, C].
            y: labels, integers [N].

        Raises:
            ValueError: no images; images, parameters or logits that are not finite; labels that are no classes; a
                network of probabilities; or a gradient that vanishes.
        """
        x = tf.convert_to_tensor(x, tf.float32)
        labels = class_labels(y, self.model.num_labels, len(x))
        if not len(x):
            raise ValueError('the KKT conditions are those of a training set of one image at least')
        if not np.isfinite(x).all():
            raise ValueError('images must be finite numbers; these have values that are not')
        order = self.model.norms().order
        if not self.model.is_finite():
            raise ValueError('the network has parameters that are not finite')
        try:
            logits = self.model.test(x, labels)['y_']
        except NumericalFailure as e:
            raise ValueError(str(e)) from None
        require_logit_values(logits, WHAT)
        q = margins.margins(logits, labels)
        q_min = float(q.min())
        scale = self.sharpness / q_min if self.sharpness is not None and q_min > 0 else 1.0
        gaps, weights, log_loss = wrong_class_weights(logits.astype(np.float64) * scale, labels)
        theta = np.concatenate([v.numpy().ravel().astype(np.float64) for v in self.model.vars])
        ascent = self._ascent(x, labels, weights)
        rho, length = float(np.linalg.norm(theta)), float(np.linalg.norm(ascent))
        if not rho or not length:
            raise ValueError('the parameters, or the gradient of the loss, are zero, so they have no direction')
        direction = theta / rho
        apart = direction - ascent / length
        one_minus_cosine = float(apart @ apart) / 2

        size = length_of_feasible = slack = np.nan
        if self.model.is_homogeneous and q_min > 0:
            # theta~ = theta / q_min^(1/L) has this norm, and the multipliers of the paper's Lemma C.8 are these: the
            # gradient of s at theta~ is that at theta over q_min^(1 - 1/L).
            length_of_feasible = rho / q_min ** (1 / order)
            size = length_of_feasible * q_min ** (1 - 1 / order) / length
            slack = size * weights * np.where(weights > 0, gaps / (scale * q_min) - 1, 0.0)
        relative, shares = float(np.linalg.norm(apart)), weights.sum(axis=1)
        return KKTPoint(
            log_loss, rho, q_min, one_minus_cosine, length_of_feasible * relative, relative, float(np.max(slack)),
            float(np.sum(slack)), shares, size * shares, q, direction, self._euler_error(x, order))

    def _euler_error(self, x: tf.Tensor, order: int) -> float:
        some = tf.gather(x, np.unique(np.linspace(0, len(x) - 1, EULER_SAMPLES).astype(int)))
        parts = [self._products(some[i:i + self._batch]) for i in range(0, len(some), self._batch)]
        return max(euler_error(logits.numpy(), products.numpy(), order) for logits, products in parts)

    def _ascent(self, x: tf.Tensor, labels: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """sum_nj w_nj grad s_nj, float64 [parameters]; only the samples that count are visited."""
        counting = np.flatnonzero(weights.sum(axis=1) >= NEGLIGIBLE)
        of_logits = -weights[counting]
        of_logits[np.arange(len(counting)), labels[counting]] = weights[counting].sum(axis=1)
        total = np.zeros(sum(int(np.prod(v.shape)) for v in self.model.vars))
        for i in range(0, len(counting), self._batch):
            part = slice(i, i + self._batch)
            gradient = self._gradient(tf.gather(x, counting[part]), tf.constant(of_logits[part], tf.float32))
            total += np.concatenate([g.numpy().ravel() for g in gradient])
        return total


def wrong_class_weights(logits: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """The share of each wrong class of each sample in the gradient of the loss, at any loss.

    Args:
        logits: finite floats [N, C], N of at least 1 and C of at least 2.
        labels: integers [N].

    Raises:
        ValueError: arguments that are not such, or labels that are not in 0..C - 1.

    Returns:
        ``(s, w, log_loss)``: s_nj, float64 [N, C], inf at the right class; w_nj = p_nj / sum(p), float64 [N, C], 0 at
        the right class, with p_nj the softmax probability of class j; natural logarithm of the mean loss.
    """
    gaps = np.asarray(logits).astype(np.float64)
    require_logit_shape(gaps.shape, WHAT)
    labels = class_labels(labels, gaps.shape[1], len(gaps))
    if not len(gaps) or not np.isfinite(gaps).all():
        raise ValueError(f'{WHAT} needs logits of one image at least, all of them finite numbers')
    rows = np.arange(len(labels))
    gaps = gaps[rows, labels][:, np.newaxis] - gaps
    gaps[rows, labels] = np.inf
    log_p = -gaps - np.logaddexp.reduce(np.concatenate([-gaps, np.zeros((len(gaps), 1))], axis=1), axis=1)[:, None]
    weights = np.exp(log_p - log_p.max())
    return gaps, weights / weights.sum(), margins.log_mean_exp(margins.log_losses(logits, labels))


def samples_of_mass(shares: np.ndarray, mass: float) -> int:
    """The least number of samples that together have this much (0 to 1) of all multipliers; ``shares`` [N] sum to 1.

    Raises:
        ValueError: shares that are none, or a mass that is not in [0, 1].
    """
    shares = np.asarray(shares, np.float64)
    if not (shares.size and (shares >= 0).all() and 0 < shares.sum() < np.inf):
        raise ValueError('shares must be numbers of at least 0 that are not all 0')
    if not 0 <= mass <= 1:
        raise ValueError(f'mass must be a number from 0 to 1, not {mass!r}')
    total = np.cumsum(np.sort(shares)[::-1])
    return int(np.searchsorted(total, mass * total[-1])) + 1


def drift(a: np.ndarray, b: np.ndarray) -> float:
    """Distance between two directions: ||a - b|| for unit vectors, from 0 (the same) to 2 (opposite)."""
    return float(np.linalg.norm(a - b))
