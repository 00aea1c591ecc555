"""Decides which worker is killed before memory runs out. Pure: samples in, decisions out.

Heap memory cannot be refused when it is asked for, as a block of the store can: a process that
touches a page has it. So the node looks often, and when a limit is passed one worker is ended:

1. one whose task uses more than it declared, whatever the others do;
2. an idle one that kept memory of earlier tasks;
3. a task that may be run again, then one that may not, then an actor. Among tasks, those that use
   much more than was reserved for them go first, then those that use more at all: so a task that
   keeps to what was reserved for it is not stopped because of others. Among equals, the newest.

Then nothing is decided until that worker is gone. The oldest task goes on, so there is progress.
Not covered: how memory is measured, and what becomes of the task (the node's and the owner's).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum

from .learned import GRAIN

__all__ = ["KEPT", "NOTABLE", "SLACK", "Cause", "Kill", "Limit", "MemoryMonitor", "Role", "Usage"]

#: bytes of a worker's own memory below which ending it would not help
NOTABLE = 16 << 20
#: the same for an idle worker, which another can replace at once
KEPT = 4 << 20
#: bytes that a task may use beyond what it declared: the interpreter allocates in pools
SLACK = 16 << 20
#: seconds between two samples: when there is plenty, and when there is nearly nothing left
_SLOW, _QUICK = 0.1, 0.01


class Role(Enum):
    """What a worker does."""

    IDLE = "idle"
    TASK = "task"
    ACTOR = "actor"


class Cause(Enum):
    """Why a worker is killed."""

    DECLARED = "declared"
    LIMIT = "limit"
    KEPT = "kept"


@dataclass(frozen=True, slots=True)
class Usage:
    """The memory of one worker.

    Attributes:
        key: names the worker.
        used: bytes of heap of its own.
        role: what it does.
        order: grants are numbered as they are given; larger is newer.
        reserved: bytes that its task or actor was admitted with.
        declared: bytes that it said it needs; 0 when it did not.
        added: bytes of ``used`` that the task or actor added.
        retriable: the task may be run again.
    """

    key: bytes
    used: int
    role: Role = Role.TASK
    order: int = 0
    reserved: int = 0
    declared: int = 0
    added: int = 0
    retriable: bool = True


@dataclass(frozen=True, slots=True)
class Limit:
    """Memory that must not be exceeded: ``used`` of ``limit`` bytes, and whose they are."""

    name: str
    used: int
    limit: int


@dataclass(frozen=True, slots=True)
class Kill:
    """A worker to be killed now.

    Attributes:
        victim: the worker.
        cause: why.
        limit: what was exceeded.
        alone: nothing else used memory, neither other tasks nor what earlier ones left in its
            worker: it would be no use to run the task again.
    """

    victim: Usage
    cause: Cause
    limit: Limit
    alone: bool


class MemoryMonitor:
    """Looks at one sample after the other; remembers only whom it had killed."""

    def __init__(self) -> None:
        self._dying: bytes | None = None

    def decide(self, workers: Sequence[Usage], limits: Iterable[Limit]) -> Kill | None:
        """Return the worker to kill now, if any.

        Args:
            workers: every worker that is alive.
            limits: what tasks together may use.
        """
        if self._dying is not None:
            if any(worker.key == self._dying for worker in workers):
                return None
            self._dying = None
        kill = _over_declared(workers)
        for limit in limits:
            if kill is None and limit.used > limit.limit:
                kill = _to_relieve(workers, limit)
        if kill is not None:
            self._dying = kill.victim.key
        return kill

    def interval(self, limits: Iterable[Limit]) -> float:
        """Return the seconds until the next sample: fewer, the nearer a limit is."""
        left = min((1 - limit.used / limit.limit for limit in limits), default=1.0)
        return min(_SLOW, max(_QUICK, 0.4 * left))


def _over_declared(workers: Iterable[Usage]) -> Kill | None:
    over = [w for w in workers if w.declared and w.added > w.declared + SLACK]
    if not over:
        return None
    worst = max(over, key=lambda worker: worker.added - worker.declared)
    limit = Limit("what it declared", worst.added, worst.declared)
    return Kill(worst, Cause.DECLARED, limit, alone=True)


def _to_relieve(workers: Sequence[Usage], limit: Limit) -> Kill | None:
    idle = [worker for worker in workers if worker.role is Role.IDLE and worker.used >= KEPT]
    if idle:
        return Kill(max(idle, key=lambda worker: worker.used), Cause.KEPT, limit, alone=False)
    notable = [w for w in workers if w.role is not Role.IDLE and w.used >= NOTABLE]
    if not notable:
        return None
    victim = max(notable, key=_preference)
    others = sum(w.used for w in workers if w.role is Role.TASK and w.key != victim.key)
    kept = victim.used - victim.added if victim.role is Role.TASK else 0
    return Kill(victim, Cause.LIMIT, limit, alone=others + kept < NOTABLE)


def _preference(worker: Usage) -> tuple[bool, bool, int, int]:
    over = worker.used - worker.reserved
    # The largest first: while it grows on there is no time to stop the small ones beside it.
    excess = 2 if over >= GRAIN else int(over > 0)
    return worker.role is Role.TASK, worker.retriable, excess, worker.order
