"""Accuracy of the test set under attack, as in table 1 of Liu et al. (arXiv 2006.08403): of clean images, under PGD,
Auto-PGD (two losses), Square and AutoAttack; the mean over seeds and their standard deviation, a row for each schedule.

    ./plot.sh table-pas logs/sweep-NAME
    ./plot.sh table-pas logs/RUN [logs/RUN ...] [logs/ENSEMBLE ...]

Runs that differ in nothing but their seeds are a row; of a sweep, those with the same labels. An ensemble is a row of
its own; of a sweep, those in its directory join. eval-pas-pgd and its like make the columns.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

import core
from core.plotting.attacked import NORMS, Measured, largest, measured, size_in_words
from core.plotting.seeds import grouped
from core.plotting.tables import Cell, Table, text

COLUMNS = ('PGD', 'APGD-CE', 'APGD-DLR', 'Square', 'AutoAttack')
OF_TYPE = {'PGD': 'PGD', 'LOSS_PGD': 'PGD', 'SQUARE': 'Square', 'AUTO_ATTACK': 'AutoAttack'}
OF_LOSS = {'xent': 'APGD-CE', 'slm': 'APGD-CE', 'dlr': 'APGD-DLR'}
Budget = tuple[str, float]


@dataclass(frozen=True)
class Row:
    """Runs that differ in their seeds, or an ensemble; of each, its evaluations by budget and column."""

    label: str
    runs: Sequence[core.Workdir]
    found: Sequence[Mapping[tuple[Budget, str], Measured]]

    def cells(self, budget: Budget) -> Iterator[Cell]:
        clean = [next((m for (b, _), m in found.items() if b == budget), None) for found in self.found]
        yield mean_of([m.numbers['accuracy'] for m in clean if m])
        for column in COLUMNS:
            yield mean_of([m.numbers['robust_accuracy'][f'{budget[1]:g}'] for m in self.of(budget, column)])

    def of(self, budget: Budget, column: str) -> list[Measured]:
        return [found[budget, column] for found in self.found if (budget, column) in found]

    def about(self, budget: Budget) -> str:
        """What the note says of it."""
        words = [f'{len(self.runs)} seeds'] if len(self.runs) > 1 else []
        words += [f'{column} of {len(several)} of them' for column in COLUMNS
                  if 0 < len(several := self.of(budget, column)) < len(self.runs)]
        images = Counter(m.numbers['images'] for column in COLUMNS for m in self.of(budget, column))
        words += [f"{' and '.join(f'{n:,}' for n in sorted(images))} images"] if images else []
        return f'{self.label}: {", ".join(words)}'


def draw(places: list[core.Workdir]) -> Table:
    """A row for each schedule, and for each ensemble, at the budget that most evaluations are within.

    Raises:
        core.NotYet: none of the runs has such an evaluation.
        core.UserError: something that is no run.
    """
    rows = [Row(label, runs, [evaluations(run) for run in runs]) for label, runs in grouped(places)]
    budgets = Counter(budget for row in rows for found in row.found for budget, _ in found)
    if not budgets:
        first = rows[0].runs[0] if rows else places[0]
        raise core.NotYet(f'{first.path} has no evaluation of its test set by one of {", ".join(COLUMNS)} yet; '
                          './eval.sh eval-pas-pgd makes one')
    (norm, eps) = chosen = max(sorted(budgets), key=lambda b: budgets[b])
    rows = [row for row in rows if any(budget == chosen for found in row.found for budget, _ in found)]
    size = size_in_words(eps, [eps])
    note = [f'ε: {NORMS[norm]} {size}, test set, mean and standard deviation over seeds',
            *(row.about(chosen) for row in rows)]
    head = [text('training'), text('clean'), *map(text, COLUMNS)]
    return Table(head, [[text(row.label), *row.cells(chosen)] for row in rows], '; '.join(note))


def evaluations(run: core.Workdir) -> dict[tuple[Budget, str], Measured]:
    """The evaluations of a run, by budget and column; of several, that of the most images, then the newest."""
    found: dict[tuple[Budget, str], list[Measured]] = {}
    for m in measured(run, 'avg_robust_acc'):
        if column := column_of(m.summary['settings']):
            for eps in map(float, m.numbers['robust_accuracy']):
                found.setdefault(((m.summary['norm'], eps), column), []).append(m)
    return {key: largest(several) for key, several in found.items()}


def column_of(settings: Mapping[str, Any]) -> str | None:
    """Which column an evaluation is for, by what it attacks with; None for none."""
    kind, options = settings['attack_type'], settings['attack_options']
    if kind == 'APGD':
        return OF_LOSS.get(options.get('loss', 'xent'))
    if kind == 'AUTO_ATTACK' and options.get('version', 'standard') != 'standard':
        return None
    return OF_TYPE.get(kind)


def mean_of(shares: Sequence[float]) -> Cell:
    """The mean in per cent, and the sample standard deviation; empty of none, and without a deviation of one."""
    if not shares:
        return text('')
    mean = float(np.mean(shares))
    if len(shares) == 1:
        return Cell(mean, f'{100 * mean:.2f} %', f'{100 * mean:.2f}\\%')
    deviation = float(np.std(shares, ddof=1))
    return Cell(f'{mean:.6g} ± {deviation:.6g}', f'{100 * mean:.2f} ± {100 * deviation:.2f} %',
                f'${100 * mean:.2f} \\pm {100 * deviation:.2f}$\\%')


if __name__ == '__main__':
    core.plot_start(draw, formats=['md', 'csv', 'tex'])
