"""What all ways to another process have in common: a socket, or a route through the nodes."""

from __future__ import annotations

from typing import Protocol

import msgspec

__all__ = ["Channel"]


class Channel(Protocol):
    """A way to send messages to one process, in order."""

    #: id of the process at the other end, as far as it is known
    peer_id: bytes
    #: nothing can be sent any more
    closed: bool

    def send(self, message: msgspec.Struct) -> bool:
        """Send or queue one message; False when the channel is closed. Never blocks."""
