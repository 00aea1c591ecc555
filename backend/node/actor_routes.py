"""Actors across nodes: where each is placed, and who answers for it.

An actor is looked for at the node of its owner, its *home*, which the actor's id begins with. The
home chooses the node that runs it and passes on what is said about it; that node answers whoever
asked. When it is lost, the home tells those who asked that the actor is dead.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..wire import messages as m
from ..wire.ids import node_of, owner_of

if TYPE_CHECKING:
    from .actor_service import ActorService
    from .far_peers import AnyPeer, FarPeers
    from .placing import Placing

__all__ = ["ActorRoutes"]


class _Elsewhere:
    """An actor of ours that another node runs."""

    def __init__(self, node_id: bytes) -> None:
        self.node_id = node_id
        #: processes that asked for it
        self.callers: set[bytes] = set()


class ActorRoutes:
    """What this node does about actors of all nodes.

    Args:
        actors: those that this node runs.
        placing: chooses nodes.
        far: the way to them.
    """

    def __init__(self, actors: ActorService, placing: Placing, far: FarPeers) -> None:
        self._actors = actors
        self._placing = placing
        self._far = far
        self._here = far.node_id
        self._elsewhere: dict[bytes, _Elsewhere] = {}

    def create(self, peer: AnyPeer, message: m.CreateActor) -> None:
        """A process wants an actor."""
        actor_id = message.task.task_id
        if not self._is_home(actor_id) or not self._actors.can_be_elsewhere(actor_id):
            self._actors.create(peer.process_id, message)
            return
        node_id = self._placing.place(message.task, message.shape)
        if node_id == self._here or not self._far.send(node_id, peer.process_id, message):
            self._actors.create(peer.process_id, message)
            return
        there = self._elsewhere[actor_id] = _Elsewhere(node_id)
        peer.send(m.TaskPlaced(actor_id, message.task.attempt, node_id))
        for caller in self._actors.hand_over(actor_id):
            there.callers.add(caller)
            self._far.send(node_id, caller, m.LocateActor(actor_id))

    def locate(self, peer: AnyPeer, message: m.LocateActor, *, from_afar: bool) -> None:
        """A process wants to call an actor."""
        actor_id = message.actor_id
        if not self._is_home(actor_id) and not from_afar:
            if not self._far.send(actor_id[:4], peer.process_id, message):
                owner = owner_of(actor_id).hex()
                peer.send(m.ActorState(actor_id, False, reason=f"its owner {owner} is gone"))
            return
        there = self._elsewhere.get(actor_id)
        if there is None:
            self._actors.locate(peer.process_id, actor_id)
        else:
            there.callers.add(peer.process_id)
            self._far.send(there.node_id, peer.process_id, message)

    def kill(self, peer: AnyPeer, message: m.KillActor, *, from_afar: bool) -> None:
        """A process wants an actor to end."""
        actor_id = message.actor_id
        if not self._is_home(actor_id) and not from_afar:
            self._far.send(actor_id[:4], peer.process_id, message)
            return
        there = self._elsewhere.get(actor_id)
        if there is None:
            self._actors.kill(actor_id, graceful=message.graceful)
            return
        self._far.send(there.node_id, peer.process_id, message)
        if message.graceful:
            del self._elsewhere[actor_id]  # nobody can ask for it any more

    def process_died(self, process_id: bytes) -> None:
        """A process is gone, wherever it was; the node that runs an actor of it ends that."""
        for actor_id, there in list(self._elsewhere.items()):
            there.callers.discard(process_id)
            if owner_of(actor_id) == process_id:
                del self._elsewhere[actor_id]

    def node_lost(self, node_id: bytes, reason: str) -> None:
        """A node is gone, with the actors that it ran."""
        for actor_id, there in list(self._elsewhere.items()):
            if there.node_id == node_id:
                del self._elsewhere[actor_id]
                self._actors.died_elsewhere(actor_id, there.callers, reason)

    def _is_home(self, actor_id: bytes) -> bool:
        return node_of(actor_id) == self._here
