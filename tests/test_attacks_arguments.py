"""What attacks refuse: arguments with which there is nothing to do, and images and labels that are none."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import layers as L

from models import checks
from models.attacks import (
    APGD,
    DDN,
    FAB,
    FGSM,
    FMN,
    IFGSM,
    L2BIM,
    PGD,
    CarliniL2,
    L2DeepFool,
    L2Fast,
    LinfPGDAttack,
    Square,
)

COUNTS = {L2Fast: ('steps', 'starts'), DDN: ('steps', 'starts'), FMN: ('steps', 'starts'), PGD: ('k', 'repeat'),
          APGD: ('k', 'repeat', 'target_classes'), IFGSM: ('k',), Square: ('k', 'repeat'),
          LinfPGDAttack: ('k', 'repeat'), FAB: ('k', 'repeat', 'target_classes', 'search_steps'),
          L2DeepFool: ('steps', 'candidates'),
          L2BIM: ('iterations', 'search_steps'), CarliniL2: ('binary_search_steps', 'max_iterations', 'batch_size')}
NUMBERS = {DDN: ('gamma', 'final_gamma', 'init_epsilon'), FMN: ('alpha', 'gamma'), PGD: ('a',), IFGSM: ('a',),
           Square: ('p_init',), FAB: ('alpha_max', 'beta'), LinfPGDAttack: ('a',), L2BIM: ('stepsize', 'epsilon'),
           CarliniL2: ('learning_rate', 'initial_const')}
BUDGETS = (PGD, IFGSM, FGSM, LinfPGDAttack, APGD, Square)


@pytest.fixture(scope='module')
def net():
    keras.utils.set_random_seed(0)
    return keras.Sequential([keras.Input((4, 4, 1)), L.Flatten(), L.Dense(3)])


def refused(net, make, **arguments):
    with pytest.raises(ValueError) as e:
        make(net, **arguments)
    (name, _), = arguments.items()
    assert name in str(e.value) and '\n' not in str(e.value), str(e.value)


@pytest.mark.parametrize('make, name', [(make, name) for make, names in COUNTS.items() for name in names])
def test_counts_are_whole_numbers_above_0(make, name, net):
    for value in (0, -1, 1.5, 2.0, True, '3', [3], np.nan, 10 ** 30):
        refused(net, make, **{name: value})
    make(net, **{name: np.int64(2)})


@pytest.mark.parametrize('make, name', [(make, name) for make, names in NUMBERS.items() for name in names])
def test_numbers_are_finite_and_above_0(make, name, net):
    for value in (0, -0.1, np.inf, np.nan, 10 ** 400, 1e999, True, '0.1', [0.1]):
        refused(net, make, **{name: value})
    make(net, **{name: np.float32(0.5)})


@pytest.mark.parametrize('make', BUDGETS)
def test_budgets_are_a_list_that_the_box_allows(make, net):
    for value in ([], 0.1, '0.1', [-0.1], [np.inf], [np.nan], [1e999], [True], ['0.1'], [[0.1]], {}):
        refused(net, make, eps_list=value)
    for value in ([8], [0.1, 1.5]):
        with pytest.raises(ValueError, match=rf'eps(_list)? is {value[-1]}; .* was {value[-1]}/255 meant'):
            make(net, eps_list=value)
    assert make(net, eps_list=np.array([0.3, 0.1, 0.3])).eps_list == [0.1, 0.3]


def test_l2_budgets_end_at_the_diagonal_of_the_box(net):
    refused(net, lambda net, eps_list: PGD(net, eps_list, norm='L2'), eps_list=[1.0, 4.1])
    assert PGD(net, norm='L2').eps_list == [0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 2.5, 3.0], 'those that suit the size'


@pytest.mark.parametrize('make, arguments', [
    (PGD, {'norm': 'L0'}), (FMN, {'norm': 2}), (PGD, {'random_start': 1}), (LinfPGDAttack, {'random_start': 'no'}),
    (LinfPGDAttack, {'loss_func': 'xent'}), (CarliniL2, {'targeted': 1}), (CarliniL2, {'confidence': -1.0}),
    (CarliniL2, {'confidence': np.inf}), (CarliniL2, {'abort_early': None}), (L2DeepFool, {'overshoot': -0.5}),
    (L2DeepFool, {'candidates': 1}), (CarliniL2, {'boxmax': -1.0}), (CarliniL2, {'boxmin': np.nan})])
def test_other_arguments_are_of_their_kind(make, arguments, net):
    refused(net, make, **arguments)


@pytest.mark.parametrize('labels', [
    [3, 0], [-1, 0], [0.0, 1.0], [[0, 1, 1], [1, 0, 0]], [0], [[[0]], [[1]]], ['0', '1'], None])
def test_labels_are_classes_of_the_network(labels, net):
    with pytest.raises(ValueError, match='labels must be'):
        FGSM(net, [0.1]).attack(np.full((2, 4, 4, 1), 0.5, np.float32), labels)
    with pytest.raises(ValueError, match='labels must be'):
        FGSM(net, [0.1]).of_size(np.full((2, 4, 4, 1), 0.5, np.float32), labels, 0.1)


@pytest.mark.parametrize('eps', [np.inf, np.nan, -0.1, '0.1', None])
def test_images_of_a_size_have_a_finite_size(eps, net):
    with pytest.raises(ValueError, match='eps must be a finite number of at least 0'):
        FGSM(net, [0.1]).of_size(np.full((1, 4, 4, 1), 0.5, np.float32), [0], eps)


@pytest.mark.parametrize('make', [*COUNTS, FGSM])
def test_no_images_give_no_results(make, net):
    result = make(net).attack(np.zeros((0, 4, 4, 1), np.float32), np.zeros(0, int))
    assert result.images.shape == (0, 4, 4, 1) and len(result.success) == len(result.distances) == 0


@pytest.mark.long
def test_a_seed_stands_for_a_source_of_random_numbers(net):
    x = np.random.default_rng(0).uniform(size=(6, 4, 4, 1)).astype(np.float32)
    y = net(x).numpy().argmax(axis=1)
    attack = PGD(net, [0.05, 0.2], k=3, repeat=2)
    one, two, other = (attack.attack(x, y, rng) for rng in (3, np.random.default_rng(3), 4))
    np.testing.assert_array_equal(one.images, two.images)
    assert not np.array_equal(one.images, other.images)
    for rng in ('a', 1.5, -1):
        with pytest.raises(ValueError, match='rng must be a whole number'):
            attack.attack(x, y, rng)


def test_a_result_unpacks_into_four(net):
    images, distances, success, eps = PGD(net, [0.1], k=2).attack(np.full((1, 4, 4, 1), 0.5, np.float32), [0])
    assert len(images) == len(distances) == len(success) == len(eps) == 1


@pytest.mark.parametrize('value', [10 ** 400, float('nan'), object()])
def test_a_check_says_what_it_was_given(value):
    with pytest.raises(ValueError, match='steps must be a whole number of at least 1, not '):
        checks.count('steps', value)
    with pytest.raises(ValueError, match='a must be a finite number above 0 and at most 2, not '):
        checks.number('a', value, high=2)
