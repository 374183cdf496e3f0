"""Products of a vector with the Hessian of the loss, and with its Gauss-Newton matrix, at any loss.

The mean cross entropy has the gradient J^T r / N and the Hessian J^T A J / N + sum_nj r_nj Hess(z_nj) / N, where z are
the logits, J their derivatives in the parameters, and r and A those of the cross entropy in them: with p_nj the softmax
probability of the wrong class j,

    r_nj = p_nj,   r_n,right = -sum_j p_nj,   (A u)_nj = p_nj (d_j - sum_k p_nk d_k),   d_j = u_j - u_right.

The first term is the generalised Gauss-Newton matrix. Here p_nj are taken in the log domain and divided by the frame,
exp(log_frame): what is multiplied is the Hessian in units of the frame, an ordinary matrix even where the loss, and
with it the Hessian, is 1e-880. (Lyu & Li, arXiv 1906.05890, take the gradient so; nothing here needs a smaller number.)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import keras
import numpy as np
import tensorflow as tf

from .. import checks, margins
from ..in_graphs import compiled_once
from ..losses import HPSparseSoftmaxCrossEntropy, hp_sparse_softmax_cross_entropy_with_logits_v1
from ..model import Model
from ..types import shown
from .samples import Attacked, Batches, batches_of

Net: TypeAlias = Model | keras.Model
KINDS = ('hessian', 'gauss-newton')
BATCH = 200
"""Images whose products are taken together: of more, what a convolution leaves no longer fits a CPU's cache."""


class Curvature:
    """The matrix of second derivatives of a mean cross entropy in all trainable parameters, by its products.

    The network is taken as in inference, at the weights that it has at the time of each call; ``refresh`` has to be
    called when they have changed. Where there are kinks (ReLU, max pooling) the derivatives are those of the branch
    taken.

    Args:
        net: ``Model``, or any built Keras model that maps images to logits.
        data: (images, labels), arrays [N, ...] and integers [N], or a ``tf.data.Dataset`` of such batches, in a fixed
            order.
        kind: 'hessian' or 'gauss-newton'.
        batch: images whose products are taken together; of a data set, that of its own batches.
        loss: a Keras loss, or a function of (labels, logits) to the losses of images; None for the cross entropy.
            Another loss than the cross entropy is taken as it is, in no units.
        attack: makes adversarial images, once for each batch, when the matrix is made and in ``refresh``: they are
            fixed then, as Liu et al. (arXiv 2006.08403, section 4) take the Hessian of adversarial training. It is
            given a batch's images, labels and the number of the first of them, such as
            ``lambda x, y, first: pgd.of_size(x, y, 0.1, rng=first)``, with ``pgd`` an ``attacks.LossPGD`` of the
            network. None for the images as they are.

    Raises:
        ValueError: an argument that is not such; no images; logits that are not finite.

    Attributes:
        size: the number of parameters.
        images: the number of images.
        shapes: of the parameters, in the network's order, in which they follow each other in a vector.
        log_loss: natural logarithm of the mean loss.
        log_frame: natural logarithm of the units: that of the mean cross entropy, 0 of another loss.
        products: how many have been taken since ``refresh``.
    """

    def __init__(self, net: Net, data: Any, kind: str = 'hessian', batch: int = BATCH,
                 loss: Callable[..., tf.Tensor] | None = None, attack: Attacked | None = None):
        self._loss = of_each(loss)
        self._slopes = cross_entropy_slopes if self._loss is None else slopes_of(self._loss)
        self.kind = checks.one_of('kind', kind, KINDS)
        self.net: keras.Model = net.net if isinstance(net, Model) else net
        self.variables = [v.value for v in self.net.trainable_variables]
        if not self.variables:
            raise ValueError('the network has no parameters to be trained, so there is no curvature')
        self.shapes = [tuple(v.shape) for v in self.variables]
        self._sizes = [int(np.prod(shape)) for shape in self.shapes]
        self.size = sum(self._sizes)
        self._clean, self._attack = batches_of(data, checks.count('batch', batch, 1)), attack
        flat = [tf.TensorSpec(shape, v.dtype) for shape, v in zip(self.shapes, self.variables)]
        log = tf.TensorSpec([], tf.float64)
        image, label = self._clean.specs
        multiply = self._hessian if kind == 'hessian' else self._gauss_newton
        self._multiply = compiled_once(multiply, image, label, log, flat)
        self._gradient = compiled_once(self._gradient_of, image, label, log)
        self._logits = compiled_once(lambda x: self.net(x, training=False), image)
        self.refresh()

    def refresh(self) -> None:
        """Makes the adversarial images, if it has any, and takes the loss for the frame, of the network as it is now,
        and counts products anew.

        Raises:
            ValueError: logits that are not finite.
        """
        self.products, logs = 0, []
        self._data: Batches = self._clean if self._attack is None else self._clean.attacked(self._attack)
        for x, y in self._data:
            logits = self._logits(x)
            if not np.isfinite(logits).all():
                raise ValueError("the network's logits are not all finite")
            logs.append(margins.log_losses(logits.numpy(), y.numpy()) if self._loss is None else
                        np.log(self._loss(y, logits).numpy().astype(np.float64)))
        if not logs:
            raise ValueError('the data set has no images')
        self.images = sum(map(len, logs))
        self.log_loss = float(margins.log_mean_exp(np.concatenate(logs)))
        self.log_frame = self.log_loss if self._loss is None else 0.0

    def __call__(self, v: np.ndarray) -> np.ndarray:
        """The product with a vector, float64 [size], over exp(log_frame).

        Raises:
            ValueError: a vector of another length.
        """
        parts = [tf.constant(part, variable.dtype) for part, variable in zip(self.split(v), self.variables)]
        self.products += 1
        return self._mean(lambda x, y, log: self._multiply(x, y, log, parts))

    def gradient(self) -> np.ndarray:
        """The gradient of the mean loss, float64 [size], over exp(log_frame)."""
        return self._mean(self._gradient)

    def theta(self) -> np.ndarray:
        """The parameters, float64 [size]."""
        return self.join(self.variables)

    def split(self, v: np.ndarray) -> list[np.ndarray]:
        """A vector in the shapes of the parameters.

        Raises:
            ValueError: a vector of another length.
        """
        if np.shape(v) != (self.size,):
            raise ValueError(f'a vector of the {self.size} parameters has the shape ({self.size},), not {np.shape(v)}')
        ends = np.cumsum(self._sizes)[:-1]
        return [part.reshape(shape) for part, shape in zip(np.split(v, ends), self.shapes)]

    def join(self, parts: Sequence[Any]) -> np.ndarray:
        """Arrays in the shapes of the parameters as one vector, float64 [size]."""
        return np.concatenate([np.asarray(part, np.float64).ravel() for part in parts])

    def _mean(self, of_batch: Callable[..., Sequence[tf.Tensor]]) -> np.ndarray:
        total, log_frame = np.zeros(self.size), tf.constant(self.log_frame, tf.float64)
        places = self.split(total)  # views
        for x, y in self._data:
            for place, part in zip(places, of_batch(x, y, log_frame)):
                place += part.numpy()
        return total / self.images

    # ---- sums over a batch ----

    def _gradient_of(self, x, y, log_frame):
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(self.variables)
            logits = self.net(x, training=False)
        r = tf.cast(self._slopes(y, logits, log_frame), logits.dtype)
        return tape.gradient(logits, self.variables, r, unconnected_gradients='zero')

    def _hessian(self, x, y, log_frame, v):
        # Reverse over reverse: forward over reverse took a seventh more on convolutions (benchmarks/landscape.py).
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(self.variables)
            gradient = self._gradient_of(x, y, log_frame)
        return tape.gradient(gradient, self.variables, v, unconnected_gradients='zero')

    def _gauss_newton(self, x, y, log_frame, v):
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(self.variables)
            with tf.autodiff.ForwardAccumulator(self.variables, v) as forward:
                logits = self.net(x, training=False)
            moved = forward.jvp(logits, unconnected_gradients='zero')
        fixed = tf.stop_gradient(logits)
        with tf.autodiff.ForwardAccumulator(fixed, tf.stop_gradient(moved)) as forward:
            r = self._slopes(y, fixed, log_frame)
        up = tf.cast(forward.jvp(r), logits.dtype)
        return tape.gradient(logits, self.variables, up, unconnected_gradients='zero')


def cross_entropy_slopes(y: tf.Tensor, logits: tf.Tensor, log_frame: tf.Tensor) -> tf.Tensor:
    """Derivatives of the cross entropies in the logits, over exp(log_frame), float64 [N, C]; r of the module's text."""
    z = tf.cast(logits, tf.float64)
    right = tf.one_hot(y, logits.shape[-1], on_value=True, off_value=False, dtype=tf.bool)
    gaps = tf.where(right, tf.constant(-np.inf, tf.float64), z - tf.gather(z, y[:, tf.newaxis], axis=1, batch_dims=1))
    log_p = gaps - tf.math.softplus(tf.reduce_logsumexp(gaps, axis=1, keepdims=True))
    p = tf.exp(log_p - log_frame)
    return tf.where(right, -tf.reduce_sum(p, axis=1, keepdims=True), p)


def slopes_of(loss: Callable[..., tf.Tensor]) -> Callable[..., tf.Tensor]:
    """The same, float64 [N, C], of a loss of (labels, logits) of each image, without a frame."""
    def slopes(y, logits, log_frame):
        with tf.GradientTape() as tape:
            tape.watch(logits)
            total = tf.reduce_sum(loss(y, logits))
        return tf.cast(tape.gradient(total, logits), tf.float64)
    return slopes


def of_each(loss: Any) -> Callable[..., tf.Tensor] | None:
    """A loss as a function to the losses of images; None for the cross entropy, which this module takes itself."""
    if loss is None or loss is hp_sparse_softmax_cross_entropy_with_logits_v1 or isinstance(
            loss, HPSparseSoftmaxCrossEntropy):
        return None
    if not callable(loss):
        raise ValueError(f'loss must be a function of (labels, logits), such as a Keras loss, not {shown(loss)}')
    return loss.call if isinstance(loss, keras.losses.Loss) else loss
