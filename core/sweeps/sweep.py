"""A sweep and its command line, under the name at which config files and people's own code have found them."""

from __future__ import annotations

from ..cli.sweep_app import sweep_start
from .running import Sweep

__all__ = ['Sweep', 'sweep_start']
