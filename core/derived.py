"""The working directory of weights that no run here trained: imported ones, ones moved along a direction, a point on a
curve. It has one epoch, which is accepted and archived, so that every evaluation, and what trains on from an archived
epoch, takes it as it takes a run's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from models.types import NumericalFailure

from .errors import UserError
from .provenance import without_enums
from .session import Session
from .workdir import Workdir, plain

IMAGES = 1000
"""Training and test images on which weights are measured."""


def measured(session: Session, images: int = IMAGES) -> dict[str, Any]:
    """The statistics of the network of a session, on its first so many training and test images.

    Raises:
        UserError: weights with which the network gives no numbers.
    """
    (x, y), _, (x_test, y_test) = session.dataset
    try:
        stats = session.model.get_stats(((x[:images], y[:images]), (x_test[:images], y_test[:images])))[0]
    except NumericalFailure as e:
        raise UserError(f"the weights: {e} on the first {images} images of {session.flags['dataset']}") from None
    return {**stats, 'log_T': float('-inf')}


def write_derived(session: Session, workdir: Workdir, eid: int, stats: Mapping[str, Any], record: Mapping[str, Any]
                  ) -> None:
    """Fills a directory with the network of a session, as the run that the session's flags describe would.

    No learning rate is recorded, so that it is not resumed as a run. flags.json comes last: with it, all is there.

    Args:
        session: its data, and its network with the weights.
        workdir: the directory, empty; ``Workdir.whole`` makes one that appears whole or not at all.
        eid: the epoch.
        stats: what ``measured`` said.
        record: what flags.json says beside what it says of every run, such as where the weights come from.

    Raises:
        UserError: the directory cannot be written.
    """
    info = {'eid': eid, 'all_rt_loss': None, 'lr': 0.0, 'log_frame': None, 'stats': stats, 'rt_loss': stats['loss'],
            'time': 0.0}
    flags = {**session.flags, 'lr': None}
    workdir.write_model(eid, session.model.save)
    workdir.append_history({**info, 'attempt': 0, 'cmd': 'go', 'next_lr': None, 'failure': None})
    workdir.write_res({'flags': without_enums(flags), 'raw': {eid: info}})
    workdir.write_flags({**session.record(), 'config': {}, **record, 'flags': plain(flags)})
