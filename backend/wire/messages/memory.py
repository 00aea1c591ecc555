"""Who holds which memory and who waits for it, and what a session is busy with."""

from __future__ import annotations

import msgspec

__all__ = [
    "AskStanding",
    "DescribeObjects",
    "GetMemory",
    "GetSessionState",
    "MemoryMessage",
    "MemoryState",
    "NodeStanding",
    "NodeStore",
    "ObjectOrigin",
    "ObjectsDescribed",
    "OwnerMemory",
    "ProcessInfo",
    "SessionState",
    "Standing",
    "StoreNotice",
    "StoredObject",
]


class GetMemory(msgspec.Struct, array_like=True, tag=90):
    """Asks a node what its store holds; answered by `MemoryState`."""

    request: int
    #: objects to list at most; 0 for all
    limit: int = 0
    #: the oldest first, not the largest
    oldest_first: bool = False
    #: ask the other nodes too
    cluster: bool = False


class StoredObject(msgspec.Struct, array_like=True, gc=False):
    """What the node knows of one object of its store."""

    object_id: bytes
    size: int
    state: str
    in_memory: bool
    in_file: bool
    #: process -> how many pins it holds
    pins: dict[bytes, int]


class ObjectOrigin(msgspec.Struct, array_like=True, gc=False):
    """What only the owner knows of an object."""

    object_id: bytes
    #: the task that made it, or "put"
    made_by: str
    #: index into `OwnerMemory.sites`, -1 where unknown
    site: int
    #: Python references to it in the owner's process
    refs: int
    #: other processes that hold it
    borrowers: int


class OwnerMemory(msgspec.Struct, array_like=True, gc=False):
    """What one process says of what it owns."""

    process_id: bytes
    origins: list[ObjectOrigin]
    #: lines of the user's program
    sites: list[str]
    #: small values, which live in the process itself
    inline_objects: int
    inline_bytes: int


class ProcessInfo(msgspec.Struct, array_like=True, gc=False):
    """A process of the session."""

    process_id: bytes
    role: str
    pid: int


class NodeStore(msgspec.Struct, array_like=True):
    """What one node says of its store, and of the owners of what is there."""

    request: int
    objects: list[StoredObject]
    #: bytes of all objects, listed or not
    total_bytes: int
    #: bytes that creates wait for
    waiting_bytes: int
    owners: list[OwnerMemory]
    #: owners, and nodes, that did not answer in time
    silent: list[bytes]
    processes: list[ProcessInfo]
    store: dict[str, int]
    #: where values are spilled, empty for nowhere; bytes free there, -1 where unknown
    spill_location: str
    spill_free: int
    node_id: bytes = b""


class MemoryState(NodeStore, tag=91):
    """Answers GetMemory."""

    #: what other nodes answered
    others: list[NodeStore] = []


class DescribeObjects(msgspec.Struct, array_like=True, tag=92):
    """Node to owner, of any node: say what you know of these objects of yours."""

    request: int
    object_ids: list[bytes]


class ObjectsDescribed(msgspec.Struct, array_like=True, tag=93):
    """Answers DescribeObjects."""

    request: int
    owner: OwnerMemory


class GetSessionState(msgspec.Struct, array_like=True, tag=95):
    """Asks a node how busy it is; answered by `SessionState`."""

    request: int


class SessionState(msgspec.Struct, array_like=True, tag=96):
    """Answers GetSessionState."""

    request: int
    #: resources of the node in counted units, and what is left of them
    total: dict[str, int]
    available: dict[str, int]
    workers: int
    busy_workers: int
    actors: int
    store: dict[str, int]


class AskStanding(msgspec.Struct, array_like=True, tag=37):
    """Node to process: what do your threads do? To a node: what do you and your processes do?"""

    request: int


class Standing(msgspec.Struct, array_like=True, tag=38):
    """Answers AskStanding; see `millpond.scheduler.stalemate`."""

    request: int
    waiting: int
    threads: int
    served: int


class NodeStanding(msgspec.Struct, array_like=True, tag=39):
    """Answers AskStanding of another node, whose processes answer it themselves."""

    request: int
    #: these
    processes: list[bytes]
    #: bytes of objects that came and went: while they do, something goes on
    moved: int


class StoreNotice(msgspec.Struct, array_like=True, tag=94):
    """Node to driver: something about the store that the user should be warned of."""

    text: str


MemoryMessage = (
    GetMemory
    | MemoryState
    | DescribeObjects
    | ObjectsDescribed
    | GetSessionState
    | SessionState
    | AskStanding
    | Standing
    | NodeStanding
    | StoreNotice
)
