"""Searches for the least distance from several starts: what DDN and FMN have in common."""

from __future__ import annotations

from abc import abstractmethod

import numpy as np
import tensorflow as tf

from .base import LABELS, PER_IMAGE, Attack, Net, Proposal


class MinimumNormAttack(Attack):
    """Keeps the nearest misclassified image of several searches.

    Args:
        model: ``Model``, or any Keras model that maps images to logits.
        steps: gradient steps of a search.
        starts: number of searches; the first begins at the clean image, the others at a random point at distance
            ``start_radius`` from it.
        start_radius: L2 distance.
    """

    def __init__(self, model: Net, steps: int, starts: int, start_radius: float):
        super().__init__(model)
        self.steps = steps
        self.starts = starts
        self.start_radius = start_radius
        self._searched = self._compiled(self._search, self.images, LABELS, self.images, self.images, PER_IMAGE)

    @abstractmethod
    def _search(self, x, y, delta, best, best_norm) -> tuple[tf.Tensor, tf.Tensor]:
        """Searches from ``x + delta``; returns the nearest misclassified images, and norms, including those given."""

    def _run(self, x, y, rng):
        best = x, np.full(len(x), np.inf, np.float32)
        for start in range(self.starts):
            delta = np.zeros_like(x)
            if start:
                noise = rng.normal(size=x.shape)
                noise *= self.start_radius / np.sqrt(np.square(noise).sum(axis=(1, 2, 3), keepdims=True))
                delta = (np.clip(x + noise, *self.bounds) - x).astype(np.float32)
            best = self._searched(x, y, delta, *best)
        return Proposal(best[0], np.isfinite(best[1]))
