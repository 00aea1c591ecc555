"""A submitted task as its owner sees it, and what the owner learns of each function. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from millpond.scheduler.lines import Line, continued

from ..wire.ids import object_order
from ..wire.messages import FUNCTION, STORED, Argument, Task
from .call_sites import call_site
from .objects import PENDING

if TYPE_CHECKING:
    from .lineage import Recipe
    from .objects import Entry, ObjectTable
    from .refs import ObjectRef

__all__ = [
    "AT_NODE",
    "AT_WORKER",
    "DONE",
    "READY",
    "WAITING",
    "FunctionTimes",
    "Group",
    "PendingTask",
]

Group = tuple[bytes, str]

# Where a pending task is.
WAITING = "waiting for arguments"
READY = "waiting for a worker"
AT_WORKER = "at a worker"
AT_NODE = "at the node"
DONE = "done"


class PendingTask:
    """One task until it is finished: its description, arguments held alive, and attempts."""

    __slots__ = (
        "actor_id",
        "arguments",
        "attempt",
        "base_shape",
        "cancelled",
        "demand",
        "environment",
        "forced",
        "function_id",
        "group",
        "held",
        "in_order",
        "kind",
        "lease",
        "line",
        "load",
        "lost",
        "max_retries",
        "memory",
        "method",
        "missing",
        "name",
        "num_returns",
        "order",
        "payload",
        "payload_ref",
        "place",
        "rerun_of",
        "retries_left",
        "retry_exceptions",
        "returns",
        "shape",
        "site",
        "state",
        "stops",
        "task_id",
        "wanted",
    )

    def __init__(
        self,
        task_id: bytes,
        function_id: bytes,
        name: str,
        shape: bytes,
        *,
        kind: int = FUNCTION,
        retries_left: int = 0,
        retry_exceptions: bytes = b"",
        memory: int = 0,
        in_order: bool = False,
        environment: bytes = b"",
    ) -> None:
        self.task_id = task_id
        #: where the user's program submitted it
        self.site = call_site()
        #: where it goes in the order of this process's tasks; and by which line
        self.order = object_order(task_id)
        self.line = Line(self.order)
        #: it goes where it was submitted
        self.in_order = in_order
        self.function_id = function_id
        self.name = name
        #: tasks of one group are expected to take about as long
        self.group = (function_id, name)
        self.base_shape = shape
        #: the same with memory that is expected of it
        self.shape = shape
        #: id of the runtime environment that it runs in, which the shape names, too
        self.environment = environment
        self.kind = kind
        self.max_retries = retries_left
        self.retries_left = retries_left
        #: bytes of heap that it declared; 0: it did not
        self.memory = memory
        #: bytes that are reserved for it because it was stopped for its memory, so often
        self.demand = 0
        self.stops = 0
        self.retry_exceptions = retry_exceptions
        self.attempt = 0
        self.state = WAITING
        self.payload = b""
        #: stored payload (large arguments), deleted with the task
        self.payload_ref: ObjectRef[Any] | None = None
        #: top-level refs, in slot order
        self.arguments: list[ObjectRef[Any]] = []
        #: refs nested in the arguments, kept alive for the worker
        self.held: list[Any] = []
        #: arguments that are not finished yet
        self.missing = 0
        self.returns: list[Entry] = []
        self.num_returns = 1
        self.actor_id = b""
        self.method = ""
        self.cancelled = False
        #: and is to be ended by force
        self.forced = False
        #: the leased worker or actor connection that has the task
        self.lease: Any = None
        #: the other node that this attempt was sent to; empty: it is on ours
        self.place = b""
        #: seconds it is expected to take, while at a leased worker
        self.load = 0.0
        #: of a rerun: what it rebuilds, the lost results, and the positions of all to be offered
        self.rerun_of: Recipe | None = None
        self.lost: frozenset[bytes] = frozenset()
        self.wanted: list[int] = []

    @property
    def retriable(self) -> bool:
        """Whether it may be run again when its worker is lost."""
        return self.max_retries != 0 or self.kind != FUNCTION

    def has_stored_arguments(self) -> bool:
        """Whether the node has to pin something before the task can run."""
        if self.payload_ref is not None:
            return True
        return any(ref._entry.state == STORED for ref in self.arguments)

    def take_place(self) -> None:
        """Take the place in the order that follows from the arguments, as far as they are known."""
        if self.arguments and not self.in_order:
            self.line = continued(object_order(self.task_id), self._lines())
            self.order = self.line.start

    def _lines(self) -> Iterator[Line]:
        for ref in self.arguments:
            entry = ref._entry
            if entry.state == STORED:
                line = entry.line
            else:
                line = entry.task.line if entry.state == PENDING and entry.task else None
            if line is not None:
                yield line

    def message(self, table: ObjectTable, caller: bytes) -> Task:
        """Return the present attempt as a message."""
        arguments = [Argument(ref.id, table.value_of(ref._entry)) for ref in self.arguments]
        if self.payload_ref is not None:
            entry = self.payload_ref._entry
            arguments.append(Argument(entry.id, table.value_of(entry)))
        return Task(
            self.task_id,
            self.attempt,
            self.function_id,
            self.name,
            self.payload,
            arguments,
            self.num_returns,
            self.kind,
            self.actor_id,
            self.method,
            caller,
            self.payload_ref is not None,
            self.retry_exceptions,
            table.inline.limit,
            self.wanted,
            self.memory,
            self.retriable,
            self.environment,
        )


class FunctionTimes:
    """Running mean of the run time of each group, which says how many tasks to pipeline.

    A group is a function under one name: an adapter that runs everything through one function
    names its tasks.
    """

    #: seconds that a worker spends around the user's code
    OVERHEAD = 20e-6
    #: what a group is taken to need before it ran once
    UNKNOWN = 1.0

    def __init__(self) -> None:
        self._seconds: dict[Group, float] = {}

    def expect(self, group: Group) -> float:
        """Return the seconds that a task of the group is expected to take."""
        return self._seconds.get(group, self.UNKNOWN)

    def learn(self, group: Group, seconds: float) -> None:
        """Note a run time; recent ones weigh more."""
        seconds += self.OVERHEAD
        known = self._seconds.get(group)
        self._seconds[group] = seconds if known is None else known + 0.2 * (seconds - known)
