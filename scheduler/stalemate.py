"""Whether the processes of a session wait for each other, so that nothing will ever happen. Pure.

Every process is asked, in rounds, how many of its threads wait for a message, and how many messages
it has served. Between two rounds in which all of them wait and none has served anything, nothing
happened; and nothing will, for only a message wakes who waits for one. That holds as long as no
message is under way for longer than the pause between the rounds.

A thread that does not wait for a message may do anything, or nothing: it may be a timer of some
library. So a process in which only some threads wait is perhaps stuck.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

__all__ = ["Standing", "Verdict", "judge"]


@dataclass(frozen=True, slots=True)
class Standing:
    """What a process said of itself in one round.

    Attributes:
        waiting: threads that wait for a message, for however long that takes.
        threads: all that run code of the user's, or wait for it.
        served: messages that were served up to now, the question itself left out.
    """

    waiting: int
    threads: int
    served: int


class Verdict(Enum):
    """What two rounds tell."""

    MOVES = "moves"
    """Somebody does something, or may."""
    QUIET = "quiet"
    """Nothing happened, and in every process somebody waits; but other threads are there."""
    STUCK = "stuck"
    """Nothing will ever happen."""


def judge(before: Mapping[bytes, Standing], now: Mapping[bytes, Standing]) -> Verdict:
    """Compare two rounds, each with the answers of all processes.

    Args:
        before: process -> what it said in the earlier round.
        now: the same for the later one.
    """
    if not now or before != now or not all(each.waiting for each in now.values()):
        return Verdict.MOVES
    if all(each.waiting >= each.threads for each in now.values()):
        return Verdict.STUCK
    return Verdict.QUIET
