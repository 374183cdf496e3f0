"""Trained networks, shared by tests of attacks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

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
