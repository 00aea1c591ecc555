"""This process's access to the object store of its node: write, pin, read.

The node decides (``objectstore.core``); the bytes are written and read here, straight in the
arena that both have mapped. Not covered: small values, which never come here.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from typing import Any

from millpond.objectstore.mapping import ArenaMapping

from ..errors import MillpondError
from ..report.memory import MemoryReport, build_report
from ..serialization.layout import SerializedValue
from ..wire.messages import (
    IN_ARENA,
    IN_FILE,
    LOST,
    MISSING,
    NOT_IN_STORE,
    PRESENT,
    AbortObjects,
    CreateObjects,
    GetMemory,
    Location,
    PinObjects,
    SealObjects,
)
from .call_sites import Site
from .refusals import HOLDERS, refusal
from .requests import Requests

__all__ = ["Pin", "StoreClient"]


class Pin:
    """Keeps an object's bytes in place; every buffer made from them refers to it."""

    __slots__ = ("__weakref__", "_location", "_mapping", "origin")

    def __init__(self, location: Location, mapping: ArenaMapping) -> None:
        self._location = location
        self._mapping = mapping
        #: of an object that was freed while it is read
        self.origin: tuple[str, Site | None] | None = None

    def buffer(self) -> Any:
        """Return a read-only buffer of the object's bytes, which keeps this pin alive."""
        location = self._location
        if location.kind == IN_FILE:
            return self._mapping.map_file(location.path, location.size, self)
        return self._mapping.buffer(location.offset, location.size, self)


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
        self._mapping = mapping
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
            requested = sum(value.size for _, value in objects)
            raise refusal(refused[0].reason, requested, self._report())
        try:
            for (_, value), location in located:
                if location.kind == IN_ARENA:
                    self._mapping.write(location.offset, value.parts())
                elif location.kind == IN_FILE:
                    self._mapping.write_file(location.path, value.parts())
        except BaseException:
            self._connection.send(AbortObjects(granted))
            raise
        self._connection.send(SealObjects(granted))
        return present

    def _report(self) -> MemoryReport | None:
        """Return who holds the memory, for an error."""
        try:
            state = self._requests.ask(self._connection, GetMemory(0, HOLDERS))
        except MillpondError:  # the node ends: the refusal is reported without
            return None
        return build_report(state)

    def pin(self, object_ids: list[bytes]) -> tuple[list[Pin], dict[bytes, str]]:
        """Pin stored objects, in order; waits while the node restores what was spilled.

        Returns:
            The pins, in order, and what became of those whose bytes are gone.
        """
        answer = self._requests.ask(self._connection, PinObjects(0, object_ids))
        pins = []
        lost: dict[bytes, str] = {}
        for object_id, location in zip(object_ids, answer.locations, strict=True):
            if location.kind == LOST:
                lost[object_id] = location.reason
            elif location.kind == MISSING:
                lost[object_id] = NOT_IN_STORE
            else:
                pins.append(self.adopt(object_id, location))
        return pins, lost

    def adopt(self, object_id: bytes, location: Location) -> Pin:
        """Return the pin of an object that the node has pinned for this process."""
        pin = Pin(location, self._mapping)
        handle = _PinHandle(pin, self._pin_died)
        handle.object_id = object_id
        self._handles.add(handle)
        return pin

    def _pin_died(self, handle: _PinHandle) -> None:
        self._handles.discard(handle)
        self._unpin(handle.object_id)
