"""What a check says."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

SHARE = 0.05
"""Of the images that a check looks at, the share that has to be found for it to fire,"""
LEAST = 2
"""and so many of them at least: a single image may be one on a boundary."""


@dataclass(frozen=True)
class Finding:
    """What a check found.

    Attributes:
        name: of the check, and of its section in docs/health.md.
        fired: whether the numbers of the evaluation are to be doubted.
        numbers: what that rests on, by name.
        says: if it fired, what was seen, and what to do, in a sentence.
        skipped: why it did not look; None if it did.
        failed: whether that was for an error.
    """

    name: str
    fired: bool
    numbers: dict[str, Any] = field(default_factory=dict)
    says: str = ''
    skipped: str | None = None
    failed: bool = False

    def plain(self) -> dict[str, Any]:
        """For summary.json."""
        return {'fired': self.fired, **({} if self.skipped is None else {'skipped': self.skipped}),
                **({'failed': True} if self.failed else {}), **self.numbers,
                **({'says': self.says} if self.fired else {})}


def skipped(name: str, why: str) -> Finding:
    """A check that does not apply."""
    return Finding(name, False, skipped=why)


def many(count: int, of: int) -> bool:
    """Whether so many, of so many images, are no accident."""
    return count >= max(LEAST, SHARE * of)
