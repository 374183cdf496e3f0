"""The large margin loss as the authors of arXiv 1803.05598 released it: on probabilities, clipped on both sides."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from .. import checks
from .at_layers import AtLayers
from .gradients import gradient_norms, one_hot_labels
from .labels import nan_for_no_class
from .large_margin import Distances
from .passes import ForwardPass


def released_distances(tape: tf.GradientTape, logits: tf.Tensor, y: Any, activations: Sequence[tf.Tensor],
                       norm: float | str = 2, top_k: int = 1, layer_weights: Sequence[float] | None = None,
                       second_order: bool = False, eps: float = 1e-8) -> Distances:
    """First-order distances to where another class is as probable as the right one.

    ``(p_y - p_i) / (||grad_h (p_y - p_i)||_q / weight + eps)`` with softmax probabilities p. These are taken in
    float64, so that a saturated softmax keeps the digits of its small gradient; otherwise the numbers are those of
    the release.

    Two particulars of the release are kept. The right class is a competitor of constant probability 0, which matters
    only with as many competitors as classes. And a single competitor that ties with others exactly stands for their
    mean, where several competitors are the tied classes one by one.

    Args:
        layer_weights: a positive factor of each layer's distances; None for 1.
        top_k: how many competitors, the most probable ones.
        eps: added to the norm, after its division by the weight.
        tape, logits, y, activations, norm, second_order: see ``large_margin.boundary_distances``.

    Returns:
        Distances, with the differences of probabilities, and with gradient norms divided by their weights.

    Raises:
        ValueError: an argument that is not such.
    """
    p, eps = checks.norm(norm), checks.number('eps', eps)
    weights = checks.layer_weights(layer_weights, [f'activation {i}' for i in range(len(activations))])
    logits = tf.convert_to_tensor(logits)
    right = one_hot_labels(y, logits)
    count = logits.shape[-1]
    probabilities = tf.nn.softmax(tf.cast(logits, tf.float64))
    others = tf.where(right, tf.zeros_like(probabilities), probabilities)
    top, classes = tf.math.top_k(others, checks.top_k(top_k, count))
    if top_k == 1:
        tied = tf.cast(others == top, tf.float64)
        picked = (tied / tf.reduce_sum(tied, axis=1, keepdims=True))[:, tf.newaxis]
    else:
        picked = tf.one_hot(classes, count, dtype=tf.float64)
    right, picked = right[:, tf.newaxis], tf.where(right[:, tf.newaxis], tf.zeros_like(picked), picked)
    signs = tf.cast(right, tf.float64) - picked
    probabilities = probabilities[:, tf.newaxis]
    difference = tf.reduce_sum(signs * probabilities, axis=2)
    # The gradient of the difference with respect to the logits.
    directions = probabilities * (signs - difference[:, :, tf.newaxis])
    norms = gradient_norms(tape, logits, directions, activations, p)
    if weights is not None:
        norms /= tf.constant(weights, tf.float64)[:, tf.newaxis, tf.newaxis]
    if not second_order:
        norms = tf.stop_gradient(norms)
    distance = nan_for_no_class(difference / (norms + eps), y, logits, axis=1)
    return Distances(distance, difference, norms, classes)


def released_large_margin_losses(tape: tf.GradientTape, logits: tf.Tensor, y: Any, activations: Sequence[tf.Tensor],
                                 gamma: float = 10000.0, alpha: float = 2.0, norm: float | str = 2, top_k: int = 1,
                                 worst_case: bool = True, layer_weights: Sequence[float] | None = None,
                                 second_order: bool = False, eps: float = 1e-8) -> tf.Tensor:
    """Per-sample losses, with the defaults of the released function.

    A distance d costs ``-d`` within [gamma (1 - alpha), gamma], and beyond that what it costs there, without a
    gradient: a sample far enough on either side, or whose softmax is saturated, does not train. Losses are thus between
    -gamma and gamma (alpha - 1), or top_k times that if not worst_case: shifted by -gamma from a hinge, as the release
    has it. They are averaged over the layers.

    The release computes in float32, where at gamma = 10000 its losses are multiples of 2^-10; these are not rounded.

    Args:
        gamma: the margin wanted, in units of the layer times its weight, above 0.
        alpha: above 0; gamma * alpha is the largest cost of a competitor, counted from that of a safe one.
        worst_case: whether only the smallest of the distances to the competitors costs, or the sum of their costs.
        tape, logits, y, activations, norm, top_k, layer_weights, second_order, eps: see ``released_distances``.

    Returns:
        float64 [N].

    Raises:
        ValueError: an argument that is not such.
    """
    gamma, alpha = checks.number('gamma', gamma), checks.number('alpha', alpha)
    distance = released_distances(tape, logits, y, activations, norm, top_k, layer_weights, second_order, eps).distance
    if worst_case:
        distance = tf.reduce_min(distance, axis=2, keepdims=True)
    least, most = tf.constant(gamma * (1 - alpha), tf.float64), tf.constant(gamma, tf.float64)
    # Of two equals TensorFlow gives the gradient to the first: at the lower bound it passes, at the upper it does not.
    kept = tf.minimum(most, tf.maximum(distance, least))
    return nan_for_no_class(tf.reduce_mean(-tf.reduce_sum(kept, axis=2), axis=0), y, logits)


class ReleasedLargeMargin(AtLayers):
    """``released_large_margin_losses`` of a Keras model, at layers given by name, as the release trains MNIST.

    The release has the margin at the images and its two convolutional blocks, after pooling and batch norm, and not at
    the dense layer: ``layers=['input', <first block>, <second block>]``.

    Args:
        layers: 'all' (the images and the outputs of all hidden blocks), 'hidden' (the latter), or a list of names of
            the network's layers, 'input' for the images.
        layer_weights: a positive factor for each layer's distances, in the order of ``layers``; None, as the release
            does, for the layers' sizes (numbers of values per sample) if norm is 'inf', and for 1 otherwise.
        gamma, alpha, norm, top_k, worst_case, second_order, eps: see ``released_large_margin_losses``; the defaults are
            those of the release's training of MNIST.

    Raises:
        ValueError: an argument that is not such; a network without these layers, when called.
    """

    def __init__(self, layers: str | Sequence[str] = 'all', gamma: float = 10000.0, alpha: float = 4.0,
                 norm: float | str = 'inf', top_k: int = 1, worst_case: bool = True,
                 layer_weights: Sequence[float] | None = None, second_order: bool = False, eps: float = 1e-6):
        super().__init__(layers, layer_weights, second_order)
        self.options: dict[str, Any] = {
            'gamma': checks.number('gamma', gamma), 'alpha': checks.number('alpha', alpha), 'norm': checks.norm(norm),
            'top_k': checks.top_k(top_k), 'worst_case': checks.flag('worst_case', worst_case),
            'second_order': second_order, 'eps': checks.number('eps', eps)}

    def layers(self, net: keras.Model) -> tuple[str, ...]:
        layers = super().layers(net)
        checks.top_k(self.options['top_k'], net.outputs[0].shape[-1])
        return layers

    def losses_of(self, run: ForwardPass) -> tf.Tensor:
        activations, weights = self.activations(run), self.layer_weights
        if weights is None and self.options['norm'] == math.inf:
            # The dual norm is then a sum over the layer; divided by the size it is a mean, alike for all layers.
            weights = tuple(float(math.prod(a.shape[1:])) for a in activations)
        return released_large_margin_losses(run.tape, run.logits, run.y, activations, layer_weights=weights,
                                            **self.options)
