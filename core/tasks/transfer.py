"""Accuracy on adversarial images of given sizes, made on the network itself or on that of another run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from models import Model
from models.attacks import GradientDescentAttack

from ..errors import about
from ..flags.earlier import archived_epochs, source_flags
from ..session import Session
from ..workdir import Workdir
from .arguments import MAKERS, budgets_of, transfer_arguments
from .begun import digests
from .parts import Batches

EPS = (0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.2, 0.25, 0.3)
"""Sizes in L-infinity, of pixels in [0, 1]: from about one grey level of 255, which is much for a network on natural
images, to what is much for one on digits."""


class Transfer(Batches):
    """Makes adversarial images of given sizes on the network of the run ``source`` (each on itself, without one), and
    measures the accuracy of the archived models on them.

    ``res`` holds eid -> {'eps': [float, ...], 'accuracy': {eps: 0 to 1}, 'clean_accuracy': 0 to 1, 'label': int64 [N],
    'class': int64 [len(eps), N], predicted, 'source_class': int64 [len(eps), N], what the source predicts}.
    """

    progress = 'right'

    def __init__(self, session: Session):
        super().__init__(session)
        self.attack = self.flags['attack_type'].name
        self.subject = f'the attack {self.attack}'
        self.eps = sorted(set(budgets_of(self.flags) or EPS))

    def check(self) -> None:
        self.arguments = transfer_arguments(self.flags)

    def make(self, model: Model) -> GradientDescentAttack:
        return MAKERS[self.attack](model, **self.arguments)

    def load(self) -> None:
        self.source: Workdir | None = None
        if self.flags['source'] is not None:
            self.source, self._theirs = Workdir(self.flags['source']), source_flags(self.flags['source'], self.flags)
            (self.flags['source_eid'],) = archived_epochs(self.source, self.flags['source_eid'])
        super().load()

    def prepare(self) -> None:
        super().prepare()
        self._made: dict[str | None, tuple[int, list[np.ndarray]]] = {}
        self._sources: dict[str | None, GradientDescentAttack] = {}
        for device, (_, target) in self.networks.items():
            with tf.device(device), about(self.subject):
                self._sources[device] = target if self.source is None else self.make(self._network(self.source))

    def _network(self, source: Workdir) -> Model:
        with about('source'):
            return self.session.network_of(source, self._theirs, self.flags['source_eid'])

    def record(self) -> dict[str, Any]:
        source = self.source
        return {'source_model': digests(source, [self.flags['source_eid']]) if source else None}

    def about(self) -> dict[str, Any]:
        target = next(attack for _, attack in self.networks.values())
        source = {'run': self.flags['source'], 'eid': self.flags['source_eid']} if self.source else None
        return {'attack': type(target).__name__, 'steps': target.k, 'step_size': target.a,
                'box': 'black' if self.source else 'white', 'source': source, 'eps': self.eps}

    def measure_batch(self, eid: int, start: int, device: str | None) -> Mapping[str, Any]:
        (x, y), target, source = self.batch(start), self.at(eid, device), self._sources[device]
        made = self._images(x, y, start, device)
        predicted, by_source = ([a.logits(images).argmax(axis=1) for images in (x, *made)] for a in (target, source))
        # Where the source has no gradient an image stays as it is, which says nothing about the network.
        unmoved = np.array([(images == x).all(axis=(1, 2, 3)) for images in made])
        return {'class': np.array(predicted[1:]), 'clean_class': predicted[0], 'right': predicted[-1] == y,
                'unmoved': unmoved, 'source_class': np.array(by_source[1:]), 'source_clean_class': by_source[0]}

    def _images(self, x: np.ndarray, y: np.ndarray, start: int, device: str | None) -> list[np.ndarray]:
        """Adversarial images of each size. Those of a source of its own serve every epoch."""
        source = self._sources[device]
        if self.source is not None and self._made.get(device, (None,))[0] == start:
            return self._made[device][1]
        made = [source.of_size(x, y, eps) for eps in self.eps]
        self._made[device] = start, made
        return made

    def join(self, parts: Sequence[Mapping[str, Any]]) -> tuple[dict[str, Any], dict[str, Any]]:
        joined = {name: np.concatenate([p[name] for p in parts], axis=-1)
                  for name in parts[0] if name != 'time' and all(name in p for p in parts)}
        label = joined['label']
        clean, by_eps, source_clean, source_by_eps = (
            (joined[name] == label).mean(axis=-1)
            for name in ('clean_class', 'class', 'source_clean_class', 'source_class'))
        res = {'eps': self.eps, 'accuracy': dict(zip(self.eps, by_eps.tolist())),
               'clean_accuracy': float(clean), 'label': label, 'class': joined['class'],
               'source_class': joined['source_class']}
        numbers = {
            'images': len(label), 'images_asked_for': len(self.images), 'accuracy': float(clean),
            'accuracy_under_attack': self._named(by_eps), 'source_accuracy': float(source_clean),
            'source_accuracy_under_attack': self._named(source_by_eps),
            'unmoved': int((joined['unmoved'].all(axis=0) & (joined['clean_class'] == label)).sum())
            if 'unmoved' in joined else 0}
        return res, numbers

    def _named(self, shares: np.ndarray) -> dict[str, float]:
        return {f'{eps:g}': float(share) for eps, share in zip(self.eps, shares)}

    def describe(self, numbers: np.ndarray) -> str:
        return f'{100 * numbers.mean():.2f} % right at eps={self.eps[-1]:g}'

    def line(self, eid: int, numbers: Mapping[str, Any]) -> str:
        source = f"epoch {self.flags['source_eid']} of {self.source.path}" if self.source else 'itself'
        accuracy = ' '.join(f'{eps}:{share * 100:.2f}%' for eps, share in numbers['accuracy_under_attack'].items())
        line = (f"epoch #{eid}: {numbers['images']} images, acc={numbers['accuracy'] * 100:.3f}% on images made on "
                f"{source}, by eps: {accuracy} [time={numbers['seconds']:.1f}s]")
        if numbers['unmoved']:
            line += (f"\nnote: {numbers['unmoved']} images, counted as right, stayed as they were for want of a "
                     'gradient; that says nothing about the network')
        return line
