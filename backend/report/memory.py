"""Who holds which memory of a session: the answer of `millpond.memory`, made from messages. Pure.

The node knows sizes, states and pins; call sites, tasks and references are the owners'. How it is
shown is in ``memory_text``. Sizes are in bytes.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal

from millpond.objectstore.statistics import StoreStatistics

from ..wire import messages as m
from ..wire.ids import NODE_ID_BYTES, node_of, owner_of
from .memory_text import render

__all__ = ["GROUPS", "GroupBy", "GroupMemory", "MemoryReport", "ObjectMemory"]
__all__ += ["NodeMemory", "OwnerTotals", "Pins", "Process", "build_report"]

GroupBy = Literal["call_site", "made_by", "owner"]
#: object -> what its owner says of it, and the line of the program
_Origins = dict[bytes, tuple[m.ObjectOrigin, str | None]]
GROUPS: tuple[str, ...] = ("call_site", "made_by", "owner")
UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Process:
    """A process of the session.

    Attributes:
        role: "driver", "worker", "actor", or "gone" for one that died.
        pid: its process id, 0 where unknown.
        node: id of its node, if the report is of several.
    """

    role: str
    pid: int
    node: str = ""

    def __str__(self) -> str:
        name = f"{self.role} {self.pid}" if self.pid else self.role
        return f"{name} on {self.node}" if self.node else name


@dataclass(frozen=True, slots=True)
class Pins:
    """How many pins of an object one process holds; a pinned object cannot leave memory."""

    process: Process
    count: int


@dataclass(frozen=True, slots=True)
class ObjectMemory:
    """One object of the store.

    Attributes:
        id: as in ``ObjectRef.hex()``.
        size: bytes.
        state: "waiting for room", "being written", "in memory", "in memory and file",
            "spilling", "spilled", "restoring"; "deleted, in use" when only pins keep it.
        in_memory: it takes room in the store's memory.
        in_file: its bytes are in a spill file.
        pins: who reads it, as arrays over it or arguments of a running task.
        owner: the process that put it or submitted its task.
        made_by: name of the task, "put", or "arguments of" a task; None where unknown.
        call_site: the line of the program that put it or submitted its task.
        refs: Python references to its ref in the owner's process.
        borrowers: other processes that hold a ref of it.
        node: id of the node that has it here, if the report is of several.
    """

    id: str
    size: int
    state: str
    in_memory: bool
    in_file: bool
    pins: tuple[Pins, ...]
    owner: Process
    made_by: str | None = None
    call_site: str | None = None
    refs: int | None = None
    borrowers: int | None = None
    node: str = ""


@dataclass(frozen=True, slots=True)
class GroupMemory:
    """Objects that have something in common.

    Attributes:
        key: what they have in common: a line of the program, a task's name, or an owner.
        made_by: names of the tasks, or "put".
        objects: how many.
        size: bytes of all.
        memory_bytes: bytes of those in memory.
        file_bytes: bytes of those in files.
        pinned_bytes: bytes of those that somebody reads.
    """

    key: str
    made_by: tuple[str, ...]
    objects: int
    size: int
    memory_bytes: int
    file_bytes: int
    pinned_bytes: int


@dataclass(frozen=True, slots=True)
class OwnerTotals:
    """One process that owns objects.

    Attributes:
        process: it.
        answered: False if it did not answer in time; what only it knows is missing then.
        inline_objects: small values, which live in the process and not in the store.
        inline_bytes: their bytes.
    """

    process: Process
    answered: bool
    inline_objects: int
    inline_bytes: int


@dataclass(frozen=True, slots=True)
class NodeMemory:
    """The store of one node.

    Attributes:
        node: its id.
        total_objects: objects in it, listed or not.
        total_bytes: their bytes, in memory or in files.
        waiting_bytes: bytes of new objects that wait for room.
        store: its own figures.
        spill_location: where values are spilled; None for nowhere.
        spill_free_bytes: bytes that are free there; None where unknown.
    """

    node: str
    total_objects: int
    total_bytes: int
    waiting_bytes: int
    store: StoreStatistics
    spill_location: str | None
    spill_free_bytes: int | None


@dataclass(frozen=True, slots=True)
class MemoryReport:
    """Who holds which memory; `str` makes a table of it.

    An object that several nodes have counts for each of them.

    Attributes:
        objects: the largest objects of the stores, or the oldest; empty when grouped.
        groups: the largest groups of objects; empty when not grouped.
        owners: the processes that own objects, small ones included.
        nodes: the stores, that of the node that was asked first.
        silent_nodes: ids of nodes that did not answer in time.
    """

    objects: tuple[ObjectMemory, ...]
    groups: tuple[GroupMemory, ...]
    owners: tuple[OwnerTotals, ...]
    nodes: tuple[NodeMemory, ...]
    silent_nodes: tuple[str, ...] = ()

    @property
    def total_objects(self) -> int:
        """Objects in the stores, listed or not."""
        return sum(node.total_objects for node in self.nodes)

    @property
    def total_bytes(self) -> int:
        """Their bytes, in memory or in files."""
        return sum(node.total_bytes for node in self.nodes)

    @property
    def waiting_bytes(self) -> int:
        """Bytes of new objects that wait for room."""
        return sum(node.waiting_bytes for node in self.nodes)

    @property
    def store(self) -> StoreStatistics:
        """The figures of the store of the node that was asked."""
        return self.nodes[0].store

    @property
    def spill_location(self) -> str | None:
        """Where that spills values; None for nowhere."""
        return self.nodes[0].spill_location

    @property
    def spill_free_bytes(self) -> int | None:
        """Bytes that are free there; None where unknown."""
        return self.nodes[0].spill_free_bytes

    def __str__(self) -> str:
        return render(self)


def build_report(
    state: m.MemoryState,
    *,
    limit: int = 0,
    group_by: str | None = None,
    oldest_first: bool = False,
) -> MemoryReport:
    """Make a report of the node's answer.

    Args:
        state: the answer.
        limit: objects or groups to list at most; 0 for all.
        group_by: one of `GROUPS`, or None.
        oldest_first: objects came so; else the largest first.
    """
    states: list[m.NodeStore] = [state, *state.others]
    several = len(states) > 1
    processes = {
        info.process_id: Process(
            info.role, info.pid, node_of(info.process_id).hex() if several else ""
        )
        for each in states
        for info in each.processes
    }
    origins = _origins(states)
    objects = _merged(
        [_objects(each, processes, origins, several) for each in states], oldest_first
    )
    groups: list[GroupMemory] = []
    if group_by is not None:
        objects, groups = [], _grouped(objects, _KEYS[group_by])
    return MemoryReport(
        objects=tuple(objects[: limit or None]),
        groups=tuple(groups[: limit or None]),
        owners=_owners(states, processes),
        nodes=tuple(_node(each) for each in states),
        silent_nodes=tuple(each.hex() for each in state.silent if len(each) == NODE_ID_BYTES),
    )


def _node(state: m.NodeStore) -> NodeMemory:
    return NodeMemory(
        node=state.node_id.hex(),
        total_objects=state.store["num_objects"],
        total_bytes=state.total_bytes,
        waiting_bytes=state.waiting_bytes,
        store=store_statistics(state.store),
        spill_location=state.spill_location or None,
        spill_free_bytes=state.spill_free if state.spill_free >= 0 else None,
    )


def _merged(lists: list[list[ObjectMemory]], oldest_first: bool) -> list[ObjectMemory]:
    if len(lists) == 1:
        return lists[0]
    if oldest_first:  # clocks differ: take turns
        turns = itertools.zip_longest(*lists)
        return [row for turn in turns for row in turn if row is not None]
    return sorted(itertools.chain(*lists), key=lambda row: -row.size)


def store_statistics(store: Mapping[str, Any]) -> StoreStatistics:
    """Return the store's figures as they were before they travelled."""
    return StoreStatistics(**{f.name: store[f.name] for f in fields(StoreStatistics)})


def _process(processes: Mapping[bytes, Process], process_id: bytes) -> Process:
    return processes.get(process_id) or Process("gone", 0)


def _origins(states: Sequence[m.NodeStore]) -> _Origins:
    known: _Origins = {}
    for owner in itertools.chain(*(state.owners for state in states)):
        for origin in owner.origins:
            site = owner.sites[origin.site] if origin.site >= 0 else None
            known[origin.object_id] = origin, site
    return known


def _objects(
    state: m.NodeStore, processes: Mapping[bytes, Process], known: _Origins, several: bool
) -> list[ObjectMemory]:
    rows = []
    for stored in state.objects:
        told, site = known.get(stored.object_id, (None, None))
        rows.append(
            ObjectMemory(
                id=stored.object_id.hex(),
                size=stored.size,
                state=stored.state,
                in_memory=stored.in_memory,
                in_file=stored.in_file,
                pins=tuple(
                    Pins(_process(processes, reader), count)
                    for reader, count in stored.pins.items()
                ),
                owner=_process(processes, owner_of(stored.object_id)),
                made_by=told.made_by if told else None,
                call_site=site,
                refs=told.refs if told else None,
                borrowers=told.borrowers if told else None,
                node=state.node_id.hex() if several else "",
            )
        )
    return rows


_KEYS: Mapping[str, Callable[[ObjectMemory], str | None]] = {
    "call_site": lambda row: row.call_site,
    "made_by": lambda row: row.made_by,
    "owner": lambda row: str(row.owner),
}


def _grouped(
    objects: list[ObjectMemory], key_of: Callable[[ObjectMemory], str | None]
) -> list[GroupMemory]:
    members: dict[str, list[ObjectMemory]] = {}
    for row in objects:
        members.setdefault(key_of(row) or UNKNOWN, []).append(row)
    groups = [
        GroupMemory(
            key=key,
            made_by=tuple(sorted({row.made_by for row in rows if row.made_by})),
            objects=len(rows),
            size=sum(row.size for row in rows),
            memory_bytes=sum(row.size for row in rows if row.in_memory),
            file_bytes=sum(row.size for row in rows if row.in_file),
            pinned_bytes=sum(row.size for row in rows if row.pins),
        )
        for key, rows in members.items()
    ]
    return sorted(groups, key=lambda group: -group.size)


def _owners(
    states: Sequence[m.NodeStore], processes: Mapping[bytes, Process]
) -> tuple[OwnerTotals, ...]:
    owners = {owner.process_id: owner for state in states for owner in state.owners}
    answered = [
        OwnerTotals(_process(processes, process_id), True, owner.inline_objects, owner.inline_bytes)
        for process_id, owner in owners.items()
    ]
    missing = dict.fromkeys(
        owner for state in states for owner in state.silent if len(owner) != NODE_ID_BYTES
    )
    silent = [OwnerTotals(_process(processes, owner), False, 0, 0) for owner in missing]
    return tuple(sorted(answered, key=lambda owner: -owner.inline_bytes) + silent)
