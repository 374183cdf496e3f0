"""The attack loop over images and epochs; receives built objects, never FLAGS."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from models import Model
from models.attacks import Attack, AttackResult

from . import progress
from .errors import Interrupted, about
from .interrupts import interruptible
from .workdir import Workdir

QUANTILES = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)
GRIDS = {'L2': [k / 4 for k in range(1, 21)], 'Linf': [k / 100 for k in range(1, 31)]}
"""Perturbation sizes at which accuracy under attack is reported, by norm."""
_JOINED = ('images', 'errors', 'distances', 'eps', 'success', 'label', 'clean_class')


class Attacking:
    """Attacks images batch by batch, each batch at every epoch, and records what was found.

    A batch is recorded when it is finished, and its random draws depend on nothing but the seed, the epoch and its
    first image: an evaluation that was killed goes on where it stopped, and ends the same.

    Args:
        model: holds the weights of an epoch while that epoch is attacked.
        attack: of ``model``.
        images: float32 [N, H, W, C].
        labels: int64 [N].
        indices: int64 [N], which images of the data set these are.
        batch_size: images per batch.
        run: working directory of the run, with its archived models.
        out: working directory of the evaluation.
        seed: of the random draws.
        grid: perturbation sizes for accuracy under attack; None for those of the norm.
        about_it: what the summary says of settings.
    """

    def __init__(self, model: Model, attack: Attack, images: np.ndarray, labels: np.ndarray, indices: np.ndarray,
                 batch_size: int, run: Workdir, out: Workdir, seed: Sequence[int],
                 grid: Sequence[float] | None = None, about_it: Mapping[str, Any] | None = None):
        self.model = model
        self.attack = attack
        self.images, self.labels, self.indices = images, labels, indices
        self.batch_size = batch_size
        self.run_dir, self.out = run, out
        self.seed = list(seed)
        self.grid = list(grid if grid is not None else GRIDS[attack.norm])
        self.about_it = dict(about_it or {})
        self._restored: int | None = None

    def run(self, eids: Sequence[int]) -> dict[int, dict[str, np.ndarray]]:
        """Attacks the models of these epochs.

        Returns:
            eid -> {'images': float32 [N, H, W, C], zeros where nothing was found; 'errors': float64 [N]}, errors as in
            the original: squared L2 distance from the clean image for attacks that minimise L2, the budget that was
            enough for attacks within budgets, and 1 where none was.

        Raises:
            UserError: a model that cannot be read.
            Interrupted: Ctrl-C or SIGTERM.
        """
        starts = range(0, len(self.images), self.batch_size)
        have = self.out.parts()
        done = 0
        with progress.attack_bar(len(eids) * len(self.images), self.attack.norm) as tell:
            for number, start in enumerate(starts, start=1):
                for eid in eids:
                    if start not in have.get(eid, ()):
                        self._attack_batch(eid, start, done)
                    distances = self.out.read_part(eid, start)['distances']
                    done += len(distances)
                    tell(eid, distances)
                if number & (number - 1) == 0 and start != starts[-1]:  # so seldom that all of it takes linear time
                    self._write(eids, starts[:number])
        res, summary = self._write(eids, starts)
        for eid in eids:
            progress.print_attack(eid, summary['epochs'][eid], self.attack.norm)
        progress.say(f'{self.out.res_path} written')
        return res

    def _attack_batch(self, eid: int, start: int, done: int) -> None:
        if self._restored != eid:
            with about(f'epoch {eid}'):
                self.model.restore(self.run_dir.find_model(eid))
            self._restored = eid
        batch = slice(start, start + self.batch_size)
        x, y = self.images[batch], self.labels[batch]
        rng = np.random.default_rng(np.random.SeedSequence([*self.seed, eid, start]))
        began = time.perf_counter()
        try:
            with about(f'epoch {eid}'):
                result = interruptible(lambda: self.attack.attack(x, y, rng))
        except KeyboardInterrupt:
            raise Interrupted(f'interrupted after {done} images; repeat the command with --eval_log {self.out.path} '
                              'to go on') from None
        arrays = {
            'index': self.indices[batch], 'label': y, 'clean': x, 'images': result.images,
            'distances': result.distances, 'success': result.success,
            'clean_class': self.attack.logits(x).argmax(axis=1),
            'class': self.attack.logits(result.images).argmax(axis=1),
            'errors': _errors(result, x), 'time': np.float64(time.perf_counter() - began),
        }
        if result.eps is not None:
            arrays['eps'] = result.eps
        self.out.write_part(eid, start, arrays)

    def _write(self, eids: Sequence[int], starts: Sequence[int]) -> tuple[dict[int, Any], dict[str, Any]]:
        """Writes res and summary.json from the batches that are finished."""
        res: dict[int, Any] = {}
        summary = {**self.about_it, 'norm': self.attack.norm, 'epochs': {}}
        for eid in eids:
            parts = [{k: v for k, v in self.out.read_part(eid, start).items() if k != 'clean'} for start in starts]
            joined = {name: np.concatenate([p[name] for p in parts]) for name in _JOINED if name in parts[0]}
            res[eid] = {'images': joined['images'], 'errors': joined['errors']}
            summary['epochs'][eid] = {**self._summary(joined), 'seconds': sum(float(p['time']) for p in parts)}
        self.out.write_res(res)
        self.out.write_summary(summary)
        return res, summary

    def _summary(self, a: Mapping[str, np.ndarray]) -> dict[str, Any]:
        size = a.get('eps', a['distances'])
        return {
            'images': len(size),
            'images_asked_for': len(self.images),
            'accuracy': float((a['clean_class'] == a['label']).mean()),
            'success_rate': float(a['success'].mean()),
            **distribution(a['distances']),
            'robust_accuracy': {f'{eps:g}': float((size > eps).mean()) for eps in self.grid},
        }


def distribution(sizes: np.ndarray) -> dict[str, Any]:
    """Median, mean over the finite ones, and quantiles, of distances that may be infinite."""
    finite = sizes[np.isfinite(sizes)]
    return {
        'median': float(np.median(sizes)),
        'mean': float(finite.mean()) if len(finite) else None,
        'quantiles': {f'{q:g}': float(np.quantile(sizes, q, method='inverted_cdf')) for q in QUANTILES},
    }


def _errors(result: AttackResult, x: np.ndarray) -> np.ndarray:
    if result.eps is not None:
        return np.where(result.success, result.eps, 1.0)
    return np.square(result.images.astype(np.float64) - x).sum(axis=(1, 2, 3))
