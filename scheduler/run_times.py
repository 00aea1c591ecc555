"""How long the tasks of one node take, from those that have ended and those that run. Pure."""

from __future__ import annotations

import math
from collections.abc import Hashable
from typing import Final

__all__ = ["RunTimes"]

#: How quickly the average follows what is seen.
_FOLLOW: Final = 0.2


class RunTimes:
    """The run times of one node's tasks."""

    def __init__(self) -> None:
        self._average = 0.0
        #: tasks that run -> when they began
        self._begun: dict[Hashable, float] = {}

    def begin(self, key: Hashable, now: float) -> None:
        """A task runs from now on."""
        self._begun[key] = now

    def end(self, key: Hashable, now: float) -> None:
        """A task has ended; one that did not run does not count."""
        begun = self._begun.pop(key, None)
        if begun is not None:
            change = now - begun - self._average
            self._average += change * (_FOLLOW if self._average else 1.0)

    def forget(self, key: Hashable) -> None:
        """A task runs no more, and had no time to end."""
        self._begun.pop(key, None)

    def expected(self, now: float) -> float:
        """Return the seconds that tasks are taken to need; 0 when none has run.

        What has run for long may run for as long again: so a queue that stands still is seen, and
        a node that has ended none of its tasks yet. Those who ask often get the same, as it is
        rounded.
        """
        running = len(self._begun)
        mean = now - sum(self._begun.values()) / running if running else 0.0
        return 2.0 ** math.floor(math.log2(mean)) if mean > 2 * self._average else self._average
