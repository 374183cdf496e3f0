"""Certified radii of images by linear relaxation."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from .. import checks
from ..in_graphs import graph_function
from ..logits import class_labels
from ..model import Model
from .balls import BALLS
from .local import local_margins
from .radii import PRECISION, largest_radii
from .relaxation import NUMBERS, Relaxation
from .slopes import best_margins

IMAGES = 16
"""Images whose radii are looked for together, unless few of them fit."""


class Certifier(ABC):
    """Radii within which no image of the box [0, 1] has another class.

    Sound for the network as it is evaluated in float32; see ``rounding``.

    Args:
        model: a network of dense layers, convolutions, ReLU or relu2, poolings, batch normalisation and sums.
        norm: 'L2' or 'Linf'.
        images: whose radii are looked for together; memory grows with it.
        numbers: coefficients that are worked on at a time; memory grows with that, too.

    Raises:
        ValueError: a layer that has no relaxation, in a sentence that names it.
    """

    def __init__(self, model: Model | keras.Model, norm: str = 'L2', images: int = IMAGES, numbers: int = NUMBERS):
        self.net = model.net if isinstance(model, Model) else model
        self.norm = checks.one_of('norm', norm, BALLS)
        self.relaxation = Relaxation(self.net, BALLS[norm], checks.count('numbers', numbers))
        self.images = checks.count('images', images)
        shape = self.relaxation.nodes[0].shape
        self._specs = [tf.TensorSpec([self.images, *shape], tf.float64), tf.TensorSpec([self.images], tf.int64),
                       tf.TensorSpec([self.images], tf.float64)]
        self._compiled = graph_function(self.bound, input_signature=self._specs)

    @abstractmethod
    def bound(self, x: tf.Tensor, y: tf.Tensor, radius: tf.Tensor) -> tf.Tensor:
        """Lower bounds of margins, [N, classes], infinity at the right class, of ``images`` images."""

    def margins(self, x: np.ndarray, y: np.ndarray, radii: Sequence[float] | np.ndarray) -> np.ndarray:
        """Lower bounds of the logit of the right class less each other within radii, float64 [N, classes]; infinity at
        the right class.

        Args:
            x: images [N, H, W, C] in [0, 1].
            y: classes, integers [N].
            radii: at least 0, [N].

        Raises:
            ValueError: arguments that are not such.
        """
        x, y = self._checked(x, y)
        radii = np.asarray(radii, np.float64)
        if radii.shape != (len(x),) or not (radii >= 0).all():
            raise ValueError(f'radii must be {len(x)} numbers of at least 0')
        found = [self._some(x[i:i + self.images], y[i:i + self.images], radii[i:i + self.images])
                 for i in range(0, len(x), self.images)]
        return np.concatenate([np.zeros((0, self.relaxation.classes)), *found])

    def radii(self, x: np.ndarray, y: np.ndarray, precision: float = PRECISION) -> np.ndarray:
        """Certified radii, float64 [N]; 0 where the class is wrong, or right by no more than rounding.

        Args:
            x, y: as of ``margins``.
            precision: by how much more, relatively, a larger radius is not certified.
        """
        x, y = self._checked(x, y)
        checks.number('precision', precision, high=1.0)
        found = [self._radii(x[i:i + self.images], y[i:i + self.images], precision)
                 for i in range(0, len(x), self.images)]
        return np.concatenate([np.zeros(0), *found])

    def _radii(self, x: np.ndarray, y: np.ndarray, precision: float) -> np.ndarray:
        most = float(np.prod(x.shape[1:])) ** (0.5 if self.norm == 'L2' else 0.0)  # the box's own size
        return largest_radii(lambda radii: self._some(x, y, radii).min(axis=1), len(x), 1e-3 * most, most, precision)

    def _some(self, x: np.ndarray, y: np.ndarray, radii: np.ndarray) -> np.ndarray:
        """Of no more images than are taken together; what is missing is filled by the last."""
        missing = self.images - len(x)
        x, y, radii = (np.concatenate([a, np.repeat(a[-1:], missing, axis=0)]) for a in (x, y, radii))
        found = self._compiled(*(tf.constant(a, s.dtype) for a, s in zip((x, y, radii), self._specs))).numpy()
        return found[:self.images - missing]

    def _checked(self, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        x = np.asarray(x)
        shape = self.relaxation.nodes[0].shape
        if x.shape[1:] != shape or x.dtype.kind != 'f' or not ((x >= 0) & (x <= 1)).all():
            raise ValueError(f'images must be [N, {", ".join(map(str, shape))}] of numbers in [0, 1]')
        for v in self.net.weights:
            if not np.isfinite(v.numpy()).all():
                raise ValueError(f'{v.path}: a certificate needs weights that are finite numbers')
        return x, class_labels(y, self.relaxation.classes, len(x))


class Crown(Certifier):
    """By CROWN; see ``relaxation``.

    Args:
        alpha: steps in which slopes are optimised, see ``slopes``; 0 for CROWN's own.
    """

    def __init__(self, model: Model | keras.Model, norm: str = 'L2', alpha: int = 0, **options: Any):
        self.alpha = checks.count('alpha', alpha, 0)
        super().__init__(model, norm, **options)

    def bound(self, x: tf.Tensor, y: tf.Tensor, radius: tf.Tensor) -> tf.Tensor:
        known = self.relaxation.know(x, radius)
        return best_margins(self.relaxation, known, x, y, radius, self.alpha)


class Local(Certifier):
    """By Lipschitz constants within the ball; see ``local``."""

    def bound(self, x: tf.Tensor, y: tf.Tensor, radius: tf.Tensor) -> tf.Tensor:
        logits = self.net(tf.cast(x, self.net.inputs[0].dtype), training=False)
        return local_margins(self.relaxation, logits, x, y, radius)
