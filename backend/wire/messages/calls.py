"""Between owners and the workers they call, and between owners and borrowers."""

from __future__ import annotations

import msgspec

from .values import Task, TaskResult, Value

__all__ = [
    "Borrow",
    "CallMessage",
    "CancelTask",
    "Done",
    "FetchFunction",
    "FunctionBlob",
    "Reclaim",
    "Release",
    "ReportLost",
    "Resolve",
    "Resolved",
    "RunTasks",
    "TasksDone",
    "TasksReturned",
]


class RunTasks(msgspec.Struct, array_like=True, omit_defaults=True, tag=10):
    """Owner to worker: run these tasks, in this order."""

    tasks: list[Task]
    #: pickle of the only task's function, if the worker need not ask its owner for that
    function: bytes = b""


class TasksDone(msgspec.Struct, array_like=True, tag=11):
    """Worker to owner: what these tasks returned or raised."""

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
    """Owner to worker or node: do not run this task, or stop it."""

    task_id: bytes
    force: bool = False


class FetchFunction(msgspec.Struct, array_like=True, tag=15):
    """Worker to owner: send the pickle of a function, or of an environment, by its id.

    Answered by `FunctionBlob`.
    """

    request: int
    function_id: bytes


class FunctionBlob(msgspec.Struct, array_like=True, tag=16):
    """Answers FetchFunction; None when the owner does not have it."""

    request: int
    blob: bytes | None


class Resolve(msgspec.Struct, array_like=True, tag=17):
    """Asks the owner for an object; answered when the object is finished."""

    object_id: bytes


class Resolved(msgspec.Struct, array_like=True, tag=18):
    """Answers Resolve, once the object is finished."""

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


class Done(msgspec.Struct, array_like=True, omit_defaults=True, tag=21):
    """Answers a request that only has to be finished."""

    request: int
    #: of a `Borrow`: objects that the owner does not have any more
    missing: list[bytes] = []


class ReportLost(msgspec.Struct, array_like=True, tag=24):
    """Borrower to owner: the bytes are gone; answered by Resolved when they are rebuilt."""

    object_id: bytes
    #: the `Value.rebuilds` that the borrower knew
    rebuilds: int
    reason: str
    #: the nodes that the borrower took to have it
    nodes: list[bytes]


CallMessage = (
    RunTasks
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
)
