"""The paper's figure 8: accuracy under attack against the size of the perturbation, for the epochs of one run that were
attacked, on the training and the test set, at two scales.

    ./plot.sh figure-8 logs/RUN
"""

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

import core
from core.plotting import WIDTH, distances, draw_robust_accuracy, legend_above, only, styled


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
        raise core.UserError(f'{run.path} has no evaluation with distances yet; ./eval.sh eval-final-mnist-l2-fast and '
                             'eval-final-mnist-test-l2-fast make them')
    eids = sorted({m.eid for part in measured.values() for m in part})
    figure, axes = plt.subplots(2, len(measured), figsize=(WIDTH * (1 + len(measured)) / 3, 4), layout='constrained',
                                squeeze=False)
    for (part, found), (whole, near) in zip(measured.items(), axes.T):
        for ax in (whole, near):
            draw_robust_accuracy(ax, found, eids)
        finite = np.concatenate([m.sizes[np.isfinite(m.sizes)] for m in found])
        whole.set(title=f"{ {'train': 'training', 'test': 'test'}[part] } set, {found[-1].sizes.size:,} images",
                  xlim=(0, np.quantile(finite, 0.995)), ylim=(0, 101))
        tenth = max(np.quantile(m.sizes, 0.1, method='higher') for m in found)
        near.set(xlim=(0, tenth if np.isfinite(tenth) and tenth > 0 else None), ylim=(90, 100.2))
    for ax in axes[:, 0]:
        ax.set_ylabel('robust accuracy (%)')
    legend_above(figure, max(axes[0], key=lambda ax: len(ax.lines)), columns=5)
    return figure


if __name__ == '__main__':
    core.plot_start(draw)
