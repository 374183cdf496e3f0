"""The edge of stability: the learning rate times the largest eigenvalue of the Hessian over a run, beside 2, where a
step of plain gradient descent on a quadratic no longer makes it smaller; and, of homogeneous networks, the eigenvalue
in the units in which it tends to a constant.

    ./eval.sh eval-hessian logs/RUN
    ./plot.sh figure-edge logs/RUN [logs/RUN ...]
"""

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator

import core
from core.plotting import WIDTH, hues, legend_above, powers_of_ten, styled
from core.plotting.hessians import spectra

EDGE = 2.0


@styled
def draw(places: list[core.Workdir]) -> Figure:
    """Draws runs, each as far as its curvature was measured; the loss is that of its history.

    Raises:
        core.UserError: the curvature of one has not been measured, or no rate of any is known.
    """
    measured = spectra(places)
    found = [of for of in measured if np.isfinite(of.over_epochs('lr_lambda')[1]).any()]
    if not found:
        raise core.UserError('no evaluation here has the rate times the largest eigenvalue of the loss that a run was '
                             f'trained by; ./eval.sh eval-hessian {measured[0].run.workdir.path} measures it')
    constant = [of for of in found if np.isfinite(of.over_epochs('homogeneous_constant')[1]).any()]
    figure = Figure(figsize=(1.3 * WIDTH, 2.8), layout='constrained')
    edge, *others = figure.subplots(1, 2 if constant else 1, squeeze=False)[0]
    loss = edge.twinx()
    edge.axhline(EDGE, color='0.4', linewidth=0.8, linestyle=(0, (4, 2)), zorder=0)
    for of, look in hues(found):
        edge.plot(*of.over_epochs('lr_lambda'), 'o-', color=look['color'], markersize=3.5, label=of.label)
        loss.plot(of.run['eid'], of.run.log10_loss, color=look['color'], linestyle=(0, (1, 1)), linewidth=0.8)
        if of in constant:
            others[0].plot(*of.over_epochs('homogeneous_constant'), 'o-', color=look['color'], markersize=3.5)
    low, high = edge.get_ylim()
    edge.set(xlabel='epoch', ylabel=r'rate $\cdot\ \lambda_{\max}$', yscale='log', ylim=(None, max(high, 2 * EDGE)))
    edge.annotate('2', (1, EDGE), xycoords=('axes fraction', 'data'), xytext=(-2, 1), textcoords='offset points',
                  ha='right', va='bottom', fontsize=7, color='0.4')
    edge.set_xscale('log')  # most of what happens to the curvature happens in the first epochs
    edge.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    edge.yaxis.set_major_formatter(lambda v, _: f'{v:g}')
    edge.yaxis.set_minor_locator(NullLocator())
    powers_of_ten(loss)
    loss.set_ylabel('training loss (dots)')
    loss.spines['right'].set_visible(True)
    for ax in others:
        ax.set(xlabel='epoch', xscale='log', yscale='log')
        ax.set_ylabel(r'$\lambda_{\max} \|\theta\|^2 / (\mathcal{L}\, \ln^2 \mathcal{L})$')
    legend_above(figure, edge)
    return figure


if __name__ == '__main__':
    core.plot_start(draw)
