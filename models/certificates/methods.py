"""Ways to certify radii, by name: what each gives for a batch of images."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from ..logits import class_labels
from ..measures.certificate import certified_radii, lipschitz
from ..model import Model
from ..types import NumericalFailure, lookup
from .certifier import Certifier, Crown, Local
from .radii import PRECISION
from .slopes import STEPS

CALLS = 9
"""Radii that are tried of an image, about."""


class Certified(NamedTuple):
    """What was found of images.

    Attributes:
        radii: float64 [N].
        logits: float32 [N, classes].
        by: the name of the method that gave each radius, [N].
        constants: Lipschitz constants of layers by name, where they were used.
    """

    radii: np.ndarray
    logits: np.ndarray
    by: np.ndarray
    constants: Mapping[str, float]


Found = tuple[np.ndarray, np.ndarray, dict[str, float]]
"""Radii, what each is by, and Lipschitz constants."""


class Method(ABC):
    """A way to certify radii of a model's classes.

    Args:
        model: whose weights may change between calls; ``changed`` is to be called then.
        norm: of the radii.
        options: see ``make_method``.
    """

    def __init__(self, model: Model, norm: str, **options: Any):
        self.model, self.norm, self.is_new = model, norm, True

    def changed(self) -> None:
        """Says that the weights are others."""
        self.is_new = True

    def certify(self, x: np.ndarray, y: np.ndarray) -> Certified:
        """Radii of images, [N, H, W, C], and labels [N].

        Raises:
            ValueError: images that are not in [0, 1], or numbers that are not finite.
        """
        try:
            logits = self.model.test(x, y)['y_']
        except NumericalFailure as e:
            raise ValueError(str(e)) from None
        radii, by, constants = self.radii(x, class_labels(y, logits.shape[1], len(x)), logits)
        return Certified(radii, logits, by, constants)

    @abstractmethod
    def radii(self, x: np.ndarray, y: np.ndarray, logits: np.ndarray) -> Found:
        """The fields of ``Certified`` but for the logits."""


class Lipschitz(Method):
    """The gap of the logits over the product of the layers' norms; see ``measures.certificate``."""

    def __init__(self, model: Model, norm: str, **options: Any):
        super().__init__(model, norm)
        if norm != 'L2':
            raise ValueError(f'the product of norms certifies radii in L2, not in {norm}')
        self._known, self.is_new = lipschitz(model), False

    def radii(self, x: np.ndarray, y: np.ndarray, logits: np.ndarray) -> Found:
        if self.is_new:
            self._known, self.is_new = lipschitz(self.model), False
        last, constants = self._known
        radii = certified_radii(logits, y, last, float(np.prod(list(constants.values()))))
        return radii, np.full(len(x), 'lipschitz'), constants


class Relaxed(Method):
    """A certifier alone."""

    name: str

    def __init__(self, model: Model, norm: str, precision: float = PRECISION, **options: Any):
        super().__init__(model, norm)
        self.certifier, self.precision = self.make(model, norm, **options), precision

    @abstractmethod
    def make(self, model: Model, norm: str, **options: Any) -> Certifier:
        """What certifies."""

    def radii(self, x: np.ndarray, y: np.ndarray, logits: np.ndarray) -> Found:
        return self.certifier.radii(x, y, self.precision), np.full(len(x), self.name), {}

    def seconds(self, x: np.ndarray, y: np.ndarray) -> float:
        """What an image takes, about, of a batch such as this, once the functions are compiled."""
        few, most = slice(self.certifier.images), np.zeros(min(len(x), self.certifier.images))
        self.certifier.margins(x[few], y[few], most)
        began = time.perf_counter()
        self.certifier.margins(x[few], y[few], most)
        return CALLS * (time.perf_counter() - began) / max(len(most), 1)


class LocalMethod(Relaxed):
    """Lipschitz constants within the ball; see ``local``."""

    name = 'local'

    def make(self, model: Model, norm: str, **options: Any) -> Certifier:
        return Local(model, norm)


class CrownMethod(Relaxed):
    """CROWN; see ``relaxation``."""

    name = 'crown'

    def make(self, model: Model, norm: str, **options: Any) -> Certifier:
        return Crown(model, norm)


class AlphaMethod(Relaxed):
    """CROWN with slopes that are optimised; see ``slopes``."""

    name = 'alpha'

    def make(self, model: Model, norm: str, steps: int = STEPS, **options: Any) -> Certifier:
        return Crown(model, norm, alpha=steps)


class Best(Method):
    """Of each image the largest radius of local constants and of CROWN, with optimised slopes or without: whichever of
    these fits the time.

    All are sound in float32; the product of norms, which is not, is no part of it.
    """

    def __init__(self, model: Model, norm: str, seconds_per_image: float | None = None, **options: Any):
        super().__init__(model, norm)
        self.most = np.inf if seconds_per_image is None else seconds_per_image
        self.local = LocalMethod(model, norm, **options)
        self.others: list[Relaxed] = [AlphaMethod(model, norm, **options), CrownMethod(model, norm, **options)]
        self._chosen: list[Relaxed] | None = None

    def radii(self, x: np.ndarray, y: np.ndarray, logits: np.ndarray) -> Found:
        if self._chosen is None and len(x):
            fits = (m for m in self.others if self.most == np.inf or m.seconds(x, y) <= self.most)
            self._chosen = [self.local, *[m for m in [next(fits, None)] if m is not None]]
        found = [m.radii(x, y, logits)[0] for m in self._chosen or [self.local]]
        names = np.array([m.name for m in self._chosen or [self.local]])
        return np.max(found, axis=0), names[np.argmax(found, axis=0)], {}


METHODS: dict[str, Callable[..., Method]] = {
    'lipschitz': Lipschitz, 'local': LocalMethod, 'crown': CrownMethod, 'alpha': AlphaMethod, 'best': Best}
"""Ways to certify, from the cheapest to the dearest."""


def make_method(name: str, model: Model, norm: str = 'L2', **options: Any) -> Method:
    """A way to certify radii of a model.

    Args:
        name: one of ``METHODS``.
        model: what is certified.
        norm: 'L2' or 'Linf'.
        options: precision of the radii, steps in which slopes are optimised, seconds_per_image of 'best'.

    Raises:
        ValueError: a model that it cannot certify, in a sentence that names the layer and the methods that can.
    """
    try:
        return lookup('method', name, METHODS)(model, norm, **options)
    except ValueError as e:
        works = [other for other in METHODS
                 if name in METHODS and other != name and _works(other, model, norm, options)]
        raise ValueError(f'{e}; {" or ".join(works)} can certify it' if works else str(e)) from None


def _works(name: str, model: Model, norm: str, options: Mapping[str, Any]) -> bool:
    try:
        METHODS[name](model, norm, **options)
    except ValueError:
        return False
    return True
