"""Where the bytes of stored objects are, as owners, nodes and workers tell each other.

The nodes that have an object are named only where that is not its owner's alone: first the one that
keeps it, then those whose copies are secondary.
"""

from __future__ import annotations

from collections.abc import Iterable

from .ids import node_of
from .messages import STORED, Argument, Copies

__all__ = ["copies_of", "copies_of_arguments", "nodes_to_name", "places"]


def places(object_id: bytes, nodes: list[bytes] | None) -> list[bytes]:
    """Return the nodes that have the bytes of a stored object.

    Args:
        object_id: its id.
        nodes: those that were named; None or empty: that of its owner has it.
    """
    return nodes or [node_of(object_id)]


def nodes_to_name(owner: bytes, node_id: bytes) -> list[bytes]:
    """Return the nodes to be named for an object of an owner that was stored on one node."""
    return [] if node_of(owner) == node_id else [node_id]


def copies_of(stored: Iterable[tuple[bytes, int, list[bytes] | None]], here: bytes) -> list[Copies]:
    """Return where those of some stored objects are that a node need not have.

    Args:
        stored: of each its id, its size, and the nodes that were named.
        here: the node that is to read them.
    """
    return [
        Copies(object_id, size, places(object_id, nodes))
        for object_id, size, nodes in stored
        if nodes or node_of(object_id) != here
    ]


def copies_of_arguments(arguments: Iterable[Argument], here: bytes) -> list[Copies]:
    """Return the same for those arguments of a task that are stored."""
    return copies_of(
        (
            (each.object_id, each.value.size, each.value.nodes)
            for each in arguments
            if each.value.kind == STORED
        ),
        here,
    )
