"""The loss of Large Margin Deep Networks for Classification (Elsayed et al., NeurIPS 2018, arXiv 1803.05598).

This is that of the paper, on logits; ``released_large_margin`` is what the authors published as code.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import keras
import tensorflow as tf

from .. import checks
from ..types import shown
from .at_layers import AtLayers
from .gradients import gradient_norms, one_hot_labels
from .labels import nan_for_no_class
from .passes import ForwardPass

AGGREGATES = ('max', 'sum')


class Distances(NamedTuple):
    """Distances to the boundaries with K competing classes, at L layers.

    Attributes:
        distance: float64 [L, N, K], in units of the layer, under the norm p; positive on the right side.
        difference: float64 [N, K], the score of the right class minus the competitor's.
        gradient_norm: float64 [L, N, K], the dual norm of the gradient of the difference.
        classes: int32 [N, K], the competitors, the highest score first (of equal ones, the lowest class).
    """

    distance: tf.Tensor
    difference: tf.Tensor
    gradient_norm: tf.Tensor
    classes: tf.Tensor


def boundary_distances(tape: tf.GradientTape, logits: tf.Tensor, y: Any, activations: Sequence[tf.Tensor],
                       norm: float | str = 2, top_k: int | Literal['all'] = 'all', second_order: bool = False,
                       eps: float = 1e-6) -> Distances:
    """First-order distances from activations to the boundaries between the right class and others.

    The distance of activation h to the boundary with class i is ``(f_y - f_i) / (||grad_h (f_y - f_i)||_q + eps)`` with
    q dual to p (equation 7 of the paper, with the opposite sign). It is exact, but for eps, where f is linear.

    Args:
        tape: persistent, and closed; it has recorded the way from the activations to the logits.
        logits: float [N, C].
        y: labels, integers in 0..C-1, [N] or [N, 1].
        activations: tensors [N, ...] on that way; the first of them, usually the images, was watched.
        norm: the norm p of distances: 1, 2 or 'inf'.
        top_k: how many competitors, those with the highest logits other than the right one; 'all' for C - 1. Each
            takes a backward pass.
        second_order: whether the norm of the gradient is differentiated through, or a constant to whoever
            differentiates the distances.
        eps: added to the norm of the gradient. Where that vanishes, the distance is the difference over eps.

    Raises:
        ValueError: an argument that is not such.
    """
    p, eps = checks.norm(norm), checks.number('eps', eps)
    logits = tf.convert_to_tensor(logits)
    right = one_hot_labels(y, logits)
    most = logits.shape[-1] - 1
    k = most if isinstance(top_k, str) and top_k == 'all' else checks.top_k(top_k, most)
    scores = tf.cast(logits, tf.float64)
    classes = tf.math.top_k(tf.where(right, tf.constant(float('-inf'), tf.float64), scores), k)[1]
    # +1 at the right class, -1 at the competitor: of two addends, so the difference is as exact as a subtraction.
    signs = tf.cast(right, tf.float64)[:, tf.newaxis] - tf.one_hot(classes, most + 1, dtype=tf.float64)
    difference = tf.reduce_sum(signs * scores[:, tf.newaxis], axis=2)
    norms = gradient_norms(tape, logits, signs, activations, p)
    if not second_order:
        norms = tf.stop_gradient(norms)
    distance = nan_for_no_class(difference / (norms + eps), y, logits, axis=1)
    return Distances(distance, difference, norms, classes)


def large_margin_losses(tape: tf.GradientTape, logits: tf.Tensor, y: Any, activations: Sequence[tf.Tensor],
                        gamma: float = 1.0, norm: float | str = 2, top_k: int | Literal['all'] = 'all',
                        aggregate: str = 'max', layer_weights: Sequence[float] | None = None,
                        second_order: bool = False, eps: float = 1e-6) -> tf.Tensor:
    """Per-sample large margin losses.

    A competitor i costs ``max(0, gamma - distance_i)`` at a layer; these are aggregated over the competitors, and
    averaged over the layers: ``mean over l of weight_l * aggregate over i`` (equations 3, 4 and 8 of the paper, which
    adds the layers up).

    For one's own training step, with any network::

        with tf.GradientTape() as outer:
            with tf.GradientTape(persistent=True) as tape:
                tape.watch(x)
                h = body(x, training=True)
                logits = head(h, training=True)
            loss = tf.reduce_mean(large_margin_losses(tape, logits, y, [x, h], gamma=0.5))
        gradients = outer.gradient(loss, body.trainable_variables + head.trainable_variables)

    With second_order, a batch norm in training mode needs ``twice_differentiable_moments()`` around its forward pass.

    Where all gradients of a misclassified sample vanish its loss is as large as |f_y - f_i| / eps, and so is, over
    eps, the gradient of its logits: finite, but with eps = 1e-6 the sample outweighs the batch. A larger eps bounds it.

    Args:
        gamma: the margin wanted at each layer, in units of the layer, above 0.
        aggregate: 'max' or 'sum' over the competitors.
        layer_weights: a positive factor for each layer's loss; None for 1.
        tape, logits, y, activations, norm, top_k, second_order, eps: see ``boundary_distances``.

    Returns:
        float64 [N].

    Raises:
        ValueError: an argument that is not such.
    """
    gamma, aggregate = checks.number('gamma', gamma), _aggregate(aggregate)
    weights = checks.layer_weights(layer_weights, [f'activation {i}' for i in range(len(activations))])
    distance = boundary_distances(tape, logits, y, activations, norm, top_k, second_order, eps).distance
    penalties = tf.nn.relu(gamma - distance)
    each = tf.reduce_sum(penalties, axis=2) if aggregate == 'sum' else tf.reduce_max(penalties, axis=2)
    if weights is not None:
        each *= tf.constant(weights, tf.float64)[:, tf.newaxis]
    return nan_for_no_class(tf.reduce_mean(each, axis=0), y, logits)  # once more: a maximum may pass over nan


class LargeMargin(AtLayers):
    """``large_margin_losses`` of a Keras model, at layers given by name.

    Args:
        layers: 'all' (the images and the outputs of all hidden blocks), 'hidden' (the latter), or a list of names of
            the network's layers, 'input' for the images.
        gamma, norm, top_k, aggregate, second_order, eps: see ``large_margin_losses``.
        layer_weights: a positive factor for each layer's loss, in the order of ``layers``; None for 1.

    Raises:
        ValueError: an argument that is not such; a network without these layers, when called.
    """

    def __init__(self, layers: str | Sequence[str] = 'all', gamma: float = 1.0, norm: float | str = 2,
                 top_k: int | Literal['all'] = 'all', aggregate: str = 'max',
                 layer_weights: Sequence[float] | None = None, second_order: bool = False, eps: float = 1e-6):
        super().__init__(layers, layer_weights, second_order)
        self.options: dict[str, Any] = {
            'gamma': checks.number('gamma', gamma), 'norm': checks.norm(norm),
            'top_k': top_k if isinstance(top_k, str) and top_k == 'all' else checks.top_k(top_k),
            'aggregate': _aggregate(aggregate), 'second_order': second_order, 'eps': checks.number('eps', eps)}

    def layers(self, net: keras.Model) -> tuple[str, ...]:
        layers = super().layers(net)
        if self.options['top_k'] != 'all':
            checks.top_k(self.options['top_k'], net.outputs[0].shape[-1] - 1)
        return layers

    def losses_of(self, run: ForwardPass) -> tf.Tensor:
        return large_margin_losses(run.tape, run.logits, run.y, self.activations(run),
                                   layer_weights=self.layer_weights, **self.options)


def _aggregate(name: Any) -> str:
    if not isinstance(name, str) or name not in AGGREGATES:
        raise ValueError(f"aggregate must be 'max' or 'sum', over the competing classes, not {shown(name)}")
    return name
