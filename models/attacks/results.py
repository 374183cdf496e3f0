"""What an attack proposes, and what the judge makes of it."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from .doubts import Doubts


class _Found(NamedTuple):
    images: np.ndarray
    distances: np.ndarray
    success: np.ndarray
    eps: np.ndarray | None = None


class AttackResult(_Found):
    """What an attack found; unpacks as (images, distances, success, eps).

    Attributes:
        images: float32 [N, H, W, C], the adversarial images; all zero where none was found.
        distances: float64 [N], their distances from the clean images in the attack's norm; inf where none was found,
            0 where the clean image is misclassified (and is its own adversarial image).
        success: bool [N], whether an adversarial image was found.
        eps: float64 [N], for attacks within given budgets: the smallest of them that holds the adversarial image (0 and
            inf as above), by its distance as measured; None for attacks that minimise the distance.
        doubts: which images may be less robust than this says, and why.
        by: int64 [N], for attacks that are made of several: the index of the one that found the adversarial image, -1
            where none did, or none was needed; None for others.
    """

    doubts: Doubts
    by: np.ndarray | None

    def __new__(cls, images: np.ndarray, distances: np.ndarray, success: np.ndarray, eps: np.ndarray | None = None,
                doubts: Doubts | None = None, by: np.ndarray | None = None) -> AttackResult:
        self = super().__new__(cls, images, distances, success, eps)
        self.doubts = Doubts.none(len(success)) if doubts is None else doubts
        self.by = by
        return self


class Proposal(NamedTuple):
    """What an attack's loop hands to the judge: images [N, H, W, C], whether each is one, the budgets of attacks within
    given budgets that they are said to be within, whether the loop met a place without a gradient where it stood still,
    and, of an attack that is made of several, the index of the one that found it, -1 for none."""

    images: np.ndarray
    found: np.ndarray
    eps: np.ndarray | None = None
    stood_still: np.ndarray | None = None
    by: np.ndarray | None = None
