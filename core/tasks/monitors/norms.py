"""A monitor of normalised margins in several norms."""

from __future__ import annotations

from typing import Any

import numpy as np

from models.margins import margins
from models.measures.norm_margins import NORMS, PRODUCTS, norm_margins

from .base import Moment, Monitor


class NormMargins(Monitor):
    """The smallest margin of the training set over norms of the weights: L2, L-infinity, the largest spectral norm and
    the largest L2 norm of a layer; and over products of the layers' norms. See ``norm_margins`` for the names."""

    def statistics(self) -> list[str]:
        return [f'{name}_margin' for name in NORMS] + [f'{name}_product_margin' for name in PRODUCTS]

    def measure(self, rng: np.random.Generator, moment: Moment) -> dict[str, Any]:
        x, y = self.dataset.train
        q_min = float(margins(self.model.test(x, y)['y_'], np.asarray(y)).min())
        return norm_margins(q_min, self.model.network.layers, self.model.norms().order)
