"""The processes of other nodes, as this node's services see them, and the way to them.

A message for a process of another node, or for that node itself, is handed to the node that its
target's id begins with, which hands it on. Whoever talks to somebody who is gone is told so. The
deaths of processes are told to all nodes; the end of a node is the end of all its processes.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from ..wire import messages as m
from ..wire.framing import decode_routed, encode_message
from ..wire.ids import NODE_ID_BYTES, node_of

if TYPE_CHECKING:
    from .cluster_service import ClusterService
    from .worker_pool import Worker

__all__ = ["AnyPeer", "FarPeer", "FarPeers", "LocalProcesses"]

_log = logging.getLogger("millpond.node")

#: what a process may say to a node that is not its own
_FROM_AFAR = frozenset(
    {
        *(m.DeleteObjects, m.KeepObjects, m.GetStatistics),
        *(m.AskStanding, m.Standing, m.NodeStanding),
        *(m.GetMemory, m.MemoryState, m.ObjectsDescribed),
        *(m.RequestLeases, m.ReturnLease, m.SubmitTask, m.CancelTask, m.Upcoming),
        m.HandOn,
        *(m.LocateActor, m.KillActor, m.KillWorkerOf),
        *(m.NameActor, m.FindActor, m.ListActorNames, m.FreeName),
        *(m.RunActor, m.EndActor, m.ActorStarted, m.ActorEnded, m.HandOnActor),
    }
)


class AnyPeer(Protocol):
    """A process that uses this node."""

    process_id: bytes
    observes: bool
    worker: Worker | None

    def send(self, message: msgspec.Struct) -> None:
        """Send one message; nothing happens when the process is gone."""

    def pause(self) -> Callable[[], None]:
        """Serve it no more until what is returned is called."""


class FarPeer:
    """A process of another node, or, with an id of 4 bytes, that node."""

    observes = False
    worker: Worker | None = None

    def __init__(self, process_id: bytes, peers: FarPeers) -> None:
        self.process_id = process_id
        self._peers = peers

    def send(self, message: msgspec.Struct) -> None:
        """Send one message; nothing happens when the process is gone."""
        self._peers.send(self.process_id, self._peers.node_id, message)

    def pause(self) -> Callable[[], None]:
        """Nothing to do: its own node has it wait."""
        return lambda: None


class LocalProcesses(Protocol):
    """What the far processes mean to the services of this node."""

    def local(self, process_id: bytes) -> AnyPeer | None:
        """Return the connection of a process of this node, if it is alive."""

    def handle(self, peer: AnyPeer, message: Any) -> None:
        """Serve a message to this node."""

    def process_gone(self, process_id: bytes) -> None:
        """A process of another node died."""


class FarPeers:
    """All that this node and its processes say to other nodes and their processes.

    Args:
        cluster: the members and the links.
        here: this node's side.
    """

    def __init__(self, cluster: ClusterService, here: LocalProcesses) -> None:
        self.node_id = cluster.node_id
        self._cluster = cluster
        self._here = here
        self._peers: dict[bytes, FarPeer] = {}
        #: of this node: called with a node that is gone, and the reason
        self.node_lost: Callable[[bytes, str], None] = lambda *_: None
        cluster.handlers[m.Routed] = lambda _, message: self._arrived(message)
        cluster.handlers[m.ProcessDied] = lambda _, message: self._died(message.process_id)

    def peer(self, process_id: bytes) -> FarPeer | None:
        """Return a process of another node that is a member."""
        peer = self._peers.get(process_id)
        node_id = node_of(process_id)
        if peer is None and node_id != self.node_id and node_id in self._cluster.nodes:
            peer = self._peers[process_id] = FarPeer(process_id, self)
        return peer

    def send(self, target: bytes, sender: bytes, message: msgspec.Struct) -> bool:
        """Send a message to a process, or a node; False when its node is no member.

        Args:
            target: who gets it.
            sender: who gets the answers: a process or a node.
            message: the message.
        """
        return self._pass_on(m.Routed(target, sender, encode_message(message)))

    def from_local(self, peer: AnyPeer, message: m.Routed) -> None:
        """A process of this node wants a message to be passed on."""
        if self._pass_on(message):
            self.wait_for_room(peer, message.target)
        else:
            peer.send(self._obituary(message.target))

    def ask_others(self, question: msgspec.Struct) -> list[bytes]:
        """Send all other nodes a question; return who they are."""
        others = [node_id for node_id in self._cluster.nodes if node_id != self.node_id]
        return [node_id for node_id in others if self.send(node_id, self.node_id, question)]

    def wait_for_room(self, peer: AnyPeer, target: bytes) -> None:
        """Have a process of this node wait if the node of a target takes less than it gets."""
        links = self._cluster.links
        if links is not None:
            links.wait_for_room(node_of(target), peer.pause)

    def local_process_died(self, process_id: bytes) -> None:
        """Tell the other nodes."""
        links = self._cluster.links
        if links is not None:
            for node_id in self._cluster.nodes:
                if node_id != self.node_id:
                    links.send(node_id, m.ProcessDied(process_id))

    def drop_node(self, node_id: bytes) -> list[bytes]:
        """A node is gone: forget its processes, and return those that were known."""
        gone = [process_id for process_id in self._peers if node_of(process_id) == node_id]
        for process_id in gone:
            del self._peers[process_id]
        return gone

    def _pass_on(self, message: m.Routed) -> bool:
        links = self._cluster.links
        return links is not None and links.send(node_of(message.target), message)

    def _arrived(self, message: m.Routed) -> None:
        if message.target == self.node_id:
            self._serve(message)
            return
        process = self._here.local(message.target)
        if process is not None:
            process.send(message)
        elif len(message.sender) == NODE_ID_BYTES:
            links = self._cluster.links
            if links is not None:
                links.send(message.sender, m.ProcessDied(message.target))
        else:
            self.send(message.sender, self.node_id, self._obituary(message.target))

    def _serve(self, message: m.Routed) -> None:
        sender = self.peer(message.sender)
        inner = decode_routed(message)
        if sender is None or inner is None:
            return
        if type(inner) in _FROM_AFAR:
            self._here.handle(sender, inner)
        else:
            _log.warning("ignoring a %s message of %s", type(inner).__name__, message.sender.hex())

    def _died(self, process_id: bytes) -> None:
        self._peers.pop(process_id, None)
        self._here.process_gone(process_id)

    @staticmethod
    def _obituary(target: bytes) -> m.NodeLost | m.ProcessDied:
        if len(target) == NODE_ID_BYTES:
            return m.NodeLost(target, "it is no member of the cluster")
        return m.ProcessDied(target)
