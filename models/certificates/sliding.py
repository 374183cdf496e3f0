"""Kernels and pools that move over an image, and their way back."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import NamedTuple

import tensorflow as tf

from .windows import Window


class Sliding(NamedTuple):
    """A kernel of a size that moves by a stride, from so many pixels before the image.

    ``after`` is how many it is padded by at the end; below 0 where the last pixels are not reached.
    """

    kernel: tuple[int, int]
    stride: tuple[int, int]
    before: tuple[int, int]
    after: tuple[int, int]

    @classmethod
    def of(cls, size: Sequence[int], kernel: Sequence[int], stride: Sequence[int], padding: str) -> Sliding:
        """As TensorFlow moves it over an image of this size, with 'same' or 'valid' padding."""
        befores, afters = [], []
        for n, k, s in zip(size, kernel, stride):
            out = -(-n // s) if padding == 'same' else (n - k) // s + 1
            reach = (out - 1) * s + k
            before = max(reach - n, 0) // 2 if padding == 'same' else 0
            befores.append(before)
            afters.append(reach - n - before)
        (k1, k2), (s1, s2) = kernel, stride
        return cls((k1, k2), (s1, s2), (befores[0], befores[1]), (afters[0], afters[1]))

    def below(self, window: Window | None) -> Window:
        """The window of the input that a window of the output is made from."""
        assert window is not None
        size, start, stride = zip(*(((n - 1) * s + k, a * s - b, m * s) for n, a, m, s, k, b in zip(
            window.size, window.start, window.stride, self.stride, self.kernel, self.before)))
        return Window(size, start, stride)

    def padded(self, h: tf.Tensor, value: float = 0.0) -> tf.Tensor:
        """An image [N, H, W, C] with all that the kernel meets, and no more."""
        height, width = (n + min(a, 0) for n, a in zip(h.shape[1:3], self.after))
        pads = [[b, max(a, 0)] for b, a in zip(self.before, self.after)]
        return tf.pad(h[:, :height, :width], [[0, 0], *pads, [0, 0]], constant_values=value)

    def pieces(self, h: tf.Tensor, shape: Sequence[int], value: float = 0.0) -> list[tf.Tensor]:
        """For each place in the kernel, row by row, the pixels that meet it, [N, *shape]."""
        h = self.padded(h, value)
        (s1, s2), (n1, n2) = self.stride, shape[:2]
        return [h[:, i:i + (n1 - 1) * s1 + 1:s1, j:j + (n2 - 1) * s2 + 1:s2]
                for i, j in product(*map(range, self.kernel))]


def spread(pieces: Sequence[tf.Tensor], sliding: Sliding) -> tf.Tensor:
    """The transpose of ``pieces``: for each place in the kernel coefficients [N, P, R, h, w, C], added where they came
    from, in the window that ``Sliding.below`` says."""
    (k1, k2), (s1, s2) = sliding.kernel, sliding.stride
    lead, (h, w, c) = tf.shape(pieces[0])[:3], pieces[0].shape[3:]
    static = pieces[0].shape[:3]
    if k1 <= s1 and k2 <= s2:  # each pixel is met once
        rows = [tf.stack(pieces[i * k2:(i + 1) * k2], axis=5) for i in range(k1)]
        each = tf.pad(tf.stack(rows, axis=4), [[0, 0]] * 4 + [[0, s1 - k1], [0, 0], [0, s2 - k2], [0, 0]])
        whole = tf.reshape(each, tf.concat([lead, [h * s1, w * s2, c]], 0))
        return tf.ensure_shape(whole[:, :, :, :(h - 1) * s1 + k1, :(w - 1) * s2 + k2],
                               [*static, (h - 1) * s1 + k1, (w - 1) * s2 + k2, c])
    sums = []
    for piece, (i, j) in zip(pieces, product(range(k1), range(k2))):
        apart = piece[:, :, :, :, tf.newaxis, :, tf.newaxis]
        apart = tf.pad(apart, [[0, 0]] * 4 + [[0, s1 - 1], [0, 0], [0, s2 - 1], [0, 0]])
        apart = tf.reshape(apart, tf.concat([lead, [h * s1, w * s2, c]], 0))
        apart = apart[:, :, :, :(h - 1) * s1 + 1, :(w - 1) * s2 + 1]
        sums.append(tf.pad(apart, [[0, 0]] * 3 + [[i, k1 - 1 - i], [j, k2 - 1 - j], [0, 0]]))
    return tf.ensure_shape(tf.add_n(sums), [*static, (h - 1) * s1 + k1, (w - 1) * s2 + k2, c])
