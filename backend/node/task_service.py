"""Leases and tasks of the node: carries out what `LeaseQueue` decides.

A granted lease is told to its owner, which then talks to the worker alone. A granted task has
its arguments pinned (and restored) and is handed to a worker, which answers the owner itself
and tells the node when it is done.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from typing import TYPE_CHECKING

from millpond.scheduler.learned import LearnedMemory, LearnedOutputs
from millpond.scheduler.queue import Grant, Kind, LeaseQueue, Request
from millpond.scheduler.resources import UNIT, environment_of, expecting
from millpond.scheduler.run_times import RunTimes

from ..wire import messages as m

if TYPE_CHECKING:
    from .actor_service import ActorService
    from .far_peers import AnyPeer
    from .object_service import ObjectService
    from .stalemate import StalemateFinder
    from .worker_pool import Worker, WorkerPool

__all__ = ["TaskService"]


#: seconds that an owner gets to submit what a finished task made ready, before it gets a lease
#: for something younger; else the roots of a graph run ahead of what uses up their results
_REACTION = 0.001
#: seconds after a task's end in which its owner, and other threads of it, may let go of objects
_LETTING_GO = 0.5


class _NodeTask:
    """A task that was submitted to the node."""

    def __init__(self, message: m.SubmitTask, owner: bytes) -> None:
        self.message = message
        self.task = message.task
        self.owner = owner
        self.cancelled = False
        self.worker: Worker | None = None


class TaskService:
    """Everything that waits for or holds a slot of this node.

    Args:
        queue: decides.
        objects: pins the arguments.
        peer: finds the connection of a process.
        loop: the node's event loop.
    """

    def __init__(
        self,
        queue: LeaseQueue,
        objects: ObjectService,
        peer: Callable[[bytes], AnyPeer | None],
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self._loop = loop
        self.queue = queue
        self._objects = objects
        objects.may_free = self.may_free
        self._peer = peer
        self.pool: WorkerPool
        self.actors: ActorService
        self._tasks: dict[Hashable, _NodeTask] = {}
        self._outputs = LearnedOutputs()
        self._memory = LearnedMemory()
        self._pumping = False
        #: where those arguments of a task are that may be on other nodes only
        self.copies_of: Callable[[m.Task], list[m.Copies]] = lambda _: []
        #: how long tasks with stored arguments take
        self._run_times = RunTimes()
        #: when a task ended last, by the loop's clock
        self._last_end = -_LETTING_GO
        self._recheck: asyncio.TimerHandle | None = None
        #: finds out whether processes that hold something will ever let go of it
        self.stalemate: StalemateFinder
        #: owner -> finished tasks that it may be reacting to
        self._reacting: dict[bytes, int] = {}

    @property
    def load(self) -> int:
        """What waits here for its turn, and CPUs that tasks and leases hold.

        What keeps no CPU busy, as a task that waits for others, leaves its slot to others. So does
        what waits for actors to end.
        """
        return self.queue.waiting_for_others + self.queue.taken_slots

    @property
    def run_time(self) -> float:
        """Seconds that tasks with stored arguments are taken to need; 0: none has run."""
        return self._run_times.expected(self._loop.time())

    def expected_output(self, task: m.Task) -> int:
        """Return the bytes that a task is expected to store."""
        expected = self._outputs.expect((task.function_id, task.name))
        if expected is not None:
            return expected
        return sum(each.value.size for each in task.arguments if each.value.kind == m.STORED)

    # --- from owners ---

    def request_leases(self, owner: bytes, message: m.RequestLeases) -> None:
        """An owner waits for workers, or no longer does."""
        self.queue.want_leases(owner, message.shape, message.count, message.order)
        self.pump()

    def return_lease(self, message: m.ReturnLease) -> None:
        """An owner is done with a worker."""
        worker = self._worker_of(message.lease_id)
        self.queue.release(message.lease_id)
        if worker is not None:
            self.pool.release(worker)
        self.pump()

    def submit(self, owner: bytes, message: m.SubmitTask) -> None:
        """Queue a task with stored arguments."""
        task = message.task
        stored = {
            argument.object_id: argument.value.size
            for argument in task.arguments
            if argument.value.kind == m.STORED
        }
        self._objects.notices.large_inputs(task.name, sum(stored.values()))
        output = self.expected_output(task)
        self._tasks[task.task_id] = _NodeTask(message, owner)
        self.queue.add(
            Request(
                task.task_id,
                owner,
                self._shape(task, message.shape),
                message.order,
                Kind.TASK,
                stored,
                output,
            )
        )
        self.pump()
        if task.task_id not in self.queue.grants:
            self._fetch_ahead(task)

    def _fetch_ahead(self, task: m.Task) -> None:
        """Fetch what a task that has to wait needs of other nodes, if nothing has to go for it."""
        copies = self.copies_of(task)
        if copies and self._objects.has_spare(sum(each.size for each in copies)):
            self._objects.fetch(copies)

    def waiting_tasks(self) -> Iterator[m.SubmitTask]:
        """Yield the tasks that have not begun, the newest first."""
        for key in reversed(self._tasks):
            if key not in self.queue.grants:
                yield self._tasks[key].message

    def withdraw(self, task_id: Hashable) -> tuple[bytes, m.SubmitTask]:
        """Let go of a task that has not begun; return its owner, and what it submitted."""
        node_task = self._tasks.pop(task_id)
        withdrawn = self.queue.withdraw(task_id)
        assert withdrawn, task_id
        self._objects.changed()
        return node_task.owner, node_task.message

    def cancel(self, message: m.CancelTask) -> None:
        """Drop a task that waits, interrupt or kill one that runs."""
        node_task = self._tasks.get(message.task_id)
        if node_task is None:
            return
        node_task.cancelled = True
        if self.queue.withdraw(message.task_id):
            self._lost(node_task, "cancelled", cancelled=True)
        elif node_task.worker is not None:
            if message.force:
                self.pool.kill(node_task.worker, "it was cancelled by force")
            else:
                node_task.worker.connection.send(message)

    # --- from workers ---

    def finished(self, worker: Worker, message: m.TaskFinished) -> None:
        """A worker ended a task that the node had given it."""
        node_task = self._tasks.pop(message.task_id, None)
        if node_task is not None:
            task = node_task.task
            self._outputs.learn((task.function_id, task.name), message.output_bytes)
            self._learn_memory(task, message.peak_memory)
            self._expect_reaction(node_task.owner)
            self._last_end = self._loop.time()
            self._run_times.end(message.task_id, self._last_end)
        self.queue.release(message.task_id)
        self.pool.release(worker)
        self.pump()

    def _expect_reaction(self, owner: bytes) -> None:
        """Grant an owner no lease for a moment: its next task may be one that uses up a result."""
        self._reacting[owner] = self._reacting.get(owner, 0) + 1
        self._loop.call_later(_REACTION, self._reaction_over, owner)

    def _reaction_over(self, owner: bytes) -> None:
        left = self._reacting.pop(owner) - 1
        if left:
            self._reacting[owner] = left
        else:
            self.pump()

    def blocked(self, worker: Worker | None) -> None:
        """A worker's task waits for other tasks."""
        if worker is None:
            return
        self.queue.lend(worker.grant_key)
        self.pump()

    def unblocked(self, worker: Worker | None) -> None:
        """It goes on."""
        if worker is None:
            return
        self.queue.take_back(worker.grant_key)

    def worker_died(self, worker: Worker, reason: str) -> None:
        """Tell whoever used the worker, and free its slot."""
        grant = self.queue.grants.get(worker.grant_key)
        if grant is None:
            return
        owner = self._peer(grant.owner)
        if grant.kind is Kind.TASK:
            node_task = self._tasks.get(grant.key)
            if node_task is not None:
                if worker.oom is not None:
                    self._learn_memory(node_task.task, worker.oom.used)
                self._lost(node_task, reason, cancelled=node_task.cancelled, oom=worker.oom)
        elif grant.kind is Kind.LEASE and owner is not None:
            owner.send(m.WorkerDied(worker.worker_id, reason, worker.oom))
        self.queue.release(grant.key)
        self.pump()

    def process_died(self, process_id: bytes) -> None:
        """An owner died: nothing of it goes on."""
        for grant in self.queue.drop_owner(process_id):
            worker = self._worker_of(grant.key)
            if worker is not None:
                self.pool.kill(worker, "the process that used it died")
        for key, node_task in list(self._tasks.items()):
            if node_task.owner == process_id and key not in self.queue.grants:
                del self._tasks[key]
        self.pool.owner_died(process_id)
        self.pump()

    def recall_retired(self) -> None:
        """Ask back the leases of workers that lack the newest zygote's modules."""
        for worker in self.pool.workers.values():
            grant = self.queue.grants.get(worker.grant_key)
            if worker.outdated and grant is not None and grant.kind is Kind.LEASE:
                self._recall(grant)

    # --- grants ---

    def pump(self) -> None:
        """Grant what can be granted now, and recall what others should have."""
        if self._pumping or self.pool.closing:
            return
        self._pumping = True
        try:
            for grant in self.queue.next_grants(self.pool.room(), self._reacting):
                self.pool.acquire(
                    environment_of(grant.shape),
                    lambda worker, grant=grant: self._start(grant, worker),  # type: ignore[misc]
                )
            for grant in self.queue.recalls():
                self._recall(grant)
        finally:
            self._pumping = False
        self._objects.recheck()
        self._objects.changed()

    def may_free(self, holding: AbstractSet[bytes], waiting: AbstractSet[bytes]) -> bool:
        """Whether room in a full store without spilling may be freed one day.

        Args:
            holding: processes that read or write objects.
            waiting: processes that wait for room.
        """
        grants = self.queue.grants
        lent = {
            worker.worker_id
            for worker in self.pool.workers.values()
            if (grant := grants.get(worker.grant_key)) is not None and grant.lent
        }
        stuck = {
            worker.grant_key for worker in self.pool.workers.values() if worker.worker_id in waiting
        }
        running = (key for key, grant in grants.items() if not grant.lent and key not in stuck)
        if any(grants[key].kind is not Kind.ACTOR for key in running):
            return True
        if not holding <= waiting | lent:
            return not self.stalemate.take()
        return self._may_react()

    def _may_react(self) -> bool:
        """Whether a task ended so lately that its owner may let go of something yet."""
        if self._loop.time() - self._last_end >= _LETTING_GO:
            return False
        if self._recheck is None:
            self._recheck = self._loop.call_later(_LETTING_GO, self._recheck_store)
        return True

    def _recheck_store(self) -> None:
        self._recheck = None
        self._objects.recheck()

    def _recall(self, grant: Grant) -> None:
        owner = self._peer(grant.owner)
        if owner is not None:
            owner.send(m.RecallLease(grant.key))  # type: ignore[arg-type]

    def _start(self, grant: Grant, worker: Worker) -> None:
        worker.grant_key = grant.key
        worker.owner = grant.owner
        if self.queue.grants.get(grant.key) is not grant:  # ended while the worker was forked
            self.pool.release(worker)
        elif grant.kind is Kind.LEASE:
            owner = self._peer(grant.owner)
            if owner is None:
                self.queue.release(grant.key)
                self.pool.release(worker)
            else:
                owner.send(m.LeaseGranted(grant.key, grant.shape, worker.worker_id))  # type: ignore[arg-type]
        elif grant.kind is Kind.ACTOR:
            self.actors.start(grant, worker)
        else:
            self._pin_arguments(grant, worker)

    def _pin_arguments(self, grant: Grant, worker: Worker) -> None:
        node_task = self._tasks[grant.key]
        node_task.worker = worker
        assert grant.request is not None
        wanted = list(grant.request.arguments)
        if not wanted:
            self._run(grant, worker, node_task, {})
            return

        def pinned(locations: list[m.Location]) -> None:
            self._run(grant, worker, node_task, dict(zip(wanted, locations, strict=True)))

        self._objects.pin(wanted, worker.worker_id, pinned, self.copies_of(node_task.task))

    def _run(
        self,
        grant: Grant,
        worker: Worker,
        node_task: _NodeTask,
        locations: dict[bytes, m.Location],
    ) -> None:
        if self.queue.grants.get(grant.key) is not grant or worker.doom:
            return
        lost = {oid: at for oid, at in locations.items() if at.kind in (m.MISSING, m.LOST)}
        if lost or node_task.cancelled:
            self._objects.unpin([oid for oid in locations if oid not in lost], worker.worker_id)
            reasons = [at.reason for at in lost.values() if at.reason]
            # What may be read another time must not be rebuilt with what is lost.
            reasons.sort(key=lambda reason: not reason.startswith(m.UNREACHABLE))
            self._lost(
                node_task,
                next(iter(reasons), m.NOT_IN_STORE),
                cancelled=node_task.cancelled,
                arguments=[a for a in node_task.task.arguments if a.object_id in lost],
            )
            self.queue.release(grant.key)
            self.pool.release(worker)
            self.pump()
            return
        for argument in node_task.task.arguments:
            argument.location = locations.get(argument.object_id)
        self._run_times.begin(grant.key, self._loop.time())
        worker.connection.send(m.RunTasks([node_task.task]))

    # --- small things ---

    def _lost(
        self,
        node_task: _NodeTask,
        reason: str,
        *,
        cancelled: bool,
        arguments: Sequence[m.Argument] = (),
        oom: m.OutOfMemory | None = None,
    ) -> None:
        task = node_task.task
        self._tasks.pop(task.task_id, None)
        self._run_times.forget(task.task_id)
        owner = self._peer(node_task.owner)
        if owner is not None:
            owner.send(
                m.TaskLost(
                    task.task_id,
                    task.attempt,
                    reason,
                    cancelled=cancelled,
                    lost=list(arguments),
                    oom=oom,
                )
            )

    def _learn_memory(self, task: m.Task, peak: int) -> None:
        """Note what a task needed; those like it that wait still are to have as much."""
        group = (task.function_id, task.name)
        if not peak or not self._memory.learn(group, peak):
            return

        def shape_of(request: Request) -> bytes:
            waiting = self._tasks.get(request.key)
            same = waiting is not None and (waiting.task.function_id, waiting.task.name) == group
            return self._shape(task, request.shape) if same else request.shape

        self.queue.reshape(shape_of)

    def _shape(self, task: m.Task, shape: bytes) -> bytes:
        """Return a shape with the memory that tasks like this one needed before."""
        expected = self._memory.expect((task.function_id, task.name))
        return expecting(shape, expected * UNIT) if expected else shape

    def _worker_of(self, key: Hashable) -> Worker | None:
        for worker in self.pool.workers.values():
            if worker.grant_key == key:
                return worker
        return None
