"""Square beside the released code, whose random numbers are replayed, and what it promises in its own form."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf
from conftest import ADVERSARIAL, reference_json, reference_npz
from keras import layers as L

from models.attacks import Square
from models.attacks.square import START
from models.attacks.squares import SQUARES, shares, sides, two_hills

REFERENCE = reference_json('square', ADVERSARIAL)
NORMS = [case['norm'] for case in REFERENCE['cases']]
CASES = [pytest.param(case['name'], marks=[pytest.mark.long] if case['norm'] in NORMS[:i] else [])
         for i, case in enumerate(REFERENCE['cases'])]
"""But for the first of each norm, they are long."""


def lenet(weights: dict[str, np.ndarray]) -> keras.Model:
    """The released LeNet."""
    sizes = [weights[f'{layer}.kernel'].shape[-1] for layer in ('conv1', 'conv2', 'fc1', 'fc2')]
    net = keras.Sequential([
        keras.Input((28, 28, 1)), L.Conv2D(sizes[0], 5, padding='same', activation='relu'), L.MaxPooling2D(),
        L.Conv2D(sizes[1], 5, padding='same', activation='relu'), L.MaxPooling2D(), L.Flatten(),
        L.Dense(sizes[2], activation='relu'), L.Dense(sizes[3])])
    net.set_weights([weights[f'{layer}.{kind}'] for layer in ('conv1', 'conv2', 'fc1', 'fc2')
                     for kind in ('kernel', 'bias')])
    return net


@pytest.fixture(scope='module')
def stored():
    return reference_npz('square', ADVERSARIAL)


@pytest.fixture(scope='module')
def net():
    model = f'{REFERENCE["model"]}.'
    arrays = reference_npz('models', ADVERSARIAL)
    return lenet({k.removeprefix(model): v for k, v in arrays.items() if k.startswith(model)})


@pytest.fixture(scope='module')
def images():
    first, end = REFERENCE['images']
    data = reference_npz('data', ADVERSARIAL)
    return (data['x_u8'][first:end] / np.float32(255)).astype(np.float32), data['y'][first:end]


class Replaying(Square):
    """Takes its random numbers from a stream, in the order in which the released code drew them."""

    def replay(self, stream):
        self.stream, self.used = stream, 0

    def _uniform(self, seed, query, number, of, fooled, shared, own):
        drawn = tf.numpy_function(self._next, [query, fooled, shared, own], tf.float32)
        return tf.ensure_shape(drawn, [None, shared + own])

    def _take(self, n):
        self.used += n
        return self.stream[self.used - n:self.used]

    def _next(self, query, fooled, shared, own):
        found = np.zeros((len(fooled), shared + own), np.float32)
        for block in range(shared if query == START and shared else 1):  # one after another, with what goes with it
            blocks = shared if query == START and shared else 1
            mine, theirs = shared // blocks, own // blocks
            found[:, block * mine:(block + 1) * mine] = self._take(mine)
            left = np.flatnonzero(~fooled)
            first = shared + block * theirs
            found[left, first:first + theirs] = self._take(theirs * len(left)).reshape(len(left), theirs)
        return found


@pytest.mark.long(after=1)
@pytest.mark.parametrize('name', CASES)
def test_with_the_random_numbers_of_the_released_code_it_finds_the_same(name, net, images, stored):
    case, (x, y) = next(c for c in REFERENCE['cases'] if c['name'] == name), images
    attack = Replaying(net, [case['eps']], case['n_queries'], case['p_init'], norm=case['norm'], loss=case['loss'],
                       rescale=case['resc_schedule'], released=True)
    right = net(x).numpy().argmax(axis=1) == y
    np.testing.assert_array_equal(right, stored[f'{name}.clean_correct'])
    attack.replay(stored[f'{name}.rand_stream'])
    ends, fooled, queries = attack.search(x[right], y[right], case['eps'], 0)
    assert attack.used == len(attack.stream), 'all the numbers, and no more'
    np.testing.assert_array_equal(queries, stored[f'{name}.n_queries'])
    np.testing.assert_array_equal(~fooled, stored[f'{name}.robust'][right])
    assert (abs(ends[fooled] - stored[f'{name}.adv'][right][fooled]) <= 1e-6).all()
    assert (abs(ends - stored[f'{name}.x_best']) > 1e-6).mean() <= 0.01
    attack.replay(stored[f'{name}.rand_stream'])
    result = attack.attack(x, y)
    np.testing.assert_array_equal(result.success, ~stored[f'{name}.robust'])
    assert (result.distances[result.success] <= case['eps'] * (1 + 1e-6)).all()


def test_shares_and_sides_are_those_of_the_released_schedule(stored):
    at = stored['p.iteration']
    np.testing.assert_array_equal(shares(at.max() + 1, 0.8, rescaled=False)[at], stored['p.plain'])
    np.testing.assert_array_equal(shares(len(stored['p.iteration50']), 0.8, rescaled=True), stored['p.rescaled50'])
    np.testing.assert_array_equal(sides(stored['p.plain'], 28, 28), stored['p.window28'])
    assert (sides(np.array([1.0, 0.5, 0.01, 1e-6]), 28, 20, 3, odd=True) == [20, 17, 3, 3]).all()


SHAPE = (9, 7, 3)


def tried(norm, uniform, share=0.2, released=False, best=None, eps=0.1):
    """Clean images, and images with a square each, of the random numbers of a query."""
    squares = SQUARES[norm](SHAPE, np.array([share]), released)
    x = np.full((len(uniform), *SHAPE), 0.5, np.float32)
    return x, squares.moved(0, x if best is None else best, x, np.full(len(x), eps, np.float32),
                            tf.constant(uniform, tf.float32)).numpy(), int(squares.sides[0])


@pytest.mark.parametrize('released', [False, True])
def test_a_square_is_of_one_colour_and_may_lie_anywhere_but_in_the_released_way(released):
    uniform = np.random.default_rng(0).uniform(size=(500, 5))
    x, new, side = tried('Linf', uniform, released=released)
    assert side == 4
    changed = (new != x).any(axis=3)
    assert (changed.sum(axis=(1, 2)) == side * side).all()
    corners = {(rows.nonzero()[0][0], columns.nonzero()[0][0])
               for rows, columns in zip(changed.any(axis=2), changed.any(axis=1))}
    rows, columns = SHAPE[0] - side + (not released), SHAPE[1] - side + (not released)
    assert corners == {(r, c) for r in range(rows) for c in range(columns)}
    colours = {tuple(np.round((image - 0.5)[where][0], 6)) for image, where in zip(new, changed)}
    assert len(colours) == 8 and np.abs(list(colours)) == pytest.approx(0.1)


def test_a_square_that_would_change_nothing_has_the_opposite_colours():
    uniform = np.full((1, 5), 0.3)
    _, once, _ = tried('Linf', uniform)
    x, twice, _ = tried('Linf', uniform, best=once)
    np.testing.assert_allclose(twice - x, x - once, atol=1e-6)
    _, once, _ = tried('Linf', uniform, released=True)
    assert (tried('Linf', uniform, best=once, released=True)[1] == once).all()


def test_a_bump_takes_all_of_the_budget_and_the_norm_of_the_other_window():
    uniform = np.random.default_rng(0).uniform(size=(300, 8))
    x, first, _ = tried('L2', uniform[::-1])
    x, new, side = tried('L2', uniform, best=first)
    assert side == 5 and new.min() > 0 and new.max() < 1
    np.testing.assert_allclose(np.linalg.norm((new - x).reshape(len(x), -1), axis=1), 0.1, rtol=1e-5)
    rows, columns = ((uniform[:, i:4:2] * (SHAPE[i] - side + 1)).astype(int) for i in (0, 1))
    for old, now, row, column in zip(first - x, new - x, rows, columns):
        here, there = (np.zeros(SHAPE[:2], bool) for _ in range(2))
        for where, r, c in zip((here, there), row, column):
            where[r:r + side, c:c + side] = True
        np.testing.assert_allclose(now[~(here | there)], old[~(here | there)], atol=1e-6)
        assert (now[there & ~here] == 0).all()
        size, was = (np.square(a[where]).sum(axis=0) for a, where in ((now, here), (old, here | there)))
        np.testing.assert_allclose(size, was, rtol=1e-3)


@pytest.mark.parametrize('side', [1, 2, 3, 4, 5, 8, 13])
def test_two_hills_are_added_up_of_nested_rectangles(side):
    """As the authors add them up."""
    want = np.zeros((side, side))
    for part, sign in ((want[:side // 2], 1), (want[side // 2:], -1)):
        height = len(part)
        if not height:
            continue
        for j in range(max(height, side) // 2 + 1):
            rows, columns = height // 2 - j, side // 2 - j
            part[max(rows, 0):rows + 2 * j + 1, max(columns, 0):columns + 2 * j + 1] += 1 / (j + 1) ** 2
        part *= sign / np.linalg.norm(part)
    np.testing.assert_allclose(two_hills(side), want / np.linalg.norm(want), atol=1e-12)


@pytest.fixture(scope='module')
def tiny():
    keras.utils.set_random_seed(0)
    return keras.Sequential([keras.Input((8, 8, 1)), L.Flatten(), L.Dense(20, activation='relu'), L.Dense(3)])


@pytest.mark.parametrize('norm', ['Linf', pytest.param('L2', marks=pytest.mark.long)])
def test_what_an_image_gets_depends_on_the_seed_and_its_number_alone(norm, tiny):
    x = np.random.default_rng(0).uniform(0.2, 0.8, (12, 8, 8, 1)).astype(np.float32)
    y = tiny(x).numpy().argmax(axis=1)
    eps = 0.05 if norm == 'Linf' else 0.3
    attack = Square(tiny, [eps], k=40, norm=norm)
    ends, fooled, queries = attack.search(x, y, eps, 5)
    assert 0 < fooled.sum() < len(x) and queries.max() == 41 and (queries[~fooled] == 41).all()
    assert len(np.unique((ends - x).round(4)[:, :4, :4].reshape(len(x), -1), axis=0)) > 6, 'squares of their own'
    some = np.array([2, 7, 9])
    for found, whole in zip(attack.search(x[some], y[some], eps, 5, some, len(x)), (ends, fooled, queries)):
        np.testing.assert_allclose(found, whole[some], atol=1e-6)
    assert not np.array_equal(attack.search(x, y, eps, 6)[0], ends)
    distance = np.linalg.norm((ends - x).reshape(len(x), -1), np.inf if norm == 'Linf' else 2, axis=1)
    assert (distance <= eps * (1 + 1e-5)).all() and (distance > 0.9 * eps).all()


@pytest.mark.parametrize('arguments, message', [
    ({'norm': 'L3'}, "norm must be 'Linf' or 'L2'"), ({'loss': 'dlr'}, "loss must be 'margin' or 'ce'"),
    ({'p_init': 1.1}, 'p_init must be a finite number above 0 and at most 1'),
    ({'released': 1}, 'released must be True'), ({'rescale': None}, 'rescale must be True or False'),
    ({'eps_list': [8]}, 'eps is 8; pixels are in .*: was 8/255 meant')])
def test_wrong_arguments_are_refused_in_a_sentence(arguments, message, tiny):
    with pytest.raises(ValueError, match=message):
        Square(tiny, **arguments)
