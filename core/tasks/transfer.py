"""Accuracy on adversarial images of given sizes, made on the network itself or another; receives built objects, never
FLAGS."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from models import Model
from models.attacks import GradientDescentAttack

from .. import progress
from ..devices import Devices
from ..workdir import Workdir
from .parts import Batches

EPS = (0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.2, 0.25, 0.3)
"""Sizes in L-infinity, of pixels in [0, 1]: from about one grey level of 255, which is much for a network on natural
images, to what is much for one on digits."""


class Transfer(Batches):
    """Makes adversarial images of given sizes on a source, and measures the accuracy of archived models on them.

    Args:
        networks: of each device, by name, the model that is measured, an attack of it, and the attack of the source:
            the same one for a white box.
        images: float32 [N, H, W, C].
        labels: int64 [N].
        indices: int64 [N], which images of the data set these are.
        batch_size: images per batch.
        run: working directory of the run, with its archived models.
        out: working directory of the evaluation.
        eps: sizes, in the attack's norm.
        about_it: what the summary says of settings.
        source: what the source is called.
        devices: the workers that share the batches.
    """

    progress = 'right'

    def __init__(self, networks: Mapping[str | None, tuple[Model, GradientDescentAttack, GradientDescentAttack]],
                 images: np.ndarray, labels: np.ndarray, indices: np.ndarray, batch_size: int, run: Workdir,
                 out: Workdir, eps: Sequence[float] = EPS, about_it: Mapping[str, Any] | None = None,
                 source: str = 'itself', devices: Devices | None = None):
        super().__init__(list(networks), images, labels, indices, batch_size, out, devices)
        self.networks = dict(networks)
        self.run_dir = run
        self.eps = sorted(set(eps))
        self.about_it = dict(about_it or {})
        self.source = source
        self._restored: dict[str | None, int] = {}
        self._made: dict[str | None, tuple[int, list[np.ndarray]]] = {}

    def run(self, eids: Sequence[int]) -> dict[int, dict[str, Any]]:
        """Measures the models of these epochs.

        Returns:
            eid -> {'eps': [float, ...], 'accuracy': {eps: 0 to 1}, 'clean_accuracy': 0 to 1, 'label': int64 [N],
            'class': int64 [len(eps), N], predicted, 'source_class': int64 [len(eps), N], what the source predicts}.

        Raises:
            UserError: a model that cannot be read.
            Interrupted: Ctrl-C or SIGTERM.
        """
        return super().run(eids)

    def _measure(self, eid: int, start: int, device: str | None) -> Mapping[str, Any]:
        (x, y), (model, target, source) = self._batch(start), self.networks[device]
        if self._restored.get(device) != eid:
            model.restore(self.run_dir.find_model(eid))
            self._restored[device] = eid
        made = self._images(x, y, start, device)
        predicted, by_source = ([a.logits(images).argmax(axis=1) for images in (x, *made)] for a in (target, source))
        # Where the source has no gradient an image stays as it is, which says nothing about the network.
        unmoved = np.array([(images == x).all(axis=(1, 2, 3)) for images in made])
        return {'class': np.array(predicted[1:]), 'clean_class': predicted[0], 'right': predicted[-1] == y,
                'unmoved': unmoved, 'source_class': np.array(by_source[1:]), 'source_clean_class': by_source[0]}

    def _images(self, x: np.ndarray, y: np.ndarray, start: int, device: str | None) -> list[np.ndarray]:
        """Adversarial images of each size. Those of a source of its own serve every epoch."""
        _, target, source = self.networks[device]
        if source is not target and self._made.get(device, (None,))[0] == start:
            return self._made[device][1]
        made = [source.of_size(x, y, eps) for eps in self.eps]
        self._made[device] = start, made
        return made

    def _join(self, eids: Sequence[int], starts: Sequence[int]) -> tuple[dict[int, Any], dict[str, Any]]:
        res: dict[int, Any] = {}
        summary = {**self.about_it, 'eps': self.eps, 'epochs': {}}
        for eid in eids:
            parts = [self.out.read_part(eid, start) for start in starts]
            joined = {name: np.concatenate([p[name] for p in parts], axis=-1)
                      for name in parts[0] if name != 'time' and all(name in p for p in parts)}
            label = joined['label']
            clean, by_eps, source_clean, source_by_eps = (
                (joined[name] == label).mean(axis=-1)
                for name in ('clean_class', 'class', 'source_clean_class', 'source_class'))
            res[eid] = {'eps': self.eps, 'accuracy': dict(zip(self.eps, by_eps.tolist())),
                        'clean_accuracy': float(clean), 'label': label, 'class': joined['class'],
                        'source_class': joined['source_class']}
            summary['epochs'][eid] = {
                'images': len(label), 'images_asked_for': len(self.images), 'accuracy': float(clean),
                'accuracy_under_attack': self._named(by_eps), 'source_accuracy': float(source_clean),
                'source_accuracy_under_attack': self._named(source_by_eps),
                'unmoved': int((joined['unmoved'].all(axis=0) & (joined['clean_class'] == label)).sum())
                if 'unmoved' in joined else 0,
                'seconds': sum(float(p['time']) for p in parts)}
        return res, summary

    def _named(self, shares: np.ndarray) -> dict[str, float]:
        return {f'{eps:g}': float(share) for eps, share in zip(self.eps, shares)}

    def _describe(self, numbers: np.ndarray) -> str:
        return f'{100 * numbers.mean():.2f} % right at eps={self.eps[-1]:g}'

    def _print(self, eid: int, summary: Mapping[str, Any]) -> None:
        progress.print_transfer(eid, summary, self.source)
        if summary['unmoved']:
            progress.say(f"note: {summary['unmoved']} images, counted as right, stayed as they were for want of a "
                         'gradient; that says nothing about the network')
