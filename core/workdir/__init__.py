"""The working directory of a run, an evaluation or a sweep: the only place that knows its file names."""

from .files import plain, replace
from .workdir import Onlooker, Workdir

__all__ = ['Onlooker', 'Workdir', 'plain', 'replace']
