"""What a node does as the head of a cluster, or as one of the others. No I/O of its own.

The head keeps the membership: it hears who is lost and tells the others, and it passes on how busy
everybody is. The others report to it, and are alone when they lose it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, Protocol

import msgspec

from millpond.scheduler.placement import Load

from ..errors import ClusterError
from ..wire.messages import cluster as c
from .links import LinkEvents
from .membership import Gone, Membership

__all__ = ["TICK", "HeadRole", "MemberRole", "Outside", "Role"]

#: seconds between two calls of `Role.tick`, and so between two reports of a load that changes
TICK: Final = 0.1
#: part of the patience after which something is said, if there was nothing to say
_BEAT: Final = 0.1


class Outside(Protocol):
    """What a role can have done."""

    def send(self, node_id: bytes, message: msgspec.Struct) -> bool:
        """Send a message to a member."""

    def members(self) -> list[bytes]:
        """Return the nodes there are links with."""

    def cut(self, node_id: bytes, reason: str) -> None:
        """End the link with a node, if there is one, once all was sent."""


class Role(Protocol):
    """The part that a node has in the cluster."""

    def join(self, node: c.NodeInfo) -> list[c.NodeInfo]:
        """A node asks to join: return those that it should have links with."""

    def expects(self, node_id: bytes) -> bool:
        """Whether a link with this node is to be accepted."""

    def linked(self, node_id: bytes) -> None:
        """There is a link with a node."""

    def broken(self, node_id: bytes, reason: str) -> None:
        """There is no link with a node any more."""

    def handle(self, node_id: bytes, message: Any) -> bool:
        """Serve a message if it is about membership; else False."""

    def tick(self) -> None:
        """Do what is due."""

    def leave(self) -> None:
        """This node ends: say goodbye."""


class HeadRole:
    """The head.

    Args:
        membership: its table.
        outside: sends messages.
        events: of its node.
        clock: seconds that never go back.
        patience: seconds of silence after which others give the head up.
    """

    def __init__(
        self,
        membership: Membership,
        outside: Outside,
        events: LinkEvents,
        clock: Callable[[], float],
        patience: float,
    ) -> None:
        self._membership = membership
        self._outside = outside
        self._events = events
        self._clock = clock
        self._beat = patience * _BEAT
        self._said = clock()
        self._loads: dict[bytes, Load] = {}
        self._changed: set[bytes] = set()

    def join(self, node: c.NodeInfo) -> list[c.NodeInfo]:
        """Make a node a member."""
        return self._membership.join(node, self._clock())

    def expects(self, node_id: bytes) -> bool:
        """Only from those that have joined."""
        return self._membership.find(node_id) is not None

    def linked(self, node_id: bytes) -> None:
        """Tell the newcomer how busy the others are."""
        self._membership.linked(node_id)
        if self._loads:
            self._outside.send(node_id, c.Loads(list(self._loads.items())))

    def broken(self, node_id: bytes, reason: str) -> None:
        """The node is dead for all."""
        self._carry_out(self._membership.lost(node_id, reason))

    def handle(self, node_id: bytes, message: Any) -> bool:
        """Serve what members tell the head."""
        now = self._clock()
        self._membership.heard(node_id, now)
        if isinstance(message, c.ReportLoad):
            self._note(node_id, message.load)
            self._events.on_load(node_id, message.load)
        elif isinstance(message, c.NodeUnreachable):
            self._membership.unreachable(node_id, message.node_id, now)
        elif isinstance(message, c.Leave):
            self._carry_out(self._membership.lost(node_id, "it left"))
        else:
            return isinstance(message, c.Heartbeat)
        return True

    def tick(self) -> None:
        """Give up the silent, pass on loads."""
        now = self._clock()
        self._carry_out(self._membership.check(now))
        own = self._events.load()
        if self._loads.get(self._membership.head.node_id) != own:
            self._note(self._membership.head.node_id, own)
        if not self._changed and now - self._said < self._beat:
            return
        changed = [(node_id, self._loads[node_id]) for node_id in self._changed]
        self._changed.clear()
        self._said = now
        for member in self._outside.members():
            loads = [(node_id, load) for node_id, load in changed if node_id != member]
            self._outside.send(member, c.Loads(loads) if loads else c.Heartbeat())

    def leave(self) -> None:
        """The cluster ends with its head."""
        for member in self._outside.members():
            self._outside.send(member, c.Removed("the head of the cluster was stopped"))
            self._outside.cut(member, "this node ends")

    def _note(self, node_id: bytes, load: Load) -> None:
        self._loads[node_id] = load
        self._changed.add(node_id)

    def _carry_out(self, gone: list[Gone]) -> None:
        for command in gone:
            self._loads.pop(command.node_id, None)
            self._changed.discard(command.node_id)
            for member in self._outside.members():
                if member != command.node_id:
                    self._outside.send(member, c.NodeLeft(command.node_id, command.reason))
            self._outside.send(command.node_id, c.Removed(command.reason))
            self._outside.cut(command.node_id, command.reason)


class MemberRole:
    """A node that is not the head.

    Args:
        head: the head.
        outside: sends messages.
        events: of this node.
        clock: seconds that never go back.
        patience: seconds of silence after which the head is given up.
    """

    def __init__(
        self,
        head: c.NodeInfo,
        outside: Outside,
        events: LinkEvents,
        clock: Callable[[], float],
        patience: float,
    ) -> None:
        self._head = head
        self._outside = outside
        self._events = events
        self._clock = clock
        self._patience = patience
        self._heard = self._said = clock()
        self._load: Load | None = None
        #: why this node is no member any more
        self._alone = ""
        #: nodes that the head gave up
        self._gone: set[bytes] = set()

    def join(self, node: c.NodeInfo) -> list[c.NodeInfo]:
        """Refuse: only the head can."""
        raise ClusterError(
            f"this node is not the head of its cluster: join it at {self._head.address}"
        )

    def expects(self, node_id: bytes) -> bool:
        """Unless the head gave it up: whoever has the token and comes here was let in by it."""
        return not self._alone and node_id not in self._gone

    def linked(self, node_id: bytes) -> None:
        """Nothing to do."""

    def broken(self, node_id: bytes, reason: str) -> None:
        """Tell the head; or be alone, if it was the head's link."""
        if node_id == self._head.node_id:
            self._be_alone(f"the link with the head at {self._head.address} broke: {reason}")
        elif not self._alone:
            self._gone.add(node_id)
            self._outside.send(self._head.node_id, c.NodeUnreachable(node_id, reason))

    def handle(self, node_id: bytes, message: Any) -> bool:
        """Serve what the head tells its members."""
        if node_id != self._head.node_id:
            return False
        self._heard = self._clock()
        if isinstance(message, c.Loads):
            for other, load in message.loads:
                self._events.on_load(other, load)
        elif isinstance(message, c.NodeLeft):
            self._gone.add(message.node_id)
            self._outside.cut(message.node_id, message.reason)
        elif isinstance(message, c.Removed):
            self._be_alone(message.reason)
        else:
            return isinstance(message, c.Heartbeat)
        return True

    def tick(self) -> None:
        """Report to the head, or give it up."""
        if self._alone:
            return
        now = self._clock()
        if now - self._heard > self._patience:
            silence = f"{now - self._heard:.1f} s"
            self._be_alone(f"the head at {self._head.address} has not been heard of for {silence}")
            return
        load = self._events.load()
        if load != self._load:
            self._load = load
            self._say(c.ReportLoad(load), now)
        elif now - self._said >= self._patience * _BEAT:
            self._say(c.Heartbeat(), now)

    def leave(self) -> None:
        """Say goodbye to the head."""
        self._alone = "this node ends"
        self._outside.send(self._head.node_id, c.Leave())
        for member in self._outside.members():
            self._outside.cut(member, self._alone)

    def _say(self, message: msgspec.Struct, now: float) -> None:
        self._said = now
        self._outside.send(self._head.node_id, message)

    def _be_alone(self, reason: str) -> None:
        if self._alone:
            return
        self._alone = reason
        for member in self._outside.members():
            self._outside.cut(member, reason)
        self._events.on_alone(reason)
