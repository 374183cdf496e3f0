"""Modules under the names they had before they moved into folders, so that people's own figures go on working."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

MOVED = {
    'core.app': 'core.cli.app', 'core.command_line': 'core.cli.command_line', 'core.launch': 'core.cli.launch',
    'core.plot_app': 'core.cli.plot_app',
    'core.histories': 'core.plotting.histories', 'core.labels': 'core.plotting.labels',
    'core.tables': 'core.plotting.tables', 'core.transfer_plots': 'core.plotting.transfer',
    'core.grid': 'core.sweeps.grid', 'core.sweep': 'core.sweeps.sweep',
    'core.sweep_directory': 'core.sweeps.directory', 'core.sweep_results': 'core.sweeps.results',
    'core.npz': 'core.workdir.npz', 'core.locks': 'core.workdir.locks', 'core.earlier': 'core.flags.earlier',
    'core.training': 'core.tasks.epochs', 'core.batches': 'core.tasks.parts', 'core.attacking': 'core.tasks.attack',
    'core.transfer': 'core.tasks.transfer', 'core.theory': 'core.tasks.kkt', 'core.evaluation': 'core.tasks.evaluation',
    'core.records': 'core.tasks.records', 'core.replay': 'core.tasks.replay',
}


class Moved(MetaPathFinder, Loader):
    """Finds a module under its earlier name: the very same module, imported when it is asked for."""

    def find_spec(self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
                  ) -> ModuleSpec | None:
        return ModuleSpec(name, self) if name in MOVED else None

    def create_module(self, spec: ModuleSpec) -> Any:
        module = import_module(MOVED[spec.name])
        self._spec = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        module.__spec__ = self._spec  # Python has just put that of the earlier name there


sys.meta_path.append(Moved())
