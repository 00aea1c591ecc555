"""Processes of other nodes, and those nodes themselves, as this process reaches them.

Messages to them go through this process's node, which knows the way from the first bytes of the
id. So everything that two processes say to each other can be said across nodes as well, and what a
process says to its own node can be said to another one. Not covered: the links between nodes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import msgspec

from ..errors import NodeDiedError
from ..wire import messages as m
from ..wire.framing import decode_routed, encode_message
from ..wire.ids import node_of
from .objects import Freed

if TYPE_CHECKING:
    from ..wire.channel import Channel
    from .runtime import Runtime

__all__ = ["Afar", "FarChannel"]


class FarChannel:
    """A route to a process of another node, or to that node."""

    __slots__ = ("_me", "_node", "closed", "peer_id")

    def __init__(self, node: Channel, me: bytes, target: bytes) -> None:
        self._node = node
        self._me = me
        self.peer_id = target
        self.closed = False

    def send(self, message: msgspec.Struct) -> bool:
        """Send a message by way of this process's node; False when the other end is gone."""
        if self.closed:
            return False
        return self._node.send(m.Routed(self.peer_id, self._me, encode_message(message)))


class Afar:
    """All routes of one process, and what becomes of those who use them."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._channels: dict[bytes, FarChannel] = {}
        #: processes and nodes that are no more
        self._gone: set[bytes] = set()
        self.handlers: dict[type, Callable[[Channel, Any], None]] = {
            m.Routed: self._on_routed,
            m.NodeLost: self._on_node_lost,
            m.CopiesMade: self._on_copies_made,
            m.CopiesGone: self._on_copies_gone,
        }

    def channel(self, target: bytes) -> FarChannel | None:
        """Return a route to a process or, with 4 bytes, to a node; None when it is gone."""
        channel = self._channels.get(target)
        if channel is None and target not in self._gone and node_of(target) not in self._gone:
            runtime = self._runtime
            channel = FarChannel(runtime.node, runtime.process_id, target)
            self._channels[target] = channel
        return channel

    def close(self, target: bytes, reason: str) -> None:
        """The other end is gone: nothing that was asked of it will be answered."""
        self._gone.add(target)
        channel = self._channels.pop(target, None)
        if channel is not None:
            channel.closed = True
            self._runtime.requests.fail(channel, NodeDiedError(reason))

    # --- messages ---

    def _on_routed(self, _: Channel, message: m.Routed) -> None:
        sender = self.channel(message.sender)
        inner = decode_routed(message)
        if sender is not None and inner is not None:
            self._runtime.handle(sender, inner)

    def _on_node_lost(self, _: Channel, message: m.NodeLost) -> None:
        runtime = self._runtime
        reason = f"node {message.node_id.hex()} is gone: {message.reason}"
        for target in [each for each in self._channels if node_of(each) == message.node_id]:
            self.close(target, reason)
        self._gone.add(message.node_id)
        freed = Freed()
        with runtime.lock:
            for node_id, object_ids in runtime.objects.drop_copies_on(message.node_id).items():
                runtime.tell_node(node_id, m.KeepObjects(object_ids))
            runtime.objects.drop_process(message.node_id, freed)
            runtime.actor_calls.node_lost(message.node_id, reason)
            runtime.submission.node_lost(message.node_id, reason)
            runtime.forget(freed)
            runtime.submission.dispatch()

    def _on_copies_made(self, channel: Channel, message: m.CopiesMade) -> None:
        with self._runtime.lock:
            freed = self._runtime.objects.add_copies(message.object_ids, message.node_id)
        if freed:
            self._runtime.tell_node(message.node_id, m.DeleteObjects(freed))

    def _on_copies_gone(self, _: Channel, message: m.CopiesGone) -> None:
        with self._runtime.lock:
            for object_id in message.object_ids:
                entry = self._runtime.objects.entries.get(object_id)
                if entry is not None and entry.state == m.STORED:
                    self._runtime.objects.drop_copies(entry, [message.node_id])
