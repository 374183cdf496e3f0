"""Attacks of archived models."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from models import Model
from models.attacks import ATTACKS, Attack, AttackResult
from models.attacks.balls import BALLS, Ball, require_within_the_box
from models.attacks.doubts import REASONS, sentence

from ..errors import about
from ..robustbench import entry
from ..session import Session
from . import health
from .arguments import attack_arguments, budgets_of
from .parts import Batches

QUANTILES = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)
GRIDS = {name: list(ball.grid) for name, ball in BALLS.items()}
"""Perturbation sizes at which accuracy under attack is reported, by norm."""
_JOINED = ('images', 'errors', 'distances', 'eps', 'success', 'label', 'clean_class', 'by')


class Attacking(Batches):
    """Attacks images, and records the nearest adversarial ones.

    A batch's random draws depend on nothing but the seed, the epoch and its first image: an evaluation that was killed
    ends the same.

    ``res`` holds eid -> {'images': float32 [N, H, W, C], zeros where nothing was found; 'errors': float64 [N]}, errors
    as in the original: squared L2 distance from the clean image for attacks that minimise L2, the budget that was
    enough for attacks within budgets, and 1 where none was.
    """

    progress = 'distances'

    def __init__(self, session: Session):
        super().__init__(session)
        self.attack = self.flags['attack_type'].name
        self.subject, self.norm = f'the attack {self.attack}', ATTACKS[self.attack].norm

    def check(self) -> None:
        self.arguments = attack_arguments(self.flags)

    def make(self, model: Model) -> Attack:
        return ATTACKS[self.attack](model, **self.arguments)

    def prepare(self) -> None:
        super().prepare()
        first = next(attack for _, attack in self.networks.values())  # its norm need not be that of its class
        self.norm, self.ball, self.depends_on_scale = first.norm, first.ball, first.depends_on_scale
        self.most, self.members = first.most, list(getattr(first, 'members', ()))
        self._health: dict[str | None, health.Health] = {}
        grid = budgets_of(self.flags)
        self.averages = first.has_budgets and grid is not None
        self.grid = list(grid if grid is not None else self.ball.grid)
        if grid is not None and not first.has_budgets:
            with about('attack_eps_list'):
                require_within_the_box('the largest', max(grid), self.ball, self.images[0].size)

    def about(self) -> dict[str, Any]:
        most = {'most': self.most} if self.most < math.inf else {}
        return {'norm': self.norm, 'depends_on_scale': self.depends_on_scale, **most}

    def measure_batch(self, eid: int, start: int, device: str | None) -> Mapping[str, Any]:
        (x, y), attack = self.batch(start), self.at(eid, device)
        result = attack.attack(x, y, self.session.rng('attack', eid, start))
        return {
            'clean': x, 'images': result.images, 'distances': result.distances, 'success': result.success,
            'clean_class': attack.logits(x).argmax(axis=1), 'class': attack.logits(result.images).argmax(axis=1),
            'errors': _errors(result, x), **({} if result.eps is None else {'eps': result.eps}),
            **({} if result.by is None else {'by': result.by}),
            **result.doubts.arrays(),
        }

    def finish(self, eid: int, device: str | None) -> Mapping[str, Any]:
        images = min(health.images(self.flags['health']), len(self.images))
        if not images:
            return {}
        found = self._earlier.get(str(eid), {}).get('health')  # of an evaluation that is gone on with
        if found is None:
            attack, starts = self.at(eid, device), range(0, images, self.batch_size)
            found = self._health.setdefault(device, health.Health(attack)).of(
                [self.out.read_part(eid, start) for start in starts], self.images, self.labels, images,
                int(self.session.rng('health', eid).integers(2 ** 31)))
        return {'health': found}

    def join(self, parts: Sequence[Mapping[str, Any]]) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        joined = {name: np.concatenate([p[name] for p in parts])
                  for name in (*_JOINED, *REASONS) if all(name in p for p in parts)}
        return {'images': joined['images'], 'errors': joined['errors']}, self._summary(joined)

    def measure_all(self) -> dict[int, Any]:
        self._earlier = self.out.read_summary().get('epochs', {})
        res = super().measure_all()
        if self.session.devices.worker == 0 and (found := entry(self.run_dir.read_flags(), self.out.read_summary())):
            self.out.write_entry(found)
        return res

    def describe(self, numbers: np.ndarray) -> str:
        return f'median {self.norm} {np.median(numbers):.4f}'

    def line(self, eid: int, numbers: Mapping[str, Any]) -> str:
        means = f"mean margin={numbers['mean_margin']:.5g} " if 'mean_margin' in numbers else ''
        if 'avg_acc' in numbers:
            means = f"AvgAcc={numbers['avg_acc'] * 100:.3f}% AvgRobAcc={numbers['avg_robust_acc'] * 100:.3f}% "
            if len(numbers['robust_accuracy']) == 1:
                ((eps, share),) = numbers['robust_accuracy'].items()
                means = f'robust={share * 100:.3f}% within {self.norm} {eps} '
        line = (f"epoch #{eid}: {numbers['images']} images, acc={numbers['accuracy'] * 100:.3f}% "
                f"fooled={numbers['success_rate'] * 100:.3f}% {means}median {self.norm}={numbers['median']:.5g} "
                f"[time={numbers['seconds']:.1f}s]")
        if 'broken_by' in numbers:
            line += '\nbroken by: ' + ', '.join(f'{name} {n}' for name, n in numbers['broken_by'].items())
        doubts = sentence(numbers['doubtful'])
        notes = [f'note: {doubts}'] if doubts else []
        return '\n'.join([line, *notes, *health.lines(numbers.get('health', {}))])

    def _summary(self, a: Mapping[str, np.ndarray]) -> dict[str, Any]:
        accuracy = float((a['clean_class'] == a['label']).mean())
        robust = robust_accuracy(a, self.grid, self.ball, self.images[0].size)
        return {
            'images': len(a['distances']),
            'images_asked_for': len(self.images),
            'accuracy': accuracy,
            'success_rate': float(a['success'].mean()),
            **({'mean_margin': float(np.minimum(a['distances'], self.most).mean())} if self.most < math.inf else {}),
            **distribution(a['distances']),
            'robust_accuracy': robust,
            **(averages(accuracy, robust) if self.averages else {}),
            **({'broken_by': {name: int((a['by'] == i).sum()) for i, name in enumerate(self.members)}}
               if 'by' in a else {}),
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
    return {f'{eps:g}': float((~fooled_at(a, eps, ball, size)).mean()) for eps in grid}


def fooled_at(a: Mapping[str, np.ndarray], eps: float, ball: Ball, size: int) -> np.ndarray:
    """Which images are fooled at a size, bool [N]; see ``robust_accuracy``."""
    distances = a['distances']
    return (a.get('eps', distances) <= eps) & (distances <= eps + ball.rounding(eps, size))


def averages(accuracy: float, robust: Mapping[str, float]) -> dict[str, float]:
    """AvgAcc and AvgRobAcc (Ding et al., arXiv 1812.02637): the means of the accuracies at given budgets, with that of
    the clean images and without."""
    shares = list(robust.values())
    return {'avg_acc': float(np.mean([accuracy, *shares])), 'avg_robust_acc': float(np.mean(shares))}


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
