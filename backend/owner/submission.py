"""Submits tasks and sees them through: arguments, dispatch, results, retries, cancellation.

A task whose arguments are all inline goes straight to a leased worker (``lease_pool``); one
with stored arguments goes to the node, which admits it, pins the arguments, and runs it. Both
answer this process directly. Methods are called under the runtime's lock unless they say
otherwise.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ..errors import SpillUnavailableError, TaskCancelledError, WorkerCrashedError
from ..serialization.exceptions import serialize_error
from ..wire import messages as m
from ..wire.copies import places
from ..wire.ids import following, node_of
from .lease_pool import LeasedWorker, LeasePool, LeasePools
from .memory_demand import MemoryDemand
from .objects import PENDING, Entry, Freed, tried_from
from .tasks import AT_NODE, AT_WORKER, DONE, READY, WAITING, FunctionTimes, PendingTask
from .upcoming import upcoming

if TYPE_CHECKING:
    from ..wire.channel import Channel
    from .refs import ObjectRef
    from .runtime import Runtime

__all__ = ["Submission"]

#: seconds that an idle lease is kept in case more tasks come
LEASE_LINGER = 0.05


class Submission:
    """All unfinished tasks of one owner."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._tasks: dict[bytes, PendingTask] = {}
        self._times = FunctionTimes()
        self._pools = LeasePools(self._times)
        self._demand = MemoryDemand()
        self._next_tidy = 0.0
        #: shapes whose pool has something new to decide
        self._dirty: set[bytes] = set()
        self.handlers: dict[type, Callable[[Channel, Any], None]] = {
            m.TasksDone: self._on_tasks_done,
            m.TasksReturned: self._on_tasks_returned,
            m.LeaseGranted: self._on_lease_granted,
            m.RecallLease: self._on_recall_lease,
            m.TaskLost: self._on_task_lost,
            m.TaskPlaced: self._on_task_placed,
            m.WorkerDied: self._on_worker_died,
            m.AskUpcoming: self._on_ask_upcoming,
        }

    @property
    def is_busy(self) -> bool:
        """Whether any task is unfinished, or a worker leased, which would end with its owner."""
        return bool(self._tasks) or any(pool.workers for pool in self._pools.values())

    # --- from the user's threads ---

    def submit(self, task: PendingTask, num_returns: int) -> list[ObjectRef[Any]]:
        """Take a new task over; return the refs of its results. Takes the lock itself."""
        runtime = self._runtime
        with runtime.lock:
            refs = self.adopt(task, num_returns)
            if self.await_arguments(task, self._route):
                self._route(task)
            else:
                task.take_place()
            if self._dirty:
                self._dirty.discard(task.shape)
                self._send_ready(task.shape, only_if_worth=True)
        return refs

    def adopt(self, task: PendingTask, num_returns: int) -> list[ObjectRef[Any]]:
        """Make the return objects of a task and remember it until it is finished.

        Raises:
            NodeDiedError: nobody is left to run it.
        """
        if self._runtime.failure is not None:
            raise self._runtime.failure
        refs = []
        task.num_returns = num_returns
        for index in range(max(num_returns, 1)):
            object_id = following(task.task_id, index) if index else task.task_id
            entry, ref = self._runtime.objects.own(object_id)
            entry.task = task
            task.returns.append(entry)
            refs.append(ref)
        self._tasks[task.task_id] = task
        self._runtime.objects.inline.used += len(task.payload)
        return refs

    def await_arguments(self, task: PendingTask, ready: Callable[[PendingTask], None]) -> bool:
        """Have ``ready`` called when all arguments are finished; True when they are already."""
        for ref in task.arguments:
            entry = ref._entry
            if entry.state == PENDING:
                task.missing += 1
                self._runtime.objects.when_finished(
                    entry, lambda done: self._argument_finished(task, done, ready)
                )
                self._runtime.start_resolving(entry)
            elif entry.state == m.FAILED:
                self.fail(task, entry.data)
                return False
        return task.missing == 0 and task.state == WAITING

    def _argument_finished(
        self, task: PendingTask, entry: Entry, ready: Callable[[PendingTask], None]
    ) -> None:
        task.missing -= 1
        if task.state == DONE:
            return
        if entry.state == m.FAILED:
            self.fail(task, entry.data)
        elif task.missing == 0:
            ready(task)

    def cancel(self, entry: Entry, *, force: bool) -> bool:
        """Cancel the task that makes an object; False when it is finished already."""
        task = entry.task
        if task is None or task.state == DONE or entry.state != PENDING:
            return False
        task.cancelled, task.forced = True, force
        if task.state in (WAITING, READY):
            self.fail_cancelled(task)
        elif task.state == AT_NODE:
            self._runtime.tell_node(
                task.place or self._runtime.node_id, m.CancelTask(task.task_id, force)
            )
        elif force and isinstance(task.lease, LeasedWorker):
            self._runtime.tell_node(task.lease.worker_id, m.KillWorkerOf(task.lease.worker_id))
        elif task.lease is not None:
            task.lease.connection.send(m.CancelTask(task.task_id, force))
        return True

    # --- dispatch ---

    def _route(self, task: PendingTask) -> None:
        if error := self._runtime.alone.refusal(task):
            self.fail(task, error)
            return
        task.place = b""
        task.take_place()
        if self._demand.matters:
            task.shape = self._demand.shape(task, self._runtime.task_memory)
        pool = self._pools.get(task.shape)
        if task.rerun_of is not None or task.has_stored_arguments():
            task.state = AT_NODE
            message = task.message(self._runtime.objects, self._runtime.process_id)
            self._runtime.node.send(m.SubmitTask(message, task.shape, task.order))
            if pool is not None:
                pool.give_way(task.order)
                self._dirty.add(task.shape)
            return
        self._pools[task.shape].push(task)
        self._dirty.add(task.shape)

    def _learn_memory(self, task: PendingTask, peak: int) -> None:
        """Note what a task needed; those like it that wait still are to have as much."""
        if self._demand.learn(task, peak):
            for pool in list(self._pools.values()):
                for waiting in pool.take_group(task.group):
                    self._route(waiting)

    def dispatch(self) -> None:
        """Send what became ready to workers with room, and settle the leases."""
        while self._dirty:
            self._send_ready(self._dirty.pop())
        self._runtime.actor_calls.dispatch()

    def _send_ready(self, shape: bytes, *, only_if_worth: bool = False) -> None:
        pool = self._pools.get(shape)
        if pool is None:
            return
        if not only_if_worth or pool.worth_assigning():
            for worker, tasks in pool.assign():
                table, me = self._runtime.objects, self._runtime.process_id
                if node_of(worker.worker_id) != self._runtime.node_id:
                    for task in tasks:
                        task.place = node_of(worker.worker_id)
                worker.connection.send(m.RunTasks([task.message(table, me) for task in tasks]))
        count = pool.leases_to_request()
        if count is not None:
            self._runtime.node.send(m.RequestLeases(shape, count, pool.first_order))
        if only_if_worth:
            return
        reclaim = pool.to_reclaim_from()
        if reclaim is not None:
            busy, count = reclaim
            busy.connection.send(m.Reclaim(count))
        self._return_leases(pool, time.monotonic())

    def tick(self) -> float | None:
        """Return idle leases in time; answers when to be called again. On the thread that polls."""
        with self._runtime.lock:
            now = time.monotonic()
            idle = [pool for pool in self._pools.values() if pool.is_idle()]
            if idle and now >= self._next_tidy:
                self._next_tidy = now + LEASE_LINGER
                for pool in idle:
                    self._give_up_idle(pool, now)
        return LEASE_LINGER if idle else None

    def _give_up_idle(self, pool: LeasePool, now: float) -> None:
        if pool.withdraw_request():
            self._runtime.node.send(m.RequestLeases(pool.shape, 0, 0))
        self._return_leases(pool, now)
        if not pool.workers:
            self._runtime.on_freed()

    def _return_leases(self, pool: LeasePool, now: float) -> None:
        for worker in pool.to_return(now, LEASE_LINGER):
            self._runtime.tell_node(worker.worker_id, m.ReturnLease(worker.lease_id))
        self._pools.drop_if_unused(pool)

    # --- outcomes ---

    def finish(self, task: PendingTask, values: list[m.Value]) -> None:
        """Give the task's objects their values, and let go of its arguments."""
        task.state = DONE
        objects = self._runtime.objects
        if self._tasks.pop(task.task_id, None) is not None:
            objects.inline.used -= len(task.payload)
        freed = Freed()
        if len(values) != len(task.returns) and values:  # one failure for all returns
            values = values[:1] * len(task.returns)
        for entry, value in zip(task.returns, values or [m.Value(m.INLINE)], strict=True):
            if value.kind == m.STORED and entry.origin is None:
                entry.origin = (task.name, task.site)
                entry.line = task.line
            if task.rerun_of is not None:
                self._runtime.rebuilding.settle(task, entry, value)
            else:
                if value.contained:
                    entry.contains = [self.take_over(object_id) for object_id in value.contained]
                if value.kind == m.STORED:
                    self._runtime.rebuilding.lineage.remember(task, entry)
                objects.finish(entry, value)
            entry.task = None
            objects.free_if_unused(entry, freed)
        task.arguments = []
        task.held = []
        task.payload_ref = None
        task.returns = []
        if task.rerun_of is not None:
            self._runtime.rebuilding.finished(task)
        self._runtime.forget(freed)

    def take_over(self, object_id: bytes) -> ObjectRef[Any]:
        """Hold a ref inside a result; its owner counts us already, the worker saw to that."""
        ref = self._runtime.objects.ref(object_id)
        if not ref._entry.owned:
            ref._entry.registered += 1
        return ref

    def fail(self, task: PendingTask, error: bytes) -> None:
        """Give all objects of the task a serialized exception."""
        if task.kind == m.ACTOR_CREATE and task.state == WAITING:
            # The node never heard of the actor; those who call it must hear of its end.
            reason = "an argument of its constructor failed"
            self._runtime.node.send(m.KillActor(task.task_id, reason))
        self.finish(task, [m.Value(m.FAILED, error)] * len(task.returns))

    def fail_cancelled(self, task: PendingTask) -> None:
        """Give all objects of the task the error of one that was cancelled."""
        error = TaskCancelledError(f"task {task.name} ({task.task_id.hex()}) was cancelled")
        self.fail(task, serialize_error(error))

    def lost_attempt(self, task: PendingTask, reason: str, *, charged: bool) -> None:
        """An attempt gives no result: try again, or give up."""
        if task.cancelled:
            self.fail_cancelled(task)
            return
        if charged and task.retries_left == 0:
            attempts = f"{task.attempt + 1} attempt" + ("s" if task.attempt else "")
            error = WorkerCrashedError(
                f"task {task.name} ({task.task_id.hex()}) did not survive {attempts}: {reason}"
            )
            # The dead worker may have stored some of the results already.
            self.delete_results(task)
            self.fail(task, serialize_error(error))
            return
        if charged and task.retries_left > 0:
            task.retries_left -= 1
        self._retry(task)

    def _stopped(self, task: PendingTask, oom: m.OutOfMemory) -> None:
        """A task was stopped for its memory: run it again with more reserved, or give up."""
        if task.cancelled:
            self.fail_cancelled(task)
            return
        error = self._demand.stopped(task, oom, self._runtime.task_memory)
        if error is None:
            self._learn_memory(task, oom.used)
            self._retry(task)
        else:
            self.delete_results(task)
            self.fail(task, serialize_error(error))

    def delete_results(self, task: PendingTask) -> None:
        """Delete what the last attempt of a task may have stored."""
        results = [entry.id for entry in task.returns]
        self._runtime.tell_node(task.place or self._runtime.node_id, m.DeleteObjects(results))

    def _retry(self, task: PendingTask) -> None:
        if task.place and task.rerun_of is None:
            self.delete_results(task)  # the next attempt may run, and store them, on another node
        task.attempt += 1
        task.lease = None
        self._route(task)

    # --- lost objects ---

    def resubmit(self, task: PendingTask) -> None:
        """Run a finished task again."""
        self._tasks[task.task_id] = task
        self._runtime.objects.inline.used += len(task.payload)
        if self.await_arguments(task, self._route):
            self._route(task)

    def _recover(self, task: PendingTask, lost: list[m.Argument], reason: str) -> None:
        """Submit a task again, which is not charged, once its lost arguments are rebuilt."""
        task.attempt += 1
        task.state = WAITING
        where = task.place or self._runtime.node_id
        for argument in lost:
            entry = self._runtime.objects.entries[argument.object_id]
            try:
                known = argument.value
                tried = tried_from(where, places(entry.id, known.nodes))
                rebuilding = self._runtime.rebuilding.lost(entry, known.rebuilds, reason, tried)
            except SpillUnavailableError as error:
                self.fail(task, serialize_error(error))
                return
            if rebuilding:
                task.missing += 1
                self._runtime.objects.when_finished(
                    entry, lambda done: self._argument_finished(task, done, self._route)
                )
            elif entry.state == m.FAILED:
                self.fail(task, entry.data)
                return
        if task.missing == 0:
            self._route(task)

    # --- messages (each takes the lock) ---

    def _on_tasks_done(self, connection: Channel, message: m.TasksDone) -> None:
        now = time.monotonic()
        with self._runtime.lock:
            for result in message.results:
                task = self._tasks.get(result.task_id)
                if task is None or task.attempt != result.attempt:
                    self._discard(result)
                    continue
                self._settle(task, result, now)
            self.dispatch()

    def _discard(self, result: m.TaskResult) -> None:
        """Delete what an attempt that was given up stored on another node."""
        for index, value in enumerate(result.values):
            entry = self._runtime.objects.entries.get(following(result.task_id, index))
            for node_id in value.nodes:
                if entry is None or node_id not in (entry.nodes or ()):
                    stored = following(result.task_id, index)
                    self._runtime.tell_node(node_id, m.DeleteObjects([stored]))

    def _settle(self, task: PendingTask, result: m.TaskResult, now: float) -> None:
        lease = task.lease
        if isinstance(lease, LeasedWorker):
            pool = self._pools[task.shape]
            pool.finished(lease, task, now)
            lease.blocked = False
            self._dirty.add(task.shape)
        elif lease is not None:
            self._runtime.actor_calls.finished(lease, task)
        self._times.learn(task.group, result.seconds)
        if result.peak_memory and task.kind == m.FUNCTION:
            self._learn_memory(task, result.peak_memory)
        if result.retry and task.retries_left != 0 and not task.cancelled:
            task.retries_left -= task.retries_left > 0
            self._retry(task)
        else:
            self.finish(task, result.values)

    def _on_tasks_returned(self, connection: Channel, message: m.TasksReturned) -> None:
        now = time.monotonic()
        with self._runtime.lock:
            for pool in self._pools.values():
                for worker in pool.workers.values():
                    if worker.connection is connection:
                        worker.reclaiming = False
                        worker.blocked = message.blocked
                        self._dirty.add(pool.shape)
            for task_id in message.task_ids:
                task = self._tasks.get(task_id)
                if task is None or not isinstance(task.lease, LeasedWorker):
                    continue
                pool = self._pools[task.shape]
                pool.finished(task.lease, task, now)
                self._route(task)
            self.dispatch()

    def _on_lease_granted(self, connection: Channel, message: m.LeaseGranted) -> None:
        runtime = self._runtime
        peer = runtime.peer(message.worker_id)
        with runtime.lock:
            pool = self._pools[message.shape]
            pool.requested = max(pool.requested - 1, 0)
            if node_of(message.worker_id) != runtime.node_id:
                # Our node, where we wait too, does not know of it.
                wanted = m.RequestLeases(message.shape, pool.requested, pool.first_order)
                runtime.node.send(wanted)
            if peer is None:  # died meanwhile
                self._runtime.tell_node(message.worker_id, m.ReturnLease(message.lease_id))
            else:
                worker = LeasedWorker(message.lease_id, message.worker_id, peer, time.monotonic())
                pool.workers[worker.lease_id] = worker
            self._dirty.add(message.shape)
            self.dispatch()

    def _on_recall_lease(self, connection: Channel, message: m.RecallLease) -> None:
        with self._runtime.lock:
            for pool in self._pools.values():
                worker = pool.workers.get(message.lease_id)
                if worker is not None:
                    worker.recalled = True
                    self._dirty.add(pool.shape)
            self.dispatch()

    def _on_task_lost(self, connection: Channel, message: m.TaskLost) -> None:
        with self._runtime.lock:
            task = self._tasks.get(message.task_id)
            if task is not None and task.attempt == message.attempt:
                if message.cancelled:
                    self.fail_cancelled(task)
                elif message.lost:
                    self._recover(task, message.lost, message.reason)
                elif message.oom is not None:
                    self._stopped(task, message.oom)
                else:
                    self.lost_attempt(task, message.reason, charged=message.charged)
            self.dispatch()

    def _on_task_placed(self, connection: Channel, message: m.TaskPlaced) -> None:
        with self._runtime.lock:
            task = self._tasks.get(message.task_id)
            if task is not None and task.attempt == message.attempt:
                task.place = message.node_id
                if task.cancelled:  # our node had passed it on already when it was told
                    self._runtime.tell_node(task.place, m.CancelTask(task.task_id, task.forced))

    def node_lost(self, node_id: bytes, reason: str) -> None:
        """A node is gone: what was there is tried again elsewhere."""
        for pool in list(self._pools.values()):
            for worker in list(pool.workers.values()):
                if node_of(worker.worker_id) == node_id:
                    self._worker_lost(pool, worker, reason, None)
        for task in list(self._tasks.values()):
            if task.state == AT_NODE and task.place == node_id:
                self.lost_attempt(task, reason, charged=True)

    def refuse(self, refusal: Callable[[PendingTask], bytes]) -> None:
        """Fail what waits for a worker, with the error that there is for it, if there is any."""
        for pool in list(self._pools.values()):
            for task in pool.take_all():
                self._route(task)
        for task in list(self._tasks.values()):
            if task.state == AT_NODE and (error := refusal(task)):
                self._runtime.node.send(m.CancelTask(task.task_id))
                self.fail(task, error)

    def _on_worker_died(self, connection: Channel, message: m.WorkerDied) -> None:
        """A worker that we leased is gone; its tasks are tried again elsewhere."""
        with self._runtime.lock:
            for pool in list(self._pools.values()):
                dead = [w for w in pool.workers.values() if w.worker_id == message.worker_id]
                for worker in dead:
                    self._worker_lost(pool, worker, message.reason, message.oom)
            self.dispatch()

    def _worker_lost(
        self, pool: LeasePool, worker: LeasedWorker, reason: str, oom: m.OutOfMemory | None
    ) -> None:
        self._dirty.add(pool.shape)
        # The first was running; the others never began and are not charged.
        for index, task in enumerate(pool.lost(worker)):
            task.lease = None
            if oom is None:
                self.lost_attempt(task, reason, charged=index == 0)
            elif task.task_id == (oom.task_id or task.task_id) and index == 0:
                self._stopped(task, oom)
            else:
                self.lost_attempt(task, reason, charged=False)

    def _on_ask_upcoming(self, connection: Channel, message: m.AskUpcoming) -> None:
        with self._runtime.lock:  # sent under it, so that no task is told of after it was submitted
            connection.send(m.Upcoming(upcoming(self._tasks.values(), message.limit)))

    def validate(self) -> None:
        """Raise AssertionError where the state contradicts itself."""
        for pool in self._pools.values():
            pool.validate()
        for task in self._tasks.values():
            assert task.state != DONE, task.name
            assert task.state != AT_WORKER or task.lease is not None, task.name
