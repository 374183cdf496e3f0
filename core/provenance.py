"""What a record says of where numbers come from: versions, the commit of this code, flags that load anywhere."""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Mapping
from importlib import metadata
from typing import Any

import tensorflow as tf

from .workdir import plain


def versions() -> dict[str, str]:
    """Versions of what numbers may depend on."""
    found = {'python': platform.python_version()}
    for name in ('tensorflow', 'keras', 'numpy', 'tensorflow-datasets', 'scikit-learn'):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return {**found, 'tensorflow': tf.__version__}


def git_commit() -> str | None:
    """The commit of this code, with '+' where the tree has changes; None outside a git checkout."""
    def git(*args: str) -> str:
        return subprocess.run(['git', '-C', os.path.dirname(os.path.abspath(__file__)), *args], capture_output=True,
                              text=True, check=True, timeout=10).stdout.strip()
    try:
        return git('rev-parse', 'HEAD') + ('+' if git('status', '--porcelain', '--untracked-files=no') else '')
    except (OSError, subprocess.SubprocessError):
        return None


def without_enums(flags: Mapping[str, Any]) -> dict[str, Any]:
    """Flags for a pickle that loads without this project: enumerations by name."""
    def portable(value):
        if isinstance(value, dict):
            return {k: portable(v) for k, v in value.items()}
        if isinstance(value, (list, tuple)):
            return type(value)(portable(v) for v in value)
        return value if isinstance(value, (bool, int, float, str, type(None))) else plain(value)
    return portable(dict(flags))
