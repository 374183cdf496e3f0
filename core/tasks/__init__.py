"""What can be done with a network: a file a task, beside what they share.

A task is found here by its name, and imported when it is asked for: a new one is a file and a line in a table.
"""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Mapping
from importlib import import_module
from typing import Any

TRAINING: dict[str, Any] = {
    'train': 'core.tasks.train.Train',
    'train_peek': 'core.tasks.train_peek.TrainPeek',
}
"""Tasks that train."""
EVALUATIONS: dict[str, Any] = {
    'attack': 'core.tasks.attack.Attacking',
    'certify': 'core.tasks.certify.Certify',
    'compare': 'core.tasks.compare.Compare',
    'curve': 'core.tasks.curve.AlongCurve',
    'generate': 'core.tasks.generate.Generate',
    'hessian': 'core.tasks.hessian.WatchHessian',
    'kkt': 'core.tasks.kkt.WatchKKT',
    'perturb': 'core.tasks.perturb.Perturb',
    'sandwich': 'core.tasks.sandwich.Sandwich',
    'scan': 'core.tasks.scan.Scanning',
    'transfer': 'core.tasks.transfer.Transfer',
    'union': 'core.tasks.union.Union',
}
"""Tasks that measure archived models: subclasses of ``base.Evaluation``, or where they are."""
TASKS: Mapping[str, Any] = ChainMap(EVALUATIONS, TRAINING)
"""All of them, for the flag ``task``."""


def task_class(name: str) -> Any:
    """The class of a task of TASKS."""
    home = TASKS[name]
    if isinstance(home, str):
        module, _, cls = home.rpartition('.')
        return getattr(import_module(module), cls)
    return home
