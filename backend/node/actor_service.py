"""The processes of the actors that this node runs, for whatever home. See ``actor_lives``."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import msgspec

from millpond.scheduler.queue import Grant, Kind, LeaseQueue, Request

from ..wire import messages as m
from ..wire.ids import node_of, owner_of
from .worker_pool import Worker, WorkerPool

__all__ = ["ActorService"]


class _Incarnation:
    """One process of an actor, from the wish for it until it is gone."""

    def __init__(self, message: m.RunActor) -> None:
        self.message = message
        self.worker: Worker | None = None
        #: why it is to end, once that was said
        self.ending = ""
        #: its constructor raised an exception
        self.failed = False


class ActorService:
    """All actors that this node runs.

    Args:
        queue: where actors wait for their resources.
        pump: grants what can be granted.
    """

    def __init__(self, queue: LeaseQueue, pump: Callable[[], None]) -> None:
        self._queue = queue
        self._pump = pump
        self.pool: WorkerPool
        self._running: dict[bytes, _Incarnation] = {}
        #: tells the home of an actor what became of it: the home, `ActorStarted`, ...
        self.report: Callable[[bytes, msgspec.Struct], None] = lambda *_: None

    def run(self, message: m.RunActor) -> None:
        """The home of an actor wants it to be run."""
        creation = message.creation
        actor_id = creation.task.task_id
        self._running[actor_id] = _Incarnation(message)
        owner = owner_of(actor_id)
        self._queue.add(Request(actor_id, owner, creation.shape, creation.order, Kind.ACTOR))
        self._pump()

    def start(self, grant: Grant, worker: Worker) -> None:
        """The actor has its resources and a worker of its own."""
        actor_id: bytes = grant.key  # type: ignore[assignment]
        incarnation = self._running[actor_id]
        if incarnation.ending:
            self._queue.release(actor_id)
            self.pool.release(worker)
            self._ended(actor_id, incarnation, incarnation.ending)
            return
        incarnation.worker = worker
        worker.actor_id = actor_id
        creation = incarnation.message.creation
        worker.connection.send(m.RunTasks([creation.task], creation.function))

    def constructed(self, actor_id: bytes, error: str) -> None:
        """The constructor ended, with an exception if ``error`` is not empty."""
        incarnation = self._running.get(actor_id)
        if incarnation is None or incarnation.worker is None:
            return
        if error:
            incarnation.failed = True
            incarnation.ending = f"its constructor raised {error}"
            self.pool.kill(incarnation.worker, incarnation.ending)
        else:
            number, worker_id = incarnation.message.incarnation, incarnation.worker.worker_id
            self.report(node_of(actor_id), m.ActorStarted(actor_id, number, worker_id))

    def end(self, message: m.EndActor) -> None:
        """The home of an actor wants it to end: after the calls it has received, or at once."""
        actor_id = message.actor_id
        incarnation = self._running.get(actor_id)
        if incarnation is None or incarnation.message.incarnation != message.incarnation:
            return
        incarnation.ending = incarnation.ending or message.reason
        worker = incarnation.worker
        if worker is None:
            # In the queue; or no more even there, as its owner died; or its worker is being forked.
            if self._queue.withdraw(actor_id) or actor_id not in self._queue.grants:
                self._ended(actor_id, incarnation, incarnation.ending)
        elif message.graceful:
            worker.doom = incarnation.ending
            worker.connection.send(m.Exit())
        else:
            self.pool.kill(worker, incarnation.ending)

    def waiting(self) -> Iterator[m.RunActor]:
        """Yield the actors that wait for their resources; those yielded come last the next time."""
        for actor_id, incarnation in list(self._running.items()):
            if incarnation.worker is None and actor_id not in self._queue.grants:
                self._running[actor_id] = self._running.pop(actor_id)
                yield incarnation.message

    def hand_on(self, actor_id: bytes, node_id: bytes) -> None:
        """Let go of an actor that waits, so that another node runs it."""
        if self._queue.withdraw(actor_id):  # else its owner died, and it ends
            number = self._running.pop(actor_id).message.incarnation
            self.report(node_of(actor_id), m.HandOnActor(actor_id, number, node_id))

    def worker_died(self, worker: Worker, reason: str) -> None:
        """The process of an actor ended."""
        actor_id = worker.actor_id
        self._queue.release(actor_id)
        incarnation = self._running.get(actor_id)
        if incarnation is not None and incarnation.worker is worker:
            self._ended(actor_id, incarnation, incarnation.ending or reason)
        self._pump()

    def home_lost(self, node_id: bytes) -> None:
        """A node is gone, and with it the owners of its actors: they end."""
        for actor_id, incarnation in list(self._running.items()):
            if node_of(actor_id) == node_id:
                number = incarnation.message.incarnation
                self.end(m.EndActor(actor_id, number, f"its home {node_id.hex()} is gone"))

    def _ended(self, actor_id: bytes, incarnation: _Incarnation, reason: str) -> None:
        del self._running[actor_id]
        number, failed = incarnation.message.incarnation, incarnation.failed
        self.report(node_of(actor_id), m.ActorEnded(actor_id, number, reason, failed))
