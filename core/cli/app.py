"""The command line of runs and evaluations."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from absl import app, flags as absl_flags, logging

from ..core import Core
from ..errors import Interrupted, UserError
from ..flags import parse_setting
from ..flags.likes import resolved
from .command_line import parse

_PASSED_ON = ('log', 'ends', 'eval_log', 'resume', 'like', 'gpu', 'data_dir', 'seed')


def run(flags: Mapping[str, Any]) -> dict[Any, Any]:
    """Runs the task that FLAGS describe, from one's own Python code.

    Raises:
        UserError: something that a person can put right.
    """
    return Core(flags).run()


def app_start(flags: Mapping[str, Any]) -> None:
    """Runs a config file's FLAGS with the command line's overrides; what a config file calls when it is started.

    Exits with status 1 and one sentence on an error that a person can put right.
    """
    _define()
    app.run(lambda argv: _main(argv, flags), flags_parser=parse)


def _define() -> None:
    of_main: dict[str, Any] = {'module_name': sys.argv[0]}  # so that --help shows them
    for name, text in (
            ('eval_log', 'directory for the results of an evaluation (default: a new <log>/<config>/<date>)'),
            ('resume', 'go on with the run in this working directory'),
            ('like', 'repeat the run in this working directory'),
            ('gpu', "index of the GPU to use, or 'cpu' (default: GPU 0 if there is one)"),
            ('data_dir', "TensorFlow Datasets' directory (default: TFDS_DATA_DIR, or TFDS's own)")):
        absl_flags.DEFINE_string(name, None, text, **of_main)
    absl_flags.DEFINE_multi_string(
        'log', None, 'working directory (default: a new logs/<config>/<date>); may be repeated, to measure several '
        'runs', **of_main)
    absl_flags.DEFINE_multi_string('ends', None, "a run's working directory; twice, for the runs that a curve joins",
                                   **of_main)
    absl_flags.DEFINE_integer('seed', None, 'of weights and permutations (default: fresh, and recorded)', **of_main)
    absl_flags.DEFINE_multi_string(
        'set', [], 'key=value, overrides a flag of the config file; may be repeated, and dotted keys reach into '
        'dictionaries: --set E=100 --set model.act_type=relu2', **of_main)


def _main(argv: list[str], flags: Mapping[str, Any]) -> None:
    task = None
    logging.set_verbosity(logging.WARNING)  # TensorFlow Datasets tells of every file it opens
    try:
        if len(argv) > 1:
            raise UserError(f'{argv[1]!r} is not an option; flags are set with --set key=value')
        given = {name: value for name in _PASSED_ON if (value := absl_flags.FLAGS[name].value) is not None}
        settings = [parse_setting(text) for text in absl_flags.FLAGS['set'].value or ()]
        if isinstance(flags, Mapping):  # Core says what is wrong with what is none
            flags = resolved(flags, Path(sys.argv[0]).parent)
        task = Core(flags, given, settings, name=Path(sys.argv[0]).stem)
        task.run()
    except Interrupted as e:
        print(e, file=sys.stderr)
        sys.stdout.flush(), sys.stderr.flush()
        os._exit(1)  # TensorFlow is busy in a thread, and does not survive Python's tidying up
    except UserError as e:
        sys.exit(f'error: {e}')
    except KeyboardInterrupt:
        log = task is not None and task.flags['task'] == 'train' and task.flags['log']
        sys.exit('interrupted; what was finished is saved' + (f', and --resume {log} goes on' if log else ''))
    except BrokenPipeError:  # whatever read the output has gone, 'head' say; there is nobody left to tell
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
