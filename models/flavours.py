"""Optimizers whose steps do not depend on the scale of the loss, so that they go as far down as gradient descent does.

Each is steepest descent in a norm of its own, or near it: for networks that are homogeneous of order L it makes
q_min / norm(theta)^L grow (Tsilivis et al., arXiv 2410.22069). A step is the rate times a direction of about norm 1.

With a frame the gradient that is taken is that of ln L, L being the loss of the batch: ``grad L / L`` is of ordinary
size at any loss, and the same in any frame. Without one it is the gradient as it is.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence

import tensorflow as tf

from . import checks
from .replicas import Replicas

SMALLEST = 1e-300
"""Of losses in frame units; a batch whose loss is below that, beside the loss of its epoch, has no gradient."""
RANK = 1e-5
"""Singular values below this share of the largest are taken for 0: float32 gradients have not many more digits."""
QUINTIC = (3.4445, -4.7750, 2.0315)
"""Coefficients of Muon's Newton-Schulz iteration, X -> a X + b (X X') X + c (X X')^2 X."""


class _Average:
    """A running average of tensors, sum over k of beta^k L_k^power t_k over the sum of the weights: it needs no
    correction for its start, and no loss is too small for it, as the sum of the weights is kept as a logarithm."""

    def __init__(self, variables: Sequence[tf.Variable], beta: float, power: int):
        self._beta, self._power = beta, power
        self.values = [tf.Variable(tf.zeros_like(v), trainable=False) for v in variables]
        self.log_weight = tf.Variable(-math.inf, trainable=False, dtype=tf.float64)

    def add(self, tensors: Sequence[tf.Tensor], log_loss: tf.Tensor, replicas: Replicas) -> list[tf.Tensor]:
        """Takes up the tensors of a step; returns the averages, which are the same in every replica."""
        new = math.log1p(-self._beta) + self._power * log_loss
        total = tf.reduce_logsumexp([math.log(self._beta) + self.log_weight, new])
        share = tf.cast(tf.exp(new - total), tf.float32)
        averages = [(1 - share) * value + share * t for value, t in zip(self.values, tensors)]
        for variable, value in zip([self.log_weight, *self.values], [total, *averages]):
            replicas.assign(variable, value)
        return averages


class ScaleFree(ABC):
    """Base of these optimizers.

    Args:
        momentum: beta of the running average of gradients whose direction is taken, from 0 (the gradient alone) to
            below 1.
        weigh: whether a gradient counts in averages by the loss of its batch, as the gradient of L does, or each
            alike. Alike is for whole batches, whose loss may fall so fast that the first would count for ever; of small
            batches, weighing tells those that matter from those that are fitted long since.
    """

    def __init__(self, momentum: float = 0.0, weigh: bool = False):
        self._beta = checks.number('momentum', momentum, strict=False, high=1 - 1e-7)
        self._power = int(checks.flag('weigh', weigh))
        self._averages: list[_Average] = []

    def build(self, variables: Sequence[tf.Variable], layers: Sequence[Sequence[int]]) -> None:
        """Makes what it keeps of each variable.

        Args:
            variables: those that are trained.
            layers: the places of each layer's, a kernel with its bias, say, among them.
        """
        self._layers = layers
        if self._beta:
            self._averages = [_Average(variables, self._beta, self._power)]

    def relative(self, loss: tf.Tensor, log_frame: tf.Tensor | None, replicas: Replicas) -> tuple[tf.Tensor, tf.Tensor]:
        """What a replica differentiates, its share of the loss over the whole loss; and ln of the real loss.

        Args:
            loss: the replica's share of the batch's loss in frame units, float64.
            log_frame: natural logarithm of the frame; None without one: then the loss as it is, and 0.
        """
        if log_frame is None:
            return loss, tf.zeros([], tf.float64)
        whole = tf.maximum(tf.stop_gradient(replicas.total_of([loss])[0]), SMALLEST)
        return loss / whole, tf.math.log(whole) + log_frame

    def apply(self, variables: Sequence[tf.Variable], gradients: Sequence[tf.Tensor], rate: tf.Tensor,
              log_loss: tf.Tensor, replicas: Replicas) -> None:
        """One step; within a replica, from gradients that are the same in all of them."""
        steps = self._steps(gradients, log_loss, replicas)
        replicas.subtract(variables, [tf.cast(rate, s.dtype) * s / replicas.count for s in steps])

    def _steps(self, gradients: Sequence[tf.Tensor], log_loss: tf.Tensor, replicas: Replicas) -> list[tf.Tensor]:
        for average in self._averages:
            gradients = average.add(gradients, log_loss, replicas)
        return self.direction(gradients)

    @abstractmethod
    def direction(self, gradients: Sequence[tf.Tensor]) -> list[tf.Tensor]:
        """The way up of steepest ascent: of norm 1, or 0 for a gradient of 0, and the same for any multiple of it."""

    @property
    def state(self) -> dict[str, tf.Variable]:
        """Its variables by name: averages, and logarithms of the sums of their weights."""
        kept = [(name, v) for k, average in enumerate(self._averages, start=1) for name, v in (
            (f'log_weight_{k}', average.log_weight), *((f'average_{k}', value) for value in average.values))]
        return {f'{i}.{name}': v for i, (name, v) in enumerate(kept)}


class Sign(ScaleFree):
    """Sign descent, ``theta -= rate sign(g)``: steepest descent in max |theta_i|."""

    def direction(self, gradients: Sequence[tf.Tensor]) -> list[tf.Tensor]:
        return [tf.sign(g) for g in gradients]


class Normalised(ScaleFree):
    """``theta_l -= rate g_l / |g_l|_2`` for every layer l, its bias included: steepest descent in the largest of the
    layers' L2 norms.

    Args:
        whole: whether the network counts as one layer: the direction of gradient descent, steepest in L2.
        momentum, weigh: see ``ScaleFree``.
    """

    def __init__(self, whole: bool = False, momentum: float = 0.0, weigh: bool = False):
        super().__init__(momentum, weigh)
        self._whole = checks.flag('whole', whole)

    def direction(self, gradients: Sequence[tf.Tensor]) -> list[tf.Tensor]:
        directions = list(gradients)
        for layer in [range(len(directions))] if self._whole else self._layers:
            parts = _in_units([gradients[i] for i in layer])
            norm = tf.sqrt(tf.add_n([tf.reduce_sum(tf.square(g)) for g in parts]))
            for i, part in zip(layer, parts):
                directions[i] = tf.math.divide_no_nan(part, norm)
        return directions


class Muon(ScaleFree):
    """``W_l -= rate U V'`` for the matrix W_l of every layer, [inputs (and 1 for the bias), outputs], where
    ``G_l = U S V'`` is the singular value decomposition of its gradient: steepest descent in the largest of the layers'
    spectral norms (K. Jordan et al., Muon; arXiv 2502.04664, 2602.16340).

    The kernel of a convolution is a matrix of height * width * channels rows. A layer's bias is the row after the
    kernel's, so it has no rule of its own; where a layer's variables do not fit together as rows, each is a matrix.

    Args:
        steps: of Muon's Newton-Schulz iteration, which takes singular values to about 0.7 to 1.2, as is quick on a GPU;
            0 for the decomposition itself.
        momentum, weigh: see ``ScaleFree``. (Muon as it was published has a momentum of 0.95.)
    """

    def __init__(self, steps: int = 0, momentum: float = 0.0, weigh: bool = False):
        super().__init__(momentum, weigh)
        self._iterations = checks.count('steps', steps, 0, 100)

    def direction(self, gradients: Sequence[tf.Tensor]) -> list[tf.Tensor]:
        directions = list(gradients)
        for layer in self._layers:
            for places in _matrices(layer, gradients):
                rows = [tf.reshape(gradients[i], [-1, gradients[i].shape[-1]]) for i in places]
                ways = self._orthogonal(_in_units([tf.concat(rows, axis=0)])[0])
                parts = tf.split(ways, [r.shape[0] for r in rows], axis=0)
                for i, part in zip(places, parts):
                    directions[i] = tf.reshape(part, gradients[i].shape)
        return directions

    def _orthogonal(self, matrix: tf.Tensor) -> tf.Tensor:
        if self._iterations:
            return _newton_schulz(matrix, self._iterations)
        s, u, v = tf.linalg.svd(matrix)
        kept = tf.cast(s > RANK * tf.reduce_max(s), s.dtype)  # of what is noise alone, no way is up
        return tf.matmul(u * kept, v, transpose_b=True)


class Adam(ScaleFree):
    """``theta -= rate m / (sqrt(v) + epsilon r)``, m and v running averages of the gradient and of its square, r the
    root mean square of the gradient, over all weights: epsilon is a share, and may be 0. Sign descent without memory;
    with it, believed to maximise the margin in max |theta_i| (Zhang, Zou and Cao, arXiv 2406.10650).

    Args:
        beta_1, beta_2: memories of m and v, from 0 to below 1.
        epsilon: at least 0.
        weigh: see ``ScaleFree``; v counts squares by squares of the loss.
    """

    def __init__(self, beta_1: float = 0.9, beta_2: float = 0.99, epsilon: float = 0.0, weigh: bool = False):
        super().__init__(beta_1, weigh)
        self._beta_2 = checks.number('beta_2', beta_2, strict=False, high=1 - 1e-7)
        self._epsilon = checks.number('epsilon', epsilon, strict=False, high=1e30)

    def build(self, variables: Sequence[tf.Variable], layers: Sequence[Sequence[int]]) -> None:
        super().build(variables, layers)
        self._first = self._averages[:1]
        self._second = [_Average(variables, self._beta_2, 2 * self._power)] if self._beta_2 else []
        self._averages = [*self._first, *self._second]

    def _steps(self, gradients: Sequence[tf.Tensor], log_loss: tf.Tensor, replicas: Replicas) -> list[tf.Tensor]:
        squares = [tf.square(g) for g in gradients]
        for average in self._first:
            gradients = average.add(gradients, log_loss, replicas)
        for average in self._second:
            squares = average.add(squares, log_loss, replicas)
        return self._preconditioned(gradients, squares)

    def direction(self, gradients: Sequence[tf.Tensor]) -> list[tf.Tensor]:
        return self._preconditioned(gradients, [tf.square(g) for g in gradients])

    def _preconditioned(self, gradients: Sequence[tf.Tensor], squares: Sequence[tf.Tensor]) -> list[tf.Tensor]:
        mean = tf.add_n([tf.reduce_sum(s) for s in squares]) / sum(math.prod(s.shape) for s in squares)
        least = self._epsilon * tf.sqrt(mean)
        return [tf.math.divide_no_nan(g, tf.sqrt(s) + least) for g, s in zip(gradients, squares)]


def _in_units(tensors: Sequence[tf.Tensor]) -> list[tf.Tensor]:
    """Tensors over the largest of their entries, whose squares neither under- nor overflow."""
    largest = tf.reduce_max([tf.reduce_max(tf.abs(t)) for t in tensors])
    return [tf.math.divide_no_nan(t, largest) for t in tensors]


def _matrices(layer: Sequence[int], gradients: Sequence[tf.Tensor]) -> list[list[int]]:
    """Which variables of a layer are rows of one matrix."""
    together = len({gradients[i].shape[-1] if gradients[i].shape.rank else 1 for i in layer}) == 1
    return [list(layer)] if together else [[i] for i in layer]


def _newton_schulz(matrix: tf.Tensor, steps: int) -> tf.Tensor:
    a, b, c = QUINTIC
    upright = matrix.shape[0] > matrix.shape[1]
    x = tf.transpose(matrix) if upright else matrix
    x = tf.math.divide_no_nan(x, tf.norm(x))
    for _ in range(steps):
        gram = tf.matmul(x, x, transpose_b=True)
        x = a * x + tf.matmul(b * gram + c * tf.matmul(gram, gram), x)
    return tf.transpose(x) if upright else x


SCALE_FREE: dict[str, type[ScaleFree]] = {
    'sign': Sign,
    'normalised': Normalised,
    'muon': Muon,
    'scale-free-adam': Adam,
}
"""Names of the optimizers that go with a frame, beside 'gd'."""
