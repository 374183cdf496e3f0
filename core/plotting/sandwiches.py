"""What evaluations by ``eval-sandwich`` found of each image: a certified radius and an attack's distance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..errors import UserError
from ..workdir import Workdir
from .histories import read_runs, task_of

NAMED = 10
"""Images that an error names at most."""


@dataclass(frozen=True)
class Between:
    """Of the images of one evaluation that are classified rightly, at its last epoch.

    Attributes:
        label: of the run.
        eid: the epoch.
        norm: of both.
        method: what certified.
        attack: what attacked.
        images: numbers of the images, ascending in the attack's distance.
        distances: of the adversarial images, inf for none.
        radii: certified, 0 for none.
        asked_for: how many images there are, wrongly classified ones and those not measured yet included.
    """

    label: str
    eid: int
    norm: str
    method: str
    attack: str
    images: np.ndarray
    distances: np.ndarray
    radii: np.ndarray
    asked_for: int

    @property
    def ratios(self) -> np.ndarray:
        """Attack over certificate, at least 1."""
        with np.errstate(divide='ignore'):
            return self.distances / self.radii


def sandwiches(places: Sequence[Workdir]) -> list[Between]:
    """Of each run, or evaluation, the one with the most images, then the newest.

    Raises:
        UserError: there is none, it has no image that is classified rightly, or a certificate exceeds the distance of
            an image that has another class.
    """
    found = []
    for place in places:
        own = [place] if _is_one(place) else [e for e in place.evaluations() if _is_one(e)]
        own = [e for e in own if e.read_summary().get('epochs')]
        if not own:
            place.read_flags()  # which says what it is instead, where it is no run
            raise UserError(f'{place.path} has no margins from both sides yet: ./eval.sh eval-sandwich {place.path} '
                            'measures them')
        best = max(own, key=lambda e: (max(n['images'] for n in e.read_summary()['epochs'].values()), e.path.name))
        run = Workdir(best.read_flags().get('run', best.path)) if best is place else place
        found.append(_between(best, read_runs([run], history=False)[0].label))
    return found


def _is_one(place: Workdir) -> bool:
    return place.flags_path.exists() and not place.history_path.exists() and task_of(place) == 'sandwich'


def _between(place: Workdir, label: str) -> Between:
    summary = place.read_summary()
    eid = max(map(int, summary['epochs']))
    numbers = summary['epochs'][str(eid)]
    names = ('index', 'label', 'clean_class', 'distances', 'radii')
    parts = [place.read_part(eid, start, names) for start in place.parts()[eid]]
    index, right, found, distances, radii = (np.concatenate([p[name] for p in parts]) for name in names)
    if len(wrong := index[radii > distances]):
        named = ', '.join(map(str, wrong[:NAMED])) + (' and more' if len(wrong) > NAMED else '')
        raise UserError(f'{place.path}: the certified radius of image {named} is larger than the distance at which the '
                        'attack found another class, so one of the two is wrong')
    if not (right == found).any():
        raise UserError(f'{place.path} has no image that is classified rightly, so there is nothing to draw')
    order = np.flatnonzero(right == found)
    order = order[np.argsort(distances[order], kind='stable')]
    return Between(label, eid, summary['norm'], summary['method'], summary['settings']['attack_type'], index[order],
                   distances[order], radii[order], numbers['images_asked_for'])
