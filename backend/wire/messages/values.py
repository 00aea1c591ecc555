"""What tasks are made of and give back, and where the bytes of objects are. Parts of messages."""

from __future__ import annotations

import msgspec

__all__ = [
    "ACTOR_CREATE",
    "ACTOR_METHOD",
    "FAILED",
    "FUNCTION",
    "INLINE",
    "IN_ARENA",
    "IN_FILE",
    "LOST",
    "MISSING",
    "NOT_IN_STORE",
    "PRESENT",
    "REFUSED",
    "STORED",
    "UNREACHABLE",
    "Argument",
    "Copies",
    "Location",
    "OutOfMemory",
    "Task",
    "TaskResult",
    "Value",
]

# Kinds of a Value: where the bytes of a finished object are.
INLINE = 0  #: data holds the serialized value
STORED = 1  #: sealed in the object store, ``size`` bytes
FAILED = 2  #: data holds the serialized exception

# Kinds of a Task.
FUNCTION = 0
ACTOR_CREATE = 1
ACTOR_METHOD = 2

# Kinds of a Location.
IN_ARENA = 0
IN_FILE = 1
MISSING = 2
LOST = 3
REFUSED = 4
PRESENT = 5  #: the object of a rerun can be read as it is

#: what became of a MISSING object
NOT_IN_STORE = "it is not in the store any more"
#: begins the reason of a LOST object that may be read another time
UNREACHABLE = "unreachable: "


class OutOfMemory(msgspec.Struct, array_like=True):
    """Why a worker was killed for its memory."""

    #: the task that ran; empty when the node does not know
    task_id: bytes
    #: bytes of heap that the task used, or its worker where that is not known
    used: int
    #: what was exceeded, and by whom
    text: str
    #: the task used more than it declared
    declared: bool = False
    #: nothing else used memory
    alone: bool = False


class Value(msgspec.Struct, array_like=True, omit_defaults=True, gc=False):
    """The outcome of a task, or the state of a finished object."""

    kind: int
    data: bytes = b""
    size: int = 0
    #: ids of the refs that the value holds
    contained: list[bytes] = []
    #: times that the object was rebuilt; in the answer of a rerun: 1 if it wrote the object
    rebuilds: int = 0
    #: of a stored object: the nodes that have the bytes; empty: that of its owner
    nodes: list[bytes] = []


class Location(msgspec.Struct, array_like=True, omit_defaults=True, gc=False):
    """Where a stored object can be read or written by a process of its node."""

    kind: int
    offset: int = 0
    size: int = 0
    path: str = ""
    #: why a request was refused
    reason: str = ""


class Copies(msgspec.Struct, array_like=True, gc=False):
    """The nodes that have the bytes of a stored object, where these are not the reader's alone."""

    object_id: bytes
    size: int
    nodes: list[bytes]


class Argument(msgspec.Struct, array_like=True, omit_defaults=True, gc=False):
    """A top-level ref argument, resolved by the owner of the task."""

    object_id: bytes
    value: Value
    #: set by the node when it pinned a stored argument for the worker
    location: Location | None = None


class Task(msgspec.Struct, array_like=True, omit_defaults=True):
    """One attempt to run a function, an actor's constructor, or a method."""

    task_id: bytes
    attempt: int
    function_id: bytes
    name: str
    #: serialized (args, kwargs); empty when there are none; see ``serialization.arguments``
    payload: bytes
    arguments: list[Argument] = []
    num_returns: int = 1
    kind: int = FUNCTION
    actor_id: bytes = b""
    method: str = ""
    #: the process that waits for the result
    caller: bytes = b""
    #: the arguments are a stored object: the last of ``arguments``
    payload_stored: bool = False
    #: exception types (pickled tuple) whose instances are retried; empty: none; b"*": all
    retry_exceptions: bytes = b""
    #: bytes; smaller results are answered inline
    inline_limit: int = 65536
    #: of a rerun: positions of the results to rebuild, where they are lost
    wanted: list[int] = []
    #: bytes of heap that it declared, 0: it did not
    memory: int = 0
    #: it may be run again when its worker is lost
    retriable: bool = True
    #: id of the runtime environment that its process must have; empty: none
    environment: bytes = b""


class TaskResult(msgspec.Struct, array_like=True, omit_defaults=True, gc=False):
    """What a worker answers for one attempt."""

    task_id: bytes
    attempt: int
    #: one per return, or a single FAILED one
    values: list[Value]
    #: seconds that it took, with storing its results
    seconds: float = 0.0
    #: the failure is of a kind that the task asked to retry
    retry: bool = False
    #: bytes of heap that it needed; 0: too quick to be measured
    peak_memory: int = 0
