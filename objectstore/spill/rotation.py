"""Which of several directories is written to next: in turns, leaving out those that fail.

Pure: the caller says what time it is and how writing went.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

#: Seconds for which a directory is left out after writing to it failed.
REST: Final = 30.0


class Rotation:
    """Takes turns among `count` directories, numbered from 0."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._next = 0
        #: Directory -> when it may be used again.
        self._resting: dict[int, float] = {}

    def order(self, now: float) -> Sequence[int]:
        """The directories to try, best first; those that failed lately are the last resort."""
        start = self._next
        self._next = (start + 1) % self._count
        turns = [(start + step) % self._count for step in range(self._count)]
        return sorted(turns, key=lambda number: self._resting.get(number, now) > now)

    def failed(self, number: int, now: float) -> bool:
        """Leave a directory out for a while. True when it was in use until now."""
        was_resting = self.resting(number, now)
        self._resting[number] = now + REST
        return not was_resting

    def worked(self, number: int) -> None:
        """Use a directory again."""
        self._resting.pop(number, None)

    def resting(self, number: int, now: float) -> bool:
        """Whether a directory is left out."""
        return self._resting.get(number, now) > now
