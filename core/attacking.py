"""The attack loop over images and epochs; receives built objects, never FLAGS."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import tensorflow as tf

from models import Model
from models.attacks import Attack, AttackResult

from . import progress
from .devices import Devices
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
        attacks: of each device, by name, a model and an attack of it; the name None is TensorFlow's choice.
        images: float32 [N, H, W, C].
        labels: int64 [N].
        indices: int64 [N], which images of the data set these are.
        batch_size: images per batch.
        run: working directory of the run, with its archived models.
        out: working directory of the evaluation.
        seed: of the random draws.
        grid: perturbation sizes for accuracy under attack; None for those of the norm.
        about_it: what the summary says of settings.
        devices: the workers that share the batches.
    """

    def __init__(self, attacks: Mapping[str | None, tuple[Model, Attack]], images: np.ndarray, labels: np.ndarray,
                 indices: np.ndarray, batch_size: int, run: Workdir, out: Workdir, seed: Sequence[int],
                 grid: Sequence[float] | None = None, about_it: Mapping[str, Any] | None = None,
                 devices: Devices | None = None):
        self.devices = devices or Devices('')
        self.attacks = dict(attacks)
        self.norm = next(attack.norm for _, attack in attacks.values())
        self.images, self.labels, self.indices = images, labels, indices
        self.batch_size = batch_size
        self.run_dir, self.out = run, out
        self.seed = list(seed)
        self.grid = list(grid if grid is not None else GRIDS[self.norm])
        self.about_it = dict(about_it or {})
        self._restored: dict[str | None, int] = {}

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
        jobs = [(eid, start) for start in starts for eid in eids]
        have = self.out.parts()
        missing = [(eid, start) for eid, start in jobs if start not in have.get(eid, ())]
        missing = [(eid, start) for eid, start in self.devices.of_first(missing)]
        each = len(self.attacks)
        done = images = 0
        with progress.attack_bar(len(eids) * len(self.images), self.norm) as tell:
            while done < len(jobs):
                until = done + 1
                if jobs[done] in missing:
                    several, missing = missing[:each * self.devices.workers], missing[each * self.devices.workers:]
                    self._attack_batches(several[each * self.devices.worker:][:each], images)
                    self.devices.everyone(None)  # now all of these are there
                    until = jobs.index(several[-1]) + 1
                for eid, start in jobs[done:until]:
                    distances = self.out.read_part(eid, start)['distances']
                    images += len(distances)
                    tell(eid, distances)
                before, done = done // len(eids), until
                number = done // len(eids)
                # So seldom that all of it takes linear time.
                if number.bit_length() > before.bit_length() and number < len(starts):
                    self._write(eids, starts[:number])
        res, summary = self._write(eids, starts)
        for eid in eids:
            progress.print_attack(eid, summary['epochs'][eid], self.norm)
        progress.say(f'{self.out.res_path} written')
        return res

    def _attack_batches(self, jobs: Sequence[tuple[int, int]], done: int) -> None:
        """Attacks a batch on each device, and records them."""
        def attack_them() -> None:
            with ThreadPoolExecutor(len(self.attacks)) as pool:
                list(pool.map(self._attack_batch, jobs, self.attacks))
        try:
            interruptible(attack_them)
        except KeyboardInterrupt:
            raise Interrupted(f'interrupted after {done} images; repeat the command with --eval_log {self.out.path} '
                              'to go on') from None

    def _attack_batch(self, job: tuple[int, int], device: str | None) -> None:
        (eid, start), (model, attack) = job, self.attacks[device]
        batch = slice(start, start + self.batch_size)
        x, y = self.images[batch], self.labels[batch]
        rng = np.random.default_rng(np.random.SeedSequence([*self.seed, eid, start]))
        began = time.perf_counter()
        with about(f'epoch {eid}'), tf.device(device):
            if self._restored.get(device) != eid:
                model.restore(self.run_dir.find_model(eid))
                self._restored[device] = eid
            result = attack.attack(x, y, rng)
            arrays = {
                'index': self.indices[batch], 'label': y, 'clean': x, 'images': result.images,
                'distances': result.distances, 'success': result.success,
                'clean_class': attack.logits(x).argmax(axis=1),
                'class': attack.logits(result.images).argmax(axis=1),
                'errors': _errors(result, x), 'time': np.float64(time.perf_counter() - began),
            }
        if result.eps is not None:
            arrays['eps'] = result.eps
        self.out.write_part(eid, start, arrays)

    def _write(self, eids: Sequence[int], starts: Sequence[int]) -> tuple[dict[int, Any], dict[str, Any]]:
        """Writes res and summary.json from the batches that are finished."""
        res: dict[int, Any] = {}
        summary = {**self.about_it, 'norm': self.norm, 'epochs': {}}
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
