"""Fetches objects from other nodes into this one's store: carries out what `PullQueue` decides.

A pulled object is one like any other: who waits for it is answered as soon as it is sealed. Its
owner is told that there is a copy here, and deletes it with the others. While it comes in, other
nodes can read what is here already (``fetch_service``).
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from millpond.objectstore.spill.checked_file import CheckedDraft
from millpond.scheduler.pulling import Command as PullCommand
from millpond.scheduler.pulling import Fetch, GiveUp, PullQueue

from ..cluster.links import FetchError, FetchRequest, HandedOnError
from ..wire.ids import owner_of
from ..wire.messages import IN_ARENA, IN_FILE, UNREACHABLE, Copies, CopiesGone, CopiesMade, Location

if TYPE_CHECKING:
    from .cluster_service import ClusterService
    from .far_peers import AnyPeer
    from .object_service import ObjectService

__all__ = ["Arrival", "Pulls"]

_log = logging.getLogger("millpond.node")

#: bytes that are fetched at the same time
_IN_FLIGHT = 256 << 20


class Arrival:
    """An object that is coming in, to a block of the arena or to a file.

    Attributes:
        size: its bytes.
        filled: how many of them are here.
        depth: of this node, for the object; see ``millpond.scheduler.fanout``.
        ended: it is sealed, or given up.
    """

    def __init__(self, size: int, block: memoryview, draft: CheckedDraft | None) -> None:
        self.size = size
        self.filled = 0
        self.depth = 1
        self.ended = False
        self._block = block
        self._draft = draft
        self._moved = asyncio.Event()

    @property
    def view(self) -> memoryview:
        """Its bytes; of a file that is complete, none."""
        return self._block if self._draft is None else self._draft.view

    def advance(self, filled: int) -> None:
        """So many bytes are here."""
        self.filled = filled
        self._tell()

    def end(self) -> None:
        """Whoever pinned it is answered by the store now."""
        self.ended = True
        self._tell()

    def _tell(self) -> None:
        moved, self._moved = self._moved, asyncio.Event()
        moved.set()

    async def moved(self) -> None:
        """Wait until more is here, or no more will come this way."""
        await self._moved.wait()

    async def finish(self) -> None:
        """All of it is here.

        Raises:
            OSError: its file could not be written.
        """
        if self._draft is not None:
            await asyncio.to_thread(self._draft.finish)

    def discard(self) -> None:
        """Remove its file, if it has one."""
        if self._draft is not None:
            self._draft.discard()


class Pulls:
    """The pulls of one node.

    Args:
        objects: the store.
        cluster: the other nodes.
        peer: finds a process.
        loop: the node's event loop.
    """

    def __init__(
        self,
        objects: ObjectService,
        cluster: ClusterService,
        peer: Callable[[bytes], AnyPeer | None],
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self._objects = objects
        self._cluster = cluster
        self._peer = peer
        self._loop = loop
        self._queue = PullQueue(_IN_FLIGHT, random.Random())  # noqa: S311 - only spreads load
        self._arrivals: dict[bytes, Arrival] = {}
        #: bytes that came from other nodes so far
        self.received = 0
        #: nodes said to have an object that waits for room here
        self._sources: dict[bytes, list[bytes]] = {}
        self._fetches: set[asyncio.Task[None]] = set()
        objects.fetch = self.begin
        objects.dropped = self._dropped

    @property
    def inbound(self) -> int:
        """Bytes that are still to be received."""
        return self._queue.inbound

    def arrival(self, object_id: bytes) -> Arrival | None:
        """Return an object that is coming in."""
        return self._arrivals.get(object_id)

    def begin(self, copies: Iterable[Copies]) -> None:
        """Fetch those objects that are neither here nor on the way."""
        for each in copies:
            others = [node_id for node_id in each.nodes if node_id != self._cluster.node_id]
            if each.object_id in self._sources:
                self._sources[each.object_id] += others
            elif each.object_id in self._queue:
                self._queue.learn(each.object_id, others)
            elif others and not self._objects.knows(each.object_id):
                self._make_room(each, others)

    def close(self) -> None:
        """End all fetches."""
        for fetch in self._fetches:
            fetch.cancel()
        for arrival in self._arrivals.values():
            arrival.discard()

    def _make_room(self, copies: Copies, others: list[bytes]) -> None:
        self._sources[copies.object_id] = others
        self._objects.create(
            [copies.object_id],
            [copies.size],
            self._cluster.node_id,
            lambda locations: self._granted(copies, locations[0]),
        )

    def _granted(self, copies: Copies, location: Location) -> None:
        object_id = copies.object_id
        sources = self._sources.pop(object_id)
        try:
            if location.kind == IN_ARENA:
                view = self._objects.block(location.offset, location.size)
                self._arrivals[object_id] = Arrival(copies.size, view, None)
            elif location.kind == IN_FILE:
                draft = CheckedDraft(location.path, copies.size)
                self._arrivals[object_id] = Arrival(copies.size, memoryview(b""), draft)
            else:
                _log.warning("object %s cannot be fetched: %s", object_id.hex(), location.reason)
                return
        except OSError as error:
            self._abort(object_id, f"{UNREACHABLE}there is no room for it: {error}")
            return
        self._execute(self._queue.add(object_id, copies.size, sources))

    def _execute(self, commands: list[PullCommand]) -> None:
        for command in commands:
            if isinstance(command, GiveUp):
                self._abort(command.object_id, command.reason)
            else:
                fetch = self._loop.create_task(self._fetch(command))
                self._fetches.add(fetch)
                fetch.add_done_callback(self._fetches.discard)

    async def _fetch(self, fetch: Fetch) -> None:
        object_id, arrival = fetch.object_id, self._arrivals[fetch.object_id]
        links = self._cluster.links
        assert links is not None, "only members are sources"
        start, size = fetch.offset, arrival.size
        request = FetchRequest(
            object_id, start, size - start, self._cluster.node_id, fetch.depth, fetch.direct
        )
        arrival.depth = fetch.depth

        def came(filled: int) -> None:
            self.received += start + filled - arrival.filled
            arrival.advance(start + filled)

        try:
            await links.fetch(fetch.node_id, request, arrival.view[start:size], came)
            await arrival.finish()
        except HandedOnError as error:
            self._execute(self._queue.handed_on(object_id, error.node_id))
        except FetchError as error:
            self._execute(self._queue.failed(object_id, start + error.filled, str(error)))
        except OSError as error:
            self._execute(self._queue.done(object_id))
            self._abort(object_id, f"{UNREACHABLE}it could not be written: {error}")
        else:
            del self._arrivals[object_id]
            commands = self._queue.done(object_id)
            self._objects.seal([object_id], secondary=True)
            arrival.end()
            owner = self._peer(owner_of(object_id))
            if owner is None:
                self._objects.delete([object_id])
            else:
                owner.send(CopiesMade(self._cluster.node_id, [object_id]))
            self._execute(commands)

    def _dropped(self, object_id: bytes) -> None:
        owner = self._peer(owner_of(object_id))
        if owner is not None:
            owner.send(CopiesGone(self._cluster.node_id, [object_id]))

    def _abort(self, object_id: bytes, reason: str) -> None:
        arrival = self._arrivals.pop(object_id, None)
        if arrival is not None:
            arrival.discard()
        self._objects.abort([object_id], reason)
        if arrival is not None:
            arrival.end()
