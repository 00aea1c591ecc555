"""This node among others: what it has them do, does for them, and hears of them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ..wire import messages as m
from ..wire.copies import copies_of_arguments
from ..wire.framing import encode_message
from .actor_names import NameService
from .actor_routes import ActorRoutes
from .far_peers import AnyPeer, FarPeer, FarPeers
from .fetch_service import FetchService
from .placing import Placing, declared
from .pulls import Pulls
from .spillback import Spillback

if TYPE_CHECKING:
    from millpond.scheduler.placement import Load

    from ..wire.messages.cluster import NodeInfo
    from .cluster_service import ClusterService
    from .server import NodeServer

__all__ = ["FarService"]

#: seconds that a task waits for others to be placed with, again as long as more come, and how often
_GATHER = 0.001
_MOST_LOOKS = 5


class FarService:
    """Tasks, leases, actors and objects across nodes. On a single node all of it stays here.

    Args:
        server: this node's services.
        cluster: the other nodes.
        loop: the node's event loop.
    """

    def __init__(
        self, server: NodeServer, cluster: ClusterService, loop: asyncio.AbstractEventLoop
    ) -> None:
        self._server = server
        self._cluster = cluster
        self._tasks = server.tasks
        self.peers = FarPeers(cluster, self)
        self.placing = Placing(cluster, self.peers, server.tasks.queue.pool.total)
        self.placing.expected_output = server.tasks.expected_output
        self.pulls = Pulls(server.objects, cluster, server.peer, loop)
        self.fetches = FetchService(server.objects, cluster.node_id, self.pulls.arrival)
        cluster.serve_fetch = self.fetches.serve
        self.actors = ActorRoutes(server.actors, self.placing, self.peers, server.peer, loop)
        self.actors.free_name = self._free_name
        #: of this cluster, if this node is its head
        self.names = NameService()
        self.node_id = cluster.node_id
        self._loop = loop
        self.spillback = Spillback(
            server.tasks,
            server.actors,
            self.placing,
            self.peers,
            cluster,
            local=self.local,
            loop=loop,
        )
        self.actors.look_later = self.spillback.look_later
        #: tasks of owners of this node that are placed together in a moment
        self._gathered: list[tuple[AnyPeer, m.SubmitTask]] = []
        #: messages of other nodes and their processes that this node served
        self.asked = 0
        self.handlers: dict[type, Callable[[AnyPeer, Any], None]] = {
            m.Routed: self.peers.from_local,
            m.SubmitTask: self._submit,
            m.CancelTask: self._cancel,
            m.RequestLeases: self._request_leases,
            **self.actors.handlers,
            **self.names.handlers,
            **self.spillback.handlers,
            m.AskStanding: self._ask_standing,
            m.MemoryState: lambda peer, message: server.reporter.node_answered(
                peer.process_id, message
            ),
            m.NodeStanding: lambda peer, message: server.tasks.stalemate.told_by_node(
                peer.process_id, message
            ),
        }
        server.reporter.node_id = cluster.node_id
        server.reporter.far = self.peers.peer
        server.reporter.ask_others = self.peers.ask_others
        server.tasks.copies_of = lambda task: copies_of_arguments(task.arguments, cluster.node_id)
        cluster.joined = self._node_joined
        cluster.left = self._node_lost
        cluster.loaded = self._loaded

    # --- what processes of this node want, or others of this node ---

    def _submit(self, peer: AnyPeer, message: m.SubmitTask) -> None:
        """A task with stored arguments is to run where that is best.

        That is known better of many together: a queue is no reason to move a task's arguments away
        from it when the others will be as long in a moment.
        """
        if len(self._cluster.nodes) == 1:
            self._tasks.submit(peer.process_id, message)
            return
        if isinstance(peer, FarPeer):
            self.spillback.arrived(peer.process_id, message)
            return
        self._gathered.append((peer, message))
        if len(self._gathered) == 1:
            self._loop.call_later(_GATHER, self._look, 1, 1)

    def _look(self, seen: int, looks: int) -> None:
        """Place what was gathered, unless more of it comes all the time."""
        count = len(self._gathered)
        if count > seen and looks < _MOST_LOOKS:
            self._loop.call_later(_GATHER, self._look, count, looks + 1)
        else:
            self._place_gathered()

    def _place_gathered(self) -> None:
        gathered, self._gathered = self._gathered, []
        # Some may have died meanwhile.
        gathered = [each for each in gathered if self.local(each[0].process_id) is not None]
        found = self.placing.place_all([(each.task, each.shape) for _, each in gathered])
        for (peer, message), node_id in zip(gathered, found, strict=True):
            self.spillback.send(peer, message, node_id or self.node_id)

    def _cancel(self, _: AnyPeer, message: m.CancelTask) -> None:
        """An owner wants a task to end, which may be among those to be placed."""
        self._place_gathered()
        self._tasks.cancel(message)

    def _request_leases(self, peer: AnyPeer, message: m.RequestLeases) -> None:
        """An owner waits for workers: those of this node first, then those of others."""
        owner = peer.process_id
        self._tasks.request_leases(owner, message)
        if not isinstance(peer, FarPeer) and len(self._cluster.nodes) > 1:
            left = self._tasks.queue.leases_wanted(owner).get(message.shape, (0, 0))
            self._spread(owner, message.shape, left)

    def _spread(self, owner: bytes, shape: bytes, wanted: tuple[int, int]) -> None:
        """Ask others for the leases that an owner waits for, if this node cannot give them."""
        room_here = self._tasks.queue.pool.fits(declared(shape))
        self.placing.spread_leases(owner, shape, *((0, 0) if room_here else wanted))

    def _free_name(self, actor_id: bytes) -> None:
        """An actor whose home this is is dead: tell the head, which keeps the names."""
        if self._cluster.head_id == self.node_id:
            self.names.free(actor_id)
        else:
            self.peers.send(self._cluster.head_id, self.node_id, m.FreeName(actor_id))

    def be_alone(self) -> None:
        """This node has lost its cluster, and goes on as one of its own."""
        for actor in self.actors.lives.named():
            self.names.name(actor)
        assert self._cluster.lost is not None
        self.actors.be_alone(self._cluster.lost)
        for peer in self._server.peers.values():
            peer.send(self._cluster.lost)

    # --- whether anybody does anything ---

    def ask_all(self, question: m.AskStanding) -> list[bytes]:
        """Ask all nodes and their processes; return who they are, as far as is known."""
        server = self._server
        asked = [*server.ask_all(question), *self.peers.ask_others(question), self.node_id]
        server.tasks.stalemate.told_by_node(self.node_id, self._standing(question))
        return asked

    def _ask_standing(self, peer: AnyPeer, message: m.AskStanding) -> None:
        """Another node wants to know."""
        for process_id, process in self._server.peers.items():
            process.send(m.Routed(process_id, peer.process_id, encode_message(message)))
        peer.send(self._standing(message))

    def _standing(self, message: m.AskStanding) -> m.NodeStanding:
        moved = self.pulls.received + self.fetches.sent
        return m.NodeStanding(message.request, list(self._server.peers), moved)

    # --- what the other nodes need of this one ---

    def local(self, process_id: bytes) -> AnyPeer | None:
        """Return the connection of a process of this node, if it is alive."""
        return self._server.peers.get(process_id)

    def handle(self, peer: AnyPeer, message: Any) -> None:
        """Serve a message of another node, or of a process there, to this node."""
        self.asked += 1
        self._server.handle(peer, message)

    # --- ends ---

    def local_process_died(self, process_id: bytes) -> None:
        """A process of this node is gone."""
        self.actors.process_died(process_id)
        self.names.gone(process_id)
        self.placing.owner_died(process_id)
        self.peers.local_process_died(process_id)

    def process_gone(self, process_id: bytes) -> None:
        """A process of another node is gone."""
        self._server.drop_process(process_id)
        self._server.reporter.process_died(process_id)
        self.actors.process_died(process_id)
        self.names.gone(process_id)
        for peer in self._server.peers.values():
            peer.send(m.ProcessDied(process_id))

    def _node_joined(self, node: NodeInfo) -> None:
        self.placing.joined(node)
        self.spillback.look_later()

    def _node_lost(self, node_id: bytes, reason: str) -> None:
        self.placing.left(node_id)
        for process_id in self.peers.drop_node(node_id):
            self._server.drop_process(process_id)
            self.actors.process_died(process_id)
        self._server.objects.drop_process(node_id)  # what all the others owned, too
        self._server.packages.gone(node_id)
        self._server.reporter.process_died(node_id)
        self.actors.node_lost(node_id, reason)
        self.names.gone(node_id)
        for peer in self._server.peers.values():
            peer.send(m.NodeLost(node_id, reason))

    def _loaded(self, node_id: bytes, load: Load) -> None:
        """A node said how busy it is: it may have room for those who wait for leases here."""
        self.placing.loaded(node_id, load)
        has_room = load.tasks < load.slots
        for owner in self._tasks.queue.owners():
            if self.local(owner) is not None:
                for shape, wanted in list(self._tasks.queue.leases_wanted(owner).items()):
                    if has_room or not declared(shape).get("CPU"):
                        self._spread(owner, shape, wanted)
