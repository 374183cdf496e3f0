"""What the command lines of runs, evaluations and figures have in common."""

from __future__ import annotations

import sys

from absl import flags


def parse(argv: list[str]) -> list[str]:
    """Parses absl's flags and returns what is left; an unknown option ends the program with one sentence."""
    try:
        return flags.FLAGS(argv)
    except flags.Error as e:
        sys.exit(f'error: {e}; --help lists the options')
