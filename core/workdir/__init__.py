"""The working directory of a run, an evaluation or a sweep: the only place that knows its file names."""

from .workdir import Onlooker, Workdir, plain, replace

__all__ = ['Onlooker', 'Workdir', 'plain', 'replace']
