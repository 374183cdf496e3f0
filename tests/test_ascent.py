"""Margin ascent: against an SVM, a linear programme, its own rule, and runs that were stopped."""

from __future__ import annotations

import runpy
from pathlib import Path

import numpy as np
import pytest
from runs import FLAGS

import core
from core import UserError
from core.plotting.histories import read_runs
from core.workdir import Workdir
from models import BiasMode, MarginAscentLR, TrainMode, build_model
from models.ascent.attempts import Attempt, Options, batches, gaps_of, smoothed
from models.ascent.model import AscentModel
from models.ascent.spheres import normalise
from models.margins import margins
from models.measures.kkt import KKTMeter

NETWORK = {'description': [['C', 4, [3, 3]], ['P'], ['F', 10, {'act': False}]], 'init': {'weight': 'he_normal'},
           'opt': 'adam'}
ASCENT = {
    **FLAGS, 'train_mode': TrainMode.ASCENT, 'lr': ('ascent', 0.01, 0.03), 'train_N': 200, 'B': 20, 'E': 30,
    'model': NETWORK, 'ascent': {'steps': 12, 'rounds': 2, 'batch': 20, 'active': 50, 'fitted': 0.1}, 'archive': 10,
    'print': False, 'threads': 1}
EARLY = {**ASCENT['ascent'], 'fitted': 1.0, 'misfit': 0.3}
"""Begins with images that are misfit."""


@pytest.fixture(scope='module')
def run(tmp_path_factory):
    """A whole run, and its attempts."""
    log = tmp_path_factory.mktemp('ascent') / 'run'
    core.run({**ASCENT, 'log': str(log)})
    return Workdir(log), list(Workdir(log).read_history())


def ascending(lines):
    return [line for line in lines if line['stats'] is None or line['stats']['sharpness']]


def test_an_epoch_is_kept_where_the_smoothed_margin_did_not_fall_and_the_rate_follows(run):
    _, lines = run
    assert {line['cmd'] for line in ascending(lines)} == {'go', 'back'}, 'both ways are taken'
    for line in ascending(lines):
        kept = line['stats'] is not None and line['stats']['smoothed_after'] >= line['stats']['smoothed_before']
        assert line['cmd'] == ('go' if kept else 'back')
        assert line['next_lr'] == pytest.approx(line['lr'] * (2 ** 0.1 if kept else 2 ** -0.25))
    accepted = [line['stats'] for line in ascending(lines) if line['cmd'] == 'go']
    assert accepted[-1]['q_bar2_min'] > 2 * accepted[0]['q_bar2_min']
    bounds = [min(10 * 1.02 ** k, 300) for k in range(len(accepted))]
    assert all(s['sharpness'] <= bound * (1 + 1e-9) for s, bound in zip(accepted, bounds))
    assert accepted[0]['sharpness'] < 9, 'at first the margins are spread too far for it'
    assert accepted[-1]['sharpness'] == pytest.approx(bounds[-1])


def test_layers_have_norm_1_at_which_the_margin_is_the_normalised_one_and_any_scale_tells_the_same(run, digits):
    place, lines = run
    stats = lines[-1]['stats']
    assert [stats[f'rho_{i}'] for i in range(2)] == pytest.approx([1, 1], abs=1e-6)
    assert stats['q_min'] == pytest.approx(stats['q_bar2_min'], rel=1e-6)
    model = build_model('simple_sequential', (8, 8, 1), TrainMode.NORMAL, 1, **{**NETWORK, 'opt': 'gd'})
    model.restore(place.find_model(30))
    (x, y), test = digits
    for scale in (1.0, 100.0):
        model.set_weights({name: scale * w for name, w in model.weights().items()})
        found = model.get_stats(((x[:200], y[:200]), test))[0]
        assert found['q_bar2_min'] == pytest.approx(stats['q_bar2_min'], rel=1e-5)
    q = margins(model.test(x[:200], y[:200])['y_'], y[:200])
    assert q.min() / model.norms().prod == pytest.approx(stats['q_bar2_min'], rel=1e-5)


def contents(log) -> tuple:
    place = Workdir(log)
    lines = [{k: v for k, v in line.items() if k != 'time'} for line in place.read_history()]
    return lines, {k: v.tobytes() for k, v in place.read_state()[1].items()}


@pytest.mark.parametrize('stop', [3, pytest.param(18, marks=pytest.mark.long)])
def test_a_run_that_was_stopped_in_the_warm_up_or_the_ascent_ends_as_the_whole_one(stop, run):
    place, lines = run
    epochs = next(line['eid'] for line in lines if line['stats'] and line['stats']['sharpness'])
    assert 3 < epochs < 18
    core.run({**ASCENT, 'E': stop, 'log': 'run'})
    core.run({**ASCENT, 'log': None, 'resume': 'run'})
    assert contents('run') == contents(place.path)


@pytest.mark.long
def test_two_devices_climb_as_one():
    """Until rounding, in sums over both, has grown to what decides."""
    for name, devices in (('one', 'cpu'), ('two', 'cpu,cpu')):
        core.run({**ASCENT, 'ascent': EARLY, 'E': 5, 'log': name, 'gpu': devices, 'threads': None})
    one, two = (list(Workdir(name).read_history()) for name in ('one', 'two'))
    assert len(ascending(two)) > 2
    for own, other in zip(one, two, strict=True):
        assert other['cmd'] == own['cmd']
        assert own['cmd'] == 'back' or other['stats']['q_min'] == pytest.approx(own['stats']['q_min'], rel=1e-3)


def test_a_biased_network_is_scaled_so_that_its_logits_follow_the_norms(digits):
    """Later biases are in no norm, and yet a part of what the layers scale."""
    (x, y), _ = digits
    model = build_model('simple_sequential', (8, 8, 1), TrainMode.ASCENT, 1, **NETWORK, bias_mode=BiasMode.ALL)
    weights = model.weights()
    model.set_weights({k: v + (0.1 if k.endswith('_b') else 0) for k, v in weights.items()})
    model.ascend({}, x[:50], y[:50])
    before, prod = model.test(x[:50], y[:50])['y_'], model.norms().prod
    normalise(model, model._spheres)
    np.testing.assert_allclose(model.test(x[:50], y[:50])['y_'], before / prod, rtol=1e-4, atol=1e-7)
    assert model.norms().layers == pytest.approx([1, 1], abs=1e-6)


def linear_ascent(x, y, classes: int, epochs: int) -> AscentModel:
    model = build_model('simple_sequential', x.shape[1:], TrainMode.ASCENT, 1, description=[['F', classes, {
        'act': False}]], bias_mode=BiasMode.NONE)
    model.ascend({'steps': 500}, x, y)
    for k in range(epochs):
        model.train_epoch(x, y, np.arange(len(x)), 10, 1.0, seed=[k])
    return model


def test_a_linear_network_comes_within_a_thousandth_of_the_margin_of_the_svm_and_not_above(digits):
    from sklearn.svm import LinearSVC
    x, y = digits.train[0][:150], digits.train[1][:150]
    flat = x.reshape(150, -1).astype(np.float64)
    svm = LinearSVC(multi_class='crammer_singer', fit_intercept=False, C=1e6, tol=1e-9, max_iter=10 ** 6,
                    random_state=0).fit(flat, y).coef_.T
    most = margins(flat @ svm, y).min() / np.linalg.norm(svm)
    found = linear_ascent(x, y, 10, 4).get_stats(((x, y), (x, y)))[0]['q_bar2_min']
    assert 0.999 <= found / most <= 1 + 1e-5  # the SVM's own error is below that


def largest_margin_of_two_layers(x: np.ndarray, y: np.ndarray, directions: int = 2000) -> float:
    """The largest normalised margin of a ReLU network of two layers on points in the plane, of any width.

    At the best balance of its layers, units of directions w with weights a cost sum_w |a_w| / sqrt(2) (each has two
    outputs, a/2 and -a/2), so that the margin is a linear programme's over all directions: one for each way in which
    lines can part the points, and all that are within it.
    """
    from scipy.optimize import linprog
    angles = 2 * np.pi * np.arange(directions) / directions
    units = np.maximum(x @ np.stack([np.cos(angles), np.sin(angles)]), 0) * np.where(y == 0, 1, -1)[:, np.newaxis]
    found = linprog(np.full(2 * directions, 1 / np.sqrt(2)), A_ub=-np.concatenate([units, -units], axis=1),
                    b_ub=-np.ones(len(x)))
    return 1 / found.fun


def test_two_layers_reach_the_largest_margin_that_any_such_network_has():
    rng = np.random.default_rng(0)
    angles, lengths = np.linspace(0.1, 1.45, 8), rng.uniform(0.5, 1, 8)
    x = (lengths[:, np.newaxis] * np.stack([np.cos(angles), np.sin(angles)], axis=1)).astype(np.float32)
    y = (np.abs(angles - np.pi / 4) < np.pi / 8).astype(np.int64)  # no line parts them
    assert 2 < y.sum() < 6
    images = x.reshape(8, 1, 2, 1)
    log = Path('two-layers')
    np.savez('points.npz', x_train=images, y_train=y, x_test=images, y_test=y)
    core.run({
        'dataset': 'points.npz', 'train_mode': TrainMode.ASCENT, 'lr': ('ascent', 0.02, 0.02, 2 ** 0.1, 2 ** 0.25),
        'E': 90, 'B': 8, 'seed': 1, 'log': str(log), 'print': False, 'gpu': 'cpu', 'threads': 1,
        'ascent': {'steps': 50, 'active': 8, 'batch': 8, 'growth': 1.1, 'sharpest': 1e4, 'fitted': 0.1},
        'model': {'description': [['F', 40], ['F', 2, {'act': False}]], 'bias_mode': BiasMode.NONE, 'opt': 'adam',
                  'init': {'weight': 'he_normal'}}})
    found = list(Workdir(log).read_history())[-1]['stats']['q_bar2_min']
    assert 0.98 <= found / largest_margin_of_two_layers(x, y) <= 1 + 1e-4


def test_the_smoothed_margin_is_a_lower_bound_of_the_margin_and_tends_to_it():
    rng = np.random.default_rng(0)
    logits, y = rng.normal(size=(20, 5)), rng.integers(0, 5, 20)
    q = gaps_of(logits, y)
    np.testing.assert_allclose(q.min(axis=1), margins(logits, y))
    for beta in (1.0, 1e3, 1e6):
        below = q.min() - smoothed(q, beta)
        assert 0 <= below <= np.log(20 * 4) / beta


@pytest.mark.parametrize('smallest, span, beta', [
    ([1.0, 1.1, 1.2, 1.3, 9.0], 9.0, 10 / 1.0),  # K / q_min
    ([1.0, 2.0, 3.0, 4.0, 9.0], 9.0, 9.0 / 3.0),  # all four have a part
    ([1.0, 2.0, 3.0, 4.0, 9.0], 6.0, 6.0 / 3.0),
    ([-1.0, 0.0, 1.0, 2.0, 9.0], 9.0, 9.0 / 3.0),  # one is misfit
    ([1.0, 1.0, 1.0, 1.0, 1.0], 9.0, 10 / 1.0),
])
def test_beta_is_no_sharper_than_the_smallest_margin_and_the_active_ones_allow(smallest, span, beta):
    q = np.stack([np.full(5, np.inf), smallest, np.full(5, 20.0)], axis=1)
    for epochs, expected in ((0, beta), (3, 1.02 ** 3 * beta), (10 ** 6, 300 / smallest[0])):
        if expected > 0:
            attempt = Attempt(q, Options(active=4, span=span), epochs)
            assert attempt.beta == pytest.approx(expected)
            assert attempt.sharpness == pytest.approx(attempt.beta * smallest[0])
            assert set(range(4)) <= set(attempt.active)


def test_later_rounds_take_those_that_have_become_active_of_the_candidates():
    smallest = np.arange(1.0, 101.0)
    q = np.stack([np.full(100, np.inf), smallest, smallest + 5], axis=1)
    attempt = Attempt(q, Options(active=10), 0)
    assert attempt.active.tolist() == list(range(10)) and attempt.candidates.tolist() == list(range(40))
    changed = smallest[attempt.candidates]
    changed[35], changed[3] = 0.5, 60.0
    assert attempt.active_of(changed).tolist() == [0, 1, 2, 4, 5, 6, 7, 8, 9, 35]


def test_misfit_images_come_home_by_ascent_where_it_may_start_with_them():
    """And once it has begun it goes on, however many are misfit on its way."""
    core.run({**ASCENT, 'ascent': EARLY, 'log': 'misfit', 'E': 12})
    accepted = [line['stats'] for line in Workdir('misfit').read_history() if line['cmd'] == 'go']
    first = next(k for k, stats in enumerate(accepted) if stats['sharpness'])
    assert 0.7 <= accepted[first - 1]['acc'] < 0.95 and all(stats['sharpness'] for stats in accepted[first:])
    assert accepted[-1]['acc'] == 1 and accepted[-1]['q_bar2_min'] > 0


def test_weights_that_are_set_anew_and_do_not_fit_are_warmed_up_again(run, digits):
    place, _ = run
    x, y = digits.train[0][:200], digits.train[1][:200]
    model = build_model('simple_sequential', (8, 8, 1), TrainMode.ASCENT, 1, **NETWORK)
    unfitted = model.weights()
    model.restore(place.find_model(30))
    model.ascend({'steps': 2, 'batch': 20, 'active': 50}, x, y)
    assert model.is_fitted
    model.train_epoch(x, y, np.arange(200), 20, 1e-4, seed=[1])
    assert model.get_stats(((x, y), (x, y)))[0]['sharpness'] > 0
    model.set_weights(unfitted)
    model.train_epoch(x, y, np.arange(200), 20, 1e-4, seed=[2])
    stats = model.get_stats(((x, y), (x, y)))[0]
    assert stats['sharpness'] == 0 and not model.is_fitted


def test_each_active_image_comes_once_before_any_comes_again():
    rows = batches(np.arange(100, 147), 6, 20, [1, 2, 0])
    assert rows.shape == (6, 20) and rows.min() >= 100
    for i in range(0, 6, 2):
        assert len(set(rows[i:i + 2].ravel())) == 40
    assert (rows == batches(np.arange(100, 147), 6, 20, [1, 2, 0])).all()
    assert (rows != batches(np.arange(100, 147), 6, 20, [1, 2, 1])).any()


def test_the_warm_up_ends_where_all_images_are_fitted_or_the_run_does():
    scheduler = MarginAscentLR(0.1, 0.5, patience=3)
    assert scheduler.get().lr == 0.5
    stats = {'fitted': 0.0, 'acc': 0.5, 'loss': 1.0}
    assert scheduler.get({'stats': stats}) == ('go', 0.5)
    assert scheduler.get({'stats': {**stats, 'fitted': 1.0}}) == ('go', 0.1)
    with pytest.raises(UserError, match='after 2 epochs of warm-up the accuracy is .* % and the loss'):
        core.run({**ASCENT, 'lr': ('ascent', 0.01, 1e-9, 1.1, 1.1, 2), 'log': 'cold', 'E': 5})
    assert [line['cmd'] for line in Workdir('cold').read_history()] == ['go', 'stop']


@pytest.mark.parametrize('changes, sentence', [
    ({'lr': 0.1}, "train_mode=ASCENT and lr=('ascent', ...) go together"),
    ({'train_mode': TrainMode.NORMAL}, "train_mode=ASCENT and lr=('ascent', ...) go together"),
    ({'steps': 100}, 'steps does not go with train_mode=ASCENT'),
    ({'ascent': {'step': 10}}, "ascent: there is no option 'step'; did you mean 'steps'?"),
    ({'ascent': {'sharpest': 2}}, 'ascent: sharpest must be at least the sharpness, 10, not 2'),
    ({'arch': 'residual', 'model': {'widths': [4], 'repeats': 1, 'opt': 'adam'}}, 'the logits of this network do not'),
    ({'arch': 'residual', 'model': {'widths': [4], 'repeats': 1, 'opt': 'adam', 'batch_norm': True}},
     'batch normalisation'),
    ({'model': {**NETWORK, 'schedule': {'type': 'step', 'every': 2, 'factor': 0.5}}}, 'model.schedule does not go'),
])
def test_what_cannot_climb_is_told_in_a_sentence_before_anything_is_written(changes, sentence):
    with pytest.raises(UserError) as e:
        core.run({**ASCENT, **changes, 'log': 'run'})
    assert sentence in str(e.value) and '\n' not in str(e.value)
    assert not Path('run').exists()


def test_the_figure_counts_all_attempts_and_figures_of_a_loss_refuse_a_climb(run):
    place, lines = run
    figure = runpy.run_path(str(Path(__file__).parents[1] / 'figures' / 'figure-time-to-margin.py'))
    spent = figure['effort'](read_runs([place])[0])
    assert spent['attempts'][-1] == len(lines) > spent['epochs'][-1] == 30
    assert spent['seconds'][-1] == pytest.approx(sum(line['time'] for line in lines))
    panels = figure['draw']([place]).axes
    drawn = panels[1].lines[0].get_xydata()
    positive = [(line['attempt'] + 1, line['stats']['q_bar2_min']) for line in lines
                if line['cmd'] == 'go' and line['stats']['q_bar2_min'] > 0]
    np.testing.assert_allclose(drawn, positive)
    with pytest.raises(UserError, match='figure-time-to-margin'):
        _ = read_runs([place])[0].log10_loss


def test_kkt_multipliers_are_those_at_the_scale_that_is_asked_for(run, digits):
    """As if the weights themselves were scaled."""
    place, lines = run
    core.run({'task': 'kkt', 'eid': 30, 'log': str(place.path), 'eval_log': 'kkt', 'gpu': 'cpu',
              'options': {'sharpness': 13.5}})
    found = Workdir('kkt').read_summary()['epochs']['30']
    model = build_model('simple_sequential', (8, 8, 1), TrainMode.NORMAL, 1, **{**NETWORK, 'opt': 'gd'})
    model.restore(place.find_model(30))
    scale = np.sqrt(13.5 / lines[-1]['stats']['q_min'])
    model.set_weights({name: scale * w for name, w in model.weights().items()})
    scaled = KKTMeter(model).measure(digits.train[0][:200], digits.train[1][:200])
    for name in ('log_loss', 'epsilon', 'delta', 'one_minus_cosine'):
        assert found[name] == pytest.approx(getattr(scaled, name), rel=1e-3), name


def test_training_on_from_an_archived_epoch_climbs_and_has_no_frame(run):
    place, lines = run
    res = core.run({'task': 'train_peek', 'eid': 30, 'E': 1, 'B': 20, 'lr': 1e-3, 'log': str(place.path), 'gpu': 'cpu',
                    'eval_log': 'peek', 'seed': 1})
    (before, _), (info, _) = res[30]
    assert info['log_frame'] is None and before['q_min'] == pytest.approx(lines[-1]['stats']['q_min'], rel=1e-6)
    assert info['stats']['sharpness'] > 0 and info['stats']['rho_0'] == pytest.approx(1, abs=1e-6)
