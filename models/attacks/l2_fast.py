"""L2Fast: the least L2 distance that several quick searches find."""

from __future__ import annotations

import numpy as np

from .base import Attack, Net, Proposal
from .ddn import DDN
from .fmn import FMN


class L2Fast(Attack):
    """Keeps each image's nearest result of FMN and DDN, from the clean image and from random starts.

    DDN runs with an annealed gamma and from the linearised boundary, which suits few steps.

    Args:
        model: ``Model``, or any Keras model that maps images to logits.
        steps: gradient steps of each search.
        starts: number of searches by FMN, the first from the clean image; one more, by DDN, begins there too.
    """

    def __init__(self, model: Net, steps: int = 100, starts: int = 2):
        super().__init__(model)
        self.searches = (FMN(model, steps, starts=starts),
                         DDN(model, steps, gamma=0.2, final_gamma=0.01, init_epsilon=None))

    def _run(self, x, y, rng):
        results = [search.attack(x, y, rng) for search in self.searches]
        distances = np.stack([r.distances for r in results])
        images = np.stack([r.images for r in results])[distances.argmin(axis=0), np.arange(len(x))]
        return Proposal(images, np.isfinite(distances).any(axis=0))
