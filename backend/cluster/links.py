"""What a node sees of the other nodes. Only the types; ``grpc_links`` implements them.

A node has one link with every other member. What is sent over it arrives in order or, when it
breaks, not at all: then the other node is taken for dead, at once and for good. A node that lives
on and joins again has a new id.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, Protocol

import msgspec

from millpond.scheduler.placement import Load

from ..errors import MillpondError
from ..wire.messages.cluster import NodeInfo

__all__ = ["FetchError", "LinkEvents", "Links", "NodeInfo"]


class FetchError(MillpondError):
    """An object could not be had from a node.

    Args:
        text: why.
        filled: bytes of the target that were filled before.
        gone: the node answers, but does not have the object (any more).
    """

    def __init__(self, text: str, filled: int = 0, *, gone: bool = False) -> None:
        super().__init__(text)
        self.filled = filled
        self.gone = gone


class Links(Protocol):
    """The other nodes, as this one reaches them. To be used on the event loop only."""

    node_id: bytes

    def send(self, node_id: bytes, message: msgspec.Struct) -> bool:
        """Send a message; messages to one node stay in order.

        Returns:
            False when that node is not (any more) a member.
        """

    async def fetch(
        self, node_id: bytes, object_id: bytes, target: memoryview, offset: int = 0
    ) -> None:
        """Fill ``target`` with an object's bytes, from ``offset`` on, that another node has.

        Raises:
            FetchError: the node does not have it, or the transfer was interrupted.
        """


class LinkEvents(Protocol):
    """What the links tell a node, and what they ask it. Called on the event loop."""

    def on_joined(self, node: NodeInfo) -> None:
        """A node is a member and can be sent messages."""

    def on_left(self, node_id: bytes, reason: str) -> None:
        """A node is no member any more: everything it had and ran is gone."""

    def on_load(self, node_id: bytes, load: Load) -> None:
        """A node says how busy it is."""

    def on_message(self, node_id: bytes, message: Any) -> None:
        """A node sent a message."""

    def on_alone(self, reason: str) -> None:
        """This node lost its head, and so the cluster; `on_left` was called for every member."""

    def load(self) -> Load:
        """How busy is this node?"""

    def serve_fetch(self, object_id: bytes, offset: int, size: int) -> AsyncIterator[memoryview]:
        """Yield the bytes of an object, in pieces of any length that stay valid until the next.

        Raises:
            FetchError: it is not here.
        """
