"""Pipelines the owner's ready tasks of one shape to the workers it leased. Pure.

Events go in (a task is ready, a lease was granted, tasks came back), and `assign` says which
tasks go to which worker. Tasks start in the order of their submission. A worker gets as many
tasks as should keep it busy for `TARGET_LOAD` seconds: tiny tasks travel in batches, long ones
one by one, and of an unknown function a worker gets a single task first.
"""

from __future__ import annotations

import heapq
from typing import Any

from .tasks import AT_WORKER, READY, FunctionTimes, Group, PendingTask

__all__ = ["Assignment", "LeasePool", "LeasePools", "LeasedWorker"]

#: seconds of expected work in flight to one worker
TARGET_LOAD = 0.005
#: tasks in flight to one worker
MAX_IN_FLIGHT = 256
#: ready tasks that make it worth topping up a busy worker from the submitting thread
BATCH = 32
#: leases waited for at once
MAX_REQUESTED = 64


class LeasedWorker:
    """A worker that this owner may send tasks to."""

    __slots__ = (
        "blocked",
        "connection",
        "idle_since",
        "in_flight",
        "lease_id",
        "load",
        "recalled",
        "reclaiming",
        "worker_id",
    )

    def __init__(self, lease_id: int, worker_id: bytes, connection: Any, now: float) -> None:
        self.lease_id = lease_id
        self.worker_id = worker_id
        self.connection = connection
        self.in_flight: dict[bytes, PendingTask] = {}
        #: seconds of work expected in flight
        self.load = 0.0
        #: the node wants the lease back
        self.recalled = False
        #: its task waits for other tasks
        self.blocked = False
        #: it was asked to give tasks back
        self.reclaiming = False
        #: when it last became idle
        self.idle_since = now


Assignment = tuple[LeasedWorker, list[PendingTask]]


class LeasePool:
    """All leases and ready tasks of one shape."""

    def __init__(self, shape: bytes, times: FunctionTimes) -> None:
        self.shape = shape
        self._times = times
        self._ready: list[tuple[int, PendingTask]] = []
        self.workers: dict[int, LeasedWorker] = {}
        #: leases asked of the node and not granted yet
        self.requested = 0
        #: the node should know again what waits, and in which order
        self._request_is_stale = False

    def __len__(self) -> int:
        return len(self._ready)

    @property
    def first_order(self) -> int:
        """Position of the first ready task."""
        return self._ready[0][0] if self._ready else 0

    def push(self, task: PendingTask) -> None:
        """A task can run."""
        task.state = READY
        heapq.heappush(self._ready, (task.order, task))

    def take_group(self, group: Group) -> list[PendingTask]:
        """Remove and return the ready tasks of a group: they are to run with another shape."""
        taken = [task for _, task in self._ready if task.group == group and task.state == READY]
        if taken:
            self._ready = [entry for entry in self._ready if entry[1].group != group]
            heapq.heapify(self._ready)
        return taken

    def take_all(self) -> list[PendingTask]:
        """Remove and return all ready tasks: none of them can run."""
        taken, self._ready = self._ready, []
        return [task for _, task in taken if task.state == READY]

    def worth_assigning(self) -> bool:
        """Whether `assign` would send something that should not wait for the next answer."""
        if not self._ready:
            return False
        full_batch = len(self._ready) >= BATCH
        for worker in self.workers.values():
            if worker.recalled or worker.blocked:
                continue
            if not worker.in_flight or (full_batch and worker.load < TARGET_LOAD / 2):
                return True
        return False

    def assign(self) -> list[Assignment]:
        """Take ready tasks for every worker that has room."""
        assignments: list[Assignment] = []
        if not self._ready:
            return assignments
        open_workers = [w for w in self.workers.values() if not (w.recalled or w.blocked)]
        open_workers.sort(key=lambda w: len(w.in_flight))
        for position, worker in enumerate(open_workers):
            if worker.in_flight and worker.load > TARGET_LOAD / 2:
                continue
            fair_share = -(-len(self._ready) // (len(open_workers) - position))
            tasks = self._take(worker, fair_share)
            if tasks:
                assignments.append((worker, tasks))
        return assignments

    def _take(self, worker: LeasedWorker, limit: int) -> list[PendingTask]:
        tasks: list[PendingTask] = []
        ready, in_flight = self._ready, worker.in_flight
        while ready and len(tasks) < limit and len(in_flight) < MAX_IN_FLIGHT:
            task = ready[0][1]
            if task.state != READY:  # cancelled meanwhile
                heapq.heappop(ready)
                continue
            load = self._times.expect(task.group)
            if in_flight and worker.load + load > TARGET_LOAD:
                break
            heapq.heappop(ready)
            task.load = load
            task.lease = worker
            task.state = AT_WORKER
            worker.load += load
            in_flight[task.task_id] = task
            tasks.append(task)
        return tasks

    def leases_to_request(self) -> int | None:
        """Return the number of leases to ask for now, or None to leave the request as it is."""
        wanted = min(len(self._ready), MAX_REQUESTED)
        more = self.requested == 0 or wanted >= 2 * self.requested
        if wanted and (more or self._request_is_stale):
            self.requested = wanted
            self._request_is_stale = False
            return wanted
        return None

    def give_way(self, order: int) -> None:
        """An older task of ours went to the node: let it have a worker before what is ready here.

        Otherwise the roots of a graph, which need nothing, would all run before any of the
        tasks that use up and release their results.
        """
        if not self._ready or self._ready[0][0] < order:
            return
        self._request_is_stale = True
        holding = [worker for worker in self.workers.values() if not worker.recalled]
        if holding:
            min(holding, key=lambda worker: len(worker.in_flight)).recalled = True

    def withdraw_request(self) -> bool:
        """Forget a request for leases that nothing waits for; True if there was one.

        Not done as soon as the last task left: the next one would only ask again.
        """
        if self._ready or not self.requested:
            return False
        self.requested = 0
        return True

    def finished(self, worker: LeasedWorker, task: PendingTask, now: float) -> None:
        """A task left a worker, finished or given back."""
        if worker.in_flight.pop(task.task_id, None) is not None:
            worker.load = max(worker.load - task.load, 0.0) if worker.in_flight else 0.0
            task.lease = None
            if not worker.in_flight:
                worker.idle_since = now
                worker.blocked = False

    def to_reclaim_from(self) -> tuple[LeasedWorker, int] | None:
        """Return a busy worker that should give tasks back because another one is idle."""
        if self._ready:
            return None
        idle = busiest = None
        for worker in self.workers.values():
            if worker.recalled or worker.blocked:
                continue
            if not worker.in_flight:
                idle = worker
            elif busiest is None or len(worker.in_flight) > len(busiest.in_flight):
                busiest = worker
        if idle is None or busiest is None or busiest.reclaiming or len(busiest.in_flight) < 2:
            return None
        busiest.reclaiming = True
        return busiest, len(busiest.in_flight) // 2

    def to_return(self, now: float, linger: float) -> list[LeasedWorker]:
        """Remove and return the workers whose leases go back to the node."""
        leaving = [
            worker
            for worker in self.workers.values()
            if not worker.in_flight
            and (worker.recalled or (not self._ready and now - worker.idle_since >= linger))
        ]
        for worker in leaving:
            del self.workers[worker.lease_id]
        return leaving

    def lost(self, worker: LeasedWorker) -> list[PendingTask]:
        """A worker died; return its tasks, the one that was running first."""
        self.workers.pop(worker.lease_id, None)
        tasks = list(worker.in_flight.values())
        worker.in_flight.clear()
        return tasks

    def is_idle(self) -> bool:
        """Whether leases, or requests for them, may have to be given up soon."""
        if self.requested and not self._ready:
            return True
        return any(not worker.in_flight for worker in self.workers.values())

    def validate(self) -> None:
        """Raise AssertionError where the pool contradicts itself."""
        for worker in self.workers.values():
            assert len(worker.in_flight) <= MAX_IN_FLIGHT
            for task in worker.in_flight.values():
                assert task.state == AT_WORKER, task.state
                assert task.lease is worker


class LeasePools(dict[bytes, LeasePool]):
    """The pools of all shapes; one is made when it is looked up first."""

    def __init__(self, times: FunctionTimes) -> None:
        super().__init__()
        self._times = times

    def __missing__(self, shape: bytes) -> LeasePool:
        pool = self[shape] = LeasePool(shape, self._times)
        return pool

    def drop_if_unused(self, pool: LeasePool) -> None:
        """Forget a pool if a new one would do as well: environments may make many shapes."""
        if not (pool.workers or len(pool) or pool.requested):
            self.pop(pool.shape, None)
