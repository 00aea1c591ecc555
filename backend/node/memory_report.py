"""Answers who holds which memory: the store's rows, and what their owners say of them.

Owners are asked all at once; who does not answer within a moment is left out and named. Each node
reports of its own store, and asks the owners of what is there, wherever they are; the node that is
asked about a cluster asks the others.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import operator
import os
import shutil
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

from millpond.objectstore.core import StoreCore
from millpond.objectstore.states import ObjectState
from millpond.objectstore.table import ObjectRecord

from ..wire import messages as m
from ..wire.ids import owner_of

if TYPE_CHECKING:
    from .far_peers import AnyPeer
    from .server import Peer

__all__ = ["MemoryReporter"]

#: seconds that owners get to answer; and other nodes, which ask owners themselves
_PATIENCE = 1.0
_NODES_PATIENCE = 2.0


class _Report:
    """One report, until every owner has answered or had its time."""

    def __init__(self, state: m.MemoryState, answer: Callable[[m.MemoryState], None]) -> None:
        self.state = state
        self.answer = answer
        self.asked: set[bytes] = set()
        self.timer: asyncio.TimerHandle | None = None


class MemoryReporter:
    """Makes memory reports.

    Args:
        core: the store.
        peers: the processes of the session, by id.
        loop: the node's event loop.
        spill_locations: directories or URIs (without secrets) where values are spilled.
    """

    def __init__(
        self,
        core: StoreCore,
        peers: Mapping[bytes, Peer],
        loop: asyncio.AbstractEventLoop,
        spill_locations: Sequence[str],
    ) -> None:
        self._core = core
        self._peers = peers
        self._loop = loop
        self._spill_locations = spill_locations
        self._numbers = itertools.count(1)
        self._open: dict[int, _Report] = {}
        self.node_id = b""
        #: finds a process of another node
        self.far: Callable[[bytes], AnyPeer | None] = lambda _: None
        #: sends the other nodes a question; returns who they are
        self.ask_others: Callable[[m.GetMemory], list[bytes]] = lambda _: []

    def report(self, message: m.GetMemory, answer: Callable[[m.MemoryState], None]) -> None:
        """Make a report; ``answer`` gets it."""
        state = self._look(message)
        report = _Report(state, answer)
        number = next(self._numbers)
        self._open[number] = report
        ids: dict[bytes, list[bytes]] = {process_id: [] for process_id in self._peers}
        for stored in state.objects:
            ids.setdefault(owner_of(stored.object_id), []).append(stored.object_id)
        for process_id, object_ids in ids.items():
            owner = self._peers.get(process_id) or self.far(process_id)
            if owner is not None:
                report.asked.add(process_id)
                owner.send(m.DescribeObjects(number, object_ids))
        patience = _PATIENCE
        if message.cluster:
            others = self.ask_others(m.GetMemory(number, message.limit, message.oldest_first))
            report.asked.update(others)
            patience = _NODES_PATIENCE if others else _PATIENCE
        report.timer = self._loop.call_later(patience, self._finish, number)

    def described(self, process_id: bytes, message: m.ObjectsDescribed) -> None:
        """An owner answers."""
        report = self._open.get(message.request)
        if report is not None and process_id in report.asked:
            report.state.owners.append(message.owner)
            self._heard(message.request, report, process_id)

    def node_answered(self, node_id: bytes, message: m.MemoryState) -> None:
        """Another node answers."""
        report = self._open.get(message.request)
        if report is not None and node_id in report.asked:
            fields = m.NodeStore.__struct_fields__
            report.state.others.append(m.NodeStore(*(getattr(message, name) for name in fields)))
            self._heard(message.request, report, node_id)

    def process_died(self, process_id: bytes) -> None:
        """A process will not answer any more."""
        for number, report in list(self._open.items()):
            if process_id in report.asked:
                self._heard(number, report, process_id)

    def _heard(self, number: int, report: _Report, process_id: bytes) -> None:
        report.asked.discard(process_id)
        if not report.asked:
            self._finish(number)

    def _finish(self, number: int) -> None:
        report = self._open.pop(number)
        if report.timer is not None:
            report.timer.cancel()
        report.state.silent = list(report.asked)
        report.answer(report.state)

    def _look(self, message: m.GetMemory) -> m.MemoryState:
        records = self._core.table.records.values()
        waiting = self._core.requests.queue
        return m.MemoryState(
            request=message.request,
            objects=[
                _stored(record, waits=record.oid in waiting) for record in _first(records, message)
            ],
            total_bytes=sum([record.size for record in records]),
            waiting_bytes=sum(
                record.size for record in waiting.values() if record.state is ObjectState.CREATED
            ),
            owners=[],
            silent=[],
            processes=[_process(*item) for item in self._peers.items()],
            store={name: int(value) for name, value in asdict(self._core.statistics()).items()},
            spill_location=", ".join(self._spill_locations),
            spill_free=_free_bytes(self._spill_locations),
            node_id=self.node_id,
            others=[],
        )


def _first(records: Collection[ObjectRecord], message: m.GetMemory) -> list[ObjectRecord]:
    """Return the objects to list, the first ones first. They come as the oldest first."""
    count = message.limit or len(records)
    if message.oldest_first:
        return list(itertools.islice(records, count))
    return heapq.nlargest(count, records, key=_size)


_size = operator.attrgetter("size")


def _stored(record: ObjectRecord, *, waits: bool) -> m.StoredObject:
    return m.StoredObject(
        record.oid,
        record.size,
        _state_word(record, waits=waits),
        record.offset is not None,
        record.has_file,
        dict(record.pins),
    )


def _state_word(record: ObjectRecord, *, waits: bool) -> str:
    if record.doomed:
        return "deleted, in use"
    if record.state is ObjectState.CREATED:
        return "waiting for room" if waits else "being written"
    if record.state is ObjectState.SEALED:
        return "in memory and file" if record.has_file else "in memory"
    return str(record.state)


def _process(process_id: bytes, peer: Peer) -> m.ProcessInfo:
    role = "driver" if peer.worker is None else "actor" if peer.worker.actor_id else "worker"
    return m.ProcessInfo(process_id, role, peer.pid)


def _free_bytes(locations: Sequence[str]) -> int:
    """Return the bytes that are free on the disks of directories, -1 where that is unknown."""
    try:
        disks = {os.stat(path).st_dev: path for path in locations}  # noqa: PTH116 - may be a URI
        return sum(shutil.disk_usage(path).free for path in disks.values()) if disks else -1
    except OSError:
        return -1
