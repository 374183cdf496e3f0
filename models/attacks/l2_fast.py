"""L2Fast: the least L2 distance that several quick searches find."""

from __future__ import annotations

import numpy as np

from .. import checks
from .base import Attack, Net
from .ddn import DDN
from .fmn import FMN
from .results import Proposal


class L2Fast(Attack):
    """Keeps each image's nearest result of searches that differ: FMN from the clean image; DDN from there, with an
    annealed gamma and from the linearised boundary, which suits few steps; and FMN from random points around it.

    Args:
        model: ``Model``, or any built Keras model that maps images to logits.
        steps: gradient steps of each search.
        starts: number of searches, in that order.
    """

    def __init__(self, model: Net, steps: int = 60, starts: int = 8):
        super().__init__(model)
        self.starts = checks.count('starts', starts)
        self.fmn = FMN(model, steps)
        self.ddn = DDN(model, steps, gamma=0.2, final_gamma=0.01, init_epsilon=None)

    def _run(self, x, y, rng):
        clean = np.zeros_like(x)
        best = self.fmn.search(x, y, clean, (x, np.full(len(x), np.inf, np.float32)))
        if self.starts > 1:
            best = self.ddn.search(x, y, clean, best)
        for start in range(1, self.starts - 1):
            best = self.fmn.search(x, y, self.fmn.random_start(x, start, best, rng), best)
        best = self.fmn.rescue(x, y, best, rng)
        return Proposal(best[0], np.isfinite(best[1]))
