"""What an attempt at an epoch of ascent starts from and is judged by: options, active images, the smoothed margin."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from .. import checks
from ..types import NumericalFailure, did_you_mean

CANDIDATES = 4
"""Images of which the active ones of later rounds are, for each that is active at least."""
FAR = 500.0
"""Logarithm of a growth that is beyond all bounds."""


@dataclass(frozen=True)
class Options:
    """What steers margin ascent.

    Attributes:
        steps: of a round.
        rounds: of an epoch. Before each but the first it is seen anew which images are active.
        batch: images of a step.
        active: at least so many images, those of the smallest margins, are active: steps are taken on these alone.
        span: those with q < q_min + span / beta are active, too; and in the first epoch beta is at most what leaves
            the n = ``active`` smallest margins within that, whatever q_min is, above 0 or not.
        sharpness: K = beta q_min, at most, in the first epoch.
        growth: of both, from an accepted epoch to the next.
        sharpest: where K stays.
        epsilon: of Adam, relative; see ``spheres.Steps``.
        dual_step: of a network that is linear in its layer, over that of the theorem; see ``dual``.
        fitted: the mean cross entropy below which the warm-up ends, once enough images are classified correctly.
        misfit: the share of images that need not be; ascent brings them home by itself, if they are few.
    """

    steps: int = 200
    rounds: int = 1
    batch: int = 50
    active: int = 500
    span: float = 9.0
    sharpness: float = 10.0
    growth: float = 1.02
    sharpest: float = 300.0
    epsilon: float = 1e-3
    dual_step: float = 4.0
    fitted: float = 1e-2
    misfit: float = 0.0

    @staticmethod
    def of(given: Mapping[str, Any]) -> Options:
        """Options of a config file.

        Raises:
            ValueError: one that there is not, or with a value that it cannot have.
        """
        known = [field.name for field in fields(Options)]
        if unknown := [name for name in given if name not in known]:
            raise ValueError(f'there is no option {unknown[0]!r}; {did_you_mean(unknown[0], known)}')
        limits: dict[str, Any] = {'growth': {'low': 1, 'strict': False}, 'misfit': {'high': 1, 'strict': False}}
        numbers: dict[str, Any] = {
            name: checks.count(name, value) if name in ('steps', 'rounds', 'batch', 'active') else
            checks.number(name, value, **limits.get(name, {})) for name, value in given.items()}
        made = Options(**numbers)
        if made.sharpest < made.sharpness:
            raise ValueError(f'sharpest must be at least the sharpness, {made.sharpness:g}, not {made.sharpest:g}')
        return made


class Attempt:
    """What an epoch of ascent is judged by: numbers of the weights before it.

    Args:
        q: margins q_nj, float64 [N, C], inf for the right class.
        options: see there.
        epochs: of ascent so far.

    Attributes:
        beta, sharpness: of the smoothed margin; beta q_min.
        before: the smoothed margin.
        active: places of the active images, in order.
        candidates: of those that may become so in the epoch.

    Raises:
        NumericalFailure: no margin is above 0, and those of all active images are the same.
    """

    def __init__(self, q: np.ndarray, options: Options, epochs: int):
        smallest, least = q.min(axis=1), min(options.active, len(q))
        q_min, q_n = np.partition(smallest, [0, least - 1])[[0, least - 1]].tolist()
        growth = math.exp(min(epochs * math.log(options.growth), FAR))
        bounds = [growth * options.span / (q_n - q_min)] if q_n > q_min else []
        if q_min > 0:
            bounds.append(min(growth * options.sharpness, options.sharpest) / q_min)
        if not bounds:
            raise NumericalFailure(f'the smallest {least} margins are all {q_min:g}, which says nothing of where to go')
        self.beta = min(bounds)
        self.sharpness, self.before = self.beta * q_min, smoothed(q, self.beta)
        self._least, self._span = least, options.span / self.beta
        self.active = self.active_of(smallest)
        n = min(max(CANDIDATES * least, len(self.active)), len(q))
        self.candidates = np.sort(np.argpartition(smallest, n - 1)[:n])

    def active_of(self, smallest: np.ndarray) -> np.ndarray:
        """Places, in order, of those of the smallest margins of some images, [N], that are active."""
        n = max(self._least, int((smallest < smallest.min() + self._span).sum()))
        return np.sort(np.argpartition(smallest, n - 1)[:n])


def gaps_of(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """q_nj, float64 [N, C], inf for the right class, of logits, float [N, C]."""
    z, rows = logits.astype(np.float64), np.arange(len(labels))
    q = z[rows, labels][:, np.newaxis] - z
    q[rows, labels] = np.inf
    return q


def smoothed(q: np.ndarray, beta: float) -> float:
    """F_beta of margins q_nj, [N, C], inf for the right class."""
    z = -beta * q
    top = z.max()
    return -float(top + np.log(np.exp(z - top).sum())) / beta


def batches(active: np.ndarray, steps: int, batch: int, seed: Any) -> np.ndarray:
    """Batches of active images, integers [steps, batch]: each image comes once before any comes again."""
    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(BATCHES,)))
    size = min(batch, len(active))
    each = len(active) // size
    rounds = [rng.permutation(active)[:each * size].reshape(each, size) for _ in range(-(-steps // each))]
    return np.concatenate(rounds)[:steps]


BATCHES = 1
"""What of the draws of an epoch is for its batches."""
