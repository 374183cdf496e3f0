"""The paper's figure 8: accuracy under attack against the size of the perturbation, for the epochs of one run that were
attacked, on the training and the test set, at two scales.

    ./plot.sh figure-8 logs/RUN
"""

import numpy as np
from matplotlib.figure import Figure

import core
from core.plotting import WIDTH, caption, draw_robust_accuracy, styled
from core.plotting.histories import Run, distances, only


@styled
def draw(runs: list[core.Workdir]) -> Figure:
    """Robust accuracy of one run, as far as its evaluations have got. The second row shows the smallest perturbations:
    up to those that fool a tenth of the images in the sturdiest epoch.

    Raises:
        core.UserError: not one run, or one that has not been attacked.
    """
    run = only(runs, 'figure-8')
    measured = distances(run)
    if not measured:
        raise core.NotYet(f'{run.path} has no evaluation with distances yet; ./eval.sh eval-final-mnist-l2-fast and '
                          f'eval-final-mnist-test-l2-fast make them, with --set eid=all of every archived epoch')
    eids = sorted({m.eid for part in measured.values() for m in part})
    figure = Figure(figsize=(WIDTH * (1 + len(measured)) / 3, 4.2), layout='constrained')
    axes = figure.subplots(2, len(measured), squeeze=False)
    for (part, found), (whole, near) in zip(measured.items(), axes.T):
        for ax in (whole, near):
            draw_robust_accuracy(ax, found, eids)
        whole.set_title(caption(found, part), fontsize=7)
        whole.set(ylim=(0, 101), xlim=(0, largest([m.sizes for m in found], 0.995)))
        clean = max(100 * float((m.sizes > 0).mean()) for m in found)
        near.set(ylim=(clean - 10, clean + 0.2), xlim=(0, largest([m.sizes[m.sizes > 0] for m in found], 0.1)))
    for ax in axes[:, 0]:
        ax.set_ylabel('robust accuracy (%)')
    figure.suptitle(Run(run, history=False).label, fontsize=8)
    fullest = max(axes[0], key=lambda ax: len(ax.lines))
    figure.legend(*fullest.get_legend_handles_labels(), loc='outside lower center', ncols=5)
    return figure


def largest(sizes: list[np.ndarray], share: float) -> float | None:
    """The largest over epochs of the size below which a share of the images lie; None if there is no such."""
    found = [float(np.quantile(s[np.isfinite(s)], share)) for s in sizes if np.isfinite(s).any()]
    return max(found, default=0) or None


if __name__ == '__main__':
    core.plot_start(draw)
