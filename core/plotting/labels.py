"""What to call runs by what they were trained with, and which of them differ in nothing but the seed; from flags.json,
so that figures need no TensorFlow."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from ..workdir import Workdir

_NAMES = {'cross-entropy': 'cross entropy', 'large-margin': 'margin', 'large-margin-released': 'margin as released'}
_PLACES = {'all': 'all layers', 'hidden': 'hidden layers'}
_NORMS = {'inf': 'l∞', '1': 'l1', '2': 'l2'}
_DEFAULT_NORMS = {'large-margin': 2, 'large-margin-released': 'inf'}
_NOT_SETTINGS = ('seed', 'log', 'eval_log', 'gpu', 'threads', 'data_dir', 'print', 'tensorboard', 'resume', 'like',
                 'deterministic', 'include_all_rt_loss_in_res', 'archive', 'E')
"""Flags that do not make runs different in kind; E is a wish, and a run may be drawn before it is fulfilled."""


def objective_label(flags: Mapping[str, Any]) -> str:
    """What a run was trained to minimise, for a legend: 'cross entropy', 'l2 margin, all layers', 'l∞ margin, input'.

    Args:
        flags: the run's, or their record in flags.json.
    """
    return _label(flags.get('objective', 'cross-entropy'))


def _label(objective: Any) -> str:
    if isinstance(objective, (list, tuple)):
        terms = [{'type': term} if isinstance(term, str) else term for term in objective]
        weights = ['' if term.get('weight', 1) == 1 else f'{term["weight"]:g} × ' for term in terms]
        return ' + '.join(weight + _label(term) for weight, term in zip(weights, terms) if term.get('weight', 1))
    if isinstance(objective, str):
        objective = {'type': objective}
    name = objective['type']
    if name not in _DEFAULT_NORMS:
        return _NAMES.get(name, name)
    norm = str(objective.get('norm', _DEFAULT_NORMS[name])).removesuffix('.0')
    layers = objective.get('layers', 'all')
    where = _PLACES.get(layers, layers) if isinstance(layers, str) else ', '.join(layers)
    return f'{_NORMS.get(norm, f"l{norm}")} {_NAMES[name]}, {where}'


def by_settings(runs: Sequence[Workdir]) -> dict[str, list[Workdir]]:
    """Runs that differ in nothing but their seeds, by what to call them: the objective, and what else tells those of
    one objective apart, such as 'l2 margin, all layers, objective.gamma=0.5'. The cross entropy comes first.

    Raises:
        UserError: not a run.
    """
    flags = {run.path: run.read_flags()['flags'] for run in runs}
    settings = {path: flat({k: v for k, v in f.items() if k not in _NOT_SETTINGS}) for path, f in flags.items()}
    groups: dict[str, dict[str, list[Workdir]]] = {}
    for run in runs:
        alike = json.dumps(settings[run.path], sort_keys=True)
        groups.setdefault(objective_label(flags[run.path]), {}).setdefault(alike, []).append(run)
    named: dict[str, list[Workdir]] = {}
    for label in sorted(groups, key=lambda label: (label != _NAMES['cross-entropy'], label)):
        kinds = [settings[members[0].path] for members in groups[label].values()]
        keys = {key: None for kind in kinds for key in kind}
        differ = [key for key in keys if len({json.dumps(kind.get(key)) for kind in kinds}) > 1]
        for kind, members in zip(kinds, groups[label].values()):
            named[', '.join([label, *(f'{key}={kind.get(key)}' for key in differ)])] = members
    return named


def flat(flags: Mapping[str, Any], prefix: str = '') -> dict[str, Any]:
    """Nested dictionaries as one, with dotted keys."""
    found: dict[str, Any] = {}
    for key, value in flags.items():
        found.update(flat(value, f'{prefix}{key}.') if isinstance(value, dict) else {prefix + key: value})
    return found
