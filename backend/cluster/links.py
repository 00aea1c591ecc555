"""What a node sees of the other nodes. Only the types; ``grpc_links`` implements them.

A node has one link with every other member. What is sent over it arrives in order or, when it
breaks, not at all: then the other node is taken for dead, at once and for good. A node that lives
on and joins again has a new id.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any, Protocol

import msgspec

from millpond.scheduler.placement import Load

from ..errors import MillpondError
from ..wire.messages.cluster import NodeInfo

__all__ = ["FetchError", "FetchRequest", "HandedOnError", "LinkEvents", "Links", "NodeInfo"]


class FetchRequest(msgspec.Struct, array_like=True, frozen=True):
    """Asks a node for a part of an object's bytes."""

    object_id: bytes
    offset: int
    size: int
    #: the node that asks
    reader: bytes
    #: see ``millpond.scheduler.fanout``
    depth: int = 1
    direct: bool = False


class FetchError(MillpondError):
    """An object could not be had from a node.

    Args:
        text: why.
        filled: bytes of the target that were filled before, from its beginning.
        gone: the node answers, but does not have the object (any more).
    """

    def __init__(self, text: str, filled: int = 0, *, gone: bool = False) -> None:
        super().__init__(text)
        self.filled = filled
        self.gone = gone


class HandedOnError(FetchError):
    """The node serves others, and names one that the object can be had from.

    Args:
        node_id: that one.
    """

    def __init__(self, node_id: bytes) -> None:
        super().__init__(f"node {node_id.hex()} is to be asked for it")
        self.node_id = node_id


class Links(Protocol):
    """The other nodes, as this one reaches them. To be used on the event loop only."""

    node_id: bytes

    def send(self, node_id: bytes, message: msgspec.Struct) -> bool:
        """Send a message; messages to one node stay in order.

        Returns:
            False when that node is not (any more) a member.
        """

    def wait_for_room(self, node_id: bytes, pause: Callable[[], Callable[[], None]]) -> None:
        """Have somebody who sends to a member wait, if that takes less than is sent to it.

        Args:
            node_id: the member.
            pause: called if so; what it returns is called when that is over.
        """

    async def fetch(
        self,
        node_id: bytes,
        request: FetchRequest,
        target: memoryview,
        filled: Callable[[int], None],
    ) -> None:
        """Fill ``target``, which is as long as what is asked for, from another node.

        Args:
            node_id: the node.
            request: what is asked for.
            target: where the bytes go.
            filled: told how many bytes are there, each time that some came.

        Raises:
            HandedOnError: another node is to be asked.
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

    def serve_fetch(self, request: FetchRequest) -> AsyncIterator[memoryview]:
        """Yield the bytes of an object, in pieces of 1 MiB at most.

        A piece may change as soon as the loop turns, so it is copied before.

        Raises:
            HandedOnError: another node is to be asked.
            FetchError: it is not here.
        """
