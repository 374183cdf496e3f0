"""Saved sets of adversarial images, to train on or to test with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from .. import progress
from ..errors import UserError
from ..flags import FLAGS
from ..session import Session
from . import health
from .arguments import chosen_indices
from .attack import Attacking
from .ends import Ends

PARTS = ('train', 'test')


class Generate(Attacking):
    """Attacks the training and the test images of a run, and writes what comes of it as a data set, an .npz file that
    the flag ``dataset`` takes: 'x_train', 'y_train', 'x_test', 'y_test', and of each part that was attacked

        clean_train      float32 [N, H, W, C], the images as they were
        budgets_train    float64 [N], the smallest of the attack's budgets within which it found an adversarial image
                         (of attacks without budgets, its distance): 0 of images misclassified as they are, inf of those
                         for which it found none
        distances_train  float64 [N], of 'x_train' from 'clean_train', in the attack's norm
        success_train    bool [N], whether it found one, which 'x_train' then is
        index_train      int64 [N], the image's number in the run's part

    Where nothing was found the image is the end of a descent within the largest budget, which does not fool the
    network; or the clean one, of attacks that are no descents within budgets (``perturb``). None is of zeros.

    Args:
        session: of a run.
        parts: those that are attacked, of 'train' and 'test'; the other is as it is.

    ``res`` holds eid -> {'part': str [N], 'index', 'label', 'budgets', 'distances', 'success'}.
    """

    def __init__(self, session: Session, parts: Sequence[str] = PARTS):
        super().__init__(session)
        self.chosen = [parts] if isinstance(parts, str) else list(parts) if isinstance(parts, (list, tuple)) else []
        if not self.chosen or any(part not in PARTS for part in self.chosen):
            raise UserError(f"options: parts must be a list of 'train' and 'test', or one of them, not {parts!r}")

    def check(self) -> None:
        super().check()
        if self.flags['attack_set'] != FLAGS['attack_set'].default:
            raise UserError("attack_set means nothing here; --set options.parts=test, say, attacks the test set alone")

    def load(self) -> None:
        super().load()
        if len(self.eids) != 1:
            raise UserError(f'a set is made on one epoch, not on {len(self.eids)}; eid is one epoch, \'last\' or '
                            "'best'")
        self._ends: dict[str | None, Ends] = {}

    def choose(self) -> None:
        dataset = {part: tuple(np.asarray(a) for a in getattr(self.session.dataset, part)) for part in PARTS}
        self.dataset = dataset
        chosen = {part: chosen_indices({**self.flags, 'attack_set': part}, len(dataset[part][1]))
                  for part in PARTS if part in self.chosen}
        self.sizes = {part: len(indices) for part, indices in chosen.items()}
        self.indices = np.concatenate([*chosen.values()])
        self.images, self.labels = (np.concatenate([dataset[part][i][indices] for part, indices in chosen.items()])
                                    for i in (0, 1))

    def measure_batch(self, eid: int, start: int, device: str | None) -> Mapping[str, Any]:
        arrays, (x, y), attack = super().measure_batch(eid, start, device), self.batch(start), self.at(eid, device)
        ends = self._ends.setdefault(device, Ends(attack))
        made = ends.filled(x, y, arrays['images'], arrays['success'], self.session.rng('attack', eid, start, 1))
        return {**arrays, 'made': made, 'apart': attack.distance(made, x)}

    def join(self, parts: Sequence[Mapping[str, Any]]) -> tuple[dict[str, Any], dict[str, Any]]:
        joined = {name: np.concatenate([p[name] for p in parts]) for name in (
            'index', 'label', 'success', 'apart', *(('eps',) if 'eps' in parts[0] else ('distances',)))}
        of_part = np.repeat([*self.sizes], [*self.sizes.values()])[:len(joined['label'])]
        numbers: dict[str, Any] = {'images': len(of_part), 'images_asked_for': len(self.images), 'sets': {}}
        for part, rows in self._rows(parts).items():
            numbers['sets'][part] = {**super().join(rows)[1], 'images_asked_for': self.sizes[part]}
        return {'part': of_part, 'index': joined['index'], 'label': joined['label'], 'distances': joined['apart'],
                'success': joined['success'], 'budgets': joined.get('eps', joined.get('distances'))}, numbers

    def _rows(self, parts: Sequence[Mapping[str, Any]]) -> dict[str, list[dict[str, Any]]]:
        """What is finished of each part of the data set, batches that hold images of both cut in two."""
        found: dict[str, list[dict[str, Any]]] = {}
        begin = 0
        for part, size in self.sizes.items():
            first = 0
            for arrays in parts:
                n = len(arrays['label'])
                rows = slice(max(begin - first, 0), max(begin + size - first, 0))
                if rows.start < n and rows.stop > 0:
                    found.setdefault(part, []).append({
                        k: v[rows] if np.ndim(v) and len(v) == n else v for k, v in arrays.items()})
                first += n
            begin += size
        return found

    def line(self, eid: int, numbers: Mapping[str, Any]) -> str:
        each = numbers['seconds'] / numbers['images']
        lines = [f'{part}: ' + super(Generate, self).line(eid, {**of_part, 'seconds': each * of_part['images']})
                 for part, of_part in numbers['sets'].items()]
        return '\n'.join([*lines, *health.lines(numbers.get('health', {}))])

    def measure_all(self) -> dict[int, Any]:
        res = super().measure_all()
        ((eid, result),) = res.items()
        made, clean = (np.concatenate([self.out.read_part(eid, start, (name,))[name]
                                       for start in self.out.parts()[eid]]) for name in ('made', 'clean'))
        arrays = {}
        for part, (x, y) in self.dataset.items():
            mine = result['part'] == part
            arrays[f'x_{part}'] = made[mine] if part in self.sizes else x
            arrays[f'y_{part}'] = result['label'][mine] if part in self.sizes else y
            if part in self.sizes:
                arrays[f'clean_{part}'] = clean[mine]
                arrays.update({f'{name}_{part}': result[name][mine] for name in (
                    'budgets', 'distances', 'success', 'index')})
        path = self.out.write_set(arrays)
        progress.say(f'{path} written, a data set: --set dataset={path}')
        return res
