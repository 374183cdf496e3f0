"""Schedules: the numbers of the released code of arXiv 2006.08403, and what it lacks, right at the last point."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import ADVERSARIAL, reference_json

from models.schedule_ends import note_on_end
from models.schedules import Control, rate_control, schedule_of

REFERENCE = reference_json('schedules', ADVERSARIAL)
NAMES = {'exp, exponential': 'exp', 'Linear': 'linear'}
LISTS = ('ckpt_list', 'drop_point_list')


def described(name, arguments):
    """As a config file writes it: lists rather than texts of numbers between colons."""
    given = {k: [float(v) for v in value.split(':')] if k in LISTS else
             float(value) if isinstance(value, str) else value for k, value in arguments.items() if k != 'pt_num'}
    if 'interval' in given:
        given['interval'] = int(given['interval'])
    return {'type': NAMES.get(name, name), **given}


CASES = [case for case in REFERENCE['continuous'] if 'construction_error' not in case]


@pytest.mark.parametrize('case', CASES, ids=lambda case: f"{case['name']}-{len(case['kwargs'])}")
def test_values_are_the_released_ones(case):
    schedule = schedule_of(described(case['name'], case['kwargs']))
    known = [i for i, y in enumerate(case['y']) if not isinstance(y, dict)]
    x, y = (np.array([values[i] for i in known]) for values in (case['x'], case['y']))
    np.testing.assert_allclose(schedule(x), y.astype(float), rtol=1e-12, atol=1e-15)
    for i in set(range(len(case['x']))) - set(known):  # the released code fails there
        assert np.isfinite(schedule(np.array([case['x'][i]]))).all()


@pytest.mark.parametrize('case', REFERENCE['discrete'], ids=lambda case: f"{case['name']}-{case['kwargs']['pt_num']}")
def test_sequences_are_the_released_ones(case):
    schedule = schedule_of(described(case['name'], case['kwargs']))
    values = schedule(np.arange(int(case['kwargs']['pt_num'])))
    if 'values' in case:
        np.testing.assert_allclose(values, case['values'], rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize('description, end', [
    ({'type': 'cycle_linear', 'start_v': 0.1, 'slope': 0.4, 'ckpt_list': [10, 30]}, 0.5),
    ({'type': 'cycle_exp', 'start_v': 2.0, 'power': 3.0, 'ckpt_list': [10, 30]}, 6.0),
    ({'type': 'cycle_cos', 'eps_min': 0.0, 'eps_max': 0.4, 'ckpt_list': [0, 10, 30]}, 0.4),
    ({'type': 'cycle_jump', 'start_v': 1.0, 'power': 0.5, 'drop_point_list': [0.5, 0.9], 'ckpt_list': [10, 30]}, 0.25)])
def test_cycles_begin_anew_at_each_point_but_the_last_where_they_end(description, end):
    schedule = schedule_of(description)
    start = schedule(np.array([0]))[0]
    np.testing.assert_allclose(schedule(np.array([30, 31, 100])), end)
    np.testing.assert_allclose(schedule(np.array([10.0])), start)
    assert abs(schedule(np.array([10 - 1e-9]))[0] - end) < 1e-6 or description['type'] == 'cycle_jump'


def test_numbers_follow_steps_epochs_or_batches():
    ramp = {'type': 'linear', 'start_v': 0.0, 'slope': 0.1, 'max': 1.0}
    steps = np.array([0, 3, 4, 6, 100])
    for by, want in (('step', [0, 0.3, 0.4, 0.6, 1]), ('epoch', [0, 0, 0.1, 0.1, 1]),
                     ('batch', [0, 0.075, 0.1, 0.15, 1])):
        twice = Control('eps', {'value': 2, 'schedule': ramp, 'by': by})
        np.testing.assert_allclose(twice(steps, 4), 2 * np.array(want))
        np.testing.assert_allclose(Control('eps', {'schedule': ramp, 'by': by})(steps, 4), want)
        np.testing.assert_allclose(rate_control({**ramp, 'by': by})(steps, 4), want)
    assert rate_control(None) is None


@pytest.mark.parametrize('description, message', [
    ({'type': 'cycle_linear', 'start_v': 0, 'slope': 1, 'ckpt_list': '0:200'}, 'ckpt_list of cycle_linear must be a'),
    ({'type': 'cycle_cos', 'eps_min': 0, 'eps_max': 1, 'ckpt_list': [0]}, 'must have two points at least'),
    ({'type': 'linear', 'start_v': 0}, "the schedule 'linear' lacks slope"),
    ({'type': 'linear', 'start_v': float('nan'), 'slope': 1}, 'start_v of linear must be a finite number'),
    ({'type': 'jump', 'start_v': 1, 'power': 0.1, 'min_jump_pt': 10, 'jump_freq': 0.5}, 'jump_freq of jump must be'),
    ({'type': 'exponential, exp'}, "there is no schedule 'exponential, exp'; did you mean 'exponential'")])
def test_what_is_no_schedule_is_refused_in_a_sentence(description, message):
    with pytest.raises(ValueError, match=message):
        schedule_of(description)


COSINE = {'type': 'cycle_cos', 'eps_min': 0.0, 'eps_max': 0.4, 'ckpt_list': [0, 10]}


@pytest.mark.parametrize('schedule, by, epochs, want', [
    (COSINE, 'epoch', 10, None), (COSINE, 'batch', 10, None), (('cycle_cos', 0.0, 0.4, [0, 10]), 'epoch', 10, None),
    (COSINE, 'epoch', 12, 'the schedule cycle_cos ends at epoch 10, and the run at 12: from there on it stays at 0.8'),
    (COSINE, 'step', 2, 'the run ends at step 8, before the schedule cycle_cos does, at 10: the last value is'),
    ({**COSINE, 'max': 0.2}, 'epoch', 8, None),
    ({'type': 'cosine', 'decay_steps': 20}, 'step', 6, 'the schedule cosine ends at step 20, and the run at 24'),
    ({'type': 'linear', 'start_v': 0.0, 'slope': 1.0}, 'epoch', 9, None)])
def test_a_schedule_that_ends_before_or_after_the_run_is_told_of(schedule, by, epochs, want):
    """Of 4 steps an epoch; where the values are the same nonetheless, nothing is said."""
    note = note_on_end(Control('eps', {'value': 2, 'schedule': schedule, 'by': by}), 4 * epochs, 4)
    assert note == want if want is None else note.startswith(want)


@pytest.mark.parametrize('points, by, epochs, fits', [([0, 10], 'epoch', 10, True), ([0, 10], 'batch', 10, True),
                                                      ([0, 10], 'epoch', 11, False), ([2, 10], 'epoch', 10, False)])
def test_a_schedule_that_says_nothing_of_a_part_of_the_run_is_refused(points, by, epochs, fits):
    """Where the released code stops."""
    jumps = {'type': 'cycle_jump', 'start_v': 1.0, 'power': 0.5, 'drop_point_list': [0.5], 'ckpt_list': points}
    control = Control('rate', {'schedule': jumps, 'by': by})
    if fits:
        assert note_on_end(control, 4 * epochs, 4) is None
    else:
        with pytest.raises(ValueError, match=f'go from epoch {points[0]} to 10, and the run from 0 to {epochs}'):
            note_on_end(control, 4 * epochs, 4)
