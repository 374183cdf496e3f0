"""What a task works on, built from FLAGS through the registries: data set, network, permutations, record."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from models import ARCHITECTURES, Model

from . import datasets, subsets
from .devices import Devices
from .errors import UserError, about
from .flags import EVALUATIONS
from .provenance import git_commit, versions
from .replay import recorded_permutations
from .training import Permutations
from .workdir import Workdir, plain

PURPOSES = {'permutation': 1, 'weights': 2, 'attack': 3, 'fraction': 4, 'noise': 5}
"""Every draw is a function of (seed, purpose, epoch, retry), so that a resumed or repeated run draws the same."""


class Building:
    """See ``core.Core`` for the attributes."""

    flags: dict[str, Any]
    name: str
    devices: Devices
    dataset: datasets.Dataset
    model: Model

    def _fetch_dataset(self) -> None:
        loaded = datasets.get_dataset(self.flags['dataset'], self.flags['data_dir'])
        parts = []
        for part, (x, y) in zip(('train', 'test'), loaded):
            n = len(x) if self.flags[part + '_N'] == 'all' else self.flags[part + '_N']
            if n > len(x):
                raise UserError(f'{part}_N is {n}, but {self.flags["dataset"]} has {len(x)} images')
            parts.append((x[:n], y[:n]))
        parts[0] = self._training_set(*parts[0], np.unique(loaded.train[1]))
        self.dataset = datasets.Dataset(*((tf.constant(x), tf.constant(y)) for x, y in parts))  # onto the device, once
        if self.flags['task'] not in EVALUATIONS and self.flags['B'] > len(self.dataset.train[1]):
            raise UserError(f'B is {self.flags["B"]}, more than the {len(self.dataset.train[1])} training images')

    def _training_set(self, x: np.ndarray, y: np.ndarray, classes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """What ``train_fraction`` leaves, and ``label_noise`` makes, of the training set.

        Raises:
            UserError: no image is left, or the run that is measured has no seed.
        """
        fraction, noise = self.flags['train_fraction'], self.flags['label_noise']
        if fraction < 1:
            chosen = subsets.stratified(y, fraction, self._rng_of_data('fraction'))
            if not len(chosen):
                raise UserError(f'train_fraction is {fraction:g}, which leaves none of the {len(y)} training images')
            x, y = x[chosen], y[chosen]
        self._switched = 0
        if noise > 0:
            y, switched = subsets.switch_labels(y, noise, classes, self._rng_of_data('noise'))
            self._switched = len(switched)
        return x, y

    def _rng_of_data(self, purpose: str) -> np.random.Generator:
        seed = self.flags['seed']
        if self.flags['task'] != 'train':  # an evaluation has a seed of its own, but the training set of its run
            seed = Workdir(self.flags['log']).read_flags()['flags'].get('seed')
            if not isinstance(seed, int):
                raise UserError(f'{self.flags["log"]} does not say what seed its training set was drawn from')
        return np.random.default_rng(np.random.SeedSequence([seed, PURPOSES[purpose]]))

    def _new_model(self, flags: Mapping[str, Any] | None = None) -> Model:
        """The network of these flags, or else of the run's."""
        flags = flags or self.flags
        seed = np.random.SeedSequence([self.flags['seed'], PURPOSES['weights']])
        return ARCHITECTURES[flags['arch']](
            'model', self.dataset.train[0].shape[1:], train_mode=flags['train_mode'],
            seed=int(seed.generate_state(1)[0]), **flags['model'])

    def _build_model(self) -> None:
        (_, y), (_, y_test) = self.dataset
        with about('model'), self.devices.strategy.scope():
            self.model = self._new_model()
            highest = int(max(tf.reduce_max(y), tf.reduce_max(y_test)))
            if highest >= self.model.num_labels:
                raise ValueError(f'the network has {self.model.num_labels} outputs, but the data set has the label '
                                 f'{highest}')

    def _permutations(self) -> Permutations:
        n = len(self.dataset.train[1])
        if self.flags['permutations'] is not None:
            return recorded_permutations(self.flags['permutations'], n, self.flags['B'])

        def draw(eid: int, retry: int, attempt: int) -> np.ndarray:
            key = [self.flags['seed'], PURPOSES['permutation'], eid, retry]
            return np.random.default_rng(np.random.SeedSequence(key)).permutation(n)
        return draw

    def _record(self) -> dict[str, Any]:
        return {
            'flags': plain(self.flags),
            'name': self.name,
            'command': sys.argv,
            'dataset': datasets.provenance(self.flags['dataset']),
            'images': {'train': len(self.dataset.train[1]), 'test': len(self.dataset.test[1])},
            'labels_switched': self._switched,
            'network': {'order': self.model.norms().order, 'is_homogeneous': self.model.is_homogeneous,
                        'parameters': sum(int(np.prod(v.shape)) for v in self.model.vars)},
            'device': self.devices.text,
            'versions': versions(),
            'git_commit': git_commit(),
            'started': time.strftime('%Y-%m-%dT%H:%M:%S%z'),
        }
