"""What an attack is given, and what it refuses."""

from __future__ import annotations

import math

import keras
import numpy as np

from ..logits import class_labels

Shape = tuple[int | None, ...]


def image_shape(net: keras.Model) -> Shape:
    """Of a network's images, None for what is not known; a subclassed model tells nothing."""
    return tuple(net.inputs[0].shape[1:]) if getattr(net, 'inputs', None) else (None, None, None)


def image_size(shape: Shape) -> int | None:
    """Values in an image of this shape; None if that is not known."""
    known = [n for n in shape if n is not None]
    return math.prod(known) if len(known) == len(shape) else None


def checked_images(images: np.ndarray, shape: Shape, bounds: tuple[float, float]) -> np.ndarray:
    """Images as float32 [N, H, W, C].

    Args:
        images: floats [N, H, W, C].
        shape: of an image.
        bounds: of a pixel.

    Raises:
        ValueError: they are not such.
    """
    x = np.asarray(images)
    if len(shape) != 3:
        raise ValueError(f'an attack needs a model of images N x H x W x C, and this one takes N x '
                         f'{" x ".join(map(str, shape))}; a keras.layers.Reshape in front of it makes it one')
    if x.ndim != 4 or any(have != want for have, want in zip(x.shape[1:], shape) if want is not None):
        raise ValueError(f'images must have the shape N x {" x ".join(str(n or "any") for n in shape)}, not {x.shape}')
    if not np.issubdtype(x.dtype, np.floating):
        raise ValueError(f'images must be floats in [{bounds[0]:g}, {bounds[1]:g}], not {x.dtype}')
    if not np.isfinite(x).all():
        raise ValueError('images must be finite numbers; these have values that are not')
    if x.size and not (x.min() >= bounds[0] and x.max() <= bounds[1]):
        raise ValueError(f'images must be in [{bounds[0]:g}, {bounds[1]:g}]; '
                         f'these go from {x.min():.9g} to {x.max():.9g}')
    return x.astype(np.float32)


def checked_labels(labels: np.ndarray, n: int, classes: int) -> np.ndarray:
    """Labels as int64 [N].

    Args:
        labels: integers [N], or one-hot [N, classes].
        n: how many there must be.
        classes: how many classes there are.

    Raises:
        ValueError: they are not such.
    """
    y = np.asarray(labels)
    if y.ndim == 2 and y.shape == (n, classes) and ((y == 0) | (y == 1)).all() and (y.sum(axis=1) == 1).all():
        y = y.argmax(axis=1)
    return class_labels(y, classes, n)
