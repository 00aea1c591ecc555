"""Every message of the engine, defined once and used on every transport.

Messages are msgspec Structs encoded as msgpack arrays with an integer tag. ``PROTOCOL`` opens
every connection (in `Hello`) and grows with every change of this file. Requests that have an
answer carry ``request``, a number the sender chose; the answer repeats it.
"""

from __future__ import annotations

import msgspec

from .cluster_messages import ClusterMessage, ClusterSettings

__all__ = [
    "PROTOCOL",
    "Argument",
    "Message",
    "OutOfMemory",
    "Task",
    "TaskResult",
    "Value",
]

PROTOCOL = 4

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


class TaskResult(msgspec.Struct, array_like=True, omit_defaults=True, gc=False):
    """What a worker answers for one attempt."""

    task_id: bytes
    attempt: int
    #: one per return, or a single FAILED one
    values: list[Value]
    #: seconds in user code
    seconds: float = 0.0
    #: the failure is of a kind that the task asked to retry
    retry: bool = False
    #: bytes of heap that it needed; 0: too quick to be measured
    peak_memory: int = 0


# --- every connection ------------------------------------------------------------------------


class Hello(msgspec.Struct, array_like=True, tag=1):
    protocol: int
    process_id: bytes
    role: str
    pid: int


# --- between owners and workers --------------------------------------------------------------


class RunTasks(msgspec.Struct, array_like=True, omit_defaults=True, tag=10):
    tasks: list[Task]
    #: pickle of the only task's function, if the worker need not ask its owner for that
    function: bytes = b""


class TasksDone(msgspec.Struct, array_like=True, tag=11):
    results: list[TaskResult]


class TasksReturned(msgspec.Struct, array_like=True, tag=12):
    """The worker gives back tasks that it has not begun."""

    task_ids: list[bytes]
    #: the worker waits inside a task: send it nothing until it is done with that
    blocked: bool = False


class Reclaim(msgspec.Struct, array_like=True, tag=13):
    """The owner wants back up to ``count`` tasks that have not begun."""

    count: int


class CancelTask(msgspec.Struct, array_like=True, tag=14):
    task_id: bytes
    force: bool = False


class FetchFunction(msgspec.Struct, array_like=True, tag=15):
    request: int
    function_id: bytes


class FunctionBlob(msgspec.Struct, array_like=True, tag=16):
    request: int
    blob: bytes | None


class Resolve(msgspec.Struct, array_like=True, tag=17):
    """Asks the owner for an object; answered when the object is finished."""

    object_id: bytes


class Resolved(msgspec.Struct, array_like=True, tag=18):
    object_id: bytes
    #: None: the owner does not know the object (any more)
    value: Value | None


class Borrow(msgspec.Struct, array_like=True, tag=19):
    """Counts ``borrower`` as a holder of objects owned by the receiver; answered by Done."""

    request: int
    object_ids: list[bytes]
    borrower: bytes


class Release(msgspec.Struct, array_like=True, tag=20):
    """The borrower dropped refs; ``counts`` are the registrations given back."""

    object_ids: list[bytes]
    counts: list[int]
    borrower: bytes


class Done(msgspec.Struct, array_like=True, tag=21):
    request: int


class ReportLost(msgspec.Struct, array_like=True, tag=24):
    """Borrower to owner: the bytes are gone; answered by Resolved when they are rebuilt."""

    object_id: bytes
    #: the `Value.rebuilds` that the borrower knew
    rebuilds: int
    reason: str
    #: the nodes that the borrower took to have it
    nodes: list[bytes]


# --- between a process and its node: objects -------------------------------------------------


class CreateObjects(msgspec.Struct, array_like=True, tag=30):
    request: int
    object_ids: list[bytes]
    sizes: list[int]
    #: objects that can be read are to be left as they are
    rebuild: bool = False


class Locations(msgspec.Struct, array_like=True, tag=31):
    """Answers CreateObjects and PinObjects, in their order."""

    request: int
    locations: list[Location]


class SealObjects(msgspec.Struct, array_like=True, tag=32):
    object_ids: list[bytes]


class AbortObjects(msgspec.Struct, array_like=True, tag=33):
    object_ids: list[bytes]


class PinObjects(msgspec.Struct, array_like=True, omit_defaults=True, tag=34):
    request: int
    object_ids: list[bytes]
    #: of those that may be on other nodes only
    copies: list[Copies] = []


class UnpinObjects(msgspec.Struct, array_like=True, tag=35):
    object_ids: list[bytes]


class DeleteObjects(msgspec.Struct, array_like=True, tag=36):
    object_ids: list[bytes]


class AskStanding(msgspec.Struct, array_like=True, tag=37):
    """Node to process: what do your threads do?"""

    request: int


class Standing(msgspec.Struct, array_like=True, tag=38):
    """Answers AskStanding; see `millpond.scheduler.stalemate`."""

    request: int
    waiting: int
    threads: int
    served: int


# --- between a process and its node: scheduling ----------------------------------------------


class RequestLeases(msgspec.Struct, array_like=True, tag=40):
    """Sets how many leases of a shape the owner waits for (0 withdraws the request)."""

    shape: bytes
    count: int
    #: position of the first waiting task, smaller is older
    order: int


class LeaseGranted(msgspec.Struct, array_like=True, tag=41):
    lease_id: int
    shape: bytes
    worker_id: bytes


class ReturnLease(msgspec.Struct, array_like=True, tag=42):
    lease_id: int


class RecallLease(msgspec.Struct, array_like=True, tag=43):
    """Somebody else waits: finish what is in flight on this lease, then return it."""

    lease_id: int


class SubmitTask(msgspec.Struct, array_like=True, tag=44):
    """A task with stored arguments: the node admits, pins, and runs it."""

    task: Task
    shape: bytes
    order: int


class TaskFinished(msgspec.Struct, array_like=True, tag=45):
    """Worker to node: the task that the node sent is done."""

    task_id: bytes
    output_bytes: int
    #: of an actor's constructor: what it raised
    error: str = ""
    peak_memory: int = 0


class TaskLost(msgspec.Struct, array_like=True, tag=46):
    """Node to owner: the attempt will give no result."""

    task_id: bytes
    attempt: int
    reason: str
    #: False: the attempt never began, so it is not charged
    charged: bool = True
    cancelled: bool = False
    #: stored arguments whose bytes are gone: they must be rebuilt first
    lost: list[Argument] = []
    #: its worker was killed for its memory
    oom: OutOfMemory | None = None


class WorkerDied(msgspec.Struct, array_like=True, tag=47):
    worker_id: bytes
    reason: str
    #: it was killed for its memory
    oom: OutOfMemory | None = None


class Blocked(msgspec.Struct, array_like=True, tag=48):
    """Worker to node: my task waits for other tasks; lend its slot until Unblocked."""


class Unblocked(msgspec.Struct, array_like=True, tag=49):
    pass


class TaskPlaced(msgspec.Struct, array_like=True, tag=58):
    """Node to owner: another node got a task, or an actor, to run."""

    task_id: bytes
    attempt: int
    node_id: bytes


class CopiesMade(msgspec.Struct, array_like=True, tag=59):
    """Node to owner: these objects can be read on this node as well."""

    node_id: bytes
    object_ids: list[bytes]


class CopiesGone(msgspec.Struct, array_like=True, tag=82):
    """Node to owner: this node needed the room of its secondary copies of these objects."""

    node_id: bytes
    object_ids: list[bytes]


class KeepObjects(msgspec.Struct, array_like=True, tag=83):
    """Owner to node: the node that kept these objects is gone, so do not drop them."""

    object_ids: list[bytes]


class AskUpcoming(msgspec.Struct, array_like=True, tag=56):
    """Node to owner: what will your tasks need that wait for other arguments?"""

    #: objects to name at most
    limit: int


class Upcoming(msgspec.Struct, array_like=True, tag=57):
    """Answers AskUpcoming: the order of each task, oldest first, and its stored arguments."""

    tasks: list[tuple[int, list[bytes]]]


# --- between a process and its node: actors, processes, the session --------------------------


class CreateActor(msgspec.Struct, array_like=True, tag=60):
    task: Task
    shape: bytes
    order: int
    #: pickle of the class, if it is small
    function: bytes


class LocateActor(msgspec.Struct, array_like=True, tag=61):
    """Asks where an actor runs; answered by ActorState when it is alive or dead."""

    actor_id: bytes


class ActorState(msgspec.Struct, array_like=True, tag=62):
    actor_id: bytes
    alive: bool
    worker_id: bytes = b""
    reason: str = ""


class KillActor(msgspec.Struct, array_like=True, tag=63):
    actor_id: bytes
    #: finish the calls already received, then exit
    graceful: bool


class KillWorkerOf(msgspec.Struct, array_like=True, tag=64):
    """Kill the worker that runs a task (forced cancel)."""

    worker_id: bytes


class ProcessDied(msgspec.Struct, array_like=True, tag=65):
    process_id: bytes


class Exit(msgspec.Struct, array_like=True, tag=66):
    """Node to worker: finish what is queued (or not even that), flush, exit."""

    now: bool = False
    #: stay until nobody holds an object that the worker owns
    when_free: bool = False


class LogLines(msgspec.Struct, array_like=True, omit_defaults=True, tag=67):
    pid: int
    stream: int
    name: str
    text: str
    #: id of the node, if it is not the driver's
    node: str = ""


class SpillSettings(msgspec.Struct, array_like=True):
    """Where and how the node spills: `millpond.SpillOptions`, checked."""

    #: empty, without a URI: the session's directory
    directories: list[str]
    uri: str
    compression: str | None
    quota: int | None
    free_space_floor: int | None
    disk_full_timeout: float
    read_timeout: float


class Start(msgspec.Struct, array_like=True, tag=70):
    """Driver to node, first message: the settings."""

    session_dir: str
    object_store_memory: int
    #: None: never
    spill: SpillSettings | None
    resources: dict[str, int]
    preload: list[str]
    #: workers should also have what the session's code turns out to import
    follow_imports: bool
    sys_path: list[str]
    node_id: bytes
    #: the starter is a driver; else nobody but other nodes uses this one
    has_driver: bool
    #: the node ends with its starter
    lifeline: bool
    max_workers: int
    validate: bool
    #: bytes of heap that tasks may use together, None: no limit but the machine's
    task_memory: int | None = None
    #: part of the machine's memory at which tasks are stopped
    memory_threshold: float = 1.0
    #: None: nobody can join this node, and it joins nobody
    cluster: ClusterSettings | None = None


class Started(msgspec.Struct, array_like=True, tag=71):
    """Node to driver: it runs, and here is the arena's descriptor; or why it cannot."""

    error: str = ""
    #: the error is one of the spill directory's
    no_space: bool = False


class Shutdown(msgspec.Struct, array_like=True, tag=72):
    pass


class ShutdownDone(msgspec.Struct, array_like=True, tag=73):
    pass


class GetStatistics(msgspec.Struct, array_like=True, tag=74):
    request: int


class NodeStatistics(msgspec.Struct, array_like=True, tag=75):
    request: int
    store: dict[str, int]
    pids: list[int]
    workers: int
    #: workers killed before memory ran out
    memory_kills: int = 0
    #: of the spill storage; None without one
    spill: dict[str, int] | None = None


class Preload(msgspec.Struct, array_like=True, tag=76):
    """Modules that workers forked from now on should have imported."""

    modules: list[str]


# --- to and from other nodes -----------------------------------------------------------------


class Routed(msgspec.Struct, array_like=True, gc=False, tag=80):
    """A message for a process of another node, or for that node itself, on its way."""

    #: the process, or, with 4 bytes, the node
    target: bytes
    #: the same of whoever gets the answers
    sender: bytes
    #: the message
    body: bytes


class NodeLost(msgspec.Struct, array_like=True, tag=81):
    """Node to its processes: another node is gone, with everything that it had and ran."""

    node_id: bytes
    reason: str


# --- who holds which memory ------------------------------------------------------------------


class GetMemory(msgspec.Struct, array_like=True, tag=90):
    """Asks the node what its store holds; answered by `MemoryState`."""

    request: int
    #: objects to list at most; 0 for all
    limit: int = 0
    #: the oldest first, not the largest
    oldest_first: bool = False


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


class MemoryState(msgspec.Struct, array_like=True, tag=91):
    request: int
    objects: list[StoredObject]
    #: bytes of all objects, listed or not
    total_bytes: int
    #: bytes that creates wait for
    waiting_bytes: int
    owners: list[OwnerMemory]
    #: owners that did not answer in time
    silent: list[bytes]
    processes: list[ProcessInfo]
    store: dict[str, int]
    #: where values are spilled, empty for nowhere; bytes free there, -1 where unknown
    spill_location: str
    spill_free: int


class DescribeObjects(msgspec.Struct, array_like=True, tag=92):
    """Node to owner: say what you know of these objects of yours."""

    request: int
    object_ids: list[bytes]


class ObjectsDescribed(msgspec.Struct, array_like=True, tag=93):
    request: int
    owner: OwnerMemory


class GetSessionState(msgspec.Struct, array_like=True, tag=95):
    request: int


class SessionState(msgspec.Struct, array_like=True, tag=96):
    request: int
    #: resources of the node in counted units, and what is left of them
    total: dict[str, int]
    available: dict[str, int]
    workers: int
    busy_workers: int
    actors: int
    store: dict[str, int]


class StoreNotice(msgspec.Struct, array_like=True, tag=94):
    """Node to driver: something about the store that the user should be warned of."""

    text: str


Message = (
    Hello
    | RunTasks
    | TasksDone
    | TasksReturned
    | Reclaim
    | CancelTask
    | FetchFunction
    | FunctionBlob
    | Resolve
    | Resolved
    | Borrow
    | Release
    | Done
    | ReportLost
    | CreateObjects
    | Locations
    | SealObjects
    | AbortObjects
    | PinObjects
    | UnpinObjects
    | DeleteObjects
    | AskStanding
    | Standing
    | RequestLeases
    | LeaseGranted
    | ReturnLease
    | RecallLease
    | SubmitTask
    | TaskFinished
    | TaskLost
    | WorkerDied
    | Blocked
    | Unblocked
    | AskUpcoming
    | Upcoming
    | TaskPlaced
    | CopiesMade
    | CopiesGone
    | KeepObjects
    | Routed
    | NodeLost
    | CreateActor
    | LocateActor
    | ActorState
    | KillActor
    | KillWorkerOf
    | ProcessDied
    | Exit
    | LogLines
    | Start
    | Started
    | Shutdown
    | ShutdownDone
    | GetStatistics
    | NodeStatistics
    | Preload
    | GetMemory
    | MemoryState
    | DescribeObjects
    | ObjectsDescribed
    | StoreNotice
    | GetSessionState
    | SessionState
    | ClusterMessage
)
