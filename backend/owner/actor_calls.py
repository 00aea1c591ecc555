"""Calls of actor methods: in order per caller, straight to the actor's process.

Calls wait here until their arguments are finished and the actor is located; a call never
overtakes an earlier one of this process. When the actor's process is lost, the calls that it had
fail, or go back to the front of those that wait for its next process. An actor is named by the
object that its constructor returns; that object's reference count is the actor's life. Methods are
called under the runtime's lock unless they say otherwise.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ..errors import ActorDiedError, ActorUnavailableError
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
        #: arguments of constructors that may run again, kept for as long as their actors
        self._kept: dict[bytes, list[Any]] = {}
        self.handlers: dict[type, Callable[[Channel, Any], None]] = {
            m.ActorState: self._on_actor_state,
        }

    def create(
        self, task: PendingTask, max_restarts: int, named: m.NamedActor | None = None
    ) -> ObjectRef[Any]:
        """Start an actor; return the ref that is its life. Takes the lock itself."""
        runtime = self._runtime
        with runtime.lock:
            (ref,) = runtime.submission.adopt(task, 1)
            ref._entry.actor = True
            if max_restarts:
                self._kept[ref.id] = [*task.arguments, *task.held, task.payload_ref]

            def create_at_node(ready: PendingTask) -> None:
                self._create_at_node(ready, max_restarts, named)

            if runtime.submission.await_arguments(task, create_at_node):
                create_at_node(task)
        return ref

    def _create_at_node(
        self, task: PendingTask, max_restarts: int, named: m.NamedActor | None
    ) -> None:
        runtime = self._runtime
        message = task.message(runtime.objects, runtime.process_id)
        task.state = AT_NODE
        # Its process is a new one, which knows no class yet.
        pickled = runtime.functions.blob(task.function_id) or b""
        if len(pickled) > INLINE_LIMIT:
            pickled = b""
        runtime.node.send(
            m.CreateActor(message, task.shape, task.order, pickled, max_restarts, named)
        )

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
        sent: list[PendingTask] = []
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
            sent.append(task)
        if not sent:
            return
        assert actor.connection is not None
        where = node_of(actor.connection.peer_id)
        for task in sent:
            if task.place and task.place != where:
                self._runtime.submission.delete_results(task)  # of an attempt on another node
            task.place = where
        table, me = self._runtime.objects, self._runtime.process_id
        calls = m.RunTasks([task.message(table, me) for task in sent])
        if not actor.connection.send(calls):
            # Its process is gone, and these never reached it: they wait for what the home says.
            self._take_back(actor, sent)
            actor.located = False

    @staticmethod
    def _take_back(actor: Actor, calls: list[PendingTask]) -> None:
        """Put calls before all that wait."""
        for task in calls:
            del actor.in_flight[task.task_id]
            task.state = READY
            task.lease = None
        actor.waiting.extendleft(reversed(calls))

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
        alive = message.state == m.ACTOR_ALIVE
        peer = runtime.peer(message.worker_id) if alive else None
        with runtime.lock:
            actor = self._actors.get(message.actor_id)
            if actor is None or actor.death:
                return
            if message.state == m.ACTOR_DEAD:
                self._died(actor, message.reason)
            elif not alive:
                self._lost(actor, message.reason)
            elif peer is not None:  # if the process is gone already, the home tells next
                actor.connection = peer
                actor.located = True
                self._send(actor)
            runtime.submission.dispatch()

    def node_lost(self, node_id: bytes, reason: str) -> None:
        """A node is gone, with its actors' owners, who will not tell. Of others the home tells."""
        for actor in self._actors.values():
            if node_of(actor.actor_id) == node_id:
                self._died(actor, reason)

    def _lost(self, actor: Actor, reason: str) -> None:
        """An actor's process is gone, and there will be another one."""
        actor.located = False
        actor.connection = None
        again = []
        for task in list(actor.in_flight.values()):
            if task.cancelled:
                self._runtime.submission.fail_cancelled(task)
            elif task.retries_left == 0:
                error = ActorUnavailableError(
                    f"call of {task.name} failed: the process of actor {actor.actor_id.hex()} was "
                    f"lost: {reason}"
                )
                self._fail(task, error)
            else:
                task.retries_left -= task.retries_left > 0
                task.attempt += 1
                again.append(task)
                continue
            actor.in_flight.pop(task.task_id, None)
        self._take_back(actor, again)

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
                self._fail(task, error)

    def _fail(self, task: PendingTask, error: ActorDiedError) -> None:
        if task.place:  # it was at an actor, which may have stored some of the results already
            self._runtime.submission.delete_results(task)
        self._runtime.submission.fail(task, serialize_error(error))

    def forget(self, actor_id: bytes) -> None:
        """The last handle of this process died, if the id is an actor's. Every call held one."""
        self._kept.pop(actor_id, None)
        actor = self._actors.get(actor_id)
        if actor is not None and not actor.in_flight and not actor.waiting:
            del self._actors[actor_id]
