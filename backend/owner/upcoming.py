"""What an owner's waiting tasks will need: told to the node, which then spills the rest. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice

from ..wire.messages import FUNCTION, STORED
from .tasks import WAITING, PendingTask

__all__ = ["upcoming"]

#: tasks that are looked at, at most: it is done under the lock
_LOOKED_AT = 20_000


def upcoming(tasks: Iterable[PendingTask], limit: int) -> list[tuple[bytes, int, list[bytes]]]:
    """Return the stored objects that tasks still waiting for other arguments will need.

    Args:
        tasks: all unfinished ones, oldest first.
        limit: objects to name at most.

    Returns:
        The id, the order, and the objects of each task, in the order of submission.
    """
    found: list[tuple[bytes, int, list[bytes]]] = []
    for task in islice(tasks, _LOOKED_AT):
        if task.state != WAITING or task.kind != FUNCTION:
            continue
        refs = [*task.arguments, *([task.payload_ref] if task.payload_ref is not None else [])]
        stored = [ref.id for ref in refs if ref._entry.state == STORED]
        if stored:
            found.append((task.task_id, task.order, stored[:limit]))
            limit -= len(stored)
            if limit <= 0:
                break
    return found
