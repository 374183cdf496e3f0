"""Images, their adversarial images and the differences, at the smallest, median and largest distances of an evaluation.

    ./plot.sh figure-adversarial logs/RUN/eval-NAME/DATE
"""

import textwrap

import numpy as np
from matplotlib.figure import Figure

import core
from core.plotting.histories import ATTACKING, task_of

SHOWN = 3
"""Examples of each kind."""
NORMS = {'L2': 'L2', 'Linf': 'L∞', 'L1': 'L1'}


def draw(runs: list[core.Workdir]) -> Figure:
    """Draws examples of the last epoch of one evaluation, out of the images that were classified rightly and for which
    an adversarial image was found.

    Raises:
        core.UserError: not one evaluation, no such images, or images that are neither grey nor RGB.
    """
    if len(runs) != 1:
        raise core.UserError(f'figure-adversarial draws one evaluation at a time, not {len(runs)}')
    (run,) = runs
    parts = run.parts()
    eid = max(parts, default=0)
    if not parts or task_of(run) not in ATTACKING:  # other evaluations keep no images
        raise core.UserError(f'{run.path} is not the directory of an evaluation with adversarial images (name one such '
                             'as logs/RUN/eval-NAME/DATE)')
    places, groups = choose(run, eid, parts[eid])
    examples = read(run, eid, [places[k] for group in groups.values() for k in group])
    height, width, channels = examples[places[groups['smallest distances'][0]]]['clean'].shape
    if channels not in (1, 3):
        raise core.UserError(f'figure-adversarial draws images of 1 or 3 channels, not {channels}')

    groups = {name: group for name, group in groups.items() if len(group)}
    rows = max(map(len, groups.values()))
    hues = 'blue darker, red brighter, full colour' if channels == 1 else 'grey where there is none, full range'
    notes = (f'Images that were classified rightly and have an adversarial image: {len(places)}.',
             f'Differences: {hues} at the ± value under each.')
    notes = [line for note in notes for line in textwrap.wrap(note, 50 * len(groups))]
    figure = Figure(layout='constrained', figsize=(
        2.4 * len(groups), 0.6 + 0.13 * len(notes) + rows * (0.3 + 0.7 * height / width)))
    figure.suptitle(f'epoch {eid}', fontsize=9)
    figure.supxlabel('\n'.join(notes), fontsize=6.5, color='0.3')
    norm = NORMS.get(run.read_summary().get('norm'), 'distance')  # unknown while the evaluation has just begun
    for subfigure, (name, group) in zip(figure.subfigures(1, len(groups), squeeze=False)[0], groups.items()):
        subfigure.suptitle(name, fontsize=8)
        axes = subfigure.subplots(rows, 3, squeeze=False)
        for ax in axes.flat:
            ax.set(xticks=[], yticks=[], box_aspect=height / width)
            ax.set_xlabel(' \n ', fontsize=6.5, labelpad=2)  # takes room where there is no example, so that rows align
            ax.spines[:].set(color='0.6', linewidth=0.4)
        for ax, head in zip(axes[0], ('image', 'adversarial', 'difference')):
            ax.set_title(head, fontsize=7, pad=3)
        for row, k in zip(axes, group):
            show(row, examples[places[k]], norm)
        for ax in axes[len(group):].flat:
            ax.set_frame_on(False)
    return figure


def choose(run: core.Workdir, eid: int, starts: list[int]) -> tuple[list[tuple[int, int]], dict[str, range]]:
    """The images that count by distance, as (part, place in it), and the ranks of those to show; none twice."""
    distances, places = [], []
    for start in starts:
        found = run.read_part(eid, start)['distances']
        for i in np.flatnonzero(np.isfinite(found) & (found > 0)):
            distances.append(found[i])
            places.append((start, int(i)))
    n = len(places)
    if not n:
        raise core.UserError(f'{run.path} has no adversarial image of an image that was classified rightly at epoch '
                             f'{eid}, so there is nothing to draw')
    middle = min(SHOWN, n // 3)
    begin = (n - middle + 1) // 2
    return [places[k] for k in np.argsort(distances, kind='stable')], {
        'smallest distances': range(min(SHOWN, begin)),
        'median distances': range(begin, begin + middle),
        'largest distances': range(max(begin + middle, n - SHOWN), n)}


def read(run: core.Workdir, eid: int, places: list[tuple[int, int]]) -> dict[tuple[int, int], dict[str, np.ndarray]]:
    """The arrays of images, by place; one part at a time, since all of them together may be large."""
    names = ('index', 'label', 'clean', 'images', 'distances', 'class')
    examples = {}
    for start in sorted({start for start, _ in places}):
        part = run.read_part(eid, start)
        for place in places:
            if place[0] == start:
                examples[place] = {name: part[name][place[1]].copy() for name in names}
    return examples


def show(row: np.ndarray, example: dict[str, np.ndarray], norm: str) -> None:
    """Draws one example into three axes."""
    clean, adversarial = example['clean'], example['images']
    difference = adversarial - clean
    scale = float(np.abs(difference).max())
    if clean.shape[-1] == 1:
        row[0].imshow(clean[..., 0], cmap='gray', vmin=0, vmax=1)
        row[1].imshow(adversarial[..., 0], cmap='gray', vmin=0, vmax=1)
        row[2].imshow(difference[..., 0], cmap='RdBu_r', vmin=-scale, vmax=scale)
    else:
        row[0].imshow(clean)
        row[1].imshow(adversarial)
        row[2].imshow(np.clip(0.5 + difference / (2 * scale), 0, 1))
    row[0].set_xlabel(f'no. {example["index"]}\nlabel {example["label"]}')
    distance = f'{example["distances"]:#.3g}'.rstrip('.')
    row[1].set_xlabel(f'{norm} {distance}\npredicted {example["class"]}')
    row[2].set_xlabel(f'±{scale:.2g}')


if __name__ == '__main__':
    core.plot_start(draw)
