"""A validation set: which images it is, what it adds to the statistics, and that it can be measured."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from runs import FLAGS, train

import core
from core import UserError
from core.subsets import set_apart
from core.workdir import Workdir
from models import SimpleSequential

QUICK = {'train_N': 120, 'test_N': 20, 'B': 20, 'E': 2, 'print': False}


def session(monkeypatch, **flags):
    """The data sets of runs, as they are fetched."""
    seen = []
    original = core.Core.fetch_dataset
    monkeypatch.setattr(core.Core, 'fetch_dataset', lambda self: (original(self), seen.append(self.dataset)))
    train(**{**QUICK, 'E': 1, **flags})
    return [tuple(t.numpy() for t in part) for part in seen[-1]]


@pytest.mark.parametrize('validation, left, apart', [
    (20, slice(0, 100), slice(100, 120)), (('last', 20), slice(0, 100), slice(100, 120)),
    (('first', 20), slice(20, 120), slice(0, 20)), (0, slice(0, 120), slice(120, 120))])
def test_the_first_or_last_so_many_training_images_are_set_apart(validation, left, apart):
    images = np.arange(120)
    found = [images[places] for places in set_apart(120, validation)]
    assert [f.tolist() for f in found] == [images[left].tolist(), images[apart].tolist()]


def test_it_is_taken_after_train_n_and_before_the_fraction_and_the_noise_and_keeps_its_labels(monkeypatch):
    train_set, validation, test = session(
        monkeypatch, validation_N=('first', 20), train_fraction=0.5, label_noise=0.4, log='noisy')
    x, y = (t[:120] for t in core.get_dataset('digits').train)
    np.testing.assert_array_equal(validation[0], x[:20])
    np.testing.assert_array_equal(validation[1], y[:20])
    assert len(train_set[1]) == 50 and len(test[1]) == 20
    places = [next(i for i, image in enumerate(x) if (image == each).all()) for each in train_set[0]]
    assert min(places) >= 20 and (y[places] != train_set[1]).sum() == 20
    record = Workdir('noisy').read_flags()
    assert record['images'] == {'train': 50, 'validation': 20, 'test': 20} and record['labels_switched'] == 20
    assert record['flags']['validation_N'] == ['first', 20]


def test_statistics_of_an_epoch_have_those_of_the_validation_set_only_where_there_is_one():
    _, (*_, last) = train(**QUICK, validation_N=40, archive=1)
    _, (*_, plain) = train(**QUICK, log='plain')
    assert set(last['stats']) - set(plain['stats']) == {'val_loss', 'val_acc'}
    assert Workdir('plain').read_flags()['images'] == {'train': 120, 'test': 20}
    model = SimpleSequential('m', (8, 8, 1), **FLAGS['model'])
    model.restore('run/model-2.keras')
    x, y = (t[80:120] for t in core.get_dataset('digits').train)
    logits = model.net(x).numpy().astype(np.float64)
    losses = np.log(np.exp(logits - logits[np.arange(40), y][:, None]).sum(axis=1))
    assert last['stats']['val_acc'] == (logits.argmax(axis=1) == y).mean()
    assert last['stats']['val_loss'] == pytest.approx(losses.mean(), rel=1e-5), 'the real loss, whatever the frame'


@pytest.mark.long
def test_training_is_that_of_the_images_that_are_left():
    """Nothing of the images that are set apart enters."""
    _, apart = train(**{**QUICK, 'E': 1}, validation_N=20, log='apart')
    _, alone = train(**{**QUICK, 'train_N': 100, 'E': 1}, log='alone')
    stats = {k: v for k, v in apart[-1]['stats'].items() if not k.startswith('val')}
    assert stats == alone[-1]['stats'] and apart[-1]['rt_loss'] == alone[-1]['rt_loss']


@pytest.mark.long
def test_an_evaluation_takes_the_validation_set_from_its_run():
    train(**{**QUICK, 'E': 1}, validation_N=('first', 20))
    flags = {'task': 'attack', 'log': 'run', 'attack_type': 'FGSM', 'gpu': 'cpu', 'attack_set': 'validation'}
    res = core.run({**flags, 'eval_log': 'out'})
    x, y = (t[:20] for t in core.get_dataset('digits').train)
    part = Workdir('out').read_part(1, 0)
    np.testing.assert_array_equal(part['clean'], x)
    assert part['label'].tolist() == y.tolist() and len(res[1]['errors']) == 20
    train(**{**QUICK, 'E': 1}, log='plain')
    with pytest.raises(UserError, match='attack_set is validation, but the run has no such images: it was trained with '
                                        'validation_N=0'):
        core.run({**flags, 'log': 'plain'})


@pytest.mark.parametrize('validation, message', [
    (120, 'validation_N is 120, which leaves none of the 120 training images'),
    (-20, "validation_N must be a number of images, the last ones of the training set, or \\('first', how many\\)"),
    (('middle', 20), 'validation_N must be a number of images'), (('last',), 'validation_N must be a number of images'),
    (110, 'B is 20, more than the 10 training images')])
def test_validation_sets_that_cannot_be_are_refused(validation, message):
    with pytest.raises(UserError, match=message):
        train(**QUICK, validation_N=validation)
    assert not Path('run').exists()


@pytest.mark.long
def test_a_run_cannot_be_resumed_with_another_validation_set():
    train(**{**QUICK, 'E': 1}, validation_N=20)
    with pytest.raises(UserError, match='was begun with validation_N=20, so it cannot be resumed with validation_N=0'):
        core.run({**FLAGS, **QUICK, 'log': None, 'resume': 'run', 'validation_N': 0})
