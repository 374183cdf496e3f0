"""Adversarial training with one budget and another, seed by seed: accuracy of the test set, and the adversarial
training loss, against epochs.

    ./plot.sh figure-pas logs/sweep-NAME
    ./plot.sh figure-pas logs/RUN [logs/RUN ...]

Runs that differ in nothing but their seeds have a colour; a run with the monitor 'pgd' also has the accuracy under PGD
within its last budget, dashed.
"""

from matplotlib.figure import Figure

import core
from core.plotting import WIDTH, hues, legend_above, styled
from core.plotting.histories import Run
from core.plotting.seeds import grouped, members_of


@styled
def draw(places: list[core.Workdir]) -> Figure:
    """Two panels, a line a run.

    Raises:
        core.UserError: something that is no run, or has no history.
    """
    figure = Figure(figsize=(1.3 * WIDTH, 2.6), layout='constrained')
    accuracy, loss = figure.subplots(1, 2)
    groups = [(label, runs) for label, runs in grouped(places) if not any(map(members_of, runs))]
    if not groups:
        raise core.UserError('figure-pas draws how runs were trained, and an ensemble has no history')
    for (label, workdirs), look in hues(groups):
        for i, run in enumerate(map(Run, workdirs)):
            colour, name = look['color'], label if i == 0 else '_'
            accuracy.plot(run['eid'], 100 * run['test_acc'], color=colour, label=name)
            eids, robust = under_pgd(run)
            accuracy.plot(eids, robust, color=colour, linestyle='--')
            loss.plot(run['eid'], run['loss'], color=colour)
    accuracy.set(xlabel='epoch', ylabel='accuracy on the test set, %')
    loss.set(xlabel='epoch', ylabel='adversarial training loss', ylim=(0, None))
    legend_above(figure, accuracy)
    return figure


def under_pgd(run: Run) -> tuple[list[int], list[float]]:
    """Epochs, and the accuracies in per cent of test or validation images within the last budget of the run, as the
    monitor 'pgd' found them; empty without it."""
    measured = [(epoch['eid'], epoch.get('monitors', {}).get('pgd', {})) for epoch in run.epochs]
    found = [(eid, 100 * numbers[name]) for eid, numbers in measured for name in ('test_acc_final', 'val_acc_final')
             if name in numbers]
    return [eid for eid, _ in found], [share for _, share in found]


if __name__ == '__main__':
    core.plot_start(draw)
