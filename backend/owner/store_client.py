"""This process's access to the object store of its node: write, pin, read.

The node decides (``objectstore.core``); the bytes are written and read here, straight in the
arena that both have mapped. Not covered: small values, which never come here.
"""

from __future__ import annotations

import errno
import weakref
from collections.abc import Callable, Sequence
from typing import Any

from millpond.objectstore.fileio import foreign_buffer, is_full
from millpond.objectstore.mapping import ArenaMapping

from ..errors import MillpondError, ObjectStoreFullError, OutOfDiskError
from ..report.memory import build_report
from ..serialization.layout import SerializedValue
from ..wire.messages import (
    IN_ARENA,
    IN_FILE,
    LOST,
    MISSING,
    NOT_IN_STORE,
    PRESENT,
    AbortObjects,
    Copies,
    CreateObjects,
    GetMemory,
    Location,
    PinObjects,
    SealObjects,
)
from .call_sites import Site
from .refusals import HOLDERS, refusal
from .requests import Requests

__all__ = ["BytesGone", "Pin", "StoreClient"]

#: times that the node is asked for a file that can be mapped
_FILE_TRIES = 10
#: what mapping fails with when a file is not as the node found it
_CHANGED = (errno.ENOENT, errno.EIO)


class BytesGone(Exception):  # noqa: N818 - the name says what happened
    """The bytes of a pinned object cannot be read; they may be rebuilt."""

    def __init__(self, object_id: bytes, reason: str) -> None:
        super().__init__(object_id, reason)
        self.object_id = object_id
        self.reason = reason


class Pin:
    """Keeps an object's bytes in place; every buffer made from them refers to it."""

    __slots__ = (
        *("__weakref__", "_client", "_location", "_mapped", "_mapping", "_object_id", "origin"),
    )

    def __init__(self, object_id: bytes, location: Location, client: StoreClient) -> None:
        self._object_id = object_id
        self._location = location
        self._mapping = client.mapping
        self._client = client
        #: the file that the object is in, once it is mapped: nobody can take it away then
        self._mapped: Any = None
        #: of an object that was freed while it is read
        self.origin: tuple[str, Site | None] | None = None

    def buffer(self) -> Any:
        """Return a read-only buffer of the object's bytes, which keeps this pin alive.

        Raises:
            BytesGone: the file that the object is in cannot be read.
        """
        if self._mapped is None and self._location.kind == IN_FILE:
            self._mapped = self._map()
        if self._mapped is not None:
            return foreign_buffer(self._mapped.address, self._mapped.size, self)
        return self._mapping.buffer(self._location.offset, self._location.size, self)

    def _map(self) -> Any:
        """Map the object's file; None when the object is in the arena by now."""
        for _ in range(_FILE_TRIES):
            location = self._location
            if location.kind != IN_FILE:
                return None
            try:
                return self._mapping.map_file(location.path, location.size, offset=location.offset)
            except OSError as error:
                if error.errno not in _CHANGED:
                    why = f"its file cannot be mapped ({error})"
                    raise BytesGone(self._object_id, why) from error
            # A copy that others needed the room of, of which there will be a new one; or somebody
            # took the file away since the node looked at it.
            self._location = self._client.locate_again(self._object_id)
        raise BytesGone(self._object_id, f"its file {location.path} is gone")


class _PinHandle(weakref.ref[Pin]):
    """Tells when a pin has died, and nobody can get hold of it any more."""

    __slots__ = ("object_id",)
    object_id: bytes


class StoreClient:
    """Writes and reads stored objects.

    Args:
        mapping: the node's arena.
        connection: to the node.
        requests: matches its answers.
        unpin: called with the object id of a pin that died; must be safe inside a destructor.
    """

    def __init__(
        self,
        mapping: ArenaMapping,
        connection: Any,
        requests: Requests,
        unpin: Callable[[bytes], None],
    ) -> None:
        self.mapping = mapping
        self._connection = connection
        self._requests = requests
        self._unpin = unpin
        self._handles: set[_PinHandle] = set()

    def write(
        self, objects: Sequence[tuple[bytes, SerializedValue]], *, rebuild: bool = False
    ) -> dict[bytes, int]:
        """Store values under new ids; they can be read when this returns.

        Waits while the node makes room.

        Args:
            objects: ids and values.
            rebuild: leave those alone that can be read already.

        Returns:
            The objects that were left alone, and their sizes in bytes.

        Raises:
            ObjectStoreFullError: no room can be made.
            OutOfDiskError: room could be made, but the disk is full.
        """
        ids = [object_id for object_id, _ in objects]
        answer = self._requests.ask(
            self._connection,
            CreateObjects(0, ids, [value.size for _, value in objects], rebuild),
        )
        located = list(zip(objects, answer.locations, strict=True))
        granted = [oid for (oid, _), at in located if at.kind in (IN_ARENA, IN_FILE)]
        present = {oid: at.size for (oid, _), at in located if at.kind == PRESENT}
        if len(granted) + len(present) < len(ids):
            self._connection.send(AbortObjects(granted))
            refused = [at for _, at in located if at.kind not in (IN_ARENA, IN_FILE, PRESENT)]
            raise self._refusal(refused[0].reason, objects)
        try:
            for (_, value), location in located:
                if location.kind == IN_ARENA:
                    self.mapping.write(location.offset, value.parts())
                elif location.kind == IN_FILE:
                    self.mapping.write_file(location.path, value.parts())
        except BaseException as error:
            self._connection.send(AbortObjects(granted))
            if isinstance(error, OSError) and is_full(error):
                reason = f"no-disk: no room to write {len(ids)} objects: {error}"
                raise self._refusal(reason, objects) from error
            raise
        self._connection.send(SealObjects(granted))
        return present

    def _refusal(
        self, reason: str, objects: Sequence[tuple[bytes, SerializedValue]]
    ) -> ObjectStoreFullError | OutOfDiskError:
        """Return the error for objects that cannot be stored, with who holds the memory."""
        try:
            report = build_report(self._requests.ask(self._connection, GetMemory(0, HOLDERS)))
        except MillpondError:  # the node ends: the refusal is reported without
            report = None
        return refusal(reason, sum(value.size for _, value in objects), report)

    def pin(
        self, object_ids: list[bytes], copies: list[Copies]
    ) -> tuple[list[Pin], dict[bytes, str]]:
        """Pin stored objects, in order; waits while the node restores or fetches them.

        Args:
            object_ids: the objects.
            copies: where those are that this node need not have.

        Returns:
            The pins, in order, and what became of those whose bytes are gone.
        """
        answer = self._requests.ask(self._connection, PinObjects(0, object_ids, copies))
        pins = []
        lost: dict[bytes, str] = {}
        for object_id, location in zip(object_ids, answer.locations, strict=True):
            if location.kind == LOST:
                lost[object_id] = location.reason
            elif location.kind == MISSING:
                lost[object_id] = location.reason or NOT_IN_STORE
            else:
                pins.append(self.adopt(object_id, location))
        return pins, lost

    def locate_again(self, object_id: bytes) -> Location:
        """Ask where an object is that this process has a pin on, which stays the only one.

        Raises:
            BytesGone: it cannot be read any more.
        """
        answer = self._requests.ask(self._connection, PinObjects(0, [object_id]))
        (location,) = answer.locations
        if location.kind == LOST:
            raise BytesGone(object_id, location.reason)
        if location.kind == MISSING:
            raise BytesGone(object_id, NOT_IN_STORE)
        self._unpin(object_id)  # the older of the two
        found: Location = location
        return found

    def adopt(self, object_id: bytes, location: Location) -> Pin:
        """Return the pin of an object that the node has pinned for this process."""
        pin = Pin(object_id, location, self)
        handle = _PinHandle(pin, self._pin_died)
        handle.object_id = object_id
        self._handles.add(handle)
        return pin

    def _pin_died(self, handle: _PinHandle) -> None:
        self._handles.discard(handle)
        self._unpin(handle.object_id)
