"""The Python of README.md and docs/ runs as it stands, and does what is said of it there."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from pages import PAGES, name_of, python_blocks

import core
from core.flags.likes import resolved
from core.sweeps.grid import grid_of
from models import TrainMode

BLOCKS = [(name_of(page), block) for page in PAGES for block in python_blocks(page)]


@pytest.fixture(scope='module')
def run(tmp_path_factory) -> Path:
    """A run, for the blocks that read one: 'logs/RUN'."""
    path = tmp_path_factory.mktemp('docs') / 'run'
    core.run({'dataset': 'digits', 'train_N': 200, 'test_N': 50, 'train_mode': TrainMode.USE_FRAME, 'log_frame0': 1.5,
              'lr': ('loss-based-v1', 0.1), 'E': 2, 'B': 50, 'seed': 1, 'gpu': 'cpu', 'print': False, 'log': str(path),
              'model': {'description': [['F', 16], ['F', 10, {'act': False}]], 'init': {'weight': 'he_normal'}}})
    return path


def is_a_run(names: dict[str, Any], out: str) -> None:
    epochs = names['res']['raw']
    assert list(epochs) == list(range(1, len(epochs) + 1)) and len(epochs) >= 2
    assert epochs[len(epochs)]['stats']['log_loss'] < epochs[1]['stats']['log_loss']
    assert f"{epochs[len(epochs)]['stats']['q_bar2_min']}" in out


def is_a_figure(names: dict[str, Any], out: str) -> None:
    assert names['figure'].axes


def is_certified(names: dict[str, Any], out: str) -> None:
    assert names['success'].all() and names['radii'].max() > 0 and 0 < names['robust'].mean() < 1


def is_a_loop(names: dict[str, Any], out: str) -> None:
    assert len(out.split('\n')) > 10 and names['log_frame'] < 0
    assert keras.saving.load_model('mine.keras').output_shape == (None, 10)


def is_fitted(names: dict[str, Any], out: str) -> None:
    assert names['rate'].log_loss < 0 and names['monitor'].is_homogeneous and Path('margin.keras').exists()


def is_a_gradient(names: dict[str, Any], out: str) -> None:
    assert math.isfinite(names['loss']) and any(np.abs(g).max() > 0 for g in names['gradients'])


def is_a_grid(names: dict[str, Any], out: str) -> None:
    runs = grid_of(names['SWEEP'], Path('experiments')).runs({})
    assert len(runs) == 8 and runs[0].flags['model']['opt'] == 'adam'


def is_robust(names: dict[str, Any], out: str) -> None:
    assert names['stats']['acc'] > 0.8 and names['robust'] > 0.3 and names['model'].is_homogeneous


def is_like_another(names: dict[str, Any], out: str) -> None:
    flags = resolved(names['FLAGS'])
    assert flags['E'] == 50 and flags['model']['act_type'] == 'relu2' and flags['B'] == 20


def is_fitted_by_mma(names: dict[str, Any], out: str) -> None:
    assert min(names['sizes'].mean(), names['model'].history.history['margin'][-1]) > 0.1
    assert Path('mma.keras').exists()


def is_attacked(names: dict[str, Any], out: str) -> None:
    assert names['result'].images.shape == (4, 8, 8, 1) and 'robust accuracy' in out
    assert (names['result'].distances[names['result'].success] <= 0.1 + 1e-6).all()


def is_a_runs_network(names: dict[str, Any], out: str) -> None:
    assert names['run'].images.shape == (20, 8, 8, 1) and '(None, 10)' in out


def is_an_ensemble(names: dict[str, Any], out: str) -> None:
    logits = [net.predict(names['x'][:9], verbose=0).astype(np.float64) for net in names['nets']]
    p = np.mean([np.exp(z - np.logaddexp.reduce(z, axis=1, keepdims=True)) for z in logits], axis=0)
    np.testing.assert_allclose(names['ensemble'].predict(names['x'][:9], verbose=0), np.log(p), rtol=1e-4, atol=1e-4)
    assert names['result'].images.shape == (20, 8, 8, 1)


def is_healthy(names: dict[str, Any], out: str) -> None:
    assert names['name'] == 'planted', 'the last of all checks'
    assert names['finding'].numbers['of'] > 0 and not names['finding'].fired


def is_a_spectrum(names: dict[str, Any], out: str) -> None:
    spectrum = names['spectrum']
    assert len(spectrum.values) == 2 and (spectrum.residuals < 1e-5 * spectrum.values[0]).all()
    clean = names['hessian'].top(names['net'], None, (names['x'][:100], names['y'][:100]), k=1)
    assert spectrum.log_loss > clean.log_loss, 'it is that of adversarial images'


def is_a_scan(names: dict[str, Any], out: str) -> None:
    found = names['found']
    logits = names['net'].predict(names['x'][:100], verbose=0)
    assert found.log_loss.shape == (2, 5, 5)
    assert found.accuracy[0, 2, 2] == np.mean(logits.argmax(axis=1) == names['y'][:100]) >= found.accuracy[1, 2, 2]


CHECKS = {'ObjectiveModel(': is_fitted_by_mma, 'AutoAttack(': is_attacked, 'trained(': is_a_runs_network,
          'pickle.load': is_a_run, 'class Adversarial': is_robust, "'like': 'exper": is_like_another,
          'core.run(': is_a_run, 'core.draw(': is_a_figure, 'certified_radii(': is_certified,
          'attack=lambda': is_a_spectrum, 'adv_calc_freq=': is_a_scan, 'train_epoch(': is_a_loop,
          'models.ensemble(': is_an_ensemble, 'health(PGD': is_healthy, '.fit(': is_fitted,
          'large_margin_losses(': is_a_gradient, 'SWEEP = ': is_a_grid}
"""What is seen of a block in which this stands; the first that fits."""


@pytest.mark.long(after=1)
@pytest.mark.parametrize('page, block', BLOCKS, ids=[f'{page}-{i}' for i, (page, _) in enumerate(BLOCKS)])
def test_code_runs_and_does_what_it_says(page, block, request, capsys):
    if 'logs/RUN' in block:
        Path('logs').mkdir()
        Path('logs/RUN').symlink_to(request.getfixturevalue('run'))
        capsys.readouterr()
    names: dict = {'__name__': 'page'}
    exec(compile(block, page, 'exec'), names)
    check = next(check for text, check in CHECKS.items() if text in block)
    check(names, capsys.readouterr().out)


def test_every_kind_of_code_that_is_checked_is_on_a_page():
    assert {next(t for t in CHECKS if t in block) for _, block in BLOCKS} == set(CHECKS)
