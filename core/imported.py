"""The working directory of a network that was trained elsewhere: every evaluation, and what trains on from an archived
epoch, takes it as it takes a run's."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from models.torch_weights import TorchNetwork

from . import progress
from .derived import measured, write_derived
from .devices import use_device
from .errors import UserError, about
from .flags import merge
from .session import Session
from .workdir import Workdir

NAME = 'import-torch'
"""Under which such directories are filed."""


def write_imported(network: TorchNetwork, source: Mapping[str, Any], out: str | None = None, eid: int = 1,
                   images: int = 1000, **given: Any) -> Workdir:
    """Writes a working directory, of one epoch, which is accepted and archived.

    Its statistics are those of the first ``images`` training and test images; no learning rate is recorded, so that it
    is not resumed as a run.

    Args:
        network: with its weights.
        source: what flags.json says, as 'imported', of where they come from.
        out: the directory; None for a new ``logs/import-torch/<date>``.
        eid: the epoch.
        images: on which the network is measured.
        given: flags: 'dataset', 'data_dir', 'gpu'; the data set is the network's if it is None or not given.

    Raises:
        UserError: a data set with other images or classes, one that cannot be had, weights that do not fit, or a
            directory that cannot be written.
    """
    flags = merge({'arch': network.arch, 'model': network.model, 'lr': 1.0, 'E': eid, 'B': 1, 'seed': 0, **given,
                   'dataset': given.get('dataset') or network.dataset})
    session = Session(flags, NAME, {}, False)
    session.devices = use_device(flags['gpu'], flags['threads'])
    session.fetch_dataset()
    (x, y), _, (x_test, y_test) = session.dataset
    if tuple(x.shape[1:]) != network.input_shape:
        sizes = ['x'.join(map(str, shape)) for shape in (network.input_shape, x.shape[1:])]
        raise UserError(f"a {network.name} takes images of {sizes[0]}, and those of {flags['dataset']} are {sizes[1]}")
    session.build_model()
    with about('the weights'), session.devices.strategy.scope():
        network.put_into(session.model)
    stats = measured(session, images)
    workdir = Workdir.create(out, Path('logs') / NAME)
    flags['log'] = str(workdir.path)
    with progress.copy_stdout(workdir.stdout_path), workdir.locked(progress.say):
        write_derived(session, workdir, eid, stats, {'imported': {**source, 'name': network.name, 'images': images}})
        parameters = workdir.read_flags()['network']['parameters']
        progress.say(f'{network.name}, {parameters:,} parameters: of the first {images} images of '
                     f'{flags["dataset"]} it classifies {100 * stats["acc"]:.2f} % of the training and '
                     f'{100 * stats["test_acc"]:.2f} % of the test images correctly')
        progress.say(f'{workdir.path} written: ./eval.sh eval-... {workdir.path} measures it')
    return workdir
