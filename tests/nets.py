"""Trained networks, shared by tests of attacks."""

from __future__ import annotations

import keras
import numpy as np
from conftest import reference_npz

from models import LossBasedLRv1, NumericalFailure, SimpleSequential

SMALL = [['C', 8, [5, 5]], ['P'], ['C', 16, [3, 3]], ['P'], ['F', 64], ['F', 10, {'act': False}]]


def small_mnist() -> SimpleSequential:
    """The small CNN that the reference attacks, trained on 1,000 MNIST images to 100 %."""
    model = SimpleSequential('small', (28, 28, 1), SMALL)
    weights = reference_npz('attacks')
    model.set_weights({k.removeprefix('weights/'): v for k, v in weights.items() if k.startswith('weights/')})
    return model


def scaled(net: keras.Model, factor: float) -> keras.Model:
    """A copy of the network with its last layer, which has no bias, multiplied by a factor."""
    copy = keras.models.clone_model(net)
    copy.set_weights(net.get_weights())
    copy.layers[-1].kernel.assign(copy.layers[-1].kernel * factor)
    return copy


def train_far(model: SimpleSequential, x: np.ndarray, y: np.ndarray, log_loss: float, attempts: int) -> float:
    """Trains by full-batch gradient descent with the loss-based rate; returns the logarithm of the loss reached."""
    scheduler, log_frame = LossBasedLRv1(0.1, 2 ** (1 / 5), 2 ** (1 / 10)), 3.0
    scheduler.use_frame(log_frame)
    _, lr = scheduler.get()
    for _ in range(attempts):
        model.keep()
        try:
            model.train_epoch(x, y, np.arange(len(x)), len(x), lr, log_frame, loss_ub=1e9)
            stats, _ = model.get_stats(((x, y), (x, y)), log_frame)
        except NumericalFailure:
            stats = None
        cmd, lr = scheduler.get({'stats': stats, 'log_frame': log_frame})
        if cmd == 'back':
            model.roll_back()
        else:
            log_frame = stats['log_loss']
            if log_frame < log_loss:
                break
    return log_frame
