"""Any Keras model as a network: which of its layers count is measured."""

from __future__ import annotations

import keras
import numpy as np
import tensorflow as tf

from ..logits import require_logits
from ..measures.homogeneity import degrees_of, split_biases, trained_layers
from .network import CountedLayer, Network

SAMPLES_FOR_DEGREES = 8


def network_of(net: keras.Model) -> Network:
    """A user's own Keras model, with any layers of any names, as a network.

    A layer is a leaf layer, nested or not, with trainable kernels, among which are the gammas of normalisations. Its
    degree is measured (see ``measures.homogeneity.degrees_of``), on images of noise. If the network is not
    homogeneous, norms count all variables of the first layer and the kernels alone of the others. Frozen layers, the
    slopes of PReLU and layers of biases alone are not counted.

    Raises:
        ValueError: the model is not built, takes no images of one known size, gives no logits [N, C], or has nothing to
            train.
    """
    require_logits(net, 'a Model')
    shapes = [tuple(t.shape[1:]) for t in getattr(net, 'inputs', None) or ()]
    if len(shapes) != 1 or len(shapes[0]) != 3 or None in shapes[0]:
        raise ValueError('a Model needs a network of images of one known size: build it with '
                         'keras.Input((height, width, channels))')
    noise = np.random.default_rng(0).uniform(size=(SAMPLES_FOR_DEGREES, *shapes[0])).astype(np.float32)
    layers, order, is_homogeneous = counted_layers(net, noise, 'a Model')
    weights = {f'{i}.{v.name}': v.value for i, v in enumerate(net.weights)}  # Keras numbers names of layers anew
    return Network(net, layers, is_homogeneous, trained_layers(net), weights, order)


def counted_layers(net: keras.Model, x, what: str) -> tuple[list[CountedLayer], int, bool]:
    """The layers of any Keras model that count in norms, the degree of the logits in all
    parameters together, and whether they are homogeneous; see ``network_of``.

    Args:
        net: from inputs to logits.
        x: some inputs, at least one of them not zero.
        what: what needs the norms, for the sentences.

    Raises:
        ValueError: the model has no kernel that is trained, or is quantised or has LoRA; TensorFlow does not run it.
    """
    _require_kernels(net, what)
    layers = trained_layers(net)
    try:
        degrees, order, is_homogeneous = degrees_of(net, list(layers.values()), x)
    except tf.errors.UnimplementedError:
        raise ValueError(f'{what} measures degrees of homogeneity without XLA, and TensorFlow does not run '
                         'this model so; on a CPU, convolutions need the data format channels_last') from None
    # What is trained but in no layer, such as slopes of PReLU, enters the logits too.
    is_homogeneous = is_homogeneous and sum(map(len, layers.values())) == len(net.trainable_variables)
    degree_of = {name: k for (name, vs), k in zip(layers.items(), degrees) if split_biases(vs)[0]}
    if not degree_of:
        raise ValueError('the model has no trainable variables that are kernels, so it has no norm')
    return [CountedLayer(name, layers[name] if i == 0 or is_homogeneous else split_biases(layers[name])[0], degree)
            for i, (name, degree) in enumerate(degree_of.items())], order, is_homogeneous


def _require_kernels(net: keras.Model, what: str) -> None:
    """Sees that what acts as a layer's kernel is a variable of its own."""
    for layer in net._flatten_layers():
        why = 'has LoRA' if getattr(layer, 'lora_enabled', False) else (
            f'is quantised to {layer.quantization_mode}' if getattr(layer, 'quantization_mode', None) else '')
        if why:
            raise ValueError(f'the layer {layer.name!r} {why}, so that none of the variables that are trained is its '
                             f'kernel; {what} needs the network as it was before')
