"""The curvature of the loss at archived epochs; see ``models.measures.hessian``."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from models import Model, checks
from models.attacks import ATTACKS
from models.measures import lanczos
from models.measures.curvature import BATCH, KINDS, Curvature
from models.measures.hessian import homogeneous_constant

from .. import progress
from ..errors import UserError, about
from ..session import Session
from ..workdir import Workdir
from .arguments import attack_arguments, budgets_of
from .base import Evaluation
from .ends import Ends

METHODS = ('lanczos', 'power')
ADVERSARIAL = ('adversarial', 'fgsm-rs', 'n-fgsm', 'free')
"""Objectives that are the cross entropy of adversarial images."""
RESOLVED = 1e-3
"""Residual, over the largest magnitude of an eigenvalue, above which the summary's line says so."""


class WatchHessian(Evaluation):
    """Measures the spectra of the Hessian and of the Gauss-Newton matrix of the cross entropy on the chosen images, at
    each epoch, all in units of the loss. With a budget (``eps``) the images are adversarial ones, made once at each
    epoch.

    A file hessian-EID.npz for each epoch holds, of 'hessian' and of 'gauss-newton', as '<matrix>/<name>': 'values',
    'residuals', 'nodes' and 'weights' of the density, and the eigenvectors, 'vector-<i>/<weights>', the weights named
    as in archived models. ``res`` holds eid -> the same but for the vectors. With --eval_log, epochs whose file is
    there are not measured again.

    Args:
        k: eigenvalues at either end; 0 for none.
        method: 'lanczos', or 'power', the released power iteration, of the ``k`` largest by magnitude.
        tol: of the residuals, over the largest eigenvalue; of 'power' the relative change at which it ends.
        most: products at most, for the eigenvalues; None for what suits ``k``.
        probes: of the density and of the trace; 0 for neither.
        steps: products for each probe of the density.
        matrices: which of 'hessian' and 'gauss-newton'.
        batch: images whose products are taken together, and which are attacked together.
    """

    subject = 'the Hessian'

    def __init__(self, session: Session, k: int = 5, method: str = 'lanczos', tol: float | None = None,
                 most: int | None = None, probes: int = 5, steps: int = 40, matrices: Any = KINDS, batch: int = BATCH):
        super().__init__(session)
        with about('options'):
            self.k, self.method = checks.count('k', k, 0), checks.one_of('method', method, METHODS)
            self.tol = checks.number('tol', tol) if tol is not None else 1e-6 if method == 'lanczos' else 1e-3
            self.most = None if most is None else checks.count('most', most, 1)
            self.probes, self.steps = checks.count('probes', probes, 0), checks.count('steps', steps, 1)
            self.matrices = [checks.one_of('a matrix', kind, KINDS) for kind in
                             ([matrices] if isinstance(matrices, str) else matrices)]
            self.batch = checks.count('batch', batch, 1)
            if not self.matrices or not (self.k or self.probes):
                raise ValueError('there is nothing to measure without a matrix, or with neither k nor probes')

    def check(self) -> None:
        self.attack, budgets = self.flags['attack_type'].name, budgets_of(self.flags) or [0.0]
        if len(budgets) > 1:
            raise UserError(f'curvature is measured within one budget, as --set eps=0.1, not within {len(budgets)}')
        (self.eps,) = budgets
        if not self.eps:
            return
        if not ATTACKS[self.attack].has_budgets:
            raise UserError(f'the attack {self.attack} knows no budgets, within one of which curvature is measured; '
                            'LOSS_PGD does, as adversarial training has it')
        self.arguments = attack_arguments(self.flags)

    def make(self, model: Model) -> Ends | None:
        size = sum(int(np.prod(v.shape)) for v in model.net.trainable_variables)
        if self.k > size:
            raise ValueError(f'k is {self.k}, but the network has only {size} parameters')
        if not self.eps:
            return None
        with about(f'the attack {self.attack}'):
            return Ends(ATTACKS[self.attack](model, **self.arguments))

    def settings(self) -> dict[str, Any]:
        return {**super().settings(), 'k': self.k, 'method': self.method, 'tol': self.tol, 'probes': self.probes,
                'steps': self.steps}

    def about(self) -> dict[str, Any]:
        model = self.session.model
        attacked = {'type': self.attack, 'norm': self.meter.attack.norm, 'eps': self.eps} if self.eps else None
        return {'order': model.norms().order, 'is_homogeneous': model.is_homogeneous, 'attacked': attacked}

    def begin(self) -> None:
        self._measured: dict[str, Curvature] = {}
        self._made: dict[int, np.ndarray] = {}
        trained = self.run_dir.read_flags()['flags'].get('objective', 'cross-entropy')
        name = trained.get('type') if isinstance(trained, Mapping) else trained
        # The rate is one of the loss that was trained, not of another.
        self._rates = next_rates(self.run_dir) if name in (ADVERSARIAL if self.eps else ('cross-entropy',)) else {}

    def measure(self, eid: int) -> tuple[dict[str, Any], dict[str, Any]]:
        devices = self.session.devices
        if not devices.of_first(self.out.spectrum_path(eid).exists()):
            if devices.worker == 0:
                self.out.write_spectrum(eid, self._arrays(eid))
            devices.everyone(None)  # now it is there
        found = self.out.read_spectrum(eid)
        res = {name: a for name, a in found.items() if '/vector-' not in name}
        return res, self._numbers(eid, found)

    # ---- one epoch ----

    def _arrays(self, eid: int) -> dict[str, np.ndarray]:
        arrays: dict[str, np.ndarray] = {}
        self._eid, self._made = eid, {}
        for kind in self.matrices:
            if kind in self._measured:
                self._measured[kind].refresh()
            else:
                self._measured[kind] = Curvature(self.session.model, (self.images, self.labels), kind, self.batch,
                                                 attack=self._attacked if self.eps else None)
            matrix = self._measured[kind]
            found = {**self._pairs(eid, kind, matrix), **self._density(eid, kind, matrix),
                     'products': np.array(matrix.products)}
            arrays.update({f'{kind}/{name}': a for name, a in found.items()})
            arrays['log_loss'] = np.array(matrix.log_loss)
        return arrays

    def _attacked(self, x: np.ndarray, y: np.ndarray, first: int) -> np.ndarray:
        if first not in self._made:  # the other matrix is that of the same images
            self._made[first] = self.meter.made(x, y, self.session.rng('attack', self._eid, first))
        return self._made[first]

    def _pairs(self, eid: int, kind: str, matrix: Curvature) -> dict[str, np.ndarray]:
        if not self.k:
            return {}
        rng = self.session.rng('curvature', eid, 0)
        with progress.count_bar(f'epoch {eid}, {kind}, eigenvalues') as told:
            if self.method == 'power':
                values, vectors, _ = lanczos.power_iteration(
                    matrix, rng.normal(size=(self.k, matrix.size)), self.most or 50, self.tol)
                residuals = np.array([np.linalg.norm(matrix(v) - a * v) for a, v in zip(values, vectors)])
            else:
                which = 'both' if kind == 'hessian' else 'largest'  # there is nothing below 0 of the other
                values, vectors, residuals, _ = lanczos.eigenpairs(
                    matrix, matrix.size, self.k, rng, which, self.tol, self.most, told)
        named = {f'vector-{i}/{name}': part for i, v in enumerate(vectors)
                 for name, part in zip(self._names(), matrix.split(v))}
        return {'values': values, 'residuals': residuals, **named}

    def _density(self, eid: int, kind: str, matrix: Curvature) -> dict[str, np.ndarray]:
        if not self.probes:
            return {}
        with progress.count_bar(f'epoch {eid}, {kind}, density') as told:
            found = lanczos.quadrature(matrix, matrix.size, self.session.rng('curvature', eid, 1), self.probes,
                                       self.steps, told)
        return {'nodes': found.nodes, 'weights': found.weights, 'trace': np.array(found.trace(matrix.size))}

    def _names(self) -> list[str]:
        """Of the trainable parameters, in their order."""
        names = {id(v): name for name, v in self.session.model.network.weights.items()}
        return [names[id(v.value)] for v in self.session.model.net.trainable_variables]

    def _numbers(self, eid: int, found: Mapping[str, np.ndarray]) -> dict[str, Any]:
        log_loss = float(found['log_loss'])
        numbers: dict[str, Any] = {'images': len(self.labels), 'log_loss': log_loss}
        for kind in self.matrices:
            own = {name: found[f'{kind}/{name}'] for name in ('values', 'residuals', 'trace', 'products')
                   if f'{kind}/{name}' in found}
            numbers[kind] = {name: a.tolist() for name, a in own.items()}
            if 'trace' in own:
                numbers[kind]['trace'], numbers[kind]['trace_error'] = (
                    None if math.isnan(a) else a for a in own['trace'].tolist())
        if self.k and 'hessian' in self.matrices:
            top = max(numbers['hessian']['values'])
            rate = self._rates.get(eid)
            numbers['lr'] = rate and rate[0]
            numbers['lr_lambda'] = rate and rate[0] * top * math.exp(min(log_loss - rate[1], 700.0))
            if self.session.model.is_homogeneous and log_loss < 0:
                numbers['homogeneous_constant'] = homogeneous_constant(top, self.session.model.norms().rho, log_loss)
        return numbers

    def line(self, eid: int, numbers: Mapping[str, Any]) -> str:
        within = f" within {self.meter.attack.norm} {self.eps:g}" if self.eps else ''
        parts = [f"loss=1e{numbers['log_loss'] / math.log(10):.2f}{within}"]
        for kind in self.matrices:
            own = numbers[kind]
            if self.k:
                low = f", least {min(own['values']):.4g}" if kind == 'hessian' and self.method == 'lanczos' else ''
                parts.append(f"{kind}: largest/loss={own['values'][0]:.5g}{low}")
            if own.get('trace') is not None:
                parts.append(f"trace/loss={own['trace']:.4g}")
        if numbers.get('lr_lambda') is not None:
            parts.append(f"lr*largest={numbers['lr_lambda']:.3g}")
        line = f"epoch #{eid}: {' '.join(parts)} [time={numbers['seconds']:.1f}s]"
        unresolved = {kind: sum(r > RESOLVED * np.abs(numbers[kind]['values']).max()
                                for r in numbers[kind].get('residuals', ())) for kind in self.matrices}
        for kind, n in unresolved.items():
            if n:
                line += (f'\nnote: {n} eigenvalues of the {kind} are not resolved; more products (options.most) or '
                         'a smaller k would')
        return line


def next_rates(run: Workdir) -> dict[int, tuple[float, float]]:
    """The rate of the steps that follow each epoch, and the natural logarithm of the frame in whose units it is, by
    epoch; none of what has no history."""
    if not run.history_path.exists():
        return {}
    return {line['eid']: (line['next_lr'], _next_frame(line)) for line in run.read_history()
            if line['cmd'] == 'go' and line['next_lr'] is not None}


def _next_frame(line: Mapping[str, Any]) -> float:
    if line['log_frame'] is None:
        return 0.0
    loss = line['stats']['loss']
    return line['log_frame'] + math.log(loss) if loss > 0 else line['stats']['log_loss']
