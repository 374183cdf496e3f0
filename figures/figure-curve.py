"""Loss and accuracy along a curve between two runs and along the straight line between them; the end runs are marked.

    ./eval.sh eval-curve logs/CURVE
    ./plot.sh figure-curve logs/CURVE

Training loss in powers of ten, and accuracy of the test set; with a budget in the evaluation, robust accuracy, too.
"""

import math

from matplotlib.figure import Figure

import core
from core.plotting import WIDTH, legend_above, powers_of_ten, styled
from core.plotting.curves import along, draw_ways
from core.plotting.histories import only


@styled
def draw(places: list[core.Workdir]) -> Figure:
    """Two panels, or three.

    Raises:
        core.UserError: several runs, or one that was not measured along a curve.
    """
    found = along(only(places, 'figure-curve'))
    figure = Figure(figsize=((1.35 if found.budgets else 1) * WIDTH, 2.3), layout='constrained')
    loss, accuracy, *robust = figure.subplots(1, 3 if found.budgets else 2)
    draw_ways(loss, found, 'train_log_loss', factor=1 / math.log(10))
    powers_of_ten(loss)
    loss.set_ylabel('training loss')
    draw_ways(accuracy, found, 'test_acc', factor=100)
    accuracy.set_ylabel('accuracy on the test set, %')
    for ax in robust:
        draw_ways(ax, found, 'robust_acc', len(found.budgets) - 1, 100)
        ax.set_ylabel(rf'robust accuracy, %, $\varepsilon = {found.budgets[-1]:g}$')
    legend_above(figure, loss, 3)
    return figure


if __name__ == '__main__':
    core.plot_start(draw)
