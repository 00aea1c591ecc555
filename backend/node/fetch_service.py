"""Serving the bytes of stored objects to other nodes, from the arena or from their files."""

from __future__ import annotations

import asyncio
import itertools
import os
from collections.abc import AsyncIterator
from typing import Final

from ..cluster.links import FetchError
from ..wire.ids import PROCESS_ID_BYTES
from ..wire.messages import IN_ARENA, IN_FILE, Location
from .object_service import ObjectService

__all__ = ["FetchService"]

#: bytes that are read from a file at a time
_PIECE: Final = 1 << 20
_READABLE: Final = (IN_ARENA, IN_FILE)


class FetchService:
    """What other nodes read of this node's store.

    Args:
        objects: the store.
        node_id: of this node.
    """

    def __init__(self, objects: ObjectService, node_id: bytes) -> None:
        self._objects = objects
        # Ids that no process has: those of processes count up from the other end.
        self._readers = (
            node_id + number.to_bytes(PROCESS_ID_BYTES - len(node_id), "big")
            for number in itertools.count(1 << 31)
        )

    async def serve(self, object_id: bytes, offset: int, size: int) -> AsyncIterator[memoryview]:
        """Yield a part of an object's bytes; it stays pinned meanwhile.

        Raises:
            FetchError: it is not here, or is shorter.
        """
        reader = next(self._readers)
        location = await self._pin(object_id, reader)
        try:
            if not 0 <= offset <= offset + size <= location.size:
                raise FetchError(
                    f"object {object_id.hex()} has {location.size} bytes, not {size} from {offset}"
                )
            if location.kind == IN_ARENA:
                yield self._objects.mapping.view(location.offset + offset, size)
            else:
                async for piece in _read(location.path, location.offset + offset, size):
                    yield piece
        finally:
            self._objects.unpin([object_id], reader)

    async def _pin(self, object_id: bytes, reader: bytes) -> Location:
        answer: asyncio.Future[Location] = asyncio.get_running_loop().create_future()

        def found(locations: list[Location]) -> None:
            (location,) = locations
            if not answer.cancelled():
                answer.set_result(location)
            elif location.kind in _READABLE:
                self._objects.unpin([object_id], reader)

        self._objects.pin([object_id], reader, found)
        location = await answer
        if location.kind not in _READABLE:
            why = location.reason or "it is not in the store"
            raise FetchError(f"object {object_id.hex()}: {why}", gone=True)
        return location


async def _read(path: str, start: int, size: int) -> AsyncIterator[memoryview]:
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
