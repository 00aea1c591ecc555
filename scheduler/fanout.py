"""Which nodes a node serves an object to, and which it hands on to those. Pure, without I/O.

When many nodes want one object at once, its holder serves a few of them and hands the others on to
these, which serve what they have and the rest as it comes in, and hand on in turn. So the object
moves down a tree, and leaves no node more often than the tree is wide. Who comes back, because it
was not served there, is served here.

That nobody waits for himself: every reader says how far it is from a node that has all of the
object, its *depth*, and a node that does not have all of it serves only readers that are deeper
than itself. What a node is handed on for, and with it its depth, is settled before it is served;
and a reader whose source failed is not handed on again (see ``pulling``).
"""

from __future__ import annotations

from collections import deque
from typing import Final

__all__ = ["Fanout"]

_WIDTH: Final = 2


class Fanout:
    """The readers of one node.

    Args:
        width: readers of an object that are served at the same time before others are handed on.
    """

    def __init__(self, width: int = _WIDTH) -> None:
        self._width = width
        #: object -> who is being served, the next one to hand a reader on to first
        self._served: dict[bytes, deque[bytes]] = {}

    def begin(self, object_id: bytes, reader: bytes, *, direct: bool) -> bytes | None:
        """A node wants an object.

        Args:
            object_id: the object.
            reader: the node.
            direct: it is not to be handed on.

        Returns:
            The node that it is to ask instead; None where it is served, until `end`.
        """
        served = self._served.setdefault(object_id, deque())
        if direct or len(served) < self._width or reader in served:
            served.append(reader)
            return None
        served.rotate(-1)
        return served[-1]

    def end(self, object_id: bytes, reader: bytes) -> None:
        """A reader got everything, or gave up."""
        served = self._served[object_id]
        served.remove(reader)
        if not served:
            del self._served[object_id]

    def validate(self) -> None:
        """Raise AssertionError where the books do not agree."""
        assert all(self._served.values())
