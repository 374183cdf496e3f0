"""Accuracy of the test set under attack within budgets, a row for each run, as in the tables of the paper of MMA
training (arXiv 1812.02637): of clean images; AvgAcc, the mean of that and of the accuracies within all budgets;
AvgRobAcc, the mean of these; and each of them. The mean margin joins if AN-PGD has measured it.

    ./eval.sh eval-mma-mnist-inf logs/RUN [logs/RUN ...]
    ./plot.sh table-mma logs/RUN [logs/RUN ...]

The directory of an evaluation, in place of that of a run, chooses among several.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import core
from core.plotting.histories import ATTACKING, Run, read_runs, task_of
from core.plotting.tables import Cell, Table, percent, text

NORMS = {'L2': 'L2', 'Linf': 'L∞', 'L1': 'L1'}
Kind = tuple[str, tuple[float, ...]]
"""A norm, and budgets."""


@dataclass(frozen=True)
class Measured:
    """What an evaluation says of the last epoch that it measured: ``numbers`` of its summary."""

    place: core.Workdir
    summary: Mapping[str, Any]
    eid: int
    numbers: Mapping[str, Any]

    @property
    def kind(self) -> Kind:
        return self.summary['norm'], tuple(sorted(map(float, self.numbers['robust_accuracy'])))

    @property
    def attack(self) -> str:
        """What attacked, in words."""
        if 'joined' in self.summary:
            return f"{self.summary['evaluation']}: {', '.join(self.summary['joined'])}"
        settings = self.summary['settings']
        numbers = [f'{settings[flag]} {unit}' for flag, unit in (('attack_E', 'restarts'), ('attack_K', 'steps'))
                   if settings[flag] is not None]
        return ', '.join([f"{self.summary['evaluation']}: {settings['attack_type']}", *numbers])


def draw(runs: list[core.Workdir]) -> Table:
    """A row for each run, from its evaluation within budgets with the most images, then the newest.

    Raises:
        core.UserError: a run without such an evaluation, or runs that were not attacked within the same budgets.
    """
    read = read_runs([core.Workdir(place.path.parent.parent) if is_evaluation(place) else place for place in runs])
    found = [within_budgets(run, place) for run, place in zip(read, runs)]
    norm, eps = kind = common(read, found)
    rows = [largest([m for m in several if m.kind == kind]) for several in found]
    margins = [margin_of(run.workdir, row) for run, row in zip(read, rows)]
    head = [text('model'), text('clean'), text('AvgAcc'), text('AvgRobAcc'), *(budget(e, eps) for e in eps)]
    cells = [[text(run.label), *map(percent, (row.numbers[name] for name in ('accuracy', 'avg_acc', 'avg_robust_acc'))),
              *(percent(row.numbers['robust_accuracy'][f'{e:g}']) for e in eps)] for run, row in zip(read, rows)]
    if any(margins):
        head.append(text('mean margin'))
        for line, margin in zip(cells, margins):
            line.append(text('' if margin is None else float(f"{margin.numbers['mean_margin']:.4g}")))
    alike = {row.attack for row in rows}
    notes = [f'ε: {NORMS[norm]}, test set', *(alike if len(alike) == 1 else ()),
             *(about(*args, len(alike) > 1) for args in zip(read, rows, margins)), *beyond(read, margins)]
    return Table(head, cells, '; '.join(notes))


def is_evaluation(place: core.Workdir) -> bool:
    return place.flags_path.exists() and bool(place.read_flags().get('evaluation'))


def evaluation_of(run: Run) -> str:
    """What measures a run of its data set, in the norm that it was trained in."""
    flags = run.record['flags']
    data = {'mnist': 'mnist', 'cifar10': 'cifar'}.get(str(flags.get('dataset')))
    objective = flags.get('objective')
    norm = 'l2' if isinstance(objective, dict) and objective.get('norm') == 'L2' else 'inf'
    return f'eval-mma-{data}-{norm}' if data else 'eval-mma-digits'


def within_budgets(run: Run, place: core.Workdir) -> list[Measured]:
    """The attacks on a run's test set within budgets that were asked for; that in ``place``, if that is one.

    Raises:
        core.UserError: there are none.
    """
    found = measured(run.workdir, 'avg_robust_acc')
    if is_evaluation(place):
        if not (one := [m for m in found if m.place.path.resolve() == place.path.resolve()]):
            raise core.UserError(f'{place.path} is not the evaluation of a test set within budgets (attack_eps_list)')
        return one
    if not found:
        raise core.NotYet(f'{run.workdir.path} has no evaluation of its test set within budgets yet; '
                          f'./eval.sh {evaluation_of(run)} {run.workdir.path} makes one')
    return found


def measured(run: core.Workdir, name: str) -> list[Measured]:
    """The attacks on a run's test set whose summaries have a number of this name."""
    found = []
    for place in run.evaluations():
        summary = place.read_summary()
        if task_of(place) in ATTACKING and summary.get('epochs') and summary['settings']['attack_set'] == 'test':
            eid = max(map(int, summary['epochs']))
            if name in (numbers := summary['epochs'][str(eid)]):
                found.append(Measured(place, summary, eid, numbers))
    return found


def largest(several: Sequence[Measured]) -> Measured:
    """The one with the most images, then the newest."""
    return max(several, key=lambda m: (m.numbers['images'], m.place.path.name))


def common(read: Sequence[Run], found: Sequence[Sequence[Measured]]) -> Kind:
    """The norm and budgets that all runs were attacked within: of several, those of the most images.

    Raises:
        core.UserError: there are none.
    """
    best = [largest(several) for several in found]
    shared = set.intersection(*({m.kind for m in several} for several in found))
    if shared:
        return max(sorted(shared), key=lambda kind: sum(
            largest([m for m in several if m.kind == kind]).numbers['images'] for several in found))
    other = next(i for i, m in enumerate(best) if m.kind != best[0].kind)
    words = [f"{run.label} was attacked within {NORMS[m.kind[0]]} {', '.join(f'{e:g}' for e in m.kind[1])}"
             for run, m in ((read[0], best[0]), (read[other], best[other]))]
    raise core.UserError(f'{words[0]}, and {words[1]}; a table takes runs that were attacked within the same budgets')


def margin_of(run: core.Workdir, row: Measured) -> Measured | None:
    """The mean margin of the epoch of a row, in its norm, by AN-PGD."""
    found = [m for m in measured(run, 'mean_margin') if (m.eid, m.summary['norm']) == (row.eid, row.summary['norm'])]
    return largest(found) if found else None


def budget(eps: float, of: Sequence[float]) -> Cell:
    """The head of a column; as of pixels to 255, if the budgets are such numbers."""
    levels = [round(255 * e) for e in of]
    of_255 = all(math.isclose(255 * e, n, rel_tol=1e-4) for e, n in zip(of, levels)) and any(
        e != round(e, 2) for e in of)
    size = f'{round(255 * eps)}/255' if of_255 else f'{eps:g}'
    return Cell(f'accuracy at {size}', f'ε = {size}', rf'$\varepsilon = {size}$')


def about(run: Run, row: Measured, margin: Measured | None, differ: bool) -> str:
    """What the note says of a row."""
    whole = run.record.get('images', {}).get('test')
    words = [f'epoch {row.eid}', *([f'by {row.attack}'] if differ else [])]
    if row.numbers['images'] != whole:
        going_on = ' so far' if row.numbers['images'] < row.numbers['images_asked_for'] else ''
        words.append(f"{row.numbers['images']:,} of {whole or 'its'} images{going_on}")
    if margin and margin.numbers['images'] != whole:
        words.append(f"margin of {margin.numbers['images']:,}")
    if doubtful := row.numbers['doubtful']['images']:
        words.append(f'{doubtful} of them may be less robust than that')
    return f"{run.label}: {', '.join(words)}"


def beyond(read: Sequence[Run], margins: Sequence[Measured | None]) -> list[str]:
    """Up to what distances the margins were searched for."""
    most = {run.label: f"{m.summary['most']:g}" for run, m in zip(read, margins) if m}
    if len(set(most.values())) > 1:
        most = {label: f'{value} ({label})' for label, value in most.items()}
    return [f"margins beyond {', '.join(dict.fromkeys(most.values()))} count as that"] if most else []


if __name__ == '__main__':
    core.plot_start(draw, formats=['md', 'csv', 'tex'])
