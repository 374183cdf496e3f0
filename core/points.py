"""A point on a curve as a directory of its own, which every evaluation takes as it takes a run's."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from models.measures.moving_statistics import MovingStatistics
from models.networks.curve import point

from . import curves, progress
from .derived import measured, write_derived
from .devices import Devices
from .errors import UserError, about
from .flags import RECORDED_FLAGS, merge
from .members import LETTERS, folder_of, members_of
from .session import Session
from .workdir import Workdir


def is_curve(log: Any) -> bool:
    """Whether a directory is that of a curve."""
    run = Workdir(str(log))
    return run.flags_path.exists() and run.read_flags().get('flags', {}).get('arch') == curves.NAME


class Point:
    """The network at a point of a curve, with the moving statistics that it has over the training set.

    Its directory lies beside the curve's, and is called by t and by a digest of the curve's model: it is made once.

    Args:
        log: the directory of the curve.
        eid: the flag: which epoch of it.
        t: from 0 to 1.

    Raises:
        UserError: no t, or several epochs.

    Attributes:
        place: its directory, which ``make`` makes.
        flags: those of the network and its data.
    """

    def __init__(self, log: str, eid: Any, t: float | None):
        if t is None:
            raise UserError(f'{log} is a curve: --set t=0.3, say, names the point of it that is measured, from 0 to 1')
        self.t = t
        found, _ = members_of(log, eid)
        if len(found) != 1:
            raise UserError(f"a point is one of a curve as it was at one epoch, not at {len(found)}; eid is one epoch, "
                            "'last' or 'best'")
        self.curve, self.eid, self.digest, self._curve_flags, _ = found[0]
        of = self._curve_flags['model']['of']
        self.flags = {**{name: self._curve_flags[name] for name in RECORDED_FLAGS}, 'arch': of['arch'],
                      'model': of['model']}
        known = hashlib.sha256(json.dumps([self.digest, t]).encode()).hexdigest()
        self.place = Workdir(folder_of(self.curve.path) / f'point-{t:g}-{known[:LETTERS]}')

    def __str__(self) -> str:
        return f'the point t = {self.t:g} of {self.curve.path} (epoch {self.eid})'

    def recorded_flags(self) -> dict[str, Any]:
        """What an evaluation takes from the point, before there is a directory."""
        return dict(self.flags)

    def make(self, devices: Devices) -> None:
        """Sees that the directory is there; a line says so. It appears whole or not at all.

        Raises:
            UserError: weights that cannot be read, or with which the network gives no numbers, or a directory that
                cannot be written.
        """
        if devices.worker == 0:
            if self.place.flags_path.exists():
                progress.say(f'{self.place.path} is {self}')
            else:
                self._make(devices)
        devices.everyone(None)

    def _make(self, devices: Devices) -> None:
        recorded = self.curve.read_flags()['flags']
        session = Session(merge({'lr': 1.0, 'E': self.eid or 1, 'B': recorded['B'], **self.flags,
                                 'seed': recorded['seed']}), 'point', {}, False)
        session.devices = devices
        session.fetch_dataset()
        with about(str(self.curve.path)):
            weights = curve_weights(session, self.curve, self._curve_flags, self.eid)
        session.build_model()
        session.model.set_weights(point(weights, self._curve_flags['model'].get('chain', 'bezier'), self.t))
        if self.t not in (0, 1):  # an end has its own
            MovingStatistics(session.model.net).refresh(session.dataset.train[0], recorded['B'])
        session.flags['log'] = str(self.place.path)
        with Workdir.whole(self.place.path) as made:
            write_derived(session, made, self.eid, measured(session), {'point': {
                'curve': os.path.relpath(self.curve.path, self.place.path), 'eid': self.eid, 'sha256': self.digest,
                't': self.t}})
        progress.say(f'{self.place.path} written: {self}')


def points_of(asked: Mapping[str, Any], task: Any) -> tuple[list[Point], dict[str, Any]]:
    """The points of curves that an evaluation measures.

    Args:
        asked: flags; 'log' is one directory.
        task: the class of the task. One that ``measures_curves`` takes all of a curve; one that ``compares_runs`` has
            the other runs in its options.

    Returns:
        the points, and the flags that name their directories in place of the curves'.

    Raises:
        UserError: see ``Point``; or ``t`` where there is no curve, or where all of it is measured.
    """
    log, t = asked['log'], asked.get('t')
    if getattr(task, 'measures_curves', False):
        if t is not None:
            raise UserError('all of a curve is measured, so t means nothing here; options.step is between its points')
        return [], {}
    options = asked['options'] if isinstance(asked.get('options'), dict) else {}
    others = list(options.get('others', ())) if getattr(task, 'compares_runs', False) else []
    points = {run: Point(run, asked.get('eid', 'last'), t) for run in (log, *others) if is_curve(run)}
    if not points:
        if t is not None:
            raise UserError(f't names a point of a curve, and {log} is none')
        return [], {}
    places = {run: str(found.place.path) for run, found in points.items()}
    return list(points.values()), {'log': places.get(log, log), **({'options': {
        **options, 'others': [places.get(run, run) for run in others]}} if others else {})}


def curve_weights(session: Session, curve: Workdir, flags: dict[str, Any], eid: int) -> dict[str, np.ndarray]:
    """All weights of a curve at an epoch.

    Args:
        session: with the data set.
        curve: the directory.
        flags: the curve's.
        eid: an archived epoch.

    Raises:
        ValueError: the file cannot be read.
    """
    model = session.new_model(flags)
    model.restore(curve.find_model(eid))
    return model.weights()
