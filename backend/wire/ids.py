"""Identifiers: a process is 8 random bytes, an object 16.

An object id begins with the id of the process that owns it, so a ref needs no address beside
its id, and ends with a counter, so ids of one owner sort by time of creation. A task is named
by its first return object, an actor by the object that its constructor returns.
"""

from __future__ import annotations

import secrets
import threading
from typing import NewType

__all__ = [
    "ObjectId",
    "ObjectIds",
    "ProcessId",
    "following",
    "new_process_id",
    "object_order",
    "owner_of",
]

ProcessId = NewType("ProcessId", bytes)
ObjectId = NewType("ObjectId", bytes)

PROCESS_ID_BYTES = 8


def new_process_id() -> ProcessId:
    """Return an unpredictable process id of 8 bytes."""
    return ProcessId(secrets.token_bytes(PROCESS_ID_BYTES))


def owner_of(object_id: bytes) -> ProcessId:
    """Return the id of the process that owns an object."""
    return ProcessId(object_id[:PROCESS_ID_BYTES])


def object_order(object_id: bytes) -> int:
    """Return the position of an object among those its owner made: smaller is older."""
    return int.from_bytes(object_id[PROCESS_ID_BYTES:], "big")


class ObjectIds:
    """A source of object ids of one owner. Safe to use from several threads."""

    def __init__(self, owner: ProcessId) -> None:
        self._owner = owner
        self._next = 1
        self._lock = threading.Lock()

    def reserve(self, count: int) -> ObjectId:
        """Return the first of ``count`` consecutive ids that were never returned before."""
        with self._lock:
            first = self._next
            self._next += count
        return ObjectId(self._owner + first.to_bytes(8, "big"))


def following(object_id: bytes, index: int) -> ObjectId:
    """Return the id ``index`` places after ``object_id``."""
    return ObjectId(object_id[:8] + (object_order(object_id) + index).to_bytes(8, "big"))
