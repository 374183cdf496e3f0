"""Tables in Markdown, CSV and LaTeX."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

KINDS = ('md', 'csv', 'tex')


class Cell(NamedTuple):
    """A value as it stands in CSV, and as text in Markdown and LaTeX."""

    value: Any
    markdown: str
    latex: str


def text(value: Any) -> Cell:
    """Plain text, or a whole number."""
    special = {'\\': r'\textbackslash{}', '^': r'\textasciicircum{}', '~': r'\textasciitilde{}'}
    latex = ''.join(special.get(c, '\\' + c if c in '_%&#${}' else c) for c in str(value))
    return Cell(value, str(value).replace('|', r'\|'), latex)


def percent(share: float) -> Cell:
    """A share of 0 to 1, in per cent."""
    return Cell(share, f'{100 * share:.2f} %', f'{100 * share:.2f}\\%')


def power_of_ten(log10: float) -> Cell:
    """A number that may be too small for float64, given by its common logarithm, as that is what CSV gets too."""
    return Cell(log10, f'10^{log10:.2f}', f'$10^{{{log10:.2f}}}$')


def scientific(value: float) -> Cell:
    """A number in three digits."""
    if not math.isfinite(value) or value == 0:
        return Cell(value, f'{value:g}', f'{value:g}')
    mantissa, exponent = f'{value:.2e}'.split('e')
    return Cell(value, f'{value:.2e}', f'${mantissa} \\times 10^{{{int(exponent)}}}$')


@dataclass(frozen=True)
class Table:
    """A table.

    Attributes:
        head: the cells of its first row.
        rows: their cells.
        note: a sentence below it; not in CSV.
    """

    head: Sequence[Cell]
    rows: Sequence[Sequence[Cell]]
    note: str = ''

    def text(self, kind: str) -> str:
        """The table as 'md', 'csv' or 'tex' (a tabular environment).

        Raises:
            ValueError: another kind.
        """
        if kind not in KINDS:
            raise ValueError(f'a table is written as {", ".join(KINDS)}, not as {kind!r}')
        return {'md': self._markdown, 'csv': self._csv, 'tex': self._latex}[kind]()

    def _markdown(self) -> str:
        lines = [[cell.markdown for cell in row] for row in (self.head, *self.rows)]
        lines.insert(1, ['---'] * len(self.head))
        return ''.join(f'| {" | ".join(line)} |\n' for line in lines) + (f'\n{self.note}\n' if self.note else '')

    def _csv(self) -> str:
        out = io.StringIO()
        csv.writer(out, lineterminator='\n').writerows([cell.value for cell in row] for row in (self.head, *self.rows))
        return out.getvalue()

    def _latex(self) -> str:
        head, *rows = (f'  {" & ".join(cell.latex for cell in row)} \\\\\n' for row in (self.head, *self.rows))
        note = f'% {self.note}\n' if self.note else ''
        return f'\\begin{{tabular}}{{{"l" * len(self.head)}}}\n{head}  \\hline\n{"".join(rows)}\\end{{tabular}}\n{note}'
