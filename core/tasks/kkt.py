"""The KKT conditions of the max-margin problem, at archived epochs; receives built objects, never FLAGS."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from models import Model
from models.measures.homogeneity import TOLERANCE
from models.measures.kkt import KKTMeter, KKTPoint, drift, samples_of_mass

from .. import progress
from ..errors import about
from ..workdir import Workdir

MASSES = (0.5, 0.9, 0.99)
"""Shares of the multipliers whose support vectors are counted."""


def watch_kkt(model: Model, train: tuple[Any, np.ndarray], run: Workdir, eids: Sequence[int], out: Workdir,
              about_it: Mapping[str, Any]) -> dict[int, dict[str, Any]]:
    """Measures archived epochs of a run, in order, and writes ``res`` and the summary of the evaluation after each.

    Args:
        model: takes the weights of each epoch.
        train: images and labels of the whole training set.
        run: working directory of the run.
        eids: epochs.
        out: working directory of the evaluation.
        about_it: what the summary says of settings.

    Returns:
        eid -> the fields of ``KKTPoint``, but for the direction.

    Raises:
        UserError: a model that cannot be read, or that has no direction.
    """
    meter, order = KKTMeter(model), model.norms().order
    summary = {**about_it, 'order': order, 'is_homogeneous': model.is_homogeneous, 'epochs': {}}
    res: dict[int, dict[str, Any]] = {}
    if not model.is_homogeneous:
        progress.say('This network is not homogeneous in its parameters: epsilon and delta are not defined.')
    before = None
    for eid in sorted(set(eids)):
        start = time.perf_counter()
        with about(f'epoch {eid}'):
            model.restore(run.find_model(eid))
            point = meter.measure(*train)
        res[eid] = {k: v for k, v in point._asdict().items() if k != 'direction'}
        summary['epochs'][eid] = {**_numbers(point, before), 'seconds': time.perf_counter() - start}
        progress.print_kkt(eid, summary['epochs'][eid])
        if model.is_homogeneous and point.euler_error > TOLERANCE:
            progress.say(f"Euler's identity fails by {point.euler_error:.1e}: this network is not homogeneous of order "
                         f'{order}.')
        before = point.direction
        out.write_res(res)
        out.write_summary(summary)
    progress.say(f'{out.res_path} written')
    return res


def _numbers(point: KKTPoint, before: np.ndarray | None) -> dict[str, Any]:
    """What the summary tells of an epoch; None where a number is not defined."""
    scalars = {k: v for k, v in point._asdict().items() if isinstance(v, float)}
    return {
        **{k: None if np.isnan(v) else v for k, v in scalars.items()},
        'cosine': 1 - point.one_minus_cosine,
        'images': len(point.q),
        'support_vectors': {f'{mass:g}': samples_of_mass(point.shares, mass) for mass in MASSES},
        'drift': None if before is None else drift(before, point.direction),
    }
