"""What a task works with, built from FLAGS: the data, the networks of one or several runs, draws, the directory.
All that can be refused is refused before anything is written."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from copy import copy
from typing import Any

import numpy as np
import tensorflow as tf

from models import Model, build_model

from . import datasets, progress, subsets
from .devices import Devices
from .errors import UserError, about
from .flags import EVALUATIONS, FLAGS
from .flags.earlier import differing_flags
from .provenance import git_commit, versions
from .registry import record_of
from .workdir import Onlooker, Workdir, plain

PURPOSES = {'permutation': 1, 'weights': 2, 'attack': 3, 'fraction': 4, 'noise': 5, 'steps': 6, 'monitor': 7,
            'health': 8, 'curvature': 9, 'directions': 10}
"""Every draw is a function of (seed, purpose, epoch, retry), so that a resumed or repeated run draws the same."""


class Session:
    """What a task works with.

    Args:
        flags: every flag, checked; the seed is drawn.
        name: of the config file.
        config: its flags, as they are recorded.
        log_frame0_given: whether the flags give a frame, rather than leave it to its default.

    Attributes:
        flags, name, config, log_frame0_given: see the arguments.
        devices: what it runs on, once it runs.
        dataset: the data set, on the device, once it is fetched.
        model: the network of the run, once it is built.
        notes: sentences that a person is told after the flags.
        among_others: whether other runs are measured by the same command.
    """

    devices: Devices
    dataset: datasets.Split
    model: Model

    def __init__(self, flags: dict[str, Any], name: str, config: dict[str, Any], log_frame0_given: bool):
        self.flags, self.name, self.config, self.log_frame0_given = flags, name, config, log_frame0_given
        self.notes: list[str] = []
        self.among_others = False
        self._switched = 0

    def with_flags(self, flags: dict[str, Any]) -> Session:
        """This session, its data and its network, with other flags."""
        other = copy(self)
        other.flags = flags
        return other

    # ---- data ----

    def fetch_dataset(self) -> None:
        """Puts the data set that the flags describe onto the device.

        Of the training images ``train_N`` come first; ``validation_N`` of these are set apart, and keep their labels;
        ``train_fraction`` and ``label_noise`` then choose among the others, and switch theirs.

        Raises:
            UserError: there is no such data set, or too little of it.
        """
        loaded = datasets.get_dataset(self.flags['dataset'], self.flags['data_dir'])
        parts = []
        for part, (x, y) in zip(('train', 'test'), loaded):
            n = len(x) if self.flags[part + '_N'] == 'all' else self.flags[part + '_N']
            if n > len(x):
                raise UserError(f'{part}_N is {n}, but {self.flags["dataset"]} has {len(x)} images')
            parts.append((x[:n], y[:n]))
        try:
            left, apart = subsets.set_apart(len(parts[0][0]), self.flags['validation_N'])
        except ValueError as e:
            raise UserError(str(e)) from None
        x, y = parts[0]
        validation = x[apart], y[apart]
        parts[0] = self._training_set(x[left], y[left], np.unique(loaded.train[1]))
        if self.flags['task'] not in EVALUATIONS:
            self._require_trainable(parts[0][1], len(loaded.train[1]))
        self.notes = [note for part, (x, _) in zip(('training', 'test'), parts) for note in datasets.notes(part, x)]
        self.dataset = datasets.Split(*(  # onto the device, once
            (tf.constant(x), tf.constant(y)) for x, y in (parts[0], validation, parts[1])))

    def _require_trainable(self, y: np.ndarray, of: int) -> None:
        """Sees that the labels of the training images, as they are used, fill a batch and are of two classes."""
        if self.flags['B'] > len(y):
            raise UserError(f'B is {self.flags["B"]}, more than the {len(y)} training images')
        if len(np.unique(y)) < 2:
            makers = ('train_N', 'validation_N', 'train_fraction', 'label_noise')
            chosen = [f'{name}={self.flags[name]}' for name in makers if self.flags[name] != FLAGS[name].default]
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

    # ---- draws ----

    def key(self, purpose: str) -> list[int]:
        """The numbers from which all draws for a purpose start."""
        return [self.flags['seed'], PURPOSES[purpose]]

    def rng(self, purpose: str, *place: int) -> np.random.Generator:
        """What is drawn from for a purpose, at an epoch and what else says where."""
        return np.random.default_rng(np.random.SeedSequence([*self.key(purpose), *place]))

    def _rng_of_data(self, purpose: str) -> np.random.Generator:
        seed = self.flags['seed']
        if self.flags['task'] != 'train':  # an evaluation has a seed of its own, but the training set of its run
            seed = Workdir(self.flags['log']).read_flags()['flags'].get('seed')
            if not isinstance(seed, int):
                raise UserError(f'{self.flags["log"]} does not say what seed its training set was drawn from')
        return np.random.default_rng(np.random.SeedSequence([seed, PURPOSES[purpose]]))

    # ---- networks ----

    def new_model(self, flags: Mapping[str, Any] | None = None) -> Model:
        """The network of these flags, or else of the run's."""
        flags = flags or self.flags
        seed = np.random.SeedSequence([self.flags['seed'], PURPOSES['weights']])
        return build_model(flags['arch'], self.dataset.train[0].shape[1:], flags['train_mode'],
                           int(seed.generate_state(1)[0]), **flags['model'])

    def build_model(self) -> None:
        """Builds the network of the run.

        Raises:
            UserError: a network that cannot be, or that has too few outputs for the data set.
        """
        with about('model'), self.devices.strategy.scope():
            self.model = self.new_model()
            labels = np.unique(np.concatenate([y for _, y in self.dataset]))
            if labels[-1] >= self.model.num_labels:
                from_one = labels[0] > 0 and labels[-1] == self.model.num_labels
                hint = '; labels count from 0: subtract 1 from them' if from_one else ''
                raise ValueError(f'the network has {self.model.num_labels} outputs, but the data set has the label '
                                 f'{labels[-1]}{hint}')

    def network_of(self, run: Workdir, flags: Mapping[str, Any], eid: int) -> Model:
        """The network of another run, with the weights of an epoch.

        Args:
            run: its working directory.
            flags: all of its flags.
            eid: an archived epoch.

        Raises:
            ValueError: it has other outputs than the network of this run, or its file cannot be read.
        """
        model = self.new_model(flags)
        if model.num_labels != self.model.num_labels:
            raise ValueError(f"the network of {run.path} has {model.num_labels} outputs, and that of "
                             f"{self.flags['log']} has {self.model.num_labels}")
        model.restore(run.find_model(eid))
        return model

    @contextmanager
    def of_the_run(self) -> Iterator[None]:
        """Adds to an error about the network how its flags differ from those of the run ``log``."""
        try:
            yield
        except UserError as e:
            differ = differing_flags(self.flags['log'], self.flags)
            raise UserError(f'{e}; {differ}' if differ else str(e)) from None

    # ---- the directory ----

    def directory(self, open_it: Callable[[], Workdir]) -> Workdir:
        """A directory to write in: worker 0 opens it, and the others look on."""
        opened = open_it() if self.devices.worker == 0 else None
        path = self.devices.of_first(opened and str(opened.path))
        return opened or Onlooker(path)

    def record(self) -> dict[str, Any]:
        """What flags.json says of a run, and of an evaluation."""
        return {
            'flags': plain(self.flags),
            'name': self.name,
            'command': sys.argv,
            'dataset': datasets.provenance(self.flags['dataset']),
            'images': {part: len(y) for part, (_, y) in zip(self.dataset._fields, self.dataset)
                       if part != 'validation' or len(y)},
            'labels_switched': self._switched,
            'network': {'order': self.model.norms().order, 'is_homogeneous': self.model.is_homogeneous,
                        'parameters': sum(int(np.prod(v.shape)) for v in self.model.vars)},
            'device': self.devices.text,
            'versions': versions(),
            'git_commit': git_commit(),
            'started': time.strftime('%Y-%m-%dT%H:%M:%S%z'),
            **record_of(self.flags),
        }

    def print_flags(self) -> None:
        """Prints every flag, and the notes."""
        progress.print_flags(self.flags)
        for note in self.notes:
            progress.say(note)
