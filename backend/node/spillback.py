"""Tasks and actors that wait on this node, handed on to nodes that would run them sooner.

`millpond.scheduler.spillback` decides which. The node of a task's owner, which is the home of its
actors, sends them on: so what is heard of where they are comes from one place, in order; and when
the node that they were sent to is lost it is known that they were there.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from millpond.scheduler.spillback import INTERVAL, Waiting, handed_on

from ..wire import messages as m
from ..wire.ids import node_of

if TYPE_CHECKING:
    from .actor_service import ActorService
    from .cluster_service import ClusterService
    from .far_peers import AnyPeer, FarPeers
    from .placing import Placing
    from .task_service import TaskService

__all__ = ["Spillback"]


class Spillback:
    """What this node does with tasks and actors that others would run sooner.

    Args:
        tasks: those of this node.
        actors: those that this node runs.
        placing: knows the other nodes.
        far: the way to them.
        cluster: the members.
        local: finds the connection of a process of this node.
        loop: the node's event loop.
    """

    def __init__(
        self,
        tasks: TaskService,
        actors: ActorService,
        placing: Placing,
        far: FarPeers,
        cluster: ClusterService,
        *,
        local: Callable[[bytes], AnyPeer | None],
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self._tasks = tasks
        self._actors = actors
        self._placing = placing
        self._far = far
        self._here = far.node_id
        self._cluster = cluster
        self._local = local
        self._loop = loop
        self._scheduled = False
        #: tasks and actors that were handed on
        self.count = 0
        self.handlers: dict[type, Callable[[AnyPeer, Any], None]] = {m.HandOn: self._on_hand_on}

    def arrived(self, owner: bytes, message: m.SubmitTask) -> None:
        """A task came from another node, which chose this one."""
        load = self._cluster.load()
        with_it = replace(load, tasks=load.tasks + 1)
        placement, waiting = self._placing.placement, [self._waiting(message)]
        for _, better in handed_on(placement, self._here, with_it, waiting, arriving=True):
            self._hand_on(owner, message, better)
            return
        self._tasks.submit(owner, message)
        self.look_later()

    def send(self, owner: AnyPeer, message: m.SubmitTask, node_id: bytes) -> None:
        """Have a node run a task of an owner of this one."""
        task = message.task
        if node_id != self._here and self._far.send(node_id, owner.process_id, message):
            owner.send(m.TaskPlaced(task.task_id, task.attempt, node_id))
            self._far.wait_for_room(owner, node_id)
            return
        if message.moves:  # it was elsewhere before
            owner.send(m.TaskPlaced(task.task_id, task.attempt, self._here))
        self._tasks.submit(owner.process_id, message)
        self.look_later()

    def look_later(self) -> None:
        """Look at what waits, if anything does, in a while."""
        if not self._scheduled and len(self._cluster.nodes) > 1 and self._tasks.queue.waiting:
            self._scheduled = True
            self._loop.call_later(INTERVAL, self._look)

    def _look(self) -> None:
        self._scheduled = False
        if self._hand_on_actors() + self._hand_on_tasks():
            self._tasks.pump()  # one of them may have kept others from their turn
        self.look_later()

    def _hand_on_tasks(self) -> int:
        waiting = (self._waiting(message) for message in self._tasks.waiting_tasks())
        moved = list(handed_on(self._placing.placement, self._here, self._cluster.load(), waiting))
        for task_id, better in moved:
            owner, message = self._tasks.withdraw(task_id)
            self._hand_on(owner, message, better)
        return len(moved)

    def _hand_on_actors(self) -> int:
        waiting = (
            self._judged(message.creation.task, message.creation.shape, message.moves)
            for message in self._actors.waiting()
        )
        moved = list(handed_on(self._placing.placement, self._here, self._cluster.load(), waiting))
        for actor_id, better in moved:
            self.count += 1
            self._actors.hand_on(actor_id, better)  # type: ignore[arg-type]
        return len(moved)

    def _waiting(self, message: m.SubmitTask) -> Waiting:
        return self._judged(message.task, message.shape, message.moves)

    def _judged(self, task: m.Task, shape: bytes, moves: int) -> Waiting:
        need, copies = self._placing.need(task, shape)
        stuck = not self._tasks.queue.is_attainable(shape)
        return Waiting(task.task_id, need, copies, moves, stuck)

    def _hand_on(self, owner: bytes, message: m.SubmitTask, better: bytes) -> None:
        message.moves += 1
        self.count += 1
        peer = self._local(owner)
        if peer is not None:
            self.send(peer, message, better)
        else:
            self._far.send(node_of(owner), self._here, m.HandOn(message, better))

    def _on_hand_on(self, _: AnyPeer, message: m.HandOn) -> None:
        """Another node would rather not run a task of an owner of ours."""
        owner = self._local(message.submitted.task.caller)
        if owner is not None:  # else it died meanwhile
            self.send(owner, message.submitted, message.node_id)
