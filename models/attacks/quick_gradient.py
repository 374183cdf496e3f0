"""A network whose input gradient is quick to take on a CPU."""

from __future__ import annotations

from collections.abc import Callable

import keras
import tensorflow as tf

from ..chains import chain_of, is_exactly

BLOCK = 4
"""Side of the blocks of pixels whose gradients are computed together, as the channels of one convolution."""


def quick_to_differentiate(net: keras.Model) -> Callable[[tf.Tensor], tf.Tensor]:
    """The same function of the images as ``net``, with the same gradient.

    The gradient of a convolution with respect to an image of few channels is, as libraries compute it, a convolution
    with so few output channels that most of a vector register is idle; for the paper's MNIST CNN it takes half of the
    whole gradient. Here the gradients of 4x4 pixels are the output channels of a convolution of stride 4.

    Where the network begins with anything else than a convolution known to the letter, or is not a chain of layers, it
    is called itself; so it is, too, once it has become such a network (by low-rank adaptation, say).
    """
    if not _is_quick(net):
        return lambda x: net(x, training=False)

    def call(x: tf.Tensor) -> tf.Tensor:
        if not _is_quick(net) or x.shape.rank != 4:
            return net(x, training=False)
        first, *others = chain_of(net) or []
        h = _convolution(tf.cast(x, tf.float32), tf.convert_to_tensor(first.kernel), first.padding.upper())
        if first.use_bias:
            h = tf.nn.bias_add(h, tf.convert_to_tensor(first.bias))
        if first.activation is not None:
            h = first.activation(h)
        for layer in others:
            h = layer(h, training=False) if layer._call_has_training_arg else layer(h)
        return h
    return call


def _is_quick(net: keras.Model) -> bool:
    layers = chain_of(net) or []
    return (bool(layers) and _fits(layers[0]) and net.inputs[0].dtype == 'float32'
            and not tf.config.list_logical_devices('GPU'))


def _fits(layer: keras.Layer) -> bool:
    return (is_exactly(layer, keras.layers.Conv2D) and layer.kernel.shape[2] <= 4 and layer.groups == 1
            and layer.data_format == 'channels_last' and {*layer.strides, *layer.dilation_rate} == {1}
            and layer.compute_dtype == layer.variable_dtype == 'float32' and layer.quantization_mode is None
            and not layer.lora_enabled)


def _convolution(x: tf.Tensor, kernel: tf.Tensor, padding: str) -> tf.Tensor:
    @tf.custom_gradient
    def convolve(x):
        return tf.nn.conv2d(x, kernel, 1, padding), lambda up: _input_gradient(up, kernel, tf.shape(x), padding)
    return convolve(x)


def _input_gradient(upstream: tf.Tensor, kernel: tf.Tensor, shape: tf.Tensor, padding: str) -> tf.Tensor:
    """The gradient of a convolution of stride 1 with respect to its input, of this shape.

    At pixel p it is the sum over i of kernel[i] * upstream[p + before - i], ``before`` being the rows padded before the
    image: a correlation of the padded ``upstream`` with the flipped kernel. The flipped kernel, moved to each place of
    a block, gives the block's pixels as channels.
    """
    h, w = kernel.shape[:2]
    flipped = tf.transpose(kernel[::-1, ::-1], [0, 1, 3, 2])
    blocks = tf.concat([tf.pad(flipped, [[i, BLOCK - 1 - i], [j, BLOCK - 1 - j], [0, 0], [0, 0]])
                        for i in range(BLOCK) for j in range(BLOCK)], axis=3)
    pads = []
    for k, size in ((h, shape[1]), (w, shape[2])):
        before = (k - 1) // 2 if padding == 'SAME' else 0
        after = k - 1 - before if padding == 'SAME' else 0
        filled = -size % BLOCK
        pads.append([k - 1 - before, k - 1 - after + filled])
    upstream = tf.pad(upstream, [[0, 0], *pads, [0, 0]])
    return tf.nn.depth_to_space(tf.nn.conv2d(upstream, blocks, BLOCK, 'VALID'), BLOCK)[:, :shape[1], :shape[2]]
