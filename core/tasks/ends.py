"""Where attacks end, for who wants an image of every image: what was found, or else the last that was tried."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from models.attacks import Attack
from models.attacks.compiled import IMAGES, LABELS, PER_IMAGE, compiled
from models.attacks.within_budgets import BudgetAttack

SEED = tf.TensorSpec([2], tf.int32)


class Ends:
    """The ends of an attack's descents within the largest of its budgets, whether they fool the network or not."""

    def __init__(self, attack: Attack):
        self.attack = attack
        self._perturbed = compiled(attack.perturb, IMAGES, LABELS, PER_IMAGE, SEED) if isinstance(
            attack, BudgetAttack) else None

    @property
    def are_there(self) -> bool:
        """Whether the attack can tell; those that are no descents within budgets cannot."""
        return self._perturbed is not None

    def of(self, x: np.ndarray, y: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """float32 [N, H, W, C], within the ball and [0, 1]; the images as they are, where there are no ends.

        Args:
            x: images, float32 [N, H, W, C].
            y: labels, int64 [N].
            rng: source of the random starts.
        """
        if self._perturbed is None or not len(x):
            return x
        seed = rng.integers(2 ** 31, size=2).astype(np.int32)
        eps = np.full(len(x), self.attack.eps_list[-1], np.float32)
        (ends,) = self._perturbed(x, y, eps, seed)
        return np.where(np.isfinite(ends), np.clip(ends, 0, 1), x).astype(np.float32)

    def made(self, x: np.ndarray, y: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """An image of each, float32 [N, H, W, C]: the end of its descent; of attacks that are none, what they found, or
        the image as it is. The arguments are those of ``of``."""
        if self.are_there:
            return self.of(x, y, rng)
        result = self.attack.attack(x, y, rng)
        return np.where(result.success[:, np.newaxis, np.newaxis, np.newaxis], result.images, x)

    def filled(self, x: np.ndarray, y: np.ndarray, images: np.ndarray, success: np.ndarray, rng: np.random.Generator
               ) -> np.ndarray:
        """What an attack found, ``images`` where there was ``success``, bool [N], and the ends elsewhere."""
        if success.all():
            return images
        ends = self.of(x, y, rng)  # of all, so that it is compiled for one size of batches
        return np.where(success[:, np.newaxis, np.newaxis, np.newaxis], images, ends)
