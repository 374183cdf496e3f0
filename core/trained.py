"""The network of a run, with its data, for code of others."""

from __future__ import annotations

import os
from typing import NamedTuple

import numpy as np

from models import Model

from .devices import use_device
from .errors import UserError, about
from .flags import merge
from .flags.earlier import evaluated_flags, measured_epochs
from .session import Session
from .workdir import Workdir

NAME = 'trained'


class Trained(NamedTuple):
    """A run's network.

    Attributes:
        model: with the weights of an epoch; ``model.net`` is the Keras model, from images to logits.
        eid: the epoch.
        images, labels: of the test set, float32 [N, H, W, C] in [0, 1] and int64 [N].
        dataset: its name.
    """

    model: Model
    eid: int
    images: np.ndarray
    labels: np.ndarray
    dataset: str


def trained(log: str | os.PathLike, eid: int | str = 'best', images: int | None = None, gpu: str | None = None,
            data_dir: str | None = None) -> Trained:
    """What an evaluation would measure of a run.

    Args:
        log: its working directory.
        eid: an archived epoch, 'last', or 'best', which is the last of a run that keeps none.
        images: how many of the test set, from the first; None for all.
        gpu: index of the GPU to use, or 'cpu'; None for GPU 0 if there is one.
        data_dir: TensorFlow Datasets' directory; None for that of TFDS_DATA_DIR, or TFDS's own.

    Raises:
        UserError: it is no run, it has no such epoch, or its data set cannot be had.
    """
    given = {'data_dir': data_dir} if data_dir else {}
    flags = merge({'task': 'attack', 'seed': 0, 'log': str(log), **evaluated_flags(str(log)), **given})
    run = Workdir(flags['log'])
    (found, *more), _ = measured_epochs(run, eid)
    if more:
        raise UserError(f'eid names one epoch here, not {1 + len(more)}')
    session = Session(flags, NAME, {}, False)
    session.devices = use_device(gpu, flags['threads'])
    session.fetch_dataset()
    session.build_model()
    with about(f'epoch {found}'):
        session.model.restore(run.find_model(found))
    x, y = (a.numpy()[:images] for a in session.dataset.test)
    return Trained(session.model, found, x, y, flags['dataset'])
