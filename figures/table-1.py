"""The paper's table 1: statistics of model-1 ... model-5, the first epochs with a training loss below 1e-10, 1e-15,
1e-20 and 1e-120, and the last one.

    ./plot.sh table-1 logs/RUN [logs/RUN ...]
"""

import core
from core.plotting.histories import Run, read_runs
from core.plotting.tables import Cell, Table, percent, power_of_ten, scientific, text

BOUNDS = (-10, -15, -20, -120)
"""Common logarithms of the losses that model-1 to model-4 are the first to be below."""
HEAD = [text('model'), text('epoch'), Cell('log10 of training loss', 'training loss', 'training loss'),
        *map(text, ('normalised margin', 'training accuracy', 'test accuracy', 'archived'))]


def draw(runs: list[core.Workdir]) -> Table:
    """The statistics of those of the five models that the runs have reached; a run that still trains has its latest
    epoch as model-5.

    Raises:
        core.UserError: a run without a finished epoch.
    """
    read = read_runs(runs)
    rows, missing = [], []
    for run in read:
        rows += [[text(run.label), *row] if len(read) > 1 else row for row in statistics(run)]
        missed = [f'1e{bound}' for bound in BOUNDS if not (run.log10_loss < bound).any()]
        if missed:
            missing.append(f'{run.label} has not reached a loss of {", ".join(missed)}')
        if run['eid'][-1] < run.record['flags']['E']:
            missing.append(f"{run.label} is at epoch {run['eid'][-1]:.0f} of {run.record['flags']['E']}, which stands "
                           'for its last')
    return Table([text('run'), *HEAD] if len(read) > 1 else HEAD, rows, '; '.join(missing))


def statistics(run: Run) -> list[list[Cell]]:
    """A row for each model that the run has reached."""
    below = [(run.log10_loss < bound).nonzero()[0] for bound in BOUNDS]
    places = {f'model-{k}': found[0] for k, found in enumerate(below, start=1) if len(found)}
    places['model-5'] = len(run.epochs) - 1
    archived = run.workdir.archived_epochs()
    return [[
        text(name), text(int(run['eid'][i])), power_of_ten(run.log10_loss[i]), scientific(run['q_bar2_min'][i]),
        percent(run['acc'][i]), percent(run['test_acc'][i]), text('yes' if run['eid'][i] in archived else 'no'),
    ] for name, i in places.items()]


if __name__ == '__main__':
    core.plot_start(draw, formats=['md', 'csv', 'tex'])
