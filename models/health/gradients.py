"""Checks of the gradient that an attack follows."""

from __future__ import annotations

import numpy as np

from .evidence import Evidence
from .findings import Finding, many

UNDERFLOW = 103.97
"""A lead, in nats, beyond which every other class has a probability that float32 does not tell from 0."""
BEYOND = 3000.0
"""A lead, in nats, that no training reaches: the paper's longest goes to a loss of 1e-800, which is 1,842."""


def zero_gradients(e: Evidence) -> Finding:
    """Of how many images the gradient is 0, or no number, at the image itself; and of how many the cross entropy's own
    is, in float32, because the right class leads by too much."""
    rows = np.flatnonzero(e.right)
    blind = e.attack._looked(e.x[rows], e.y[rows])[1] if len(rows) else np.zeros(0, bool)
    lead = e.lead(e.x[rows], rows)
    underflow, median = int((lead > UNDERFLOW).sum()), float(np.median(lead)) if len(rows) else 0.0
    none = int(blind.sum())
    too_sure = median > BEYOND
    if many(none, len(rows)):
        says = (f'{none} of {len(rows)} images have no gradient, or one that is no number: what was found of them is '
                'chance, so attack through what is not differentiable as if it were the identity (BPDA), and without '
                'gradients (SQUARE)')
    else:
        says = (f'the right class leads by {median:.3g} nats in the median, more than training reaches: the cross '
                f"entropy's own gradient is 0 in float32 at {underflow} of {len(rows)} images, so divide the logits by "
                'their scale before any attack follows it')
    return Finding('zero_gradients', many(none, len(rows)) or too_sure,
                   {'images': none, 'of': len(rows), 'underflow': underflow, 'median_lead': median}, says)
