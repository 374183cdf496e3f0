"""Descriptions: a name, a name and arguments, a dictionary; and what is said of those that describe nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest

from models.optimizers import Optimizer, schedule_of
from models.registry import make, parts


@dataclass
class Thing:
    rate: float
    size: int = 3
    place: Any = None


def nothing():
    return 'nothing'


def anything(**options):
    return options


TABLE: dict[str, Any] = {'thing': Thing, 'nothing': nothing, 'anything': anything}


@pytest.mark.parametrize('description, made', [
    ('nothing', 'nothing'), (('thing', 0.5), Thing(0.5)), (['thing', 0.5, 7], Thing(0.5, 7)),
    ({'type': 'thing', 'size': 1, 'rate': 2.0}, Thing(2.0, 1)), ({'type': 'anything', 'a': 1}, {'a': 1}),
    ({'type': 'nothing'}, 'nothing'), (0.25, Thing(0.25))])
def test_a_description_is_a_name_or_a_list_or_a_dictionary_or_what_stands_for_its_only_argument(description, made):
    assert make(TABLE, description, 'thing', bare='thing') == made


@pytest.mark.parametrize('description', [('thing', 0.5, 7), {'type': 'thing', 'rate': 0.5, 'size': 7}])
def test_what_the_program_gives_is_no_argument_of_a_description(description):
    assert make(TABLE, description, 'thing', place='here') == Thing(0.5, 7, 'here')
    with pytest.raises(ValueError, match="the thing 'thing' takes no 'place'; known: rate, size"):
        make(TABLE, {'type': 'thing', 'rate': 1, 'place': 'there'}, 'thing', place='here')
    # An argument that the program gives may stand before those that are left.
    assert make(TABLE, ('thing', 7), 'thing', rate=0.5) == Thing(0.5, 7)


@pytest.mark.parametrize('description, sentence', [
    ('thin', "there is no thing 'thin'; did you mean 'thing'? (known: thing, nothing, anything)"),
    ({'type': 'thing', 'rat': 1}, "the thing 'thing' takes no 'rat'; did you mean 'rate'? (known: rate, size, place)"),
    ({'type': 'thing', 'size': 1}, "the thing 'thing' lacks rate; it takes rate, size=3, place=None"),
    ('thing', "'thing' takes rate, size=3, place=None after its name, not ()"),
    (('thing', 1, 2, 3, 4), "'thing' takes rate, size=3, place=None after its name, not (1, 2, 3, 4)"),
    (('nothing', 1), "'nothing' takes nothing after its name, not (1,)"),
    ({'type': 'nothing', 'x': 1}, "the thing 'nothing' takes no arguments, not 'x'"),
    ({'typ': 'thing'}, "thing must be a name, or a dictionary with a 'type' and arguments, or a tuple of a name and"),
    ({'type': 3}, 'thing must be a name'), ([], 'thing must be a name'), ([3], 'thing must be a name'),
    (3, 'thing must be a name'), (None, 'thing must be a name')])
def test_what_describes_nothing_is_answered_in_one_sentence_with_the_nearest(description, sentence):
    with pytest.raises(ValueError) as e:
        make(TABLE, description, 'thing')
    assert str(e.value).startswith(sentence) and '\n' not in str(e.value)


def test_a_hint_ends_the_sentence_of_an_unknown_name_only():
    with pytest.raises(ValueError, match='; or give a number$'):
        make(TABLE, 'thin', 'thing', hint='; or give a number')
    with pytest.raises(ValueError, match=r'not \(\)$'):
        make(TABLE, 'thing', 'thing', hint='; or give a number')


def test_parts_are_the_name_and_the_arguments():
    assert parts(('a', 1, 2), 'thing') == ('a', (1, 2), {})
    assert parts({'type': 'a', 'x': 1}, 'thing') == ('a', (), {'x': 1})


@pytest.mark.parametrize('description', [('sgd', 0.9), ['sgd', 0.9], {'type': 'sgd', 'momentum': 0.9}])
def test_an_optimizer_is_described_in_any_of_the_ways(description):
    assert Optimizer(description)._keras.momentum == 0.9


def test_a_schedule_is_described_in_any_of_the_ways():
    one, other = (schedule_of(d) for d in (('cosine', 10), {'type': 'cosine', 'decay_steps': 10}))
    assert one(5) == other(5) == pytest.approx(0.5)
