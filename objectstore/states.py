"""The states of a stored object and the legal ways from one to the next.

Everything about the order of states lives in the table below; who causes a transition, and what
else happens then, is `millpond.objectstore.core`.

The rules behind the table:

1. A value leaves memory only after its bytes are safe in a file, or, where it is a secondary copy
   that another node keeps, to be deleted: the only ways to SPILLED are from SEALED (it has a file
   copy), from CREATED (its writer wrote the file itself) and back from RESTORING (the file was not
   touched). SPILLING only makes the copy.
2. Bytes never change once sealed: nothing leads back to CREATED.
3. DELETED is final. An object which its owner deleted while somebody still uses it keeps its state,
   is marked *doomed*, and moves to DELETED when the last use ends.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType


class ObjectState(StrEnum):
    """Where an object is in its life."""  # a StrEnum, because its hash is fast

    CREATED = "created"
    """Room was asked for or given; the writer is not done."""
    SEALED = "sealed"
    """Complete and in memory; it may have a file copy as well."""
    SPILLING = "spilling"
    """Complete and in memory, while a copy is written to a file."""
    SPILLED = "spilled"
    """Complete, in a file only."""
    RESTORING = "restoring"
    """In a file, while its bytes are read back into memory."""
    DELETED = "deleted"
    """Gone: neither memory nor file, and its id is unknown."""


#: State -> the states that may follow it.
TRANSITIONS: Mapping[ObjectState, frozenset[ObjectState]] = MappingProxyType(
    {
        ObjectState.CREATED: frozenset(
            {
                ObjectState.SEALED,  # written into memory
                ObjectState.SPILLED,  # written straight to a file
                ObjectState.DELETED,  # aborted, refused, or deleted by its owner before the seal
            }
        ),
        ObjectState.SEALED: frozenset(
            {
                ObjectState.SPILLING,  # chosen as a victim
                ObjectState.SPILLED,  # evicted; the file copy existed
                ObjectState.DELETED,
            }
        ),
        ObjectState.SPILLING: frozenset(
            {
                ObjectState.SEALED,  # written, or writing failed
                ObjectState.DELETED,
            }
        ),
        ObjectState.SPILLED: frozenset({ObjectState.RESTORING, ObjectState.DELETED}),
        ObjectState.RESTORING: frozenset(
            {
                ObjectState.SEALED,
                ObjectState.SPILLED,  # reading failed; the file is left as it was
                ObjectState.DELETED,
            }
        ),
        ObjectState.DELETED: frozenset(),
    }
)


class InvalidTransition(Exception):  # noqa: N818 - the name says what happened
    """An event that the object's state does not allow: a fault in the process that sent it.

    The store has changed nothing when this is raised.
    """

    def __init__(
        self, oid: bytes, start: ObjectState, finish: ObjectState, story: tuple[str, ...] = ()
    ) -> None:
        super().__init__(oid, start, finish, story)
        self.oid = oid
        """The object's id."""
        self.start = start
        """The state that the object is in (DELETED: the id is unknown)."""
        self.finish = finish
        """The state that the event asked for."""
        self.story = story
        """What happened to the object lately, oldest first."""

    def __str__(self) -> str:
        told = ", ".join(self.story) or "nothing is remembered"
        return f"object {self.oid.hex()} cannot go from {self.start} to {self.finish}: {told}"
