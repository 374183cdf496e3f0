"""Checks of what the network gives: the same each time, whatever the batch, and logits."""

from __future__ import annotations

import numpy as np

from ..logits import are_probabilities
from .evidence import Evidence
from .findings import Finding, many, skipped

AGAIN = 10
"""Two passes may differ by so many times the rounding that attacks allow for."""
BATCHES = 1e-3
"""Between batches of other sizes, logits may differ by this share of their scale: libraries choose other sums."""
ALONE = 8
"""Images that are looked at one by one."""
END = 1e-3
"""Logits at an end of their range are within this share of it."""


def random_output(e: Evidence) -> Finding:
    """Whether a second pass over the same batch gives other logits."""
    apart = _apart(e.attack.logits(e.x), e.logits, e.scale)
    moved = int((apart > AGAIN * e.attack.slack).sum())
    return Finding('random_output', many(moved, len(e.x)),
                   {'images': moved, 'of': len(e.x), 'largest': float(apart.max(initial=0))},
                   f'two passes over the same {len(e.x)} images differ on {moved}, by {apart.max(initial=0):.2g} of '
                   "the logits' scale: an attack that looks once at each point is misled, so average its gradients "
                   'over draws (EOT) and count how often an image is misclassified')


def batch_dependent(e: Evidence, random: bool) -> Finding:
    """Whether images alone have other logits than in their batch."""
    name = 'batch_dependent'
    if random:
        return skipped(name, 'the output is random')
    n = min(ALONE, len(e.x))
    alone = np.concatenate([e.attack.logits(e.x[i:i + 1]) for i in range(n)])
    apart = _apart(alone, e.logits[:n], e.scale)
    moved = int((apart > max(BATCHES, AGAIN * e.attack.slack)).sum())
    return Finding(name, many(moved, n), {'images': moved, 'of': n, 'largest': float(apart.max(initial=0))},
                   f'{moved} of {n} images have other logits alone than in a batch, by {apart.max(initial=0):.2g} of '
                   'their scale: what an attack finds in one batch need not hold in another, so fix what the network '
                   'takes from its batch (statistics of normalisation, say)')


def probabilities(e: Evidence) -> Finding:
    """Whether outputs are probabilities, or crowd at the ends of their range as what was squashed does."""
    low, high = e.logits.min(), e.logits.max()
    near = END * (high - low)
    crowded = float(((e.logits <= low + near) | (e.logits >= high - near)).mean()) if high > low else 0.0
    sums_to_one = are_probabilities(e.logits)
    return Finding('probabilities', sums_to_one or (crowded > 0.5 and len(e.x) > 1),
                   {'sum_to_one': sums_to_one, 'at_an_end': crowded},
                   f'{100 * crowded:.0f} % of the outputs lie at an end of their range, as probabilities and squashed '
                   'logits do, whose gradient vanishes there: attack the network without its last function')


def _apart(a: np.ndarray, b: np.ndarray, scale: float) -> np.ndarray:
    """The largest difference of the logits of each image, in units of their scale; inf for what is no number."""
    return np.nan_to_num(np.abs(a.astype(np.float64) - b).max(axis=1) / scale, nan=np.inf, posinf=np.inf)
