"""How much heap memory the owner has reserved for its tasks, and what it does with those stopped.

Where a task does not declare its memory, the peaks of earlier runs of its function say how much to
reserve. A task that was stopped because memory ran out is run again with more reserved, and so
beside fewer others, at last alone. Pure.
"""

from __future__ import annotations

from millpond.scheduler.learned import GRAIN, LearnedMemory, coarse
from millpond.scheduler.resources import UNIT, expecting

from ..errors import OutOfMemoryError
from ..wire.messages import OutOfMemory
from .tasks import PendingTask

__all__ = ["MAX_STOPS", "MemoryDemand"]

#: times that a task may be stopped for the memory of all before it is given up
MAX_STOPS = 15

_ADVICE = (
    "let it work on smaller pieces, run fewer tasks beside it (declare memory=), or give "
    "millpond.init a larger memory or a smaller object_store_memory"
)


class MemoryDemand:
    """What is known of the memory of one owner's tasks."""

    def __init__(self) -> None:
        self._learned = LearnedMemory()
        #: some task is to have memory reserved that it did not declare
        self.matters = False

    def shape(self, task: PendingTask, total: int) -> bytes:
        """Return the shape with which a task is to run.

        Args:
            task: without or with declared memory.
            total: bytes that all tasks may use.
        """
        expected = self._reserved(task, total)
        return expecting(task.base_shape, expected * UNIT) if expected else task.base_shape

    def _reserved(self, task: PendingTask, total: int) -> int:
        if task.memory:
            return 0  # it is part of the shape
        return min(max(self._learned.expect(task.group), task.demand), total)

    def learn(self, task: PendingTask, peak: int) -> bool:
        """Note the peak of a run, in bytes; True when others of its group get new shapes."""
        more = self._learned.learn(task.group, peak)
        self.matters = self.matters or more
        return more

    def stopped(self, task: PendingTask, oom: OutOfMemory, total: int) -> OutOfMemoryError | None:
        """A task was stopped for its memory.

        Returns:
            The error with which it fails; None when it is to run again, with more reserved.
        """
        task.stops += 1
        if oom.declared:
            return _error(task, oom, "Give it a larger memory=, or let it work on smaller pieces")
        if not task.retriable:
            return _error(task, oom, f"It may not be run again (max_retries=0): {_ADVICE}")
        reserved = self._reserved(task, total)
        if oom.alone or (reserved >= total and oom.used > total // 2):
            return _error(task, oom, f"It cannot succeed, even with all of it: {_ADVICE}")
        if task.stops > MAX_STOPS:
            return _error(task, oom, f"It is given up: {_ADVICE}")
        grown = 2 * reserved if oom.used > reserved else reserved
        # Something, in any case: then it waits while another one has all that there is.
        self.matters = True
        task.demand = min(max(grown, coarse(oom.used), GRAIN), total)
        return None


def _error(task: PendingTask, oom: OutOfMemory, advice: str) -> OutOfMemoryError:
    times = f" ({task.stops} times)" if task.stops > 1 else ""
    return OutOfMemoryError(
        f"task {task.name} ({task.task_id.hex()}) ran out of memory{times}: {oom.text}. {advice}"
    )
