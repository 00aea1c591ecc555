"""Which tasks and actors a node hands on because another would run them much sooner. Pure.

A task is placed by what was known of the nodes when it was submitted. The node that it comes to
knows its own load, and looks again: when the task arrives, and from time to time while it waits.
Its queue may have grown, its tasks may take longer than elsewhere, it may have run out of memory,
or actors may hold what the task needs; and others may have become idle.

The newest tasks are looked at first: those before them wait less. Whether another node is much
better is `Placement`'s to say, and it has to be the better the more often a task was handed on. So
none goes to and fro, and none is left for good on a node that has turned out slow. After a few
times a task is handed on no more as it arrives, but with the next look at the earliest: not even
where it is stuck on each of its nodes does it travel as fast as messages do.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import islice
from typing import Final

from .placement import Copies, Load, Need, Placement

__all__ = ["INTERVAL", "Waiting", "handed_on"]

#: Times that one attempt of a task is handed on as it arrives.
_PASSED_ON: Final = 2
#: Seconds between two looks at the tasks that wait: loads are reported as often.
INTERVAL: Final = 0.1
#: Tasks that are looked at at once.
_LOOKS: Final = 16


@dataclass(slots=True, frozen=True)
class Waiting:
    """A task that has not begun.

    Attributes:
        key: names it.
        need: what it needs.
        copies: tells where its arguments are.
        moves: how often it was handed on.
        stuck: actors hold what it needs, so that it cannot begin before one ends.
    """

    key: Hashable
    need: Need
    copies: Callable[[bytes], Copies]
    moves: int
    stuck: bool = False


def handed_on(
    placement: Placement,
    node: bytes,
    load: Load,
    waiting: Iterable[Waiting],
    *,
    arriving: bool = False,
) -> Iterator[tuple[Hashable, bytes]]:
    """Yield the tasks to hand on, and the nodes that are to have them.

    Args:
        placement: what is known of the other nodes; it is told what they get.
        node: where the tasks are.
        load: of that node, these tasks included unless they are stuck.
        waiting: the newest first.
        arriving: they have come just now.
    """
    for task in islice(waiting, _LOOKS):
        if arriving and task.moves >= _PASSED_ON:
            continue
        better = placement.better_than(
            node, load, task.need, task.copies, moves=task.moves, stuck=task.stuck
        )
        if better is not None:
            if not task.stuck:
                load = replace(load, tasks=load.tasks - 1)
            placement.sent(better)
            yield task.key, better
