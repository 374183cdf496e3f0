"""figure-adversarial: which images it shows, and what of them."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest

from core import UserError
from core.workdir import Workdir

ROOT = Path(__file__).parent.parent
draw = runpy.run_path(str(ROOT / 'figures' / 'figure-adversarial.py'))['draw']

BATCH = 10
DISTANCES = np.random.default_rng(0).permutation(np.arange(1, 37) / 8)


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close('all')


def evaluation(distances: np.ndarray, eid: int = 39, channels: int = 1, path: str = 'evaluation',
               size: tuple[int, int] = (4, 3)) -> dict[str, np.ndarray]:
    """Writes an evaluation's parts, as an attack would with these distances; returns all its arrays."""
    rng = np.random.default_rng(eid)
    n = len(distances)
    label = rng.integers(10, size=n)
    clean = rng.uniform(0.3, 0.7, (n, *size, channels)).astype(np.float32)
    noise = rng.uniform(-0.3, 0.3, clean.shape).astype(np.float32)
    found = np.isfinite(distances)
    images = np.where(found[:, None, None, None], clean + noise * (distances > 0)[:, None, None, None], 0)
    arrays = {'index': 1000 + 7 * np.arange(n), 'label': label, 'clean': clean, 'images': images.astype(np.float32),
              'distances': distances, 'success': found, 'class': (label + 1) % 10,
              'clean_class': np.where(distances == 0, (label + 1) % 10, label), 'errors': distances ** 2}
    run = Workdir(path) if Path(path).exists() else Workdir.create(path, parent=Path())
    for start in range(0, n, BATCH):
        run.write_part(eid, start, {k: v[start:start + BATCH] for k, v in arrays.items()} | {'time': np.float64(1)})
    return arrays


def groups(figure):
    """Heading -> examples, each of (number in the data set, its three axes)."""
    found = {}
    for subfigure in figure.subfigs:
        axes = [ax for ax in subfigure.axes if ax.images]
        rows = [axes[k:k + 3] for k in range(0, len(axes), 3)]
        heading = subfigure.get_suptitle().split()[0]
        found[heading] = [(int(re.match(r'no\. (\d+)\n', row[0].get_xlabel()).group(1)), row) for row in rows]
    return found


def shown(figure) -> dict[str, list[int]]:
    return {heading: [number for number, _ in examples] for heading, examples in groups(figure).items()}


def image(ax) -> np.ndarray:
    (drawn,) = ax.images
    return np.asarray(drawn.get_array())


def test_the_smallest_median_and_largest_distances_over_all_parts_are_shown():
    a = evaluation(DISTANCES)
    order = a['index'][np.argsort(DISTANCES)]
    assert shown(draw([Workdir('evaluation')])) == {
        'smallest': list(order[:3]), 'median': list(order[17:20]), 'largest': list(order[-3:])}


def test_images_misclassified_or_without_an_adversarial_image_are_left_out():
    distances = np.concatenate([DISTANCES[:11], [0, np.inf] * 20, DISTANCES[11:]])
    a = evaluation(distances)
    kept = np.flatnonzero(np.isfinite(distances) & (distances > 0))
    order = a['index'][kept[np.argsort(distances[kept])]]
    figure = draw([Workdir('evaluation')])
    assert shown(figure) == {'smallest': list(order[:3]), 'median': list(order[17:20]), 'largest': list(order[-3:])}
    assert 'have an adversarial image: 36.' in figure.get_supxlabel()


@pytest.mark.parametrize('channels', [1, 3])
def test_an_example_is_its_image_its_adversarial_image_and_the_scaled_difference(channels):
    a = evaluation(DISTANCES, channels=channels)
    Workdir('evaluation').write_summary({'norm': 'L2'})
    examples = [example for group in groups(draw([Workdir('evaluation')])).values() for example in group]
    assert len(examples) == 9
    for number, axes in examples:
        (i,) = np.flatnonzero(a['index'] == number)
        clean, adversarial = (a[name][i].squeeze() for name in ('clean', 'images'))
        difference = adversarial - clean
        scale = np.abs(difference).max()
        np.testing.assert_array_equal(image(axes[0]), clean)
        np.testing.assert_array_equal(image(axes[1]), adversarial)
        if channels == 1:
            np.testing.assert_array_equal(image(axes[2]), difference)
            assert [ax.images[0].get_clim() for ax in axes] == [(0, 1), (0, 1), (-scale, scale)]
        else:
            np.testing.assert_allclose(image(axes[2]), 0.5 + difference / (2 * scale), atol=1e-6)
        assert axes[0].get_xlabel() == f'no. {number}\nlabel {a["label"][i]}'
        assert axes[1].get_xlabel() == f'L2 {DISTANCES[i]:#.3g}\npredicted {a["class"][i]}'
        assert axes[2].get_xlabel() == f'±{scale:.2g}'


@pytest.mark.long(after=4)
@pytest.mark.parametrize('n, expected', [
    (1, {'smallest': [0]}), (2, {'smallest': [0], 'largest': [1]}),
    (4, {'smallest': [0, 1], 'median': [2], 'largest': [3]}),
    (8, {'smallest': [0, 1, 2], 'median': [3, 4], 'largest': [5, 6, 7]}),
    (10, {'smallest': [0, 1, 2], 'median': [4, 5, 6], 'largest': [7, 8, 9]})])
def test_the_few_images_that_there_are_are_shown_once(n, expected):
    a = evaluation(np.concatenate([np.arange(1, n + 1) / 4, [0, np.inf]]))
    ranks = {heading: [list(a['index']).index(i) for i in group]
             for heading, group in shown(draw([Workdir('evaluation')])).items()}
    assert ranks == expected


def test_the_last_epoch_is_drawn_and_named():
    evaluation(DISTANCES[::-1], eid=9)
    a = evaluation(DISTANCES, eid=39)
    figure = draw([Workdir('evaluation')])
    assert figure.get_suptitle() == 'epoch 39'
    assert shown(figure)['largest'] == list(a['index'][np.argsort(DISTANCES)][-3:])


@pytest.mark.long(after=2)
@pytest.mark.parametrize('summary, expected', [
    (None, 'distance 0.125'), ({'norm': 'L2'}, 'L2 0.125'), ({'norm': 'Linf'}, 'L∞ 0.125')])
def test_the_norm_is_named_once_a_summary_tells_it(summary, expected):
    evaluation(DISTANCES)
    if summary is not None:
        Workdir('evaluation').write_summary(summary)
    _, axes = groups(draw([Workdir('evaluation')]))['smallest'][0]
    assert axes[1].get_xlabel().split('\n')[0] == expected


def test_what_cannot_be_drawn_is_refused():
    evaluation(DISTANCES)
    evaluation(np.array([0, np.inf, 0]), path='nothing')
    evaluation(DISTANCES, channels=2, path='pairs')
    Workdir.create('run', parent=Path())
    for paths, message in (
            (['run'], 'run is not the directory of an evaluation with adversarial images (name one such as '
                      'logs/RUN/eval-NAME/DATE)'),
            (['nowhere'], 'nowhere is not the directory of an evaluation with adversarial images (name one such as '
                          'logs/RUN/eval-NAME/DATE)'),
            (['evaluation', 'evaluation'], 'figure-adversarial draws one evaluation at a time, not 2'),
            (['nothing'], 'nothing has no adversarial image of an image that was classified rightly at epoch 39, so '
                          'there is nothing to draw'),
            (['pairs'], 'figure-adversarial draws images of 1 or 3 channels, not 2')):
        with pytest.raises(UserError) as e:
            draw([Workdir(path) for path in paths])
        assert str(e.value) == message


@pytest.mark.long(after=1)
@pytest.mark.parametrize('n, channels', [(36, 1), (36, 3), (8, 3), (5, 3), (1, 1)])
def test_no_text_lies_over_another_or_outside_and_rows_align(n, channels):
    evaluation(DISTANCES[:n], channels=channels, size=(20, 28))
    figure = draw([Workdir('evaluation')])
    figure.set_dpi(200)
    figure.draw_without_rendering()
    texts = [t for t in figure.findobj(plt.Text) if t.get_visible() and t.get_text().strip()]
    boxes = [t.get_window_extent() for t in texts]
    assert all(figure.bbox.fully_contains(*corner) for box in boxes for corner in (box.min, box.max))
    assert not [(s.get_text(), t.get_text()) for k, s in enumerate(texts)
                for t, box in zip(texts[:k], boxes) if boxes[k].overlaps(box)]
    for row in zip(*([row for _, row in group] for group in groups(figure).values())):
        tops = [ax.get_window_extent().y1 for axes in row for ax in axes]
        assert max(tops) - min(tops) < 1
