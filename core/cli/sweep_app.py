"""The command line of sweeps."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from absl import app, flags as absl_flags, logging

from .. import progress
from ..devices import worker_of_cluster
from ..errors import Interrupted, UserError
from ..flags import checked, parse_setting
from ..sweeps.directory import SweepDirectory
from ..sweeps.grid import grid_of
from ..sweeps.running import Sweep
from .command_line import parse

EXPERIMENTS = Path(__file__).resolve().parents[2] / 'experiments'
"""Whose files run.sh knows by their names."""


def sweep_start(sweep: Mapping[str, Any]) -> None:
    """Runs a config file's SWEEP with the command line's options; what a config file calls when it is started.

    Exits with status 1 if a run failed, or on an error that a person can put right.

    Args:
        sweep: see ``grid.grid_of``.
    """
    of_main: dict[str, Any] = {'module_name': sys.argv[0]}
    for name, text in (
            ('log', 'directory of the sweep (default: logs/<config>)'),
            ('gpu', "index of the GPU to use, or 'cpu' (default: GPU 0 if there is one)"),
            ('data_dir', "TensorFlow Datasets' directory (default: TFDS_DATA_DIR, or TFDS's own)")):
        absl_flags.DEFINE_string(name, None, text, **of_main)
    absl_flags.DEFINE_integer('seed', None, "make the runs of this seed (default: of all of the config file's)",
                              **of_main)
    absl_flags.DEFINE_bool('list', False, 'only list the runs, what there is of them, and who is at work on them',
                           **of_main)
    absl_flags.DEFINE_multi_string('set', [], 'key=value, overrides a flag of all runs; may be repeated', **of_main)
    app.run(lambda argv: _main(argv, sweep), flags_parser=parse)


def _main(argv: list[str], config: Mapping[str, Any]) -> None:
    logging.set_verbosity(logging.WARNING)
    file = Path(sys.argv[0])
    try:
        if len(argv) > 1:
            raise UserError(f'{argv[1]!r} is not an option; flags are set with --set key=value')
        if worker_of_cluster() is not None:
            raise UserError('each process of a sweep makes runs of its own, so TF_CONFIG must not be set; --gpu 0,1 '
                            'uses several GPUs for each run')
        options = absl_flags.FLAGS
        seed = options['seed'].value
        grid = grid_of({**config, **({} if seed is None else {'seeds': [seed]})}, file.resolve().parent)
        places = {k: options[k].value for k in ('gpu', 'data_dir') if options[k].value is not None}
        log = options['log'].value
        out = SweepDirectory(Path('logs') / file.stem if log is None else checked('log', log))
        sweep = Sweep(grid, out, file.stem, dict(map(parse_setting, options['set'].value or ())), places)
        if options['list'].value:
            print(sweep.listing())
            return
        progress.say(f'{len(sweep.runs)} runs in {out.path}')
        if sweep.run():
            sys.exit(1)
    except (KeyboardInterrupt, Interrupted):
        name = file.stem if file.resolve().parent == EXPERIMENTS else str(file)
        again = shlex.join(['./run.sh', name, *sys.argv[1:]])
        print(f'interrupted; what was finished is saved, and the same command goes on: {again}', file=sys.stderr)
        sys.stdout.flush(), sys.stderr.flush()
        os._exit(1)  # TensorFlow may be busy in a thread, and does not survive Python's tidying up
    except UserError as e:
        sys.exit(f'error: {e}')
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
