"""Searches for the least distance from several starts: what DDN and FMN have in common."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from .base import LABELS, PER_IMAGE, Attack, Net, Proposal

START_FACTORS = (0.75, 1.5, 2.25)
"""L2 distances of random starts from the clean image, in units of the least L2 distance found so far."""


class MinimumNormAttack(Attack):
    """Keeps the nearest misclassified image of several searches.

    Args:
        model: ``Model``, or any Keras model that maps images to logits.
        steps: gradient steps of a search.
        starts: number of searches; the first begins at the clean image, the others at random points around it.
    """

    def __init__(self, model: Net, steps: int, starts: int):
        super().__init__(model)
        self.steps = steps
        self.starts = starts
        self._searched = self._compiled(self._search, self.images, LABELS, self.images, self.images, PER_IMAGE)

    @abstractmethod
    def _search(self, x, y, delta, best, best_norm) -> tuple[tf.Tensor, tf.Tensor]:
        """Searches from ``x + delta``; returns the nearest misclassified images, and norms, including those given."""

    def _run(self, x, y, rng):
        best = self.search(x, y, np.zeros_like(x), (x, np.full(len(x), np.inf, np.float32)))
        for start in range(1, self.starts):
            best = self.search(x, y, self.random_start(x, start, best, rng), best)
        return Proposal(best[0], np.isfinite(best[1]))

    def search(self, x: np.ndarray, y: np.ndarray, delta: np.ndarray, best: Sequence[np.ndarray]) -> list[np.ndarray]:
        """One search from ``x + delta``, on top of the best images and norms, inf where there is none, so far."""
        return self._searched(x, y, delta, *best)

    def random_start(self, x: np.ndarray, start: int, best: Sequence[np.ndarray], rng) -> np.ndarray:
        """Random perturbations for the search with this number, scaled by what was found so far."""
        found = np.isfinite(best[1])
        radius = START_FACTORS[(start - 1) % len(START_FACTORS)] * np.where(found, _l2(best[0] - x), 1.0)
        noise = rng.normal(size=x.shape)
        noise *= (radius / _l2(noise))[:, np.newaxis, np.newaxis, np.newaxis]
        return (np.clip(x + noise, *self.bounds) - x).astype(np.float32)


def _l2(a: np.ndarray) -> np.ndarray:
    return np.sqrt(np.square(a, dtype=np.float64).sum(axis=(1, 2, 3)))
