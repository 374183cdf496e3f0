"""Flavours of margin: the normalised margins of runs that differ in their optimizers, in the norms that these are known
or believed to maximise them in; the mean over seeds and their standard deviation, a row for each optimizer.

    ./plot.sh table-flavours logs/sweep-flavours-digits
    ./plot.sh table-flavours logs/RUN [logs/RUN ...]

All at one loss, 1e-300, or the last power of ten that all runs have reached: of each run the first epoch below that
that was measured.
The largest of a column is in bold type. The monitor 'norm-margins' of the runs makes the columns.
"""

import math
from collections.abc import Sequence

import numpy as np

import core
from core.plotting.histories import Run
from core.plotting.seeds import grouped
from core.plotting.tables import Cell, Table, text

COLUMNS = {
    'l2_margin': 'L2',
    'linf_margin': 'L∞',
    'layer_margin': 'L2 of layers',
    'spectral_margin': 'spectral',
    'l2_product_margin': 'product of L2',
    'linf_product_margin': 'product of L∞',
    'spectral_product_margin': 'product of spectral',
}
"""Numbers of the monitor, and what their columns are called."""
DEEPEST = -300
"""Common logarithm of the loss at which runs are compared, if all reach it."""


def draw(places: list[core.Workdir]) -> Table:
    """A row for each optimizer.

    Raises:
        core.NotYet: no run has finished, or an epoch.
        core.UserError: a run without the monitor.
    """
    rows = [(label, [Run(place) for place in of]) for label, of in grouped(places)]
    if not rows:
        raise core.NotYet(f'no run of the sweep in {places[0].path} is finished yet, so there is nothing to draw')
    runs = [run for _, several in rows for run in several]
    bound = max(DEEPEST, *(math.ceil(min(loss for loss, _ in measurements(run))) for run in runs))
    found = [[next(numbers for loss, numbers in measurements(run) if loss <= bound) for run in several]
             for _, several in rows]
    means = np.array([[np.mean([epoch[name] for epoch in epochs]) for name in COLUMNS] for epochs in found])
    best = means.argmax(axis=0)
    head = [text('optimizer'), text('epochs'), *map(text, COLUMNS.values())]
    cells = [[text(label), span([int(epoch['eid']) for epoch in epochs]),
              *(mean_of([epoch[name] for epoch in epochs], best[k] == i) for k, name in enumerate(COLUMNS))]
             for i, ((label, _), epochs) in enumerate(zip(rows, found))]
    least, most = min(map(len, found)), max(map(len, found))
    over = 'of one seed' if most == 1 else (
        f'mean and standard deviation over {most if least == most else f"{least} to {most}"} seeds')
    note = ('q_min over the norm of the weights to the power of the order, and over products of the norms of layers, '
            f'at the first epoch measured with a training loss below 1e{bound}; {over}')
    return Table(head, cells, note)


def measurements(run: Run) -> list[tuple[float, dict[str, float]]]:
    """Of each epoch in which the monitor was due, the common logarithm of the loss, and the numbers, that of the epoch
    among them.

    Raises:
        core.UserError: the run has no such monitor, or it has not been due yet.
    """
    found = [(float(loss), {'eid': line['eid'], **{name: float(value) for name, value in numbers.items()}})
             for line, loss in zip(run.epochs, run.log10_loss)
             if (numbers := (line.get('monitors') or {}).get('norm-margins')) is not None]
    if not found:
        raise core.UserError(f'{run.workdir.path} has no margins in several norms; train it with '
                             '--set "monitors=[(\'norm-margins\', 5)]"')
    return found


def span(epochs: Sequence[int]) -> Cell:
    """The least and the most of some numbers."""
    return text(epochs[0] if min(epochs) == max(epochs) else f'{min(epochs)} to {max(epochs)}')


def mean_of(values: Sequence[float], best: bool) -> Cell:
    """The mean, in bold type if it is the best, and the sample standard deviation if there are several."""
    mean = float(np.mean(values))
    exponent = math.floor(math.log10(abs(mean))) if mean and math.isfinite(mean) else 0
    plain = -1 <= exponent <= 2
    unit, digits = (1.0, max(2 - exponent, 0)) if plain else (10.0 ** exponent, 2)
    markdown, latex, value = f'{mean / unit:.{digits}f}', f'{mean / unit:.{digits}f}', f'{mean:.6g}'
    if len(values) > 1:
        deviation = float(np.std(values, ddof=1))
        markdown += f' ± {deviation / unit:.{digits}f}'
        latex += f' \\pm {deviation / unit:.{digits}f}'
        value = f'{mean:.6g} ± {deviation:.6g}'
    if not plain:
        markdown = f'({markdown})e{exponent}' if len(values) > 1 else f'{markdown}e{exponent}'
        latex = f'({latex}) \\times 10^{{{exponent}}}' if len(values) > 1 else f'{latex} \\times 10^{{{exponent}}}'
    return Cell(value, f'**{markdown}**' if best else markdown, f'$\\mathbf{{{latex}}}$' if best else f'${latex}$')


if __name__ == '__main__':
    core.plot_start(draw, formats=['md', 'csv', 'tex'])
