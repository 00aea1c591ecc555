"""Who is a member of the cluster: the head's table. Pure: events in, commands out.

A node is a member from the moment it asks to join until it leaves, or is taken for dead: its link
with the head broke, or it has been silent for too long. Two nodes of which one cannot reach the
other cannot both stay: if the head still hears both after a moment, the younger one has to go.
(A node that asked to join, and has no link with the head yet, goes before one that has.)

Not covered: links and messages (``grpc_links``), who may join at all (``security``).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from ..errors import DuplicateNodeError
from ..wire.messages.cluster import NodeInfo

__all__ = ["Gone", "Membership"]

#: part of the patience in which the head should find out by itself that a node is dead, which
#: another one cannot reach
_DISPUTE: Final = 0.2


@dataclass(frozen=True, slots=True)
class Gone:
    """Command: this node is no member any more; tell everybody, itself included."""

    node_id: bytes
    reason: str


class _Member:
    __slots__ = ("heard", "info", "linked", "number")

    def __init__(self, info: NodeInfo, number: int, now: float) -> None:
        self.info = info
        #: larger for those that joined later
        self.number = number
        self.heard = now
        #: it has, or had, a link with the head
        self.linked = False


class Membership:
    """The members of a cluster beside its head.

    Args:
        head: the node that keeps this table.
        patience: seconds of silence after which a node is taken for dead.
    """

    def __init__(self, head: NodeInfo, patience: float) -> None:
        self.head = head
        self._patience = patience
        self._members: dict[bytes, _Member] = {}
        self._joined = 0
        #: the younger node, the older one -> when the younger one has to go
        self._disputes: dict[tuple[bytes, bytes], float] = {}

    def join(self, info: NodeInfo, now: float) -> list[NodeInfo]:
        """A node wants to be a member; return those that there are, the head first.

        Raises:
            DuplicateNodeError: there is one of this id.
        """
        same = self.head if info.node_id == self.head.node_id else self.find(info.node_id)
        if same is not None:
            raise DuplicateNodeError(
                f"a node with the id {info.node_id.hex()} is a member already: process {same.pid} "
                f"on {same.host}, at {same.address}"
            )
        known = [self.head, *(member.info for member in self._members.values())]
        self._joined += 1
        self._members[info.node_id] = _Member(info, self._joined, now)
        return known

    def find(self, node_id: bytes) -> NodeInfo | None:
        """Return what is known of a member other than the head."""
        member = self._members.get(node_id)
        return None if member is None else member.info

    def linked(self, node_id: bytes) -> None:
        """A node has a link with the head."""
        member = self._members.get(node_id)
        if member is not None:
            member.linked = True

    def heard(self, node_id: bytes, now: float) -> None:
        """A node said something."""
        member = self._members.get(node_id)
        if member is not None:
            member.heard = now

    def lost(self, node_id: bytes, reason: str) -> list[Gone]:
        """A node left, or its link with the head broke."""
        if self._members.pop(node_id, None) is None:
            return []
        self._disputes = {pair: due for pair, due in self._disputes.items() if node_id not in pair}
        return [Gone(node_id, reason)]

    def unreachable(self, reporter: bytes, node_id: bytes, now: float) -> None:
        """A node has no link with another one, whichever of them is to blame."""
        first, second = self._members.get(reporter), self._members.get(node_id)
        if first is not None and second is not None and first is not second:
            younger, older = (first, second) if first.number > second.number else (second, first)
            pair = younger.info.node_id, older.info.node_id
            self._disputes.setdefault(pair, now + self._patience * _DISPUTE)

    def check(self, now: float) -> list[Gone]:
        """Find those that are to be given up by now; to be called several times a second."""
        gone = []
        for node_id, member in list(self._members.items()):
            silence = now - member.heard
            if silence > self._patience:
                gone += self.lost(node_id, f"the head has not heard of it for {silence:.1f} s")
        for (younger, older), due in list(self._disputes.items()):
            if now >= due and (younger, older) in self._disputes:
                loser, other = younger, older
                if self._members[younger].linked and not self._members[older].linked:
                    loser, other = older, younger
                gone += self.lost(loser, f"it and node {other.hex()} cannot reach each other")
        return gone

    def validate(self) -> None:
        """Check what must always hold."""
        assert self.head.node_id not in self._members
        for node_id, member in self._members.items():
            assert member.info.node_id == node_id
            assert 0 < member.number <= self._joined
        for younger, older in self._disputes:
            assert self._members[younger].number > self._members[older].number
