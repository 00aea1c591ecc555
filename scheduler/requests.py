"""What is asked of the lease queue, and what it grants."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from enum import Enum

__all__ = ["Grant", "Kind", "Request"]


class Kind(Enum):
    """What is asked for."""

    LEASE = "lease"
    TASK = "task"
    ACTOR = "actor"


@dataclass(slots=True, frozen=True)
class Request:
    """A task or actor that waits for its turn.

    Attributes:
        key: names it, unique among requests and grants.
        owner: the process that submitted it.
        shape: packed resources.
        order: its place among the owner's requests, smaller is earlier.
        arguments: stored arguments, object -> bytes.
        output: bytes it is expected to write to the store.
    """

    key: Hashable
    owner: bytes
    shape: bytes
    order: int
    kind: Kind = Kind.TASK
    arguments: Mapping[bytes, int] = field(default_factory=dict)
    output: int = 0


@dataclass(slots=True)
class Grant:
    """A slot that somebody holds until it is released."""

    key: Hashable
    owner: bytes
    shape: bytes
    kind: Kind
    request: Request | None = None
    #: the holder waits for other tasks and its resources serve them meanwhile
    lent: bool = False
    #: its owner was asked to return it
    recalled: bool = False
    #: resources that it holds: those of the shape, and memory that it was seen to use
    held: Mapping[str, int] = field(default_factory=dict)
    #: memory among them that it was granted with
    reserved: int = 0
