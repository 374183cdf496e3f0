"""What the command lines of runs, evaluations and figures have in common."""

from __future__ import annotations

import re
import sys

from absl import flags

KINDS = {'int': 'a whole number', 'float': 'a number', 'bool': 'true or false'}
"""What options take, by absl's names of their types."""


def parse(argv: list[str]) -> list[str]:
    """Parses absl's flags and returns what is left; an unknown option ends the program with one sentence."""
    try:
        return flags.FLAGS(argv)
    except flags.Error as e:
        sys.exit(f'error: {_in_words(str(e))}; --help lists the options')


def _in_words(problem: str) -> str:
    """absl's sentence, without what Python says of a value that is not of the option's kind."""
    found = re.match(r'flag --([^=]+)=(.*?): ', problem, re.DOTALL)
    if found and found[1] in flags.FLAGS and (kind := KINDS.get(flags.FLAGS[found[1]].flag_type())):
        return f'--{found[1]} takes {kind}, not {found[2]!r}'
    return ' '.join(problem.split())
