"""Rows of coefficients that are zero outside a window of a layer.

The value of a convolution at a pixel depends on few pixels of the layers below. What bounds it is kept for these alone:
a tensor A [N, P, R, h, w, C], N images, P places, R rows at each, in a window of h x w pixels that moves with the
place. A row of a layer without pixels is [N, P, R, units]; its window is everything.
"""

from __future__ import annotations

from typing import NamedTuple

import tensorflow as tf


class Window(NamedTuple):
    """Windows of ``size`` whose first pixel is at ``start + stride * place``; it may lie outside the layer."""

    size: tuple[int, int]
    start: tuple[int, int] = (0, 0)
    stride: tuple[int, int] = (0, 0)

    @property
    def is_fixed(self) -> bool:
        return self.stride == (0, 0)


class Rows(NamedTuple):
    """Coefficients, and where they lie; None is a layer without pixels."""

    values: tf.Tensor
    window: Window | None


def whole(shape: tuple[int, ...]) -> Window | None:
    """The window that is a layer of this shape."""
    return Window((shape[0], shape[1])) if len(shape) == 3 else None


def cut(t: tf.Tensor, window: Window | None, places: tf.Tensor) -> tf.Tensor:
    """What of a layer's numbers [N, H, W, C] is in windows, [N, P, h, w, C], zero outside the layer; of a layer without
    pixels, or of a window that does not move, all, [N, 1, ...]."""
    if window is None or window.is_fixed:
        return t[:, tf.newaxis]
    height, width = t.shape[1], t.shape[2]
    i, j = (_pixels(window, places, axis) for axis in (0, 1))
    inside = _inside(i, height)[:, :, tf.newaxis] & _inside(j, width)[:, tf.newaxis, :]
    at = tf.clip_by_value(i, 0, height - 1)[:, :, tf.newaxis] * width + tf.clip_by_value(j, 0, width - 1)[:, tf.newaxis]
    flat = tf.reshape(t, [-1, height * width, t.shape[3]])
    return tf.where(inside[tf.newaxis, ..., tf.newaxis], tf.gather(flat, at, axis=1), tf.zeros([], t.dtype))


def fitted(rows: Rows, shape: tuple[int, ...], places: tf.Tensor) -> Rows:
    """The same rows without what lies outside a layer of this shape: zero there, or the whole layer where windows would
    be larger."""
    window = rows.window
    if window is None:
        return rows
    if window.is_fixed:
        return Rows(_moved(rows.values, window, shape), whole(shape))
    if window.size[0] * window.size[1] >= shape[0] * shape[1]:
        return everywhere(rows, shape, places)
    i, j = (_inside(_pixels(window, places, axis), shape[axis]) for axis in (0, 1))
    inside = tf.cast(i[:, :, tf.newaxis] & j[:, tf.newaxis, :], rows.values.dtype)
    return Rows(rows.values * inside[tf.newaxis, :, tf.newaxis, :, :, tf.newaxis], window)


def everywhere(rows: Rows, shape: tuple[int, ...], places: tf.Tensor) -> Rows:
    """The same rows as coefficients of all pixels of a layer of this shape."""
    window = rows.window
    if window is None or window == whole(shape):
        return rows
    if window.is_fixed:
        return Rows(_moved(rows.values, window, shape), whole(shape))
    i, j = (tf.one_hot(_pixels(window, places, axis), shape[axis], dtype=rows.values.dtype) for axis in (0, 1))
    values = rows.values
    if values.shape[1] == 1:  # the same coefficients in every place
        values = tf.repeat(values, tf.shape(places)[0], axis=1)
    values = tf.einsum('nprhwc,phi->npriwc', values, i)
    return Rows(tf.einsum('npriwc,pwj->nprijc', values, j), whole(shape))


def added(one: Rows, other: Rows, shape: tuple[int, ...], places: tf.Tensor) -> Rows:
    """The sum of rows that came to a layer of this shape by two ways."""
    if one.window != other.window:
        one, other = everywhere(one, shape, places), everywhere(other, shape, places)
    return Rows(one.values + other.values, one.window)


def _pixels(window: Window, places: tf.Tensor, axis: int) -> tf.Tensor:
    """Of each place the numbers of a window's pixels along an axis, [P, size]."""
    first = window.start[axis] + window.stride[axis] * places[:, axis]
    return first[:, tf.newaxis] + tf.range(window.size[axis])


def _inside(pixels: tf.Tensor, size: int) -> tf.Tensor:
    return (pixels >= 0) & (pixels < size)


def _moved(values: tf.Tensor, window: Window, shape: tuple[int, ...]) -> tf.Tensor:
    """Rows of a window that does not move, cut and filled with zeros to the whole layer."""
    pads = [[0, 0]] * 3
    for axis in (0, 1):
        first, last = window.start[axis], window.start[axis] + window.size[axis]
        low, high = max(0, -first), window.size[axis] - max(0, last - shape[axis])
        values = values[:, :, :, low:high] if axis == 0 else values[:, :, :, :, low:high]
        pads = [*pads, [max(0, first), max(0, shape[axis] - last)]]
    return tf.pad(values, [*pads, [0, 0]])
