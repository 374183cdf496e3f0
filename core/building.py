"""What a task works on, built from FLAGS through the registries: data set, network, permutations, record. All that can
be refused is refused here, before anything is written."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from models import AUGMENTATIONS, Archiver, LRScheduler, Model, TrainMode, build_model
from models.attacks import ATTACKS
from models.measures.certificate import lipschitz

from . import datasets, subsets
from .devices import Devices, use_device
from .errors import UserError, about
from .flags import EVALUATIONS, FLAGS, RECORDED_FLAGS, archiver_of, merge, objective_from, scheduler_of
from .provenance import git_commit, versions
from .tasks.epochs import Permutations
from .tasks.evaluation import MAKERS, attack_arguments, chosen_indices, refuse_attack_flags, transfer_arguments
from .tasks.replay import load_initial_weights, recorded_permutations
from .tensorboard import require_tensorboard
from .workdir import Workdir, plain

PURPOSES = {'permutation': 1, 'weights': 2, 'attack': 3, 'fraction': 4, 'noise': 5, 'steps': 6}
"""Every draw is a function of (seed, purpose, epoch, retry), so that a resumed or repeated run draws the same."""
STARTS = 64
"""Images on which initial weights are tried."""


class Building:
    """See ``core.Core`` for the attributes."""

    flags: dict[str, Any]
    name: str
    devices: Devices
    dataset: datasets.Dataset
    model: Model
    _notes: list[str]

    def _fetch_dataset(self) -> None:
        loaded = datasets.get_dataset(self.flags['dataset'], self.flags['data_dir'])
        parts = []
        for part, (x, y) in zip(('train', 'test'), loaded):
            n = len(x) if self.flags[part + '_N'] == 'all' else self.flags[part + '_N']
            if n > len(x):
                raise UserError(f'{part}_N is {n}, but {self.flags["dataset"]} has {len(x)} images')
            parts.append((x[:n], y[:n]))
        parts[0] = self._training_set(*parts[0], np.unique(loaded.train[1]))
        if self.flags['task'] not in EVALUATIONS:
            self._require_trainable(parts[0][1], len(loaded.train[1]))
        self._notes = [note for part, (x, _) in zip(('training', 'test'), parts) for note in datasets.notes(part, x)]
        self.dataset = datasets.Dataset(*((tf.constant(x), tf.constant(y)) for x, y in parts))  # onto the device, once

    def _require_trainable(self, y: np.ndarray, of: int) -> None:
        """Sees that the labels of the training images, as they are used, fill a batch and are of two classes."""
        if self.flags['B'] > len(y):
            raise UserError(f'B is {self.flags["B"]}, more than the {len(y)} training images')
        if len(np.unique(y)) < 2:
            chosen = [f'{name}={self.flags[name]}' for name in ('train_N', 'train_fraction', 'label_noise')
                      if self.flags[name] != FLAGS[name].default]
            left = f', which {" and ".join(chosen)} leaves of {of},' if len(y) < of and chosen else ''
            raise UserError(f'the {len(y)} training images{left} are all of the class {y[0]}; training needs two '
                            'classes at least, and images that are sorted by class are to be shuffled')

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
        return build_model(flags['arch'], self.dataset.train[0].shape[1:], flags['train_mode'],
                           int(seed.generate_state(1)[0]), **flags['model'])

    def _build_model(self) -> None:
        (_, y), (_, y_test) = self.dataset
        with about('model'), self.devices.strategy.scope():
            self.model = self._new_model()
            labels = np.unique(np.concatenate([y, y_test]))
            if labels[-1] >= self.model.num_labels:
                from_one = labels[0] > 0 and labels[-1] == self.model.num_labels
                hint = '; labels count from 0: subtract 1 from them' if from_one else ''
                raise ValueError(f'the network has {self.model.num_labels} outputs, but the data set has the label '
                                 f'{labels[-1]}{hint}')

    def _permutations(self) -> Permutations:
        n = len(self.dataset.train[1])
        if self.flags['permutations'] is not None:
            return recorded_permutations(self.flags['permutations'], n, self.flags['B'])

        def draw(eid: int, retry: int, attempt: int) -> np.ndarray:
            key = [self.flags['seed'], PURPOSES['permutation'], eid, retry]
            return np.random.default_rng(np.random.SeedSequence(key)).permutation(n)
        return draw

    def _prepare(self) -> tuple[LRScheduler, Archiver, Permutations]:
        """Builds all of a run that can be refused, before anything is written."""
        if self.flags['tensorboard']:
            require_tensorboard()
        if self.flags['deterministic']:
            tf.config.experimental.enable_op_determinism()
        frame = self.flags['log_frame0'] if self.flags['train_mode'] is TrainMode.USE_FRAME else None
        scheduler, archiver = scheduler_of(self.flags['lr'], frame), archiver_of(self.flags['archive'])
        objective = objective_from(self.flags, scheduler)
        self._fetch_dataset()
        self._build_model()
        self.model.augment = AUGMENTATIONS[self.flags['augment']] if self.flags['augment'] else None
        if objective is not None:
            with about('objective'):
                objective.layers(self.model.net)  # refuses a network before anything is written
                self.model.minimise(objective, len(self.dataset.train[1]))
        if self.flags['init_weights'] is not None:
            load_initial_weights(self.model, self.flags['init_weights'])
        self._require_finite_start()
        return scheduler, archiver, self._permutations()

    def refuse(self, evaluations: Mapping[str, Mapping[str, Any]]) -> None:
        """Raises what the training would before it writes anything, and evaluations of its network.

        Args:
            evaluations: flags of evaluations, by name.

        Raises:
            UserError: flags that cannot be used.
        """
        self.devices = use_device(self.flags['gpu'], self.flags['threads'])
        self._prepare()
        for name, flags in evaluations.items():
            try:
                self._refuse_evaluation(merge({k: self.flags[k] for k in RECORDED_FLAGS}, flags))
            except UserError as e:
                raise UserError(f'{name}: {e}') from None

    def _refuse_evaluation(self, flags: Mapping[str, Any]) -> None:
        name = flags['attack_type'].name
        with about(f'the attack {name}'):
            if flags['task'] == 'attack':
                ATTACKS[name](self.model, **attack_arguments(flags))
            if flags['task'] == 'transfer':
                arguments = transfer_arguments(flags)
                MAKERS[name](self.model, **arguments)
        if flags['task'] == 'kkt':
            refuse_attack_flags(flags)
        if flags['task'] == 'certify':
            with about('certificate'):
                lipschitz(self.model)
        chosen_indices(flags, len(getattr(self.dataset, flags['attack_set'])[0]))

    def _require_finite_start(self) -> None:
        """Sees that the initial weights give numbers.

        Raises:
            UserError: the logits of some images are not finite.
        """
        if not np.isfinite(self.model.predict(self.dataset.train[0][:STARTS])).all():
            raise UserError('the initial weights cannot be used: the logits are not finite; smaller ones, by '
                            'model.init.weight or model.init.weight_rescale, keep them so')

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
