"""An ensemble of runs as a directory of its own, which every evaluation takes as it takes a run's."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from . import progress
from .devices import Devices
from .errors import UserError, about
from .flags import FLAGS, RECORDED_FLAGS, merge
from .members import LETTERS, Member, folder_of, members_of
from .session import Session
from .workdir import Workdir, plain

NAME = 'ensemble'
OF_DATA = ('train_N', 'test_N', 'validation_N', 'train_fraction', 'label_noise')
"""Flags that say which part of a data set a run has. Where members differ in them, the ensemble has all of it."""


class Ensemble:
    """Several runs as one network; see ``models.ensemble``.

    Its directory holds all weights and the members' descriptions, so that it needs their directories no more. It lies
    beside that of a member, and is called by a digest of the members' models: the same members are the same ensemble,
    in whatever order, and other weights are another one.

    Args:
        logs: the directories of the runs.
        eid: the flag: which epoch of each.
        place: the directory; True for the one of this name.

    Raises:
        UserError: runs that make no ensemble, as far as their records say.

    Attributes:
        members: of it, as they are named; ``ordered`` as they are in the network.
        notes: sentences that a person is told.
        place: its directory, which ``make`` makes.
        eid: the epoch under which its model is archived: that of its members, or the last of these.
        flags: those that an evaluation takes from it.
    """

    def __init__(self, logs: Sequence[str], eid: Any, place: str | bool = True):
        self.notes: list[str] = []
        self.members = [self._member(log, eid) for log in logs]
        for i, member in enumerate(self.members):
            if same := [other for other in self.members[:i] if other.digest == member.digest]:
                raise UserError(f'{same[0].run.path} (epoch {same[0].eid}) and {member.run.path} (epoch {member.eid}) '
                                'are the same network, which an ensemble takes once')
        self.eid = max(member.eid for member in self.members)
        # The same members are the same network, in whatever order they are named.
        self.ordered = sorted(self.members, key=lambda member: member.digest)
        self.flags = self._flags()
        self.place = self._found() if place is True else Workdir(str(place))

    def _found(self) -> Workdir:
        """The directory of this name, beside whichever member has it, or else the first."""
        digest = hashlib.sha256(json.dumps(self._digests()).encode()).hexdigest()
        places = [Workdir(folder_of(m.run.path) / f'{NAME}-{digest[:LETTERS]}') for m in self.members]
        return next((place for place in places if place.flags_path.exists()), places[0])

    def _digests(self) -> list[str]:
        return sorted(member.digest for member in self.members)

    def __str__(self) -> str:
        return ', '.join(f'{member.run.path} (epoch {member.eid})' for member in self.members)

    def _member(self, log: str, eid: Any) -> Member:
        found, note = members_of(log, eid)
        if found[0].flags['arch'] == 'curve':
            raise UserError(f'{log} is a curve; name points of it: ./eval.sh eval-... {log} --set t=0.3 makes the '
                            'directory of one')
        if len(found) != 1:
            raise UserError(f'an ensemble takes one epoch of each run, not {len(found)} of {log}; eid is one epoch, '
                            "'last' or 'best'")
        self.notes += [f'note: {note}'] if note else []
        return found[0]

    def _flags(self) -> dict[str, Any]:
        first, *others = self.members
        for other in others:
            if other.data != first.data:
                raise UserError(f"the runs of an ensemble must have one data set, but {first.run.path} was trained on "
                                f"{first.flags['dataset']}, and {other.run.path} on {other.flags['dataset']}")
        flags = {'arch': NAME, 'dataset': first.flags['dataset'], 'model': {'members': [
            {'arch': m.flags['arch'], 'model': plain(m.flags['model'])} for m in self.ordered]}}
        drawn = any(m.flags['train_fraction'] < 1 or m.flags['label_noise'] > 0 for m in self.members)
        names = (*OF_DATA, 'seed') if drawn else OF_DATA
        parts = [[m.record['flags'].get(name, FLAGS[name].default) for name in names] for m in self.members]
        if all(part == parts[0] for part in parts):
            seed = self.ordered[0].record['flags'].get('seed') or 0
            flags.update({name: first.flags[name] for name in OF_DATA}, seed=seed)
        else:
            self.notes.append(f"note: the members were trained on different parts of {flags['dataset']}, so the "
                              'ensemble is measured on images of all of it')
        return flags

    def recorded_flags(self) -> dict[str, Any]:
        """What an evaluation takes from the ensemble, before there is a directory."""
        return {k: v for k, v in self.flags.items() if k in RECORDED_FLAGS}

    def make(self, devices: Devices) -> None:
        """Sees that the directory is there; a line says so, then come the notes. It appears whole or not at all.

        Raises:
            UserError: networks that make no ensemble, weights that cannot be read, or a directory that cannot be
                written, or holds something else.
        """
        if devices.worker == 0:
            if self.place.flags_path.exists():
                theirs = self.place.read_flags().get('ensemble', {}).get('members', ())
                if sorted(member['sha256'] for member in theirs) != self._digests():
                    raise UserError(f'{self.place.path} does not hold the ensemble of {self}; name another directory')
                progress.say(f'{self.place.path} is the ensemble of {self}')
            else:
                self._make(devices)
            for note in self.notes:
                progress.say(note)
        devices.everyone(None)

    def _make(self, devices: Devices) -> None:
        flags = merge({'lr': 1.0, 'E': self.eid or 1, 'B': 1, 'seed': 0, **self.flags})
        session = Session(flags, NAME, {}, False)
        session.devices = devices
        session.fetch_dataset()
        weights = self._weights(session)
        with about('the ensemble'):
            session.build_model()
            session.model.set_weights(weights)
        record = {**session.record(), 'flags': plain({**flags, 'lr': None, 'log': str(self.place.path)}), 'config': {},
                  'ensemble': {'members': [{'run': os.path.relpath(m.run.path, self.place.path), 'eid': m.eid,
                                            'sha256': m.digest} for m in self.ordered]}, **self._registered()}
        with Workdir.whole(self.place.path) as made:
            made.write_model(self.eid, session.model.save)
            made.write_flags(record)
        progress.say(f'{self.place.path} written: the ensemble of {self}, {record["network"]["parameters"]:,} '
                     'parameters')

    def _weights(self, session: Session) -> dict[str, np.ndarray]:
        """Of all members, by the ensemble's names.

        Raises:
            UserError: they cannot be read, or are of networks with other outputs than the first.
        """
        weights: dict[str, np.ndarray] = {}
        outputs: dict[str, int] = {}
        for i, member in enumerate(self.ordered, start=1):
            with about(str(member.run.path)):
                model = session.new_model(member.flags)
                model.restore(member.run.find_model(member.eid))
            outputs[member.digest] = model.num_labels
            weights.update({f'{i}.{name}': value for name, value in model.weights().items()})
        first, *others = self.members
        for other in others:
            if outputs[other.digest] != outputs[first.digest]:
                raise UserError(f'the network of {other.run.path} has {outputs[other.digest]} outputs, and that of '
                                f'{first.run.path} has {outputs[first.digest]}; those of an ensemble have as many')
        return weights

    def _registered(self) -> dict[str, Any]:
        """What the members use of registered things."""
        found: dict[str, dict[str, Any]] = {}
        for member in self.members:
            for kind in ('network', 'data set'):
                if things := member.record.get('registered', {}).get(kind):
                    found.setdefault(kind, {}).update(things)
        return {'registered': found} if found else {}
