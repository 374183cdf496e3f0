"""Attacks of archived models; receives built objects, never FLAGS."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from models import Model
from models.attacks import Attack, AttackResult
from models.attacks.balls import BALLS, Ball
from models.attacks.doubts import REASONS, sentence

from .. import progress
from ..devices import Devices
from ..workdir import Workdir
from .parts import Batches

QUANTILES = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)
GRIDS = {name: list(ball.grid) for name, ball in BALLS.items()}
"""Perturbation sizes at which accuracy under attack is reported, by norm."""
_JOINED = ('images', 'errors', 'distances', 'eps', 'success', 'label', 'clean_class')


class Attacking(Batches):
    """Attacks images batch by batch, each batch at every epoch, and records what was found.

    A batch's random draws depend on nothing but the seed, the epoch and its first image: an evaluation that was killed
    ends the same.

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

    progress = 'distances'

    def __init__(self, attacks: Mapping[str | None, tuple[Model, Attack]], images: np.ndarray, labels: np.ndarray,
                 indices: np.ndarray, batch_size: int, run: Workdir, out: Workdir, seed: Sequence[int],
                 grid: Sequence[float] | None = None, about_it: Mapping[str, Any] | None = None,
                 devices: Devices | None = None):
        super().__init__(list(attacks), images, labels, indices, batch_size, out, devices)
        self.attacks = dict(attacks)
        first = next(attack for _, attack in attacks.values())
        self.norm, self.ball, self.depends_on_scale = first.norm, first.ball, first.depends_on_scale
        self.run_dir = run
        self.seed = list(seed)
        self.grid = list(grid if grid is not None else self.ball.grid)
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
        return super().run(eids)

    def _measure(self, eid: int, start: int, device: str | None) -> Mapping[str, Any]:
        (x, y), (model, attack) = self._batch(start), self.attacks[device]
        rng = np.random.default_rng(np.random.SeedSequence([*self.seed, eid, start]))
        if self._restored.get(device) != eid:
            model.restore(self.run_dir.find_model(eid))
            self._restored[device] = eid
        result = attack.attack(x, y, rng)
        return {
            'clean': x, 'images': result.images, 'distances': result.distances, 'success': result.success,
            'clean_class': attack.logits(x).argmax(axis=1), 'class': attack.logits(result.images).argmax(axis=1),
            'errors': _errors(result, x), **({} if result.eps is None else {'eps': result.eps}),
            **result.doubts.arrays(),
        }

    def _join(self, eids: Sequence[int], starts: Sequence[int]) -> tuple[dict[int, Any], dict[str, Any]]:
        res: dict[int, Any] = {}
        summary = {**self.about_it, 'norm': self.norm, 'depends_on_scale': self.depends_on_scale, 'epochs': {}}
        for eid in eids:
            parts = [{k: v for k, v in self.out.read_part(eid, start).items() if k != 'clean'} for start in starts]
            joined = {name: np.concatenate([p[name] for p in parts])
                      for name in (*_JOINED, *REASONS) if all(name in p for p in parts)}
            res[eid] = {'images': joined['images'], 'errors': joined['errors']}
            summary['epochs'][eid] = {**self._summary(joined), 'seconds': sum(float(p['time']) for p in parts)}
        return res, summary

    def _describe(self, numbers: np.ndarray) -> str:
        return f'median {self.norm} {np.median(numbers):.4f}'

    def _print(self, eid: int, summary: Mapping[str, Any]) -> None:
        progress.print_attack(eid, summary, self.norm)
        if doubts := sentence(summary['doubtful']):
            progress.say(f'note: {doubts}')

    def _summary(self, a: Mapping[str, np.ndarray]) -> dict[str, Any]:
        return {
            'images': len(a['distances']),
            'images_asked_for': len(self.images),
            'accuracy': float((a['clean_class'] == a['label']).mean()),
            'success_rate': float(a['success'].mean()),
            **distribution(a['distances']),
            'robust_accuracy': robust_accuracy(a, self.grid, self.ball, self.images[0].size),
            'doubtful': _doubtful(a),
        }


def robust_accuracy(a: Mapping[str, np.ndarray], grid: Sequence[float], ball: Ball, size: int) -> dict[str, float]:
    """The share of images that are not fooled, at each size of a perturbation.

    An image is fooled at a size if its adversarial image, as measured, is no further. For attacks within budgets that
    is up to the rounding of float32, and the budget that holds the image must be no larger, too.

    Args:
        a: 'distances' of the adversarial images, inf for none, and, of attacks within budgets, 'eps'; [N] each.
        grid: sizes.
        ball: of the norm of the distances.
        size: values in an image.
    """
    distances = a['distances']
    budgets = a.get('eps', distances)
    fooled = {eps: (budgets <= eps) & (distances <= eps + ball.rounding(eps, size)) for eps in grid}
    return {f'{eps:g}': float((~found).mean()) for eps, found in fooled.items()}


def distribution(sizes: np.ndarray) -> dict[str, Any]:
    """Median, mean over the finite ones, and quantiles, of distances that may be infinite."""
    finite = sizes[np.isfinite(sizes)]
    return {
        'median': float(np.median(sizes)),
        'mean': float(finite.mean()) if len(finite) else None,
        'quantiles': {f'{q:g}': float(np.quantile(sizes, q, method='inverted_cdf')) for q in QUANTILES},
    }


def _doubtful(a: Mapping[str, np.ndarray]) -> dict[str, int]:
    """How many images may be less robust than was found, in all and by each reason; see ``models.attacks.doubts``."""
    reasons = {name: a[name] for name in REASONS if name in a}  # evaluations begun before there were any have none
    doubtful = np.any(list(reasons.values()), axis=0) if reasons else np.zeros(0, bool)
    return {'images': int(doubtful.sum()), **{name: int(found.sum()) for name, found in reasons.items()}}


def _errors(result: AttackResult, x: np.ndarray) -> np.ndarray:
    if result.eps is not None:
        return np.where(result.success, result.eps, 1.0)
    return np.square(result.images.astype(np.float64) - x).sum(axis=(1, 2, 3))
