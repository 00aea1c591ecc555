"""`memory`: who holds which bytes of the object store, and which line of the program made them.

Also `available_memory`: what this machine, or container, has left for the heaps of processes.
"""

from __future__ import annotations

import contextlib
from typing import Literal

import psutil

from ..node.cgroup import limited_groups
from ..report.memory import GROUPS, GroupBy, MemoryReport, build_report
from ..wire import messages as m
from .session import connected_runtime

__all__ = ["MemoryReport", "available_memory", "memory"]

_SORTS = ("size", "age")


def available_memory() -> int:
    """Return the bytes of memory that this process could still take, with nobody killed for it.

    It is the least of what the machine has left and what the limits of the container (control
    group) leave, in which this process runs. Files in the page cache do not count as used. Needs
    no session.
    """
    free = [psutil.virtual_memory().available]
    for group in limited_groups():
        with contextlib.suppress(OSError, ValueError):  # the group is gone
            free.append(max(0, group.limit - group.used()))
    return int(min(free))


def memory(
    *,
    limit: int | None = 100,
    sort: Literal["size", "age"] = "size",
    group_by: GroupBy | None = None,
) -> MemoryReport:
    """Return who holds which memory of this session or cluster; printed, it is a table.

    Each object of the store is listed with its size, its state, the processes that pin it, its
    owner, and the line of the program that put it or submitted the task that made it. Works in the
    driver and in tasks; ``millpond memory`` shows the same from another shell. Of a cluster all
    nodes are asked; an object that several of them have is listed for each.

    Args:
        limit: objects, or groups, to list at most; None for all.
        sort: "size" for the largest first, "age" for the oldest first. Groups are always sorted by
            size.
        group_by: "call_site" sums up the objects of each line of the program, "made_by" those of
            each task's name, "owner" those of each process.

    Raises:
        TypeError: ``limit`` is not an integer.
        ValueError: an argument has none of these values.
    """
    if limit is not None and (isinstance(limit, bool) or not isinstance(limit, int)):
        raise TypeError(f"limit must be a number of rows or None, it is {limit!r}")
    if limit is not None and limit < 1:
        raise ValueError(f"limit must be 1 or more, or None for all rows, it is {limit}")
    if sort not in _SORTS:
        raise ValueError(f"sort must be one of {', '.join(_SORTS)}; it is {sort!r}")
    if group_by is not None and group_by not in GROUPS:
        raise ValueError(
            f"group_by must be one of {', '.join(GROUPS)}, or None; it is {group_by!r}"
        )
    runtime = connected_runtime()
    runtime.releaser.drain()
    rows = 0 if group_by is not None else limit or 0
    asked = m.GetMemory(0, rows, oldest_first=sort == "age", cluster=True)
    state = runtime.requests.ask(runtime.node, asked)
    by_age = sort == "age"
    return build_report(state, limit=limit or 0, group_by=group_by, oldest_first=by_age)
