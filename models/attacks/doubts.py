"""Why images may be less robust than an attack found them to be."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields

import numpy as np

REASONS = {
    'single_step': 'a single gradient step does better',
    'no_gradient': 'the gradient vanishes or is no number',
    'whole_box': 'nothing was found in all of the box',
}


@dataclass
class Doubts:
    """Images whose robustness may be that of a search that failed; bool [N] each.

    Attributes:
        single_step: a single gradient step fools the network, within a smaller budget, or at a smaller distance, than
            anything that was found.
        no_gradient: nothing was found, and the gradient vanished or was no number at the clean image, or where the
            attack stood still.
        whole_box: nothing was found though the attack could have gone anywhere in the box: to call that robust is to
            say that the network is constant.
    """

    single_step: np.ndarray
    no_gradient: np.ndarray
    whole_box: np.ndarray

    @classmethod
    def none(cls, n: int) -> Doubts:
        """No doubts about n images."""
        return cls(*(np.zeros(n, bool) for _ in fields(cls)))

    def arrays(self) -> dict[str, np.ndarray]:
        """By name."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @property
    def any(self) -> np.ndarray:
        """Whether there is any doubt, bool [N]."""
        return self.single_step | self.no_gradient | self.whole_box


def sentence(counts: Mapping[str, int]) -> str | None:
    """What a person is told; None if there is nothing to tell.

    Args:
        counts: 'images', how many are doubtful, and how many of them by each name of ``REASONS``.
    """
    reasons = [f'{text} ({counts[name]})' for name, text in REASONS.items() if counts.get(name)]
    return f'{counts["images"]} images may be less robust than that: {", ".join(reasons)}' if reasons else None
