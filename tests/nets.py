"""Trained networks, shared by tests of attacks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any

import keras
import numpy as np
from conftest import OWN, reference_npz

from models import SimpleSequential

SMALL = [['C', 8, [5, 5]], ['P'], ['C', 16, [3, 3]], ['P'], ['F', 64], ['F', 10, {'act': False}]]


def small_mnist() -> SimpleSequential:
    """The small CNN that the reference attacks, trained on 1,000 MNIST images to 100 %."""
    model = SimpleSequential('small', (28, 28, 1), SMALL)
    weights = reference_npz('attacks', OWN)
    model.set_weights({k.removeprefix('weights/'): v for k, v in weights.items() if k.startswith('weights/')})
    return model


class Made(Mapping):
    """What a function makes of each of some names, once it is asked for."""

    def __init__(self, make: Callable[[str], Any], names: Iterable[str]):
        self._make, self._names = cache(make), list(names)

    def __getitem__(self, name: str) -> Any:
        return self._make(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


class Subclassed(keras.Model):
    """A model of one's own class, which tells nothing of its inside."""

    def __init__(self, layers: Sequence[keras.Layer], policy: str = 'float32'):
        super().__init__(dtype=policy)
        self.chain = list(layers)

    def call(self, x):
        for layer in self.chain:
            x = layer(x)
        return x


def subclassed(layers: Callable[[str], Sequence[keras.Layer]], policy: str = 'float32') -> Subclassed:
    """Built for images of 8x8."""
    net = Subclassed(layers(policy), policy)
    net(np.zeros((1, 8, 8, 1), np.float32))
    return net


@contextmanager
def scaled(net: keras.Model, factor: float) -> Iterator[None]:
    """Multiplies the logits by a factor, for a while, through the last layer; what is compiled reads it anew."""
    last = net.layers[-1]
    kept = last.get_weights()
    last.set_weights([w * np.float32(factor) for w in kept])
    try:
        yield
    finally:
        last.set_weights(kept)
