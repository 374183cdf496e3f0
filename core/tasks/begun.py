"""The directory of an evaluation: a new one, or one that was begun and is gone on with."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import UserError
from ..flags import PLACES
from ..workdir import Workdir, plain


def earlier_flags(eval_log: str | None, name: str, config: Mapping[str, Any], command_line: Mapping[str, Any]
                  ) -> dict[str, Any] | None:
    """The flags of the evaluation that was begun in ``eval_log``, to go on with; None if none was.

    Args:
        eval_log: the flag.
        name: of the config file.
        config: its flags.
        command_line: flags that were given there.

    Raises:
        UserError: it was another evaluation, or one with other flags.
    """
    if not eval_log or not Workdir(eval_log).flags_path.exists():
        return None
    record = Workdir(eval_log).read_flags()
    if record.get('evaluation') != name:
        raise UserError(f'{eval_log} does not hold an evaluation by {name}; choose another directory, or none for a '
                        'new one')
    begun, flags = record['config'], record['flags']
    now, asked = plain(portable_flags(config)), plain(portable_flags(command_line))
    differs = [(k, begun.get(k), now.get(k)) for k in {**begun, **now} if begun.get(k) != now.get(k)]
    differs += [(k, was, v) for k, v in asked.items() if (was := _at(flags, k)) != v]
    if differs:
        key, was, wanted = differs[0]
        raise UserError(f'the evaluation in {eval_log} was begun with {key}={was!r}, so it cannot go on with '
                        f'{key}={wanted!r}; choose another directory, or none for a new one')
    return {k: v for k, v in flags.items() if k not in PLACES}


def _at(flags: Mapping[str, Any], key: str) -> Any:
    """A flag, or what is within one by a dotted key; None for what is not there."""
    found: Any = flags
    for name in key.split('.'):
        found = found.get(name) if isinstance(found, Mapping) else None
    return found


def portable_flags(flags: Mapping[str, Any]) -> dict[str, Any]:
    """Flags without those that say where something is."""
    return {k: v for k, v in flags.items() if k not in PLACES}


def open_evaluation(eval_log: str | None, parent: Path, record: Mapping[str, Any]) -> Workdir:
    """The directory of an evaluation: a new one, or one to go on with, of the same models.

    Raises:
        UserError: it cannot be written in, holds something else, or the run's models have changed since.
    """
    if eval_log and Workdir(eval_log).flags_path.exists():
        out = Workdir(eval_log)
        earlier = out.read_flags().get('models', {})
        for eid, digest in record['models'].items():
            if earlier.get(str(eid)) != digest:
                raise UserError(f'the model of epoch {eid} is not the one that the evaluation in {eval_log} began with')
        if record.get('source_model') != out.read_flags().get('source_model'):
            raise UserError(f'the model of the source is not the one that the evaluation in {eval_log} began with')
        return out
    out = Workdir.create(eval_log, parent)
    out.write_flags(dict(record))
    return out


def digests(run: Workdir, eids: list[int]) -> dict[str, str]:
    """SHA-256 of the archived models."""
    return {str(eid): hashlib.sha256(run.find_model(eid).read_bytes()).hexdigest() for eid in eids}
