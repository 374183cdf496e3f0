"""What the paper's theorems say, beside what a run did: the smoothed normalised margin, the loss and the norm against
T (the sum of the learning rates), and, once they are measured, the KKT conditions.

    ./eval.sh eval-kkt logs/RUN
    ./plot.sh figure-theory logs/RUN
"""

import math
import textwrap
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import core
from core.plotting import COLOURS, WIDTH, legend_on_top, powers_of_ten, scaled, styled
from core.plotting.histories import Run, only

ROUNDING = 1e-6
"""Relative: what the float32 logits of the same weights may differ by."""
THRESHOLD = math.log(2)
"""The theorem holds once the sum of the losses is below this, the loss l(q) = ln(1 + exp(-q)) of a margin of 0."""
BLUE, RED, GREEN = COLOURS[:3]


@styled
def draw(runs: list[core.Workdir]) -> Figure:
    """Draws one run, over the width of a page; the second row is there if ``eval-kkt`` has measured it.

    Raises:
        core.UserError: not one run, or one that did not record what is needed.
    """
    run = Run(only(runs, 'figure-theory'))
    if 'network' not in run.record:
        raise core.UserError(f'{run.workdir.path} did not record the order of its network: it was trained by an '
                             'earlier version')
    kkt = measured(run.workdir)
    figure = Figure(figsize=(1.3 * WIDTH, 4.8 if kkt else 2.7), layout='constrained')
    axes = figure.subplots(2 if kkt else 1, 3, squeeze=False)
    figure.suptitle(run.label, fontsize=8)
    draw_margins(axes[0, 0], run)
    draw_rates(axes[0, 1], axes[0, 2], run)
    notes = [verdict(run)]
    if kkt:
        draw_kkt(axes[1], kkt)
    else:
        notes.append('KKT conditions: not measured yet (./eval.sh eval-kkt).')
    figure.supxlabel('\n'.join(line for note in notes for line in textwrap.wrap(note, 110)), fontsize=7)
    return figure


def smoothed_margin(run: Run) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The paper's gamma-tilde for the cross entropy, l^-1(loss) / rho^L with the loss summed over the samples.

    Returns:
        ``(value, log, log_sum)`` of each epoch: it; its natural logarithm, which does not overflow with rho^L, -inf
        where it is not positive; the logarithm of the loss.
    """
    log_sum = run['log_loss'] + math.log(run.record['images']['train'])
    order, rho = run.record['network']['order'], run['rho']
    with np.errstate(all='ignore'):
        loss = np.exp(log_sum)
        exact = -np.where(loss > 1, loss + np.log1p(-np.exp(-loss)), np.log(np.expm1(loss)))
        inverse = np.where(log_sum < -37, -log_sum, exact)
        log = np.where(inverse > 0, np.log(inverse), -np.inf) - order * np.log(rho)
        return np.sign(inverse) * np.exp(np.log(np.abs(inverse)) - order * np.log(rho)), log, log_sum


def verdict(run: Run) -> str:
    """Whether the smoothed margin decreased anywhere after the loss fell below the theorem's threshold."""
    if not run.record['network']['is_homogeneous']:
        return 'This network is not homogeneous, so the theorems do not apply to it.'
    _, log, log_sum = smoothed_margin(run)
    below = log_sum < math.log(THRESHOLD)
    if not below.any():
        return (f'The smoothed margin need not grow yet: the sum of the losses, e^{log_sum[-1]:.1f}, is still above '
                "the theorem's threshold, ln 2.")
    held = below[:-1]  # what an epoch does that starts below the threshold
    fell = np.where(held, -np.expm1(log[1:] - np.where(held, log[:-1], 0)), 0)
    places = np.flatnonzero(fell > ROUNDING)
    since = (f"after the sum of the losses fell below the theorem's threshold, ln 2, in epoch "
             f"{run['eid'][below.argmax()]:.0f}")
    if not len(places):
        return f'The smoothed margin never decreased {since} ({held.sum()} epochs).'
    worst = places[fell[places].argmax()]
    by = 'below 0' if fell[worst] == 1 else f'by {100 * fell[worst]:.2g} %'
    return (f"The smoothed margin decreased in {len(places)} of the {held.sum()} epochs {since}, most in epoch "
            f"{run['eid'][1 + worst]:.0f}, {by}. (The theorem is about whole batches, and steps so small that they "
            'follow the gradient flow.)')


def draw_margins(ax: Axes, run: Run) -> None:
    """Both margins; the axis shows those of fitted epochs if there are any."""
    smoothed, _, log_sum = smoothed_margin(run)
    ax.plot(run['eid'], run['q_bar_min'], color=BLUE, label=r'normalised, $q_{\min} / \rho^L$')
    ax.plot(run['eid'], smoothed, color=RED, linestyle='--', label='smoothed')
    finite = run['q_bar_min'][np.isfinite(run['q_bar_min'])]
    top, bottom = finite.max(initial=0), finite.min(initial=0)
    below = log_sum < math.log(THRESHOLD)
    if below.any():
        ax.axvline(run['eid'][below.argmax()], color='0.7', linewidth=0.6, zorder=0)
        bottom = -0.1 * top
    if top > bottom:
        ax.set_ylim(bottom, top + 0.05 * (top - bottom))
    scaled(ax, 'margin', np.array([bottom, top]))
    ax.set_xlabel('epoch')
    legend_on_top(ax)


def draw_rates(loss: Axes, norm: Axes, run: Run) -> None:
    """The loss and the norm against T, and, of a homogeneous network, the paper's rates through the last epoch."""
    order, log_T = run.record['network']['order'], run['log_T']
    decades = log_T / math.log(10)
    loss.plot(decades, run.log10_loss, color=BLUE, label='run')
    norm.plot(decades, run['rho'], color=BLUE, label='run')
    late = log_T > 1  # log log T has a meaning
    if late[-1] and run.record['network']['is_homogeneous']:
        of_loss = -(log_T[late] + (2 - 2 / order) * np.log(log_T[late])) / math.log(10)
        of_norm = log_T[late] ** (1 / order)
        loss.plot(decades[late], of_loss - of_loss[-1] + run.log10_loss[-1], color=RED, linestyle='--',
                  label=rf'$1 / (T (\log T)^{{2 - 2/L}})$, $L = {order}$')
        norm.plot(decades[late], of_norm / of_norm[-1] * run['rho'][-1], color=RED, linestyle='--',
                  label=r'$(\log T)^{1/L}$')
    loss.set(xlabel='T, sum of learning rates', ylabel='training loss')
    norm.set(xlabel='T, sum of learning rates', ylabel=r'norm $\rho$')
    powers_of_ten(loss)
    for ax in (loss, norm):
        powers_of_ten(ax, 'x')
        legend_on_top(ax)


def measured(run: core.Workdir) -> dict[int, dict[str, Any]]:
    """What evaluations of the KKT conditions found, ascending in epochs; a later one replaces an earlier one, but for a
    drift that it has not measured."""
    epochs: dict[int, dict[str, Any]] = {}
    for place in sorted(run.evaluations(), key=lambda place: place.path.name):
        for eid, numbers in place.read_summary().get('epochs', {}).items():
            if 'one_minus_cosine' in numbers:
                earlier = epochs.get(int(eid), {}).get('drift')
                epochs[int(eid)] = {**numbers, 'drift': earlier if numbers['drift'] is None else numbers['drift']}
    return dict(sorted(epochs.items()))


def draw_kkt(axes: np.ndarray, kkt: dict[int, dict[str, Any]]) -> None:
    """Direction, residuals and support vectors of the archived epochs."""
    eids = list(kkt)

    def column(name: str) -> np.ndarray:
        return np.array([math.nan if k[name] is None else k[name] for k in kkt.values()])

    direction, residual, support = axes
    direction.plot(eids, column('one_minus_cosine'), '.-', color=BLUE, label=r'$1 - \cos(\theta, -\nabla\mathcal{L})$')
    direction.plot(eids, column('drift'), '.--', color=RED, label='drift since the epoch before')
    residual.plot(eids, column('epsilon'), '.-', color=BLUE, label=r'$\varepsilon$')
    residual.plot(eids, column('delta'), '.--', color=RED, label=r'$\delta$')
    images = next(iter(kkt.values()))['images']
    for mass, colour, dash in zip(next(iter(kkt.values()))['support_vectors'], (BLUE, RED, GREEN), ('-', '--', '-.')):
        support.plot(eids, [k['support_vectors'][mass] for k in kkt.values()], '.' + dash, color=colour,
                     label=f'{100 * float(mass):g} %')
    direction.set_ylabel('direction')
    residual.set_ylabel('KKT residuals')
    support.set_ylabel('support vectors')
    legend_on_top(support, f'with so much of the multipliers,\nof {images:,} images', ncols=3, columnspacing=1)
    legend_on_top(direction), legend_on_top(residual)
    for ax in axes:
        ax.set(xlabel='epoch', yscale='log', xlim=direction.get_xlim())
    if np.isnan(column('epsilon')).all():
        residual.text(0.5, 0.5, 'not defined: not homogeneous,\nor not fitted', transform=residual.transAxes,
                      ha='center', va='center', fontsize=7)


if __name__ == '__main__':
    core.plot_start(draw)
