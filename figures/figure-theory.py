"""What the paper's theorems say, beside what a run did: the smoothed normalised margin, the loss and the norm against
T (the sum of the learning rates), and, once they are measured, the KKT conditions.

    ./eval.sh eval-kkt logs/RUN
    ./plot.sh figure-theory logs/RUN
"""

import math
import textwrap
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import core
from core.plotting import COLOURS, WIDTH, Run, only, powers_of_ten, styled

ROUNDING = 1e-6
"""Relative: what the float32 logits of the same weights may differ by."""
BLUE, RED, GREEN = COLOURS[:3]


@styled
def draw(runs: list[core.Workdir]) -> Figure:
    """Draws one run; the second row is there if ``eval-kkt`` has measured it.

    Raises:
        core.UserError: not one run, or one that did not record what is needed.
    """
    run = Run(only(runs, 'figure-theory'))
    if 'network' not in run.record:
        raise core.UserError(f'{run.workdir.path} did not record the order of its network: it was trained by an '
                             'earlier version')
    kkt = measured(run.workdir)
    figure, axes = plt.subplots(2 if kkt else 1, 3, figsize=(1.3 * WIDTH, 4.8 if kkt else 2.7), layout='constrained',
                                squeeze=False)
    figure.suptitle(run.label, fontsize=8)
    draw_margins(axes[0, 0], run)
    draw_rates(axes[0, 1], axes[0, 2], run)
    notes = [verdict(run)]
    if kkt:
        draw_kkt(axes[1], kkt)
    else:
        notes.append('KKT conditions: not measured yet (./eval.sh eval-kkt).')
    figure.supxlabel('\n'.join(line for note in notes for line in textwrap.wrap(note, 125)), fontsize=7)
    return figure


def smoothed_margin(run: Run) -> tuple[np.ndarray, np.ndarray]:
    """The paper's gamma-tilde in each epoch, and the logarithm of its loss, the sum over the samples.

    For the cross entropy it is l^-1(loss) / rho^L with l(q) = ln(1 + exp(-q)): -ln(exp(loss) - 1) / rho^L.
    """
    log_sum = run['log_loss'] + math.log(run.record['images']['train'])
    with np.errstate(over='ignore', divide='ignore', invalid='ignore'):
        loss = np.exp(log_sum)
        exact = np.where(loss > 1, loss + np.log1p(-np.exp(-loss)), np.log(np.expm1(loss)))
        return -np.where(log_sum < -37, log_sum, exact) / run['rhoL'], log_sum


def start(log_sum: np.ndarray) -> int | None:
    """The first epoch from which the theorem holds: the loss is below l(0) = ln 2."""
    below = np.flatnonzero(log_sum < math.log(math.log(2)))
    return int(below[0]) if len(below) else None


def verdict(run: Run) -> str:
    """Whether the smoothed margin decreased anywhere after the loss fell below the theorem's threshold."""
    smoothed, log_sum = smoothed_margin(run)
    first = start(log_sum)
    about = 'The smoothed margin' if run.record['network']['is_homogeneous'] else (
        'This network is not homogeneous, so the theorem does not apply to it; its smoothed margin')
    if first is None:
        return (f"{about} is not bound to grow yet: the sum of the losses, e^{log_sum[-1]:.1f}, is still above the "
                "theorem's threshold, ln 2.")
    after = smoothed[first:]
    fell = 1 - after[1:] / after[:-1]
    places = np.flatnonzero(fell > ROUNDING)
    since = f"after the sum of the losses fell below the theorem's threshold, ln 2, in epoch {run['eid'][first]:.0f}"
    if not len(places):
        return f'{about} never decreased {since} ({len(fell)} epochs).'
    worst = places[fell[places].argmax()]
    return (f'{about} decreased in {len(places)} of the {len(fell)} epochs {since}, most in epoch '
            f"{run['eid'][first + 1 + worst]:.0f}, by {100 * fell[worst]:.2g} %.")


def draw_margins(ax: Axes, run: Run) -> None:
    smoothed, log_sum = smoothed_margin(run)
    ax.plot(run['eid'], run['q_bar_min'], color=BLUE, label=r'normalised, $q_{\min} / \rho^L$')
    ax.plot(run['eid'], smoothed, color=RED, linestyle='--', label='smoothed')
    first = start(log_sum)
    if first is not None:
        ax.axvline(run['eid'][first], color='0.7', linewidth=0.6, zorder=0)
        top = max(run['q_bar_min'].max(), smoothed.max())
        ax.set_ylim(-0.1 * top, 1.05 * top)
    ax.set(xlabel='epoch', ylabel='margin')
    ax.ticklabel_format(axis='y', style='sci', scilimits=(-3, 3), useMathText=True)
    ax.legend(loc='lower right')


def draw_rates(loss: Axes, norm: Axes, run: Run) -> None:
    """The loss and the norm against T, and the paper's rates through the last epoch."""
    order, log_T = run.record['network']['order'], run['log_T']
    decades = log_T / math.log(10)
    loss.plot(decades, run.log10_loss, color=BLUE, label='run')
    norm.plot(decades, run['rho'], color=BLUE, label='run')
    late = log_T > 1  # log log T has a meaning
    if late[-1]:
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


def legend_on_top(ax: Axes, title: str | None = None, **options: Any) -> None:
    ax.legend(loc='lower center', bbox_to_anchor=(0.5, 1), title=title, title_fontsize=7, **options)


def measured(run: core.Workdir) -> dict[int, dict[str, Any]]:
    """What evaluations of the KKT conditions found, ascending in epochs; a later one replaces an earlier one."""
    epochs = {}
    for place in run.evaluations():
        for eid, numbers in place.read_summary().get('epochs', {}).items():
            if 'one_minus_cosine' in numbers:
                epochs[int(eid)] = numbers
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
        ax.set(xlabel='epoch', yscale='log')


if __name__ == '__main__':
    core.plot_start(draw)
