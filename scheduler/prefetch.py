"""Which objects to restore ahead, for the tasks that wait for a slot or for memory. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice

from .queue import LeaseQueue

__all__ = ["worth_restoring"]

#: arguments of waiting tasks that are looked at, at most
_LOOKED_AT = 1024
#: waiting tasks that are looked at for each that runs: what comes back sooner than it has to takes
#: the room of something else, which must come back as well
_TASKS_AHEAD = 2


def worth_restoring(queue: LeaseQueue, is_spilled: Callable[[bytes], bool]) -> Iterator[bytes]:
    """Yield spilled objects that tasks will need soon, the next task's first.

    Together with the arguments of all tasks before them, and with what admitted tasks were
    promised, they fit in the store: so they do not push out each other.

    Args:
        queue: the tasks; nothing of it may be changed before the caller is done.
        is_spilled: whether an object is in a file only.
    """
    admission = queue.admission
    room = admission.capacity - admission.promised
    seen: set[bytes] = set()
    ahead = _TASKS_AHEAD * max(1, len(queue.grants))
    for request in islice(queue.upcoming(), ahead):
        for object_id, size in request.arguments.items():
            if object_id in seen or object_id in admission:
                continue
            seen.add(object_id)
            room -= size
            if room < 0 or len(seen) > _LOOKED_AT:
                return
            if is_spilled(object_id):
                yield object_id
        room -= request.output
