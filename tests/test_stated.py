"""Settings and tolerances are read from the README of a reference, whatever numbers it states."""

from __future__ import annotations

import pytest
from conftest import OWN
from stated import carlini_settings, gentle_runs, pgd_settings, readme, stated


@pytest.fixture
def other(tmp_path):
    """A reference with other numbers in its README."""
    text = (OWN / 'README.md').read_text()
    for old, new in (('eps 0.02,0.05,0.1,0.15,0.2,0.3, k=40, a=0.1, repeat=2', 'eps 0.5,1, k=7, a=0.25, repeat=3'),
                     ('seed 12345', 'seed 99'), ('9 search steps', '5 search steps'),
                     ('accepted epoch loss rtol 1e-3', 'accepted epoch loss rtol 2e-2'),
                     ('attempt 0 epoch loss rtol 1e-5', 'attempt 0 epoch loss rtol 5e-3'),
                     ('first 90 attempts', 'first 12 attempts')):
        assert old in text, 'the sentences of this project\'s own reference'
        text = text.replace(old, new)
    (tmp_path / 'README.md').write_text(text)
    return tmp_path


def test_a_reference_with_other_numbers_is_taken_at_its_word(other):
    for before, own, stated_there in (('(?<!attempt 0 )epoch loss rtol', 1e-3, 2e-2),
                                      ('attempt 0 epoch loss rtol', 1e-5, 5e-3), ('plus atol', 1.2e-38, 1.2e-38)):
        assert (stated(before, OWN), stated(before, other)) == (own, stated_there)
    assert pgd_settings('pgd_random', OWN) == (
        {'eps_list': [0.02, 0.05, 0.1, 0.15, 0.2, 0.3], 'k': 40, 'a': 0.1, 'repeat': 2, 'random_start': True}, 12345)
    assert pgd_settings('pgd_nostart', other) == (
        {'eps_list': [0.5, 1], 'k': 7, 'a': 0.25, 'repeat': 3, 'random_start': False}, 99)
    names = ['i_loud', 'xi_whole', 'xii_soft']
    assert gentle_runs(names, OWN) == {'xi_whole': (90, 0.05), 'xii_soft': (float('inf'), 0.05)}
    assert gentle_runs(names, other)['xi_whole'] == (12, 0.05) and gentle_runs(names[:1], other) == {}


def test_a_case_has_the_settings_of_the_first_but_for_what_it_names(other):
    plain = {'learning_rate': 0.01, 'binary_search_steps': 9, 'initial_const': 1e-3, 'max_iterations': 300,
             'normalize_output': False, 'abort_early': True, 'targeted': False}
    for name, changes in (('cw_plain', {}), ('cw_normalized', {'normalize_output': True, 'initial_const': 10}),
                          ('cw_targeted_conf', {'targeted': True, 'confidence': 1.5, 'initial_const': 1e-2,
                                                'max_iterations': 200}),
                          ('cw_repeat10_noabort', {'binary_search_steps': 10, 'abort_early': False,
                                                   'initial_const': 0.1, 'max_iterations': 100})):
        assert carlini_settings(name, 'cw_plain', OWN) == {**plain, **changes}
    assert carlini_settings('cw_normalized', 'cw_plain', other)['binary_search_steps'] == 5


def test_what_a_reference_leaves_out_is_as_in_this_projects_own(tmp_path):
    assert readme(tmp_path) == '' and stated('trace_loss / trace_l2 rtol', tmp_path) == 1e-5
    with pytest.raises(AssertionError, match='no reference states'):
        stated('words that nobody wrote', tmp_path)
