"""How alike runs are, by the perturbations that one attack makes on them, and by their parameters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np
import tensorflow as tf

from models import Model
from models.attacks import ATTACKS, Attack
from models.measures.likeness import likeness, parameter_distance
from models.measures.matching import match

from .. import datasets
from ..errors import UserError, about
from ..flags import merge
from ..flags.earlier import evaluated_flags, measured_epochs
from ..session import Session
from ..workdir import Workdir
from .arguments import attack_arguments
from .begun import digests
from .ends import Ends
from .parts import Batches


class Compare(Batches):
    """Compares each two of several runs.

    The same images are attacked on the network of each: within the largest budget, all the way, where the attack is a
    descent within budgets (``ends.Ends``), else as in an evaluation. An image that stays as it is on either network has
    no direction: it is counted, and left out.

    Args:
        session: of the first run.
        others: the directories of the other runs; the command line has them after the first.

    ``res`` holds eid -> {'pairs': [[run, run], ...], 'index', 'label': int64 [N], 'cosine', 'sign_cosine': float64
    [pairs, N], nan where undefined}.
    """

    progress = 'cosine'
    compares_runs = True

    def __init__(self, session: Session, others: Sequence[str] = ()):
        super().__init__(session)
        self.others = [Workdir(path) for path in others]
        self.attack = self.flags['attack_type'].name
        self.subject, self.norm = f'the attack {self.attack}', ATTACKS[self.attack].norm

    def check(self) -> None:
        if not self.others:
            raise UserError(f"name two runs at least, to compare them: {self.session.name} logs/A logs/B")
        if self.flags['ensemble']:
            raise UserError('ensemble means nothing here, where several runs are compared')
        self.arguments = attack_arguments(self.flags)

    def make(self, model: Model) -> Attack:
        return ATTACKS[self.attack](model, **self.arguments)

    def load(self) -> None:
        super().load()
        runs = [self.run_dir, *self.others]
        self.epochs = [self.eids[0]]
        if len(self.eids) != 1:
            raise UserError(f'runs are compared at one epoch of each, not at {len(self.eids)}; eid is one epoch, '
                            "'last' or 'best'")
        data = datasets.identity(self.flags['dataset'])
        self.their_flags = []
        for run in self.others:
            flags = merge({'task': self.flags['task'], **evaluated_flags(str(run.path))})
            if datasets.identity(flags['dataset']) != data:
                raise UserError(f"{self.run_dir.path} is attacked on {self.flags['dataset']}, and {run.path} was "
                                f"trained on {flags['dataset']}; runs that are compared have one data set")
            eids, note = measured_epochs(run, self.flags['eid'])
            self.session.notes += [f'note: {note}'] if note else []
            self.epochs += eids
            self.their_flags.append(flags)
        self.pairs = list(combinations(range(len(runs)), 2))
        self.names = [str(run.path) for run in runs]

    def prepare(self) -> None:
        super().prepare()
        self.ends: dict[str | None, list[Ends]] = {}
        for device, (_, attack) in self.networks.items():
            with tf.device(device), about(self.subject):
                others = [self.make(self._network(i)) for i in range(len(self.others))]
            self.ends[device] = [Ends(a) for a in (attack, *others)]
        self.norm = next(attack for _, attack in self.networks.values()).norm
        self.apart = self._apart()

    def _network(self, i: int) -> Model:
        with about(self.names[i + 1]):
            return self.session.network_of(self.others[i], self.their_flags[i], self.epochs[i + 1])

    def _apart(self) -> list[dict[str, Any]]:
        """Of each pair, the distances of parameters, as they are and after matching; or why there is none."""
        self.session.model.restore(self.run_dir.find_model(self.eids[0]))
        models = [self.session.model, *(self._network(i) for i in range(len(self.others)))]
        found: list[dict[str, Any]] = []
        for i, j in self.pairs:
            try:
                of = parameter_distance(models[i], models[j])
                found.append({'parameter_distance': of.total, 'with_statistics': of.with_statistics,
                              'layers': of.layers, 'matched': _matched(models[i], models[j])})
            except ValueError as e:
                found.append({'parameter_distance': None, 'layers': {}, 'reason': str(e)})
        return found

    def record(self) -> dict[str, Any]:
        return {'source_model': [[*digests(run, [eid]).values()] for run, eid in zip(self.others, self.epochs[1:])]}

    def about(self) -> dict[str, Any]:
        return {'norm': self.norm, 'runs': [{'run': name, 'eid': eid} for name, eid in zip(self.names, self.epochs)]}

    def measure_batch(self, eid: int, start: int, device: str | None) -> Mapping[str, Any]:
        (x, y), _ = self.batch(start), self.at(eid, device)
        moved = [self._perturbed(ends, x, y, start) - x.astype(np.float64) for ends in self.ends[device]]
        alike = [likeness(moved[i], moved[j]) for i, j in self.pairs]
        return {name: np.array([getattr(pair, name) for pair in alike]).T for name in ('cosine', 'sign_cosine')}

    def _perturbed(self, ends: Ends, x: np.ndarray, y: np.ndarray, start: int) -> np.ndarray:
        return ends.made(x, y, self.session.rng('attack', self.epochs[0], start))  # the same draws on every network

    def join(self, parts: Sequence[Mapping[str, Any]]) -> tuple[dict[str, Any], dict[str, Any]]:
        joined = {name: np.concatenate([p[name] for p in parts]) for name in ('index', 'label', 'cosine',
                                                                              'sign_cosine')}
        pairs = []
        for k, (i, j) in enumerate(self.pairs):
            cosine, sign = (joined[name][:, k] for name in ('cosine', 'sign_cosine'))
            is_there = ~np.isnan(cosine)
            pairs.append({'runs': [self.names[i], self.names[j]], 'cosine': _mean(cosine[is_there]),
                          'sign_cosine': _mean(sign[is_there]), 'images': int(is_there.sum()),
                          'unchanged': int((~is_there).sum()), **self.apart[k]})
        res = {'pairs': [[self.names[i], self.names[j]] for i, j in self.pairs], 'index': joined['index'],
               'label': joined['label'], 'cosine': joined['cosine'].T, 'sign_cosine': joined['sign_cosine'].T}
        return res, {'images': len(joined['label']), 'images_asked_for': len(self.images), 'pairs': pairs}

    def describe(self, numbers: np.ndarray) -> str:
        there = numbers[~np.isnan(numbers)]
        return f'cosine {there.mean():.3f}' if len(there) else 'no image has changed'

    def line(self, eid: int, numbers: Mapping[str, Any]) -> str:
        return '\n'.join(map(self._line, numbers['pairs']))

    def _line(self, pair: Mapping[str, Any]) -> str:
        first, second = (f'{name} (epoch {self.epochs[self.names.index(name)]})' for name in pair['runs'])
        left_out = f', {pair["unchanged"]} left out that did not change' if pair['unchanged'] else ''
        of = f"({pair['images']} images{left_out})"
        cosines = (f"cosine {pair['cosine']:.4f}, of signs {pair['sign_cosine']:.4f} {of}"
                   if pair['images'] else f"no cosine, as none of {pair['unchanged']} images changed on both")
        apart = pair['parameter_distance']
        if apart is None:
            return f"{first} and {second}: {cosines}; parameters have no distance: {pair['reason']}"
        matched = pair['matched'].get('parameter_distance')
        after = f', {matched:.4f} with matched neurons' if matched is not None else ''
        return f'{first} and {second}: {cosines}; parameters {apart:.4f} apart{after}'


def _matched(first: Model, second: Model) -> dict[str, Any]:
    """The distances of parameters with the neurons of the second network in the order that suits those of the first."""
    try:
        of = parameter_distance(first, second, match(first, second))
    except ValueError as e:
        return {'reason': str(e)}
    return {'parameter_distance': of.total, 'with_statistics': of.with_statistics, 'layers': of.layers}


def _mean(values: np.ndarray) -> float | None:
    return float(values.mean()) if len(values) else None
