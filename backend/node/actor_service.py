"""The registry of actors: where each lives, who asked, and why it died."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from millpond.scheduler.queue import Grant, Kind, LeaseQueue, Request

from ..wire import messages as m

if TYPE_CHECKING:
    from .far_peers import AnyPeer
    from .worker_pool import Worker, WorkerPool

__all__ = ["ActorService"]


class _Actor:
    def __init__(self, task: m.Task, owner: bytes) -> None:
        self.task = task
        #: pickle of its class, if that is small
        self.function = b""
        self.owner = owner
        self.worker: Worker | None = None
        #: its constructor has ended and its owner was answered
        self.constructed = False
        #: it takes calls
        self.alive = False
        #: why it is dead
        self.death = ""
        #: its last handle died, or it was killed: what to do once it can be done
        self.ending = ""
        #: nobody can call it any more, nor ask for it
        self.handles_gone = False
        #: processes that call it
        self.callers: set[bytes] = set()


class ActorService:
    """All actors of the session.

    Args:
        queue: where actors wait for their resources.
        pump: grants what can be granted.
        peer: finds the connection of a process.
    """

    def __init__(
        self,
        queue: LeaseQueue,
        pump: Callable[[], None],
        peer: Callable[[bytes], AnyPeer | None],
    ) -> None:
        self._queue = queue
        self._pump = pump
        self._peer = peer
        self.pool: WorkerPool
        self._actors: dict[bytes, _Actor] = {}

    def create(self, owner: bytes, message: m.CreateActor) -> None:
        """A process wants an actor."""
        actor_id = message.task.task_id
        actor = self._find(actor_id)
        actor.task = message.task
        actor.function = message.function
        actor.owner = owner
        if actor.death:  # killed before it began
            self._died(actor_id, actor, actor.death)
            return
        self._queue.add(Request(actor_id, owner, message.shape, message.order, Kind.ACTOR))
        self._pump()

    def start(self, grant: Grant, worker: Worker) -> None:
        """The actor has its resources and a worker of its own."""
        actor = self._actors[grant.key]  # type: ignore[index]
        actor.worker = worker
        worker.actor_id = grant.key  # type: ignore[assignment]
        worker.connection.send(m.RunTasks([actor.task], actor.function))
        actor.function = b""
        if actor.ending:
            worker.connection.send(m.Exit())

    def constructed(self, actor_id: bytes, error: str) -> None:
        """The constructor ended, with an exception if ``error`` is not empty."""
        actor = self._actors.get(actor_id)
        if actor is None or actor.worker is None:
            return
        actor.constructed = True
        if error:
            actor.ending = f"its constructor raised {error}"
            self.pool.kill(actor.worker, actor.ending)
        else:
            actor.alive = True
            self._tell(actor, actor.callers)

    def locate(self, caller: bytes, actor_id: bytes) -> None:
        """A process wants to call an actor; it is told where it is, and when it dies."""
        actor = self._find(actor_id)
        actor.callers.add(caller)
        if actor.alive or actor.death:
            self._tell(actor, [caller])

    def kill(self, actor_id: bytes, *, graceful: bool) -> None:
        """End an actor: after the calls it has received, or at once."""
        if graceful and (actor_id not in self._actors or self._actors[actor_id].death):
            self._actors.pop(actor_id, None)
            return
        actor = self._find(actor_id)
        if actor.death:
            return
        actor.handles_gone = actor.handles_gone or graceful
        actor.ending = "all its handles were dropped" if graceful else "it was killed"
        if self._queue.withdraw(actor_id):
            self._died(actor_id, actor, actor.ending)
        elif actor.worker is None and not actor.owner:
            self._died(actor_id, actor, "an argument of its constructor failed")
        elif actor.worker is not None and graceful:
            actor.worker.doom = actor.ending
            actor.worker.connection.send(m.Exit())
        elif actor.worker is not None:
            self.pool.kill(actor.worker, actor.ending)

    def worker_died(self, worker: Worker, reason: str) -> None:
        """The process of an actor ended."""
        actor = self._actors.get(worker.actor_id)
        if actor is not None:
            self._died(worker.actor_id, actor, actor.ending or reason)
        self._queue.release(worker.actor_id)

    def process_died(self, process_id: bytes) -> None:
        """A process died; actors that it owned go with it."""
        for actor_id, actor in list(self._actors.items()):
            actor.callers.discard(process_id)
            if actor.owner == process_id:
                self.kill(actor_id, graceful=False)

    def can_be_elsewhere(self, actor_id: bytes) -> bool:
        """Whether nothing was said of an actor yet, but that some want to call it."""
        actor = self._actors.get(actor_id)
        return actor is None or not (actor.death or actor.ending)

    def hand_over(self, actor_id: bytes) -> set[bytes]:
        """Another node runs an actor: return those who want to call it."""
        actor = self._actors.pop(actor_id, None)
        return set() if actor is None else actor.callers

    def died_elsewhere(self, actor_id: bytes, callers: set[bytes], reason: str) -> None:
        """The node that ran an actor is gone; its owner knows that."""
        actor = self._find(actor_id)
        actor.callers = callers
        actor.death = reason
        self._tell(actor, callers)

    def _find(self, actor_id: bytes) -> _Actor:
        """Return an actor; its creation may still wait for arguments at its owner."""
        actor = self._actors.get(actor_id)
        if actor is None:
            actor = self._actors[actor_id] = _Actor(m.Task(actor_id, 0, b"", "", b""), b"")
        return actor

    def _died(self, actor_id: bytes, actor: _Actor, reason: str) -> None:
        actor.alive = False
        actor.worker = None
        actor.death = reason
        self._tell(actor, actor.callers)
        owner = self._peer(actor.owner)
        if not actor.constructed and owner is not None:
            # Nothing else will answer the constructor's own result.
            owner.send(m.TaskLost(actor_id, actor.task.attempt, reason))
        if actor.handles_gone:
            self._actors.pop(actor_id, None)  # nobody can ask for it any more

    def _tell(self, actor: _Actor, callers: Iterable[bytes]) -> None:
        worker_id = actor.worker.worker_id if actor.worker is not None else b""
        state = m.ActorState(actor.task.task_id, actor.alive, worker_id, actor.death)
        for caller in list(callers):
            peer = self._peer(caller)
            if peer is not None:
                peer.send(state)
