"""The loss and the accuracy of archived epochs along directions; see ``models.measures.scan``."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from models import Model, checks
from models.attacks import ATTACKS
from models.attacks.within_budgets import BudgetAttack
from models.measures.scan import Point, at, blocks, grid
from models.measures.scanner import Scanner
from models.types import shown

from ..errors import UserError, about
from ..session import Session
from .arguments import attack_arguments, budgets_of
from .directions import Directions
from .ends import Ends
from .parts import Parts

PARTS = 128
"""Into so many files a scan is cut, at most: what a kill loses is one of them."""
RANGES = {'towards': (-0.5, 1.5, 0.1)}
"""Of what is not looked at from -1 to 1 in steps of 0.1."""
MARGIN, ACROSS = 0.2, 20
"""By how much of its extent the plane of a trajectory is larger than that on each side, and steps across it."""
QUANTITIES = ('log_loss', 'loss', 'accuracy')


class Scanning(Parts):
    """Measures the mean cross entropy and the accuracy on the chosen images along one or two directions from the
    weights of each epoch, within each of the budgets.

    A file scan-EID.npz for each epoch holds 'axis-1', float64 [n], and of two directions 'axis-2', [m]; 'budgets' [B];
    'log_loss', 'loss', 'accuracy', float64 [B, n] or [B, n, m], nan where the loss is not finite, or not measured yet;
    'measured', bool, likewise; the directions, 'direction-<i>/<weights>', the weights named as in archived models; of
    'pca' also 'trajectory', float64 [T, directions], 'epochs' [T] and 'variance' [directions]. ``res`` holds eid -> the
    same but for the directions.

    Args:
        directions: one or two of 'random', standard normal numbers; 'filter', the same with each filter's norm made
            that of the weights; ('eigenvector', directory of an eval-hessian or file in it, number);
            ('towards', a run), or ('towards', run, epoch); 'pca', the components of the epochs ``eid``, in the plane
            of which the last of them is looked at.
        ranges: (low, high, step), or one for each direction; None for what suits the directions.
        adv_calc_freq: the side of the square blocks of points whose attacked images are those of the first.
        normalise: whether directions of any kind are filter-normalised.
        scale: what directions are multiplied by.
    """

    subject, counted, progress = 'the scan', 'point', 'log_loss'

    def __init__(self, session: Session, directions: Any = 'filter', ranges: Any = None, adv_calc_freq: int = 1,
                 normalise: bool = False, scale: float = 1.0):
        super().__init__(session)
        with about('options'):
            self.directions = Directions(session, directions, normalise, scale)
            self.freq = checks.count('adv_calc_freq', adv_calc_freq)
            self._ranges = None if ranges is None else _ranges(ranges, len(self.directions.described))

    # ---- what it is asked ----

    def check(self) -> None:
        self.attack = self.flags['attack_type'].name
        self.arguments = attack_arguments(self.flags)
        self.budgets = list(dict.fromkeys(budgets_of(self.flags) or [0.0]))
        if any(self.budgets) and not ATTACKS[self.attack].has_budgets:
            raise UserError(f'the attack {self.attack} has no budgets; PGD, LOSS_PGD, APGD and SQUARE do, say')

    def load(self) -> None:
        super().load()
        self.eids = self.directions.find(self.eids)
        self._at: dict[str | None, int] = {}

    def make(self, model: Model) -> Scanner:
        attacking = self._attacking(model) if any(self.budgets) else None
        return Scanner(model, (self.images, self.labels), None, attacking, model.eval_batch, self.flags['attack_B'])

    def _attacking(self, model: Model) -> Any:
        """What makes images within a budget: an attack that can within any, or else one for each."""
        tried = [eps for eps in self.budgets if eps > 0]
        first = ATTACKS[self.attack](model, **{**self.arguments, 'eps_list': tried})
        self.norm = first.norm
        if isinstance(first, BudgetAttack):
            return first
        each = {np.float32(eps): Ends(ATTACKS[self.attack](model, **{**self.arguments, 'eps_list': [eps]}))
                for eps in tried}
        return lambda x, y, eps, seed: each[eps.numpy()[0]].made(
            x.numpy(), y.numpy(), np.random.default_rng(seed.numpy()))

    def prepare(self) -> None:
        super().prepare()
        self.directions.prepare(self.run_dir, self.eids)
        self._restored.clear()  # the network has been elsewhere since
        self.axes = [grid(*r) for r in self._ranges or self._suitable()]
        self.shape = [len(axis) for axis in self.axes]
        chosen = blocks(self.shape, self.freq)
        jobs = [(k, j, block) for k in range(len(self.budgets)) for j, block in enumerate(chosen)]
        each = math.ceil(len(jobs) / PARTS)
        self.jobs: dict[int, list[tuple[int, int, list[Point]]]] = {
            i: jobs[i:i + each] for i in range(0, len(jobs), each)}

    def _suitable(self) -> list[tuple[float, float, float]]:
        if self.directions.components is None:
            return [RANGES.get(d.kind, (-1.0, 1.0, 0.1)) for d in self.directions.described]
        found = []
        for column in self.directions.components.coordinates.T / self.directions.scale:
            low, high = column.min(), column.max()
            room = MARGIN * (high - low)
            step = (high - low + 2 * room) / ACROSS
            first, last = math.floor((low - room) / step), math.ceil((high + room) / step)  # so that 0 is on the grid
            found.append((first * step, (last + 0.01) * step, step))
        return found

    # ---- what it says ----

    def record(self) -> dict[str, Any]:
        found = self.directions.record(self.run_dir, self.eids)
        return {'source_model': found} if found else {}

    def about(self) -> dict[str, Any]:
        return {'directions': [d.label for d in self.directions.described], 'budgets': self.budgets,
                'norm': self.norm,
                'axes': [[float(axis[0]), float(axis[-1]), len(axis)] for axis in self.axes]}

    # ---- the work ----

    def starts(self) -> Sequence[int]:
        return list(self.jobs)

    def count(self) -> int:
        return len(self.budgets) * math.prod(self.shape)

    def measure_part(self, eid: int, start: int, device: str | None) -> Mapping[str, Any]:
        scanner = self._scanner(eid, device)
        found, rows = [], []
        for k, j, block in self.jobs[start]:
            points = [at(self.axes, point) for point in block]
            found.append(scanner.block(points, self.budgets[k], self._seeds(eid, k, j)))
            rows.append(k * math.prod(self.shape) + np.ravel_multi_index(np.transpose(block), self.shape))
        return {'at': np.concatenate(rows), **dict(zip(QUANTITIES, np.concatenate(found, axis=1)))}

    def _scanner(self, eid: int, device: str | None) -> Scanner:
        """That of a device, with the weights and the directions of an epoch."""
        scanner = self.at(eid, device)
        if self._at.get(device) != eid:
            scanner.along(self.directions.at(eid, self.networks[device][0]))
            self._at[device] = eid
        return scanner

    def _seeds(self, *place: int) -> Callable[[int], np.ndarray]:
        return lambda i: self.session.rng('attack', *place, i).integers(2 ** 31, size=2).astype(np.int32)

    def join(self, parts: Sequence[Mapping[str, Any]]) -> tuple[dict[str, Any], dict[str, Any]]:
        rows = np.concatenate([p['at'] for p in parts])
        measured = np.zeros(self.count(), bool)
        measured[rows] = True
        res: dict[str, Any] = {f'axis-{i}': axis for i, axis in enumerate(self.axes, start=1)}
        res.update(budgets=np.array(self.budgets), measured=measured.reshape(-1, *self.shape))
        for name in QUANTITIES:
            values = np.full(self.count(), np.nan)
            values[rows] = np.concatenate([p[name] for p in parts])
            res[name] = values.reshape(-1, *self.shape)
        if (found := self.directions.components) is not None:
            res.update(trajectory=found.coordinates / self.directions.scale, variance=found.variance,
                       epochs=np.array(self.directions.trajectory))
        return res, self._numbers(res)

    def _numbers(self, res: Mapping[str, np.ndarray]) -> dict[str, Any]:
        numbers: dict[str, Any] = {
            'images': len(self.labels), 'points': int(res['measured'].sum()), 'points_asked_for': self.count(),
            'non_finite': int((res['measured'] & np.isnan(res['log_loss'])).sum()), 'within': {}}
        middle = tuple(int(np.abs(axis).argmin()) for axis in self.axes)
        for k, budget in enumerate(self.budgets):
            logs, shares = res['log_loss'][k], res['accuracy'][k]
            if np.isnan(logs).all():
                continue
            least = np.unravel_index(np.nanargmin(logs), logs.shape)
            numbers['within'][f'{budget:g}'] = {
                'at': at(self.axes, middle), 'log_loss': float(logs[middle]), 'accuracy': float(shares[middle]),
                'least': {'at': at(self.axes, tuple(map(int, least))), 'log_loss': float(logs[least])},
                'largest_log_loss': float(np.nanmax(logs))}
        if 'variance' in res:
            numbers['variance'] = res['variance'].tolist()
        return numbers

    def _write(self, starts, ends=None):
        res, epochs = super()._write(starts, ends)
        for eid, found in res.items() if self.session.devices.worker == 0 else ():
            named = {} if ends is None else self._named(eid)  # they may be large, and are written once
            self.out.write_scan(eid, {**found, **named})
        return res, epochs

    def _named(self, eid: int) -> dict[str, np.ndarray]:
        """The directions at an epoch by the names of the weights."""
        device = next((d for d, there in self._at.items() if there == eid), next(iter(self.networks)))
        with tf.device(device):
            model, scanner = self.networks[device][0], self._scanner(eid, device)
        names = {id(v): name for name, v in model.network.weights.items()}
        return {f'direction-{i}/{names[id(v)]}': d.numpy() for i, direction in enumerate(scanner.directions, start=1)
                for v, d in zip(scanner.variables, direction)}

    def describe(self, numbers: np.ndarray) -> str:
        there = numbers[~np.isnan(numbers)] / math.log(10)
        return f'loss 1e{there.min():.1f} to 1e{there.max():.1f}' if len(there) else 'no finite loss'

    def line(self, eid: int, numbers: Mapping[str, Any]) -> str:
        labels = ' and '.join(d.label for d in self.directions.described)
        lines = [f"epoch #{eid}: {numbers['points']} points along {labels} [time={numbers['seconds']:.1f}s]"]
        for budget, found in numbers['within'].items():
            low, middle, high = (log / math.log(10) for log in (
                found['least']['log_loss'], found['log_loss'], found['largest_log_loss']))
            where, lowest = (', '.join(f'{round(v, 9) + 0:.3g}' for v in place)
                             for place in (found['at'], found['least']['at']))
            lines.append(f"within {budget}: loss=1e{middle:.2f} acc={100 * found['accuracy']:.3f}% at ({where}), from "
                         f'1e{low:.2f} at ({lowest}) to 1e{high:.2f}')
        if 'variance' in numbers:
            lines.append('components explain ' + ', '.join(f'{100 * v:.1f} %' for v in numbers['variance']) +
                         f' of the variance of {len(self.directions.trajectory)} epochs')
        if numbers['non_finite']:
            lines.append(f"note: {numbers['non_finite']} of {numbers['points']} points have no finite loss; figures "
                         'leave them out')
        return '\n'.join(lines)


def _ranges(value: Any, k: int) -> list[tuple[float, float, float]]:
    several = isinstance(value, (list, tuple)) and value and all(isinstance(v, (list, tuple)) for v in value)
    found = list(value) if several else [value] * k
    if len(found) != k or any(not isinstance(v, (list, tuple)) or len(v) != 3 for v in found):
        raise ValueError(f'ranges must be (low, high, step), or {k} of these in a list, not {shown(value)}')
    for v in found:
        grid(*v)
    return [tuple(v) for v in found]
