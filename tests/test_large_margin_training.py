"""End to end: a network trained to a large margin withstands switched labels better than one of the cross entropy."""

from __future__ import annotations

import numpy as np
import pytest
from runs import train

MARGIN = {'type': 'large-margin', 'norm': 2, 'gamma': 2.0, 'top_k': 3, 'aggregate': 'sum'}
FLAGS = {
    'train_N': 'all', 'test_N': 'all', 'label_noise': 0.6, 'lr': 1e-3, 'E': 40, 'B': 50, 'train_mode': 'NORMAL',
    'loss_ub': 1e9, 'archive': 'idle', 'print': False,
    'model': {'description': [['C', 16, [3, 3]], ['P'], ['C', 32, [3, 3]], ['P'], ['F', 64], ['F', 10, {'act': False}]],
              'bias_mode': 'ALL', 'init': {'weight': 'he_normal'}, 'opt': 'adam'}}


def accuracies(seed: int) -> tuple[float, float]:
    """Of the cross entropy and of the margin, on the clean test set."""
    found = []
    for objective in ('cross-entropy', MARGIN):
        _, lines = train(**FLAGS, objective=objective, seed=seed, log=f'{seed}-{type(objective).__name__}')
        found.append(lines[-1]['stats']['test_acc'])
    return found[0], found[1]


@pytest.mark.long
def test_with_six_labels_of_ten_switched_the_margin_beats_the_cross_entropy_in_every_one_of_five_seeds():
    cross_entropy, margin = np.array([accuracies(seed) for seed in range(1, 6)]).T
    print('cross entropy', cross_entropy, 'l2 margin', margin)
    assert (margin > cross_entropy).all()
    assert margin.mean() > cross_entropy.mean() + 0.05
