"""The numbers of runs, by their names: of every epoch, and the distances that evaluations found."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import NotYet, UserError
from ..workdir import Workdir


class Run:
    """A run's history, by the names of its statistics.

    Args:
        workdir: its working directory; it may still be training.
        history: whether there must be one; an ensemble has none.

    Attributes:
        name: of its experiment.
        label: what to call it in a figure.
        record: what flags.json holds.
        epochs: the lines of history.jsonl of accepted epochs.
        rejected: those of rejected attempts.

    Raises:
        NotYet: a run without a finished epoch.
        UserError: not a run.
    """

    def __init__(self, workdir: Workdir, history: bool = True):
        self.workdir = workdir
        has_none = not history and workdir.is_ensemble()
        lines = [] if has_none else list(workdir.read_history())
        self.epochs = [line for line in lines if line['cmd'] == 'go']
        self.rejected = [line for line in lines if line['cmd'] != 'go']
        if not self.epochs and not has_none:
            raise NotYet(f'{workdir.path} has no finished epoch yet, so there is nothing to draw')
        self.record = workdir.read_flags()
        command = Path((self.record.get('command') or [''])[0]).stem
        folder = workdir.path.resolve().parent.name
        self.name = self.record.get('name') or (command if command.startswith('exper-') else folder)
        self.label = self.name

    def __getitem__(self, name: str) -> np.ndarray:
        """A statistic, or 'eid', 'lr', 'log_frame', of every accepted epoch, float64.

        Raises:
            UserError: the run did not record it.
        """
        source = self.epochs if name in self.epochs[-1] else [e['stats'] for e in self.epochs]
        try:
            values = [e[name] for e in source]
        except KeyError:
            raise UserError(f'{self.workdir.path} did not record {name}: it was trained by an earlier '
                            'version') from None
        return np.array([math.nan if v is None else float(v) for v in values])

    @property
    def log10_loss(self) -> np.ndarray:
        """From log_loss, which does not underflow.

        Raises:
            UserError: a run of margin ascent, whose loss is at layers of norm 1.
        """
        if 'sharpness' in self.epochs[-1]['stats']:
            raise UserError(f'{self.workdir.path} is a run of margin ascent: its loss is that at layers of norm 1, '
                            'which says nothing of how far it is; draw it by figure-time-to-margin')
        return self['log_loss'] / math.log(10)

    def relative_rates(self, lines: Sequence[dict[str, Any]]) -> np.ndarray:
        """alpha(t) of some attempts.

        With a frame, the rate in units of the frame, which is the loss before the attempt (in the first epoch, what
        log_frame0 says). Without one, the rate times the loss before, nan in the first epoch, where that is not
        recorded.
        """
        before = {int(e['eid']) + 1: math.exp(float(e['stats']['log_loss'])) for e in self.epochs}
        return np.array([float(e['lr']) if e['log_frame'] is not None else
                         float(e['lr']) * before.get(e['eid'], math.nan) for e in lines])


def read_runs(workdirs: Sequence[Workdir], history: bool = True) -> list[Run]:
    """Runs, labelled by their experiments' names, and by as much of their paths as tells those of one name apart.

    Args:
        workdirs: their working directories.
        history: whether each must have one; evaluations are there of ensembles, too.

    Raises:
        UserError: see ``Run``.
    """
    runs = [Run(w, history) for w in workdirs]
    for run in runs:
        same = [r for r in runs if r.name == run.name]
        parts, k = [r.workdir.path.resolve().parts for r in same], 1
        while len({p[-k:] for p in parts}) < len(same) and k < max(map(len, parts)):
            k += 1
        if len(same) > 1:
            run.label = f'{run.name} {Path(*run.workdir.path.resolve().parts[-k:])}'
    return runs


def only(workdirs: Sequence[Workdir], figure: str) -> Workdir:
    """The one run of a figure that draws one.

    Raises:
        UserError: there are several.
    """
    if len(workdirs) != 1:
        raise UserError(f'{figure} draws one run at a time, not {len(workdirs)}')
    return workdirs[0]


def task_of(place: Workdir) -> str | None:
    """The task of an evaluation: what its summary says; or, where there is none yet or an earlier version wrote it, its
    flags; or, where these are lost, what it has; None for something that no evaluation was.

    Raises:
        UserError: a file is damaged.
    """
    summary = place.read_summary()
    flags = place.read_flags()['flags'] if place.flags_path.exists() else {}
    if named := summary.get('task') or flags.get('task'):
        return named
    if 'box' in summary:
        return 'transfer'
    if any('one_minus_cosine' in numbers for numbers in summary.get('epochs', {}).values()):
        return 'kkt'
    first = next(((eid, starts[0]) for eid, starts in place.parts().items()), None)
    return 'attack' if first and 'distances' in place.read_part(*first, ('distances',)) else None


ATTACKING = ('attack', 'union')
"""Tasks that leave an adversarial image, and its distance, of each image."""


@dataclass(frozen=True)
class Distances:
    """Sizes of the smallest perturbations found of each image: 0 for misclassified ones, inf where none was found."""

    eid: int
    sizes: np.ndarray
    evaluation: str
    norm: str

    def robust_accuracy(self) -> tuple[np.ndarray, np.ndarray]:
        """The curve of the share of images with a size above eps, as corners of steps: (eps, share)."""
        eps, counts = np.unique(self.sizes[np.isfinite(self.sizes)], return_counts=True)
        share = 1 - np.cumsum(counts) / len(self.sizes)
        if not len(eps) or eps[0] > 0:
            eps, share = np.concatenate([[0], eps]), np.concatenate([[1], share])
        return eps, share


def distances(run: Workdir) -> dict[str, list[Distances]]:
    """What one attack on each set found, ascending in epochs: {'train': [...], 'test': [...]}.

    Of several, it is the one that attacked more images, all epochs taken together, then the one with the smaller
    distances; L2 is preferred to Linf. Of its evaluations of one epoch the one with more images counts, then the later.
    """
    found: dict[tuple[str, str, str], dict[int, tuple[Any, Distances]]] = {}
    for place in run.evaluations():
        if task_of(place) not in ATTACKING:
            continue
        record, name = place.read_flags(), place.path.parent.name
        norm = str(record.get('norm') or place.read_summary().get('norm'))
        for eid, starts in place.parts().items() if norm in ('L2', 'Linf') else ():
            parts = [place.read_part(eid, start, ('eps', 'distances')) for start in starts]
            sizes = np.concatenate([p.get('eps', p['distances']) for p in parts])
            entry = (len(sizes), place.path.name), Distances(eid, sizes, name, norm)
            best = found.setdefault((norm, record['flags']['attack_set'], name), {})
            best[eid] = max(best.get(eid, entry), entry, key=lambda e: e[0])

    def merit(key: tuple[str, str, str]) -> tuple[Any, ...]:
        sizes = [entry[1].sizes for entry in found[key].values()]
        return key[0] == 'L2', sum(map(len, sizes)), -float(np.median(np.concatenate(sizes)))

    chosen: dict[str, tuple[str, str, str]] = {}
    for key in sorted(found, key=merit):
        chosen[key[1]] = key
    norm = 'L2' if any(key[0] == 'L2' for key in chosen.values()) else 'Linf'
    return {part: [found[chosen[part]][eid][1] for eid in sorted(found[chosen[part]])]
            for part in ('train', 'test') if part in chosen and chosen[part][0] == norm}
