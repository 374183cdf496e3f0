"""AutoAttack: what any of its attacks breaks is broken, and no other; it fits the number of classes."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from nets import small_mnist

from models.attacks import APGD, FAB, AutoAttack, Square
from models.attacks.auto_attack import PARTS

SMALL = {'apgd-ce': lambda net, norm, repeat: APGD(net, k=10, repeat=repeat, norm=norm),
         'apgd-t': lambda net, norm, repeat: APGD(net, k=10, norm=norm, loss='dlr-targeted', target_classes=2),
         'fab-t': lambda net, norm, repeat: FAB(net, k=5, norm=norm, target_classes=2),
         'square': lambda net, norm, repeat: Square(net, k=50, norm=norm)}
EPS = 0.15


@pytest.fixture
def small_parts(monkeypatch):
    for name, make in SMALL.items():
        monkeypatch.setitem(PARTS, name, make)


@pytest.mark.long
def test_an_image_is_broken_by_the_first_attack_that_breaks_it_and_counts_once(small_parts, mnist_images):
    net = small_mnist()
    x, y = (a[:20].copy() for a in mnist_images.test)
    y[-1] = (y[-1] + 1) % 10
    attack = AutoAttack(net, 'Linf', EPS)
    result = attack.attack(x, y, 1)
    assert list(attack.members) == ['apgd-ce', 'apgd-t', 'fab-t', 'square']
    assert ((net.net(result.images[result.success]).numpy().argmax(axis=1) != y[result.success])).all()
    assert (result.distances[result.success] <= EPS * (1 + 1e-6)).all() and result.success.mean() > 0.5
    assert result.by[-1] == -1 and result.distances[-1] == 0 and (result.by[~result.success] == -1).all()
    assert (result.by[result.success][:-1] >= 0).all()
    alone = APGD(net, [EPS], k=10).attack(x, y, 1)
    np.testing.assert_array_equal(result.by == 0, alone.success & (alone.distances > 0))
    assert result.success.sum() >= alone.success.sum()
    again = attack.attack(x, y, 1)
    np.testing.assert_array_equal(again.by, result.by)
    np.testing.assert_array_equal(again.images, result.images)


@pytest.mark.long
def test_the_smallest_of_several_budgets_is_told(small_parts, mnist_images):
    x, y = (a[:10] for a in mnist_images.test)
    both, small = (AutoAttack(small_mnist(), 'L2', eps, 'custom', ['apgd-ce', 'fab-t']).attack(x, y, 1)
                   for eps in ([1.3, 3.0], 1.3))
    assert set(both.eps) == {1.3, 3.0} and (both.distances <= both.eps * (1 + 1e-6)).all()
    np.testing.assert_array_equal(both.eps == 1.3, small.success)


class Subclassed(keras.Model):
    """A network that does not tell its classes before it is called."""

    def __init__(self, classes):
        super().__init__()
        self.flat, self.last = keras.layers.Flatten(), keras.layers.Dense(classes)

    def call(self, x):
        return self.last(self.flat(x))


@pytest.mark.long
def test_a_subclassed_model_has_the_attacks_that_fit_it_and_fab_is_asked_once_for_all_budgets(monkeypatch):
    net, rng = Subclassed(3), np.random.default_rng(0)
    x = rng.uniform(0.3, 0.7, (6, 4, 4, 1)).astype(np.float32)
    y = net(x).numpy().argmax(axis=1)
    asked, run = [], FAB._run
    monkeypatch.setattr(FAB, '_run', lambda self, x, y, rng: asked.append(len(x)) or run(self, x, y, rng))
    monkeypatch.setitem(PARTS, 'fab-t', SMALL['fab-t'])
    attack = AutoAttack(net, 'Linf', [np.float32(1e-6), 0.001, 0.3], 'custom', ['apgd-t', 'fab-t'])
    result = attack.attack(x, y, 0)
    assert list(attack.members) == ['apgd-dlr', 'fab-t'] and asked == [6] and result.success.all()
    assert list(AutoAttack(net, 'Linf', np.float32(0.1)).eps_list) == [pytest.approx(0.1)]


@pytest.mark.parametrize('classes, names', [
    (2, ['apgd-ce', 'fab-t', 'square']), (3, ['apgd-ce', 'apgd-dlr', 'fab-t', 'square']),
    (4, ['apgd-ce', 'apgd-t', 'fab-t', 'square'])])
def test_few_classes_have_the_attacks_that_fit_them(classes, names):
    net = keras.Sequential([keras.Input((4, 4, 1)), keras.layers.Flatten(), keras.layers.Dense(classes)])
    assert list(AutoAttack(net).members) == names


@pytest.mark.parametrize('arguments, message', [
    ({'version': 'fast'}, "version must be 'standard' or 'plus'"),
    ({'attacks': ['square']}, "go with version='custom'"),
    ({'version': 'custom'}, "version='custom' needs attacks"), ({'norm': 'L0'}, "norm must be 'Linf' or 'L2'"),
    ({'version': 'custom', 'attacks': ['pgd']}, "there is no attack 'pgd'; .*'apgd"),
    ({'eps_list': 8}, 'eps is 8; pixels are in .*: was 8/255 meant')])
def test_wrong_arguments_are_refused_in_a_sentence(arguments, message):
    net = keras.Sequential([keras.Input((4, 4, 1)), keras.layers.Flatten(), keras.layers.Dense(10)])
    with pytest.raises(ValueError, match=message):
        AutoAttack(net, **arguments)
