"""Between a process and its node: leases, tasks, and the order in which objects are needed."""

from __future__ import annotations

import msgspec

from .values import Argument, OutOfMemory, Task

__all__ = [
    "AskUpcoming",
    "Blocked",
    "HandOn",
    "LeaseGranted",
    "RecallLease",
    "RequestLeases",
    "ReturnLease",
    "SchedulingMessage",
    "SubmitTask",
    "TaskFinished",
    "TaskLost",
    "TaskPlaced",
    "Unblocked",
    "Upcoming",
    "WorkerDied",
]


class RequestLeases(msgspec.Struct, array_like=True, tag=40):
    """Sets how many leases of a shape the owner waits for (0 withdraws the request)."""

    shape: bytes
    count: int
    #: position of the first waiting task, smaller is older
    order: int


class LeaseGranted(msgspec.Struct, array_like=True, tag=41):
    """Node to owner: this worker runs your tasks of that shape until you return it."""

    lease_id: int
    shape: bytes
    worker_id: bytes


class ReturnLease(msgspec.Struct, array_like=True, tag=42):
    """Owner to node: this worker is not needed any more."""

    lease_id: int


class RecallLease(msgspec.Struct, array_like=True, tag=43):
    """Somebody else waits: finish what is in flight on this lease, then return it."""

    lease_id: int


class SubmitTask(msgspec.Struct, array_like=True, tag=44):
    """A task with stored arguments: the node admits, pins, and runs it."""

    task: Task
    shape: bytes
    order: int
    #: how often this attempt was handed on by a node
    moves: int = 0


class HandOn(msgspec.Struct, array_like=True, tag=55):
    """Node to the node of a task's owner: have another node run the task, sooner than I would."""

    submitted: SubmitTask
    node_id: bytes


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
    """Node to owner: a worker that you held is gone."""

    worker_id: bytes
    reason: str
    #: it was killed for its memory
    oom: OutOfMemory | None = None


class Blocked(msgspec.Struct, array_like=True, tag=48):
    """Worker to node: my task waits for other tasks; lend its slot until Unblocked."""


class Unblocked(msgspec.Struct, array_like=True, tag=49):
    """Worker to node: the task that was blocked goes on."""


class TaskPlaced(msgspec.Struct, array_like=True, tag=58):
    """Node to owner: another node got a task, or an actor, to run."""

    task_id: bytes
    attempt: int
    node_id: bytes


class AskUpcoming(msgspec.Struct, array_like=True, tag=56):
    """Node to owner: what will your tasks need that wait for other arguments?"""

    #: objects to name at most
    limit: int


class Upcoming(msgspec.Struct, array_like=True, tag=57):
    """Answers AskUpcoming: the id, the order, and the stored arguments of each task."""

    tasks: list[tuple[bytes, int, list[bytes]]]


SchedulingMessage = (
    RequestLeases
    | LeaseGranted
    | ReturnLease
    | RecallLease
    | SubmitTask
    | HandOn
    | TaskFinished
    | TaskLost
    | WorkerDied
    | Blocked
    | Unblocked
    | TaskPlaced
    | AskUpcoming
    | Upcoming
)
