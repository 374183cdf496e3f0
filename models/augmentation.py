"""Random changes of training images that leave their class as it is."""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf

Augmentation = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]
"""From images, float32 [N, H, W, C], and random numbers, uniform in [0, 1), float32 [N, 3], to images like them."""

DRAWS = 3
"""Random numbers for each image."""
PADDING = 4


def crop_and_flip(x: tf.Tensor, draws: tf.Tensor) -> tf.Tensor:
    """The image padded by four black pixels on each side, cut to its size anywhere, and flipped left to right half of
    the time: the usual augmentation of CIFAR-10 (He et al., arXiv 1512.03385, section 4.2)."""
    height, width = x.shape[1:3]
    padded = tf.pad(x, [[0, 0], [PADDING, PADDING], [PADDING, PADDING], [0, 0]])
    top, left = (tf.cast(draws[:, i] * (2 * PADDING + 1), tf.int32)[:, tf.newaxis] for i in (0, 1))
    columns = tf.where(draws[:, 2:] < 0.5, tf.range(width)[::-1], tf.range(width))
    cut = tf.gather(padded, top + tf.range(height), axis=1, batch_dims=1)
    return tf.gather(cut, left + columns, axis=2, batch_dims=1)


AUGMENTATIONS: dict[str, Augmentation] = {'crop-flip': crop_and_flip}
"""Names of augmentations, for the flag ``augment``."""
