"""Searches for the least distance from several starts: what DDN and FMN have in common."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from .. import checks
from .balls import WHOLE_BOX, Ball, Rng
from .base import Attack, Net
from .compiled import IMAGES, LABELS, PER_IMAGE, compiled
from .gradient_descent import GradientDescentAttack
from .results import Proposal

START_FACTORS = (0.75, 1.5, 2.25)
"""L2 distances of random starts from the clean image, in units of the least L2 distance found so far."""
HALVINGS = 12
"""Of the way between a clean image and a point of the box where it is misclassified."""


class MinimumNormAttack(Attack):
    """Keeps the nearest misclassified image of several searches.

    Where all of them fail, signed steps look for any misclassified image in the box, and a last search begins where
    the way there first crosses a boundary.

    Args:
        model: ``Model``, or any built Keras model that maps images to logits.
        steps: gradient steps of a search.
        starts: number of searches; the first begins at the clean image, the others at random points around it.
        norm: a name or a ball; None for the class's own.
    """

    def __init__(self, model: Net, steps: int, starts: int, norm: str | Ball | None = None):
        super().__init__(model, norm)
        self.steps = checks.count('steps', steps)
        self.starts = checks.count('starts', starts)
        self._anywhere = GradientDescentAttack(model, [WHOLE_BOX], k=max(20, self.steps), repeat=2, norm='Linf')
        self._searched = compiled(self._search, IMAGES, LABELS, IMAGES, IMAGES, PER_IMAGE)

    @abstractmethod
    def _search(self, x, y, delta, best, best_norm) -> tuple[tf.Tensor, tf.Tensor]:
        """Searches from ``x + delta``; returns the nearest misclassified images, and norms, including those given."""

    def _run(self, x, y, rng):
        best = self.search(x, y, np.zeros_like(x), (x, np.full(len(x), np.inf, np.float32)))
        for start in range(1, self.starts):
            best = self.search(x, y, self.random_start(x, start, best, rng), best)
        best = self.rescue(x, y, best, rng)
        return Proposal(best[0], np.isfinite(best[1]))

    def search(self, x: np.ndarray, y: np.ndarray, delta: np.ndarray, best: Sequence[np.ndarray]) -> list[np.ndarray]:
        """One search from ``x + delta``, on top of the best images and norms, inf where there is none, so far."""
        return self._searched(x, y, delta, *best)

    def random_start(self, x: np.ndarray, start: int, best: Sequence[np.ndarray], rng: Rng) -> np.ndarray:
        """Random perturbations for the search with this number, scaled by what was found so far."""
        found = np.isfinite(best[1])
        radius = START_FACTORS[(start - 1) % len(START_FACTORS)] * np.where(found, _l2(best[0] - x), 1.0)
        noise = rng.normal(size=x.shape)
        noise *= (radius / _l2(noise))[:, np.newaxis, np.newaxis, np.newaxis]
        return (np.clip(x + noise, *self.bounds) - x).astype(np.float32)

    def rescue(self, x: np.ndarray, y: np.ndarray, best: Sequence[np.ndarray], rng: Rng) -> list[np.ndarray]:
        """The best images and norms, with those for which there was none looked for once more."""
        images, norms = (np.array(a) for a in best)
        lost = np.flatnonzero(np.isinf(norms))
        if len(lost):
            anywhere = self._anywhere._run(x[lost], y[lost], rng)
            lost, ends = lost[anywhere.found], anywhere.images[anywhere.found]
        if len(lost):
            near = self._first_crossing(x[lost], y[lost], ends)
            best = (near, self.distance(near, x[lost]).astype(np.float32))
            images[lost], norms[lost] = self.search(x[lost], y[lost], near - x[lost], best)
        return [images, norms]

    def _first_crossing(self, x: np.ndarray, y: np.ndarray, ends: np.ndarray) -> np.ndarray:
        """Misclassified images on the way from clean ones to misclassified ones, by bisection."""
        good = np.ones((len(x), 1, 1, 1), np.float32)
        bad, none = np.zeros_like(good), np.zeros(len(x), np.float32)
        for _ in range(HALVINGS):
            middle = (good + bad) / 2
            _, wrong = self._stepped(x + middle * (ends - x), np.zeros_like(x), y, none)
            wrong = wrong[:, np.newaxis, np.newaxis, np.newaxis]
            good, bad = np.where(wrong, middle, good), np.where(wrong, bad, middle)
        return x + good * (ends - x)


def _l2(a: np.ndarray) -> np.ndarray:
    return np.sqrt(np.square(a, dtype=np.float64).sum(axis=(1, 2, 3)))
