"""Serving the bytes of stored objects to other nodes, from the arena, files, or as they come in.

Of an object that is itself being fetched, a reader gets what is here, and the rest as it comes.
It is pinned for the reader at once, though that is granted only when all of it is here: from then
on the reader is served as of any other object.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from typing import Final

from millpond.scheduler.fanout import Fanout

from ..cluster.links import FetchError, FetchRequest, HandedOnError
from ..wire.ids import PROCESS_ID_BYTES
from ..wire.messages import IN_ARENA, IN_FILE, Location
from .object_service import ObjectService
from .pulls import Arrival

__all__ = ["FetchService"]

#: bytes that are served at a time
_PIECE: Final = 1 << 20
#: readers of fewer bytes are not handed on: to ask another node takes as long as to serve them
_WORTH: Final = 4 << 20
_READABLE: Final = (IN_ARENA, IN_FILE)


class FetchService:
    """What other nodes read of this node's store.

    Args:
        objects: the store.
        node_id: of this node.
        arrival: finds an object that is coming in.
    """

    def __init__(
        self, objects: ObjectService, node_id: bytes, arrival: Callable[[bytes], Arrival | None]
    ) -> None:
        self._objects = objects
        self._arrival = arrival
        self._fanout = Fanout()
        #: bytes that were served so far
        self.sent = 0
        # Ids that no process has: those of processes count up from the other end.
        self._readers = (
            node_id + number.to_bytes(PROCESS_ID_BYTES - len(node_id), "big")
            for number in itertools.count(1 << 31)
        )

    async def serve(self, request: FetchRequest) -> AsyncIterator[memoryview]:
        """Yield a part of an object's bytes, in pieces; it stays pinned meanwhile.

        A piece may change as soon as the loop turns.

        Raises:
            HandedOnError: another node is to be asked.
            FetchError: it is not here, or is shorter.
        """
        arrival = self._arrival(request.object_id)
        if arrival is not None and arrival.depth >= request.depth:
            raise FetchError(f"object {request.object_id.hex()} is only coming in there")
        with self._admitted(request), self._pinned(request.object_id) as pinned:
            at, end = request.offset, request.offset + request.size
            if arrival is not None:
                _check(request, arrival.size)
                while at < end and not (arrival.ended or pinned.done()):
                    piece = arrival.view[at : min(end, arrival.filled, at + _PIECE)]
                    if piece:
                        yield piece
                        at += len(piece)
                        self.sent += len(piece)
                    else:
                        await arrival.moved()
                if at == end:
                    return
            location = await pinned
            if location.kind not in _READABLE:
                why = location.reason or "it is not in the store"
                raise FetchError(f"object {request.object_id.hex()}: {why}", gone=True)
            _check(request, location.size)
            async with contextlib.aclosing(self._read(location, at, end)) as pieces:
                async for piece in pieces:
                    yield piece
                    self.sent += len(piece)

    @contextlib.contextmanager
    def _admitted(self, request: FetchRequest) -> Iterator[None]:
        """Serve a reader, or hand it on.

        Raises:
            HandedOnError: another node is to be asked.
        """
        if request.size < _WORTH:
            yield
            return
        object_id, reader = request.object_id, request.reader
        instead = self._fanout.begin(object_id, reader, direct=request.direct)
        if instead is not None:
            raise HandedOnError(instead)
        try:
            yield
        finally:
            self._fanout.end(object_id, reader)

    @contextlib.contextmanager
    def _pinned(self, object_id: bytes) -> Iterator[asyncio.Future[Location]]:
        """Keep an object where it is; the future says where that is, once it is there."""
        reader = next(self._readers)
        answer: asyncio.Future[Location] = asyncio.get_running_loop().create_future()

        def found(locations: list[Location]) -> None:
            (location,) = locations
            if not answer.cancelled():
                answer.set_result(location)
            elif location.kind in _READABLE:
                self._objects.unpin([object_id], reader)

        self._objects.pin([object_id], reader, found)
        try:
            yield answer
        finally:
            answer.cancel()
            if not answer.cancelled() and answer.result().kind in _READABLE:
                self._objects.unpin([object_id], reader)

    async def _read(self, location: Location, at: int, end: int) -> AsyncGenerator[memoryview]:
        if location.kind == IN_ARENA:
            for start in range(at, end, _PIECE):
                size = min(_PIECE, end - start)
                yield self._objects.mapping.view(location.offset + start, size)
        else:
            async with contextlib.aclosing(
                _read_file(location.path, location.offset + at, end - at)
            ) as pieces:
                async for piece in pieces:
                    yield piece


def _check(request: FetchRequest, size: int) -> None:
    """Refuse what goes beyond the end of an object.

    Raises:
        FetchError: it does.
    """
    if request.offset < 0 or request.size < 0 or request.offset + request.size > size:
        raise FetchError(
            f"object {request.object_id.hex()} has {size} bytes, not {request.size} from "
            f"{request.offset}"
        )


async def _read_file(path: str, start: int, size: int) -> AsyncGenerator[memoryview]:
    buffer = memoryview(bytearray(min(size, _PIECE)))
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        for at in range(start, start + size, _PIECE):
            piece = buffer[: min(_PIECE, start + size - at)]
            if await asyncio.to_thread(os.preadv, fd, [piece], at) != len(piece):
                raise FetchError(f"the file {path} is too short", gone=True)
            yield piece
    finally:
        os.close(fd)
