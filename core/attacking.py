"""Names of the attacks that an evaluation can ask for."""

from __future__ import annotations

from enum import Enum


class AttackType(Enum):
    """Attacks of the original's evaluations."""

    L_2 = 1
    L_INF = 2
    L_2_BIM = 3
    L_2_DEEPFOOL = 4
