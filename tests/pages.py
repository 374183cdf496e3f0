"""README.md and docs/, as a reader meets them: blocks of Python, commands, links."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / 'README.md', *sorted((ROOT / 'docs').glob('*.md'))]
PROGRAMS = ('./run.sh', './eval.sh', './plot.sh', './test.sh', 'python')
TAKES_NOTHING = ('list', 'help', 'all')
"""Options without a value."""


class Command(NamedTuple):
    """A command line of a page, in its parts.

    Attributes:
        page: the name of its file.
        text: as it stands there.
        program: one of PROGRAMS.
        words: what is no option: the name of a config file, directories.
        options: (name, value) in their order; the value is '' of those that take none.
    """

    page: str
    text: str
    program: str
    words: list[str]
    options: list[tuple[str, str]]

    def given(self, name: str) -> list[str]:
        """The values of an option."""
        return [value for option, value in self.options if option == name]


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT)) if page.is_relative_to(ROOT) else page.name


def python_blocks(page: Path) -> list[str]:
    return re.findall(r'```python\n(.*?)```', page.read_text(), re.DOTALL)


def commands(page: Path) -> list[Command]:
    """The command lines of a page: in blocks that are indented or fenced, and between backticks."""
    text = re.sub(r'```python\n.*?```', '', page.read_text(), flags=re.DOTALL)
    fenced = re.findall(r'```\w*\n(.*?)```', text, re.DOTALL)
    text = re.sub(r'```\w*\n.*?```', '', text, flags=re.DOTALL)
    lines = [line.strip() for block in fenced for line in block.split('\n')]
    lines += re.findall(r'^(?:    )(\S.*)$', text, re.MULTILINE)
    lines += re.findall(r'(?<!`)`([^`\n]+)`', re.sub(r'^    .*$', '', text, flags=re.MULTILINE))
    return [command_of(name_of(page), part.strip()) for line in lines for part in line.split(' && ')
            if part.strip().split(' ')[0] in PROGRAMS and ' ' in part.strip()]


def command_of(page: str, text: str) -> Command:
    """A command line in its parts, as a shell would part it."""
    program, *rest = shlex.split(text, comments=True)
    words, options = [], []
    while rest:
        word = rest.pop(0)
        name, equals, value = word[2:].partition('=') if word.startswith('--') else ('', '', '')
        if not name:
            words.append(word)
        elif name in TAKES_NOTHING or equals:
            options.append((name, value))
        else:
            options.append((name, rest.pop(0)))
    return Command(page, text, program, words, options)


def links(page: Path) -> list[str]:
    """The targets of a page's links and images, but for those on the web."""
    found = re.findall(r'\]\(([^)\s]+)\)', page.read_text())
    return [target for target in found if not re.match(r'https?://', target)]


def anchors(page: Path) -> set[str]:
    """What '#...' may name in a page: its headings, as GitHub calls them."""
    headings = re.findall(r'^#+ (.+)$', re.sub(r'```.*?```', '', page.read_text(), flags=re.DOTALL), re.MULTILINE)
    return {re.sub(r'[^\w\- ]', '', heading.lower()).replace(' ', '-') for heading in headings}
