"""Calls of actor methods: in order per caller, straight to the actor's process.

Calls wait here until their arguments are finished and the actor is located; a call never
overtakes an earlier one of this process. An actor is named by the object that its constructor
returns; that object's reference count is the actor's life. Methods are called under the
runtime's lock unless they say otherwise.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ..errors import ActorDiedError
from ..serialization.exceptions import serialize_error
from ..wire import messages as m
from ..wire.ids import node_of
from .inline_budget import INLINE_LIMIT
from .tasks import AT_NODE, AT_WORKER, DONE, READY, PendingTask

if TYPE_CHECKING:
    from ..wire.channel import Channel
    from .refs import ObjectRef
    from .runtime import Runtime

__all__ = ["Actor", "ActorCalls"]

#: calls in flight that make further ones wait for a batch
_BATCH = 32
_MAX_IN_FLIGHT = 1024


class Actor:
    """What this process knows of one actor, and its calls."""

    def __init__(self, actor_id: bytes) -> None:
        self.actor_id = actor_id
        #: calls not sent yet, in order
        self.waiting: deque[PendingTask] = deque()
        self.in_flight: dict[bytes, PendingTask] = {}
        self.connection: Channel | None = None
        self.located = False
        self.locating = False
        #: why it is dead; empty while it may be alive
        self.death = ""


class ActorCalls:
    """All actors that this process calls."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._actors: dict[bytes, Actor] = {}
        #: actors that may have something to send
        self._dirty: set[Actor] = set()
        self.handlers: dict[type, Callable[[Channel, Any], None]] = {
            m.ActorState: self._on_actor_state,
        }

    def create(self, task: PendingTask) -> ObjectRef[Any]:
        """Start an actor; return the ref that is its life. Takes the lock itself."""
        runtime = self._runtime
        with runtime.lock:
            (ref,) = runtime.submission.adopt(task, 1)
            ref._entry.actor = True
            if runtime.submission.await_arguments(task, self._create_at_node):
                self._create_at_node(task)
        return ref

    def _create_at_node(self, task: PendingTask) -> None:
        runtime = self._runtime
        message = task.message(runtime.objects, runtime.process_id)
        task.state = AT_NODE
        # Its process is a new one, which knows no class yet.
        pickled = runtime.functions.blob(task.function_id) or b""
        if len(pickled) > INLINE_LIMIT:
            pickled = b""
        runtime.node.send(m.CreateActor(message, task.shape, task.order, pickled))

    def submit(self, task: PendingTask, num_returns: int) -> list[ObjectRef[Any]]:
        """Queue a call; return the refs of its results. Takes the lock itself."""
        runtime = self._runtime
        with runtime.lock:
            refs = runtime.submission.adopt(task, num_returns)
            actor = self._actors.get(task.actor_id)
            if actor is None:
                actor = self._actors[task.actor_id] = Actor(task.actor_id)
            actor.waiting.append(task)
            if runtime.submission.await_arguments(task, lambda ready: self._ready(actor, ready)):
                self._ready(actor, task)
        return refs

    def _ready(self, actor: Actor, task: PendingTask) -> None:
        task.state = READY
        if actor.death:
            self._fail_calls(actor)
        elif actor.located:
            if not actor.in_flight or len(actor.waiting) >= _BATCH:
                self._send(actor)
        elif not actor.locating:
            actor.locating = True
            self._runtime.node.send(m.LocateActor(actor.actor_id))

    def _send(self, actor: Actor) -> None:
        """Send the calls that are ready, up to the first that is not."""
        calls: list[m.Task] = []
        waiting = actor.waiting
        while waiting and len(actor.in_flight) < _MAX_IN_FLIGHT:
            task = waiting[0]
            if task.state == DONE:  # cancelled, or an argument failed
                waiting.popleft()
                continue
            if task.state != READY:
                break
            waiting.popleft()
            task.state = AT_WORKER
            task.lease = actor
            actor.in_flight[task.task_id] = task
            calls.append(task.message(self._runtime.objects, self._runtime.process_id))
        if calls and actor.connection is not None:
            actor.connection.send(m.RunTasks(calls))

    def finished(self, actor: Actor, task: PendingTask) -> None:
        """A call left the actor."""
        actor.in_flight.pop(task.task_id, None)
        if actor.waiting:
            self._dirty.add(actor)

    def dispatch(self) -> None:
        """Send what became ready, after answers arrived."""
        while self._dirty:
            actor = self._dirty.pop()
            if actor.located and len(actor.in_flight) < _MAX_IN_FLIGHT // 2:
                self._send(actor)

    def _on_actor_state(self, connection: Channel, message: m.ActorState) -> None:
        runtime = self._runtime
        peer = runtime.peer(message.worker_id) if message.alive else None
        with runtime.lock:
            actor = self._actors.get(message.actor_id)
            if actor is None:
                return
            if message.alive:
                # If the process is gone already, the node tells next.
                if peer is not None and not actor.death:
                    actor.connection = peer
                    actor.located = True
                    self._send(actor)
            else:
                self._died(actor, message.reason)
            runtime.submission.dispatch()

    def node_lost(self, node_id: bytes, reason: str) -> None:
        """A node is gone, with the actors that lived there."""
        for actor in self._actors.values():
            if actor.connection is not None and node_of(actor.connection.peer_id) == node_id:
                self._died(actor, reason)

    def _died(self, actor: Actor, reason: str) -> None:
        actor.death = actor.death or reason
        actor.located = False
        self._fail_calls(actor)

    def _fail_calls(self, actor: Actor) -> None:
        tasks = [*actor.in_flight.values(), *actor.waiting]
        actor.in_flight.clear()
        actor.waiting.clear()
        for task in tasks:
            if task.state != DONE:
                error = ActorDiedError(
                    f"call of {task.name} failed: actor {actor.actor_id.hex()} is dead: "
                    f"{actor.death}"
                )
                self._runtime.submission.fail(task, serialize_error(error))

    def forget(self, actor_id: bytes) -> None:
        """The last handle of this process died, if the id is an actor's. Every call held one."""
        actor = self._actors.get(actor_id)
        if actor is not None and not actor.in_flight and not actor.waiting:
            del self._actors[actor_id]
