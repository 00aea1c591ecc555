"""What the store's core tells its shell to do: answers to requests, and file work.

The shell carries commands out in the order given. File commands of *one* object must be executed in
that order too (a `DeleteFile` before a later `Spill` of the same id); those of different objects
may overlap.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any

import msgspec

#: What the shell gave with a request and gets back with the answer: any hashable value, unique
#: among the requests that wait. `Any`, because only the shell knows its type.
Token = Any


class InArena(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """The object's bytes are at [offset, offset + size) of the arena."""

    offset: int
    size: int


class InFile(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """The object's bytes are, or are to be written, in the file that the storage names for it."""

    oid: bytes
    size: int


Location = InArena | InFile


class Refusal(StrEnum):
    """Why a create was refused."""

    FULL = "full"
    """Spilling is off, the object does not fit, and nobody else holds what could be freed."""
    TOO_LARGE = "too-large"
    """Spilling is off and the object is larger than the whole arena."""
    NO_DISK = "no-disk"
    """The object does not fit, and nothing could be spilled for long."""
    EXISTS = "exists"
    """The id is stored or being written already, or was deleted but is still in use."""


class CreateGranted(msgspec.Struct, frozen=True):
    """The writer may write to `location`, and then seal or abort."""

    token: Token
    oid: bytes
    location: Location


class CreateRefused(msgspec.Struct, frozen=True):
    """The object was not created."""

    token: Token
    oid: bytes
    reason: Refusal


class PinGranted(msgspec.Struct, frozen=True):
    """The object stays readable at `location` until it is unpinned."""

    token: Token
    oid: bytes
    location: Location


class Missing(msgspec.Struct, frozen=True):
    """The object is unknown, was deleted, or its writer gave up."""

    token: Token
    oid: bytes


class Lost(msgspec.Struct, frozen=True):
    """The object's file could not be read.

    It stays known: a later pin tries again, and a create of the same id replaces it.
    """

    token: Token
    oid: bytes


class Spill(msgspec.Struct, frozen=True):
    """Write the block to the object's file, then say `spilled` or `spill_failed`."""

    oid: bytes
    offset: int
    size: int


class Restore(msgspec.Struct, frozen=True):
    """Read the object's file into the block, then say `restored` or `restore_failed`."""

    oid: bytes
    offset: int
    size: int


class DeleteFile(msgspec.Struct, frozen=True):
    """Delete the object's file if there is one. No event answers this."""

    oid: bytes


class Dropped(msgspec.Struct, frozen=True):
    """A secondary copy is gone, for its room was needed. No event answers this."""

    oid: bytes


Command = (
    CreateGranted
    | CreateRefused
    | PinGranted
    | Missing
    | Lost
    | Spill
    | Restore
    | DeleteFile
    | Dropped
)
