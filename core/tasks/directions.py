"""Directions in the space of a run's weights, as the options of a task describe them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from models import Model, checks
from models.measures.directions import (
    Components,
    Direction,
    filter_normalised,
    principal,
    random_direction,
    require_direction,
    towards,
    weights_of,
)
from models.types import shown

from ..errors import UserError, about
from ..flags import merge
from ..flags.earlier import evaluated_flags, measured_epochs
from ..session import Session
from ..workdir import Workdir
from .begun import digests

KINDS = ('random', 'filter', 'pca', 'eigenvector', 'towards')
OF_RUNS = ('eigenvector', 'towards')
"""Kinds that name a path."""
EXPECTED = ("directions are 'random', 'filter', 'pca', ('eigenvector', path of an eval-hessian, number) or ('towards', "
            'path of a run), or a list of one or two of these')


class Described(NamedTuple):
    """A description: the kind, a path, and a number: of an eigenvector, of a component, of an epoch (None for the
    last)."""

    kind: str
    path: str = ''
    number: int | None = None

    @property
    def label(self) -> str:
        """What to call it in a figure."""
        return {'random': 'random', 'filter': 'random, filter-normalised', 'towards': f'towards {self.path}',
                'pca': f'component {(self.number or 0) + 1}', 'eigenvector': f'eigenvector {self.number}'}[self.kind]


def descriptions(value: Any) -> list[Described]:
    """What the option ``directions`` says. 'pca' alone stands for the first two components, in a list for the next.

    Raises:
        ValueError: it is no such.
    """
    if value == 'pca':
        value = ['pca', 'pca']
    if isinstance(value, str) or (isinstance(value, (list, tuple)) and value and value[0] in OF_RUNS):
        value = [value]
    if not isinstance(value, (list, tuple)) or not 1 <= len(value) <= 2:
        raise ValueError(f'{EXPECTED}, not {shown(value)}')
    found: list[Described] = []
    for each in value:
        kind, *rest = [each] if isinstance(each, str) else each if isinstance(each, (list, tuple)) and each else [None]
        if kind not in KINDS or (kind in OF_RUNS) != bool(rest) or len(rest) > 2 or (rest and not (
                isinstance(rest[0], str) and rest[0])):
            raise ValueError(f'{EXPECTED}, not {shown(each)}')
        number = checks.count('the number of a direction', rest[1], 0) if len(rest) == 2 else None
        if kind == 'pca':
            number = sum(d.kind == 'pca' for d in found)
        if kind == 'eigenvector':
            number = number or 0
        found.append(Described(str(kind), str(rest[0]) if rest else '', number))
    if any(d.kind == 'pca' for d in found) and len({d.kind for d in found}) > 1:
        raise ValueError("'pca' goes with 'pca' alone: the trajectory is drawn in the plane of its own components")
    return found


class Directions:
    """The directions of a task at its epochs.

    Args:
        session: the task's.
        value: the option ``directions``.
        normalise: whether any kind is filter-normalised; 'filter' is.
        scale: what each is multiplied by.

    Raises:
        ValueError: a description that is not such.

    Attributes:
        described: the descriptions.
        scale: see the arguments.
        components: of 'pca', and ``trajectory``, the epochs whose weights they are of; else None and empty.
    """

    def __init__(self, session: Session, value: Any, normalise: bool = False, scale: float = 1.0):
        self._session, self.described = session, descriptions(value)
        self._normalise = checks.flag('normalise', normalise)
        self.scale = checks.number('scale', scale)
        if self._normalise and self.is_pca:
            raise ValueError("normalise=True changes directions, and 'pca' draws the trajectory in their plane as it "
                             'is: leave it out')
        self.components: Components | None = None
        self.trajectory: list[int] = []
        self._others: dict[int, tuple[Workdir, Any, int]] = {}
        self._ends: dict[int, Model] = {}

    @property
    def is_pca(self) -> bool:
        return self.described[0].kind == 'pca'

    def find(self, eids: list[int]) -> list[int]:
        """Finds the runs that are named.

        Returns:
            the epochs to stand at: those given, but of 'pca', to which they give the components, the last.

        Raises:
            UserError: there is no such run, or too few epochs.
        """
        for i, d in enumerate(self.described):
            if d.kind == 'towards':
                run, flags = Workdir(d.path), merge({'task': 'certify', **evaluated_flags(d.path)})
                ((eid, *_), _) = measured_epochs(run, 'last' if d.number is None else d.number)
                self._others[i] = run, flags, eid
            if d.kind == 'eigenvector' and not Path(d.path).exists():
                raise UserError(f'there is no {d.path}; an eigenvector is named by the directory of an eval-hessian, '
                                'or a hessian-EPOCH.npz in it')
        if not self.is_pca:
            return eids
        self.trajectory = sorted(set(eids))
        if len(self.trajectory) <= len(self.described):
            raise UserError(f"the {len(self.described)} components of 'pca' take {len(self.described) + 1} archived "
                            f"epochs at least, and eid names {len(self.trajectory)}; eid=all names all")
        return self.trajectory[-1:]

    def prepare(self, run: Workdir, eids: Sequence[int]) -> None:
        """Reads what the directions are made of; the network of the session is at one of the epochs then.

        Raises:
            UserError: something cannot be read, or is of another network.
        """
        model = self._session.model
        for i, (other, flags, eid) in self._others.items():
            with about(f'towards {other.path}'):
                self._ends[i] = self._session.network_of(other, flags, eid)
        if self.is_pca:
            weights = []
            for eid in self.trajectory:
                with about(f'epoch {eid}'):
                    model.restore(run.find_model(eid))
                weights.append(weights_of(model.net))
            with about('directions'):
                self.components = principal(weights, len(self.described))
        for eid in eids:
            with about(f'epoch {eid}'):
                model.restore(run.find_model(eid))
                self.at(eid, model)
                if not any(d.kind == 'eigenvector' for d in self.described):
                    break  # the others are the same at any epoch, or can be made

    def record(self, run: Workdir, eids: Sequence[int]) -> list[Any]:
        """What the directions depend on beside the models of the epochs of a run: digests of models and files."""
        found: list[Any] = [[*digests(other, [eid]).values()] for other, _, eid in self._others.values()]
        for d in self.described:
            if d.kind == 'eigenvector':
                place = Path(d.path)
                files = [Workdir(place).spectrum_path(eid) for eid in eids] if place.is_dir() else [place]
                found.append([hashlib.sha256(path.read_bytes()).hexdigest() for path in files])
        return found + [digests(run, self.trajectory)] * self.is_pca

    def at(self, eid: int, model: Model) -> list[Direction]:
        """The directions at an epoch, whose weights the network has.

        Raises:
            ValueError: one is of another network.
        """
        weights = weights_of(model.net)
        found = []
        for i, d in enumerate(self.described):
            direction = self._one(i, d, eid, model, weights)
            if d.kind == 'filter' or self._normalise:
                direction = filter_normalised(direction[:len(weights)], weights, self.scale)
            elif self.scale != 1:
                direction = [self.scale * np.asarray(a) for a in direction]
            found.append(require_direction(direction, model.net, f'the direction {d.label}'))
        return found

    def _one(self, i: int, d: Described, eid: int, model: Model, weights: Direction) -> Direction:
        if d.kind == 'towards':
            try:
                return towards(model.net, self._ends[i].net)
            except ValueError as e:
                raise ValueError(f'there is no direction towards {d.path}: {e}') from None
        if d.kind == 'eigenvector':
            return self._eigenvector(d, eid, model)
        if d.kind == 'pca':
            assert self.components is not None
            return self.components.directions[d.number or 0]
        return random_direction(weights, self._session.rng('directions', i))

    def _eigenvector(self, d: Described, eid: int, model: Model) -> Direction:
        arrays = Workdir(d.path).read_spectrum(eid) if Path(d.path).is_dir() else Workdir.read_spectrum_file(d.path)
        names = {id(v): name for name, v in model.network.weights.items()}
        keys = [f'hessian/vector-{d.number}/{names[id(v.value)]}' for v in model.net.trainable_variables]
        there = [key for key in arrays if key.startswith(f'hessian/vector-{d.number}/')]
        if not there:
            numbers = {key.split('/')[1] for key in arrays if key.startswith('hessian/vector-')}
            raise ValueError(f'{d.path} has no eigenvector {d.number}; it has {len(numbers)}, counted from 0')
        if set(there) != set(keys):
            raise ValueError(f'the eigenvectors in {d.path} are of another network: they have '
                             f"{', '.join(key.rpartition('/')[2] for key in there)}")
        return [arrays[key] for key in keys]
