"""The worst case of several attacks of one run: of each image, the nearest adversarial image that any of them found."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from models import Model
from models.attacks.balls import BALLS
from models.attacks.doubts import REASONS

from .. import progress
from ..errors import UserError
from ..flags.earlier import measured_epochs
from ..plotting.histories import task_of
from ..session import Session
from ..workdir import Workdir
from .attack import averages, distribution, fooled_at
from .base import Evaluation
from .begun import digests

_COPIED = ('clean', 'images', 'distances', 'success', 'class', 'clean_class', 'label', 'index')


class Union(Evaluation):
    """Joins attack evaluations of one run: an image is broken at a size if any of them broke it there.

    It attacks nothing. What it leaves is what an attack leaves: ``res``, one part for each epoch, and a summary, whose
    ``broken_by`` counts of how many images each evaluation found the nearest adversarial image, and ``only_by`` of how
    many no other found any. The images are those that all evaluations have.

    Args:
        session: what it works with.
        evaluations: their directories, or these within the run's; None for all that are finished, in the run's
            directory, of the set ``attack_set`` and in the norm ``norm``, or else in the one that most of them have.
    """

    def __init__(self, session: Session, evaluations: Sequence[str] | None = None):
        super().__init__(session)
        if evaluations is not None and (isinstance(evaluations, str) or not isinstance(evaluations, (list, tuple))
                                        or not evaluations or not all(isinstance(e, str) for e in evaluations)):
            raise UserError(f'options: evaluations must be a list of directories of evaluations, not {evaluations!r}')
        self.named = evaluations

    def make(self, model: Model) -> None:
        """Nothing is measured."""

    def load(self) -> None:
        run = Workdir(self.flags['log'])
        self.joined, self.left_out = self._found(run) if self.named is None else (self._asked_for(run), [])
        self.names = [_name(place, run) for place in self.joined]
        self.records = [place.read_flags() for place in self.joined]
        self.norm = str(self._one([_norm(place) for place in self.joined], 'in the norm'))
        if self.norm not in BALLS:
            raise UserError(f'evaluations in the norm {self.norm} cannot be joined: only those in {", ".join(BALLS)}')
        self.ball = BALLS[self.norm]
        self.flags['attack_set'] = self._one(list(map(_set, self.joined)), 'images of the set')
        chosen = self._epochs(run)
        if self.named is None:  # so that what goes on joins the same
            self.flags['options'] = {'evaluations': self.names}
        super().load()
        self.eids = chosen

    # ---- which ----

    def _found(self, run: Workdir) -> tuple[list[Workdir], list[str]]:
        """The evaluations to join, and what to say of those that are not."""
        attacks = [place for place in run.evaluations() if task_of(place) == 'attack']
        finished = [place for place in attacks if _is_finished(place)]
        notes = [f'{_name(place, run)} is left out: it is not finished' for place in attacks if place not in finished]
        part = self.flags['attack_set']
        notes += [f"{_name(place, run)} is left out: it attacked the {_set(place)} set (--set attack_set={_set(place)} "
                  'joins those)' for place in finished if _set(place) != part]
        finished = [place for place in finished if _set(place) == part]
        norms = Counter(map(_norm, finished))
        norm = self.flags['norm'] or max(norms, key=lambda n: norms[n], default='')
        if not norms[norm]:
            asked = f' in the norm {norm}' if norm else ''
            raise UserError(f'{run.path} has no finished attack evaluation of the {part} set{asked} to join; '
                            f'./eval.sh eval-autoattack {run.path} makes one')
        notes += [f'{_name(place, run)} is left out: it is in {_norm(place)} (--set norm={_norm(place)} joins those)'
                  for place in finished if _norm(place) != norm]
        finished, others = self._of_one_epoch([place for place in finished if _norm(place) == norm], run)
        return finished, notes + others

    def _of_one_epoch(self, finished: Sequence[Workdir], run: Workdir) -> tuple[list[Workdir], list[str]]:
        """Those evaluations that measured the epochs asked for, or else the one that most of them did, and have it as
        the run has it now; what to say of the others."""
        eids = {place: set(map(int, place.read_flags()['models'])) for place in finished}
        asked = self.flags['eid']
        if isinstance(asked, str):
            counts = Counter(eid for own in eids.values() for eid in own)
            asked = max(counts, key=lambda eid: (counts[eid], eid))
        wanted = {asked} if isinstance(asked, int) else set(asked)
        joined, notes = [], []
        for place, own in eids.items():
            if not own & wanted:
                some = min(own)
                notes.append(f'{_name(place, run)} is left out: it has no epoch {"/".join(map(str, sorted(wanted)))} '
                             f'(--set eid={some} joins those of {some})')
            elif any(place.read_flags()['models'][str(eid)] != digests(run, [eid])[str(eid)] for eid in own & wanted):
                notes.append(f'{_name(place, run)} is left out: it attacked another model than the one there is now')
            else:
                joined.append(place)
        if not joined:
            raise UserError(f'{run.path} has no finished attack evaluation of what eid asks for, {self.flags["eid"]}')
        return joined, notes

    def _asked_for(self, run: Workdir) -> list[Workdir]:
        places = []
        for name in self.named or ():
            place = next((p for p in (Workdir(name), Workdir(run.path / name)) if p.flags_path.exists()), None)
            if place is None or task_of(place) != 'attack':
                raise UserError(f'{name} is not the directory of an attack evaluation (name one such as '
                                f'{run.path}/eval-NAME/DATE)')
            if not _is_finished(place):
                raise UserError(f'{name} is not finished; its command, with --eval_log {place.path}, goes on with it')
            places.append(place)
        return places

    def _one(self, values: Sequence[Any], what: str) -> Any:
        """The value that all evaluations have.

        Raises:
            UserError: one has another.
        """
        for name, value in zip(self.names, values):
            if value != values[0]:
                raise UserError(f'{self.names[0]} attacked {what} {values[0]}, and {name} {value}, so they cannot be '
                                f"joined; name those that can with --set \"options.evaluations=['{name}', ...]\"")
        return values[0]

    def _epochs(self, run: Workdir) -> list[int]:
        """The epochs that all evaluations, and the flag ``eid``, have, of the same models."""
        common = sorted(set.intersection(*(set(map(int, r['models'])) for r in self.records)))
        if not common:
            each = ', '.join(f"{name} {'/'.join(r['models'])}" for name, r in zip(self.names, self.records))
            raise UserError(f'the evaluations have no epoch in common: {each}')
        now = digests(run, common)
        for eid in common:
            for name, record in zip(self.names, self.records):
                if record['models'][str(eid)] != now[str(eid)]:
                    raise UserError(f'{name} attacked another model than the one that is epoch {eid} of {run.path} now')
        asked = self.flags['eid']
        chosen = {'all': common, 'last': common[-1:]}.get(asked) if isinstance(asked, str) else None
        if chosen is None:
            chosen = [eid for eid in measured_epochs(run, asked)[0] if eid in common]
        if not chosen:
            raise UserError(f'eid is {asked}, but what the evaluations have in common is {", ".join(map(str, common))}')
        return chosen

    # ---- joining ----

    def record(self) -> dict[str, Any]:
        return {'joined': self.names}

    def about(self) -> dict[str, Any]:
        scale = any(place.read_summary().get('depends_on_scale') for place in self.joined)
        return {'norm': self.norm, 'joined': self.names, 'depends_on_scale': scale}

    def begin(self) -> None:
        for name, record in zip(self.names, self.records):
            progress.say(f"joined: {name} ({record['flags']['attack_type']})")
        for note in self.left_out:
            progress.say(f'note: {note}')

    def measure(self, eid: int) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        found = self._of_common_images(eid)
        within = all('eps' in a for a in found)
        distances = np.array([a['distances'] for a in found])
        first = np.array([a['eps'] for a in found]) if within else distances
        order = np.lexsort((distances, first), axis=0)
        best = np.take_along_axis(order, np.zeros((1, distances.shape[1]), int), axis=0)[0]

        def of_the_best(name):
            return np.stack([a[name] for a in found])[best, np.arange(len(best))]
        names = [*_COPIED, *(['eps'] if within else []), *(n for n in REASONS if all(n in a for a in found))]
        joined = {name: of_the_best(name) for name in names if all(name in a for a in found)}
        joined['by'] = np.where(joined['success'] & (joined['distances'] > 0), best, -1)
        for name in REASONS:  # where nothing was found, any reason to doubt it is one
            if name in joined:
                joined[name] = np.where(joined['success'], joined[name], np.any([a[name] for a in found], axis=0))
        joined['errors'] = (np.where(joined['success'], joined['eps'], 1.0) if within else np.square(
            joined['images'].astype(np.float64) - joined['clean']).sum(axis=(1, 2, 3)))
        self.out.write_part(eid, 0, {**joined, 'time': np.float64(0)})
        return {'images': joined['images'], 'errors': joined['errors']}, self._numbers(found, joined, within)

    def _of_common_images(self, eid: int) -> list[dict[str, np.ndarray]]:
        """What each evaluation has of the images that all have, in one order."""
        every = []
        for place in self.joined:
            parts = [place.read_part(eid, start) for start in place.parts().get(eid, ())]
            every.append({k: np.concatenate([p[k] for p in parts]) for k in parts[0]
                          if k != 'time' and all(k in p for p in parts)})
        common = set.intersection(*(set(a['index'].tolist()) for a in every))
        if not common:
            raise UserError(f'{" and ".join(self.names)} have no image in common')
        rows = [np.flatnonzero(np.isin(a['index'], list(common))) for a in every]
        rows = [r[np.argsort(a['index'][r], kind='stable')] for r, a in zip(rows, every)]
        found = [{k: v[r] for k, v in a.items()} for r, a in zip(rows, every)]
        for name, a in zip(self.names, found):
            if not (np.array_equal(a['clean'], found[0]['clean']) and np.array_equal(a['label'], found[0]['label'])):
                raise UserError(f'{name} attacked other images than {self.names[0]}, under the same numbers')
        return found

    def _numbers(self, found: Sequence[Mapping[str, np.ndarray]], joined: Mapping[str, np.ndarray], within: bool
                 ) -> dict[str, Any]:
        asked = [_budgets(r['flags']) for r in self.records]
        grid = sorted({eps for budgets in asked for eps in (self.ball.grid if budgets is None else budgets)})
        size = joined['clean'][0].size
        robust = {f'{eps:g}': float((~np.any([fooled_at(a, eps, self.ball, size) for a in found], axis=0)).mean())
                  for eps in grid}
        accuracy = float((joined['clean_class'] == joined['label']).mean())
        right = joined['clean_class'] == joined['label']
        success = np.array([a['success'] for a in found])
        reasons = {name: joined[name] for name in REASONS if name in joined}
        doubtful = np.any(list(reasons.values()), axis=0) if reasons else np.zeros(0, bool)
        return {
            'images': len(right), 'images_asked_for': len(right), 'accuracy': accuracy,
            'success_rate': float(joined['success'].mean()), **distribution(joined['distances']),
            'robust_accuracy': robust,
            **(averages(accuracy, robust) if within and None not in asked else {}),
            'broken_by': {name: int((joined['by'] == i).sum()) for i, name in enumerate(self.names)},
            'only_by': {name: int((right & success[i] & (success.sum(axis=0) == 1)).sum())
                        for i, name in enumerate(self.names)},
            'doubtful': {'images': int(doubtful.sum()), **{name: int(a.sum()) for name, a in reasons.items()}},
        }

    def line(self, eid: int, numbers: Mapping[str, Any]) -> str:
        robust = ' '.join(f'{eps}:{share * 100:.2f}%' for eps, share in numbers['robust_accuracy'].items())
        by = ', '.join(f"{name} {n} ({numbers['only_by'][name]} alone)" for name, n in numbers['broken_by'].items())
        return (f"epoch #{eid}: {numbers['images']} images, acc={numbers['accuracy'] * 100:.3f}% "
                f"fooled={numbers['success_rate'] * 100:.3f}% median {self.norm}={numbers['median']:.5g}\n"
                f'robust accuracy by {self.norm}: {robust}\nnearest found by: {by}')


def _name(place: Workdir, run: Workdir) -> str:
    """An evaluation's directory: within the run's, if it is there."""
    here, home = Path(place.path).resolve(), Path(run.path).resolve()
    return str(here.relative_to(home)) if here.is_relative_to(home) else str(place.path)


def _norm(place: Workdir) -> str:
    return str(place.read_flags().get('norm') or place.read_summary().get('norm'))


def _set(place: Workdir) -> str:
    return str(place.read_flags()['flags']['attack_set'])


def _is_finished(place: Workdir) -> bool:
    epochs = place.read_summary().get('epochs', {})
    return bool(epochs) and all(n['images'] == n.get('images_asked_for', n['images']) for n in epochs.values())


def _budgets(flags: Mapping[str, Any]) -> list[float] | None:
    """The budgets or sizes that an evaluation was asked for; earlier ones have no ``eps``."""
    return flags['attack_eps_list'] if flags.get('eps') is None else [flags['eps']]
