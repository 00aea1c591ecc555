"""Which tasks and actors a node hands on because another would run them much sooner. Pure.

A task is placed by what was known of the nodes when it was submitted. The node that it comes to
knows its own load, and looks again: when the task arrives, and from time to time while it waits.
Its queue may have grown, its tasks may take longer than elsewhere, it may have run out of memory,
or actors may hold what the task needs; and others may have become idle.

The newest tasks are looked at first: those before them wait less. A task is handed on a few times
at most, but never left where it cannot begin. Whether another node is much better is
`Placement`'s to say.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import islice
from typing import Final

from .placement import Copies, Load, Need, Placement

__all__ = ["INTERVAL", "MOST_MOVES", "Waiting", "handed_on"]

#: Times that one attempt of a task is handed on.
MOST_MOVES: Final = 2
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
    placement: Placement, node: bytes, load: Load, waiting: Iterable[Waiting]
) -> Iterator[tuple[Hashable, bytes]]:
    """Yield the tasks to hand on, and the nodes that are to have them.

    Args:
        placement: what is known of the other nodes; it is told what they get.
        node: where the tasks are.
        load: of that node, these tasks included unless they are stuck.
        waiting: the newest first.
    """
    for task in islice(waiting, _LOOKS):
        before = load if task.stuck else replace(load, tasks=load.tasks - 1)
        if task.moves >= MOST_MOVES and not task.stuck:
            continue
        better = placement.better_than(node, before, task.need, task.copies, stuck=task.stuck)
        if better is not None:
            load = before
            placement.sent(better)
            yield task.key, better
