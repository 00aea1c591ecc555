"""Identifiers: a node is 4 random bytes, a process 8 bytes, an object 16.

A process id begins with the id of its node, and an object id with that of the process that owns
it, so whatever names an object or a process can be sent there, and a ref needs no address beside
its id. Object ids end with a counter, so those of one owner sort by time of creation. A task is
named by its first return object, an actor by the object that its constructor returns.
"""

from __future__ import annotations

import secrets
import threading
from typing import NewType

__all__ = [
    "NodeId",
    "ObjectId",
    "ObjectIds",
    "ProcessId",
    "ProcessIds",
    "driver_of",
    "following",
    "new_node_id",
    "node_of",
    "object_order",
    "owner_of",
]

NodeId = NewType("NodeId", bytes)
ProcessId = NewType("ProcessId", bytes)
ObjectId = NewType("ObjectId", bytes)

NODE_ID_BYTES = 4
PROCESS_ID_BYTES = 8
_NUMBER_BYTES = PROCESS_ID_BYTES - NODE_ID_BYTES


def new_node_id() -> NodeId:
    """Return a random id for a node."""
    return NodeId(secrets.token_bytes(NODE_ID_BYTES))


def driver_of(node_id: NodeId) -> ProcessId:
    """Return the id of the driver that starts a node: the first of its processes."""
    return ProcessId(node_id + bytes(_NUMBER_BYTES))


def node_of(any_id: bytes) -> NodeId:
    """Return the id of the node of a process, or of the owner of an object."""
    return NodeId(any_id[:NODE_ID_BYTES])


class ProcessIds:
    """A source of ids for the processes of one node, its driver left out."""

    def __init__(self, node_id: NodeId) -> None:
        self._node_id = node_id
        self._last = 0

    def new(self) -> ProcessId:
        """Return an id that was never returned before."""
        self._last += 1
        return ProcessId(self._node_id + self._last.to_bytes(_NUMBER_BYTES, "big"))


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
