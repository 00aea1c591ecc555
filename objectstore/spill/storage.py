"""The contract between the node and the storages of spilled objects."""

from __future__ import annotations

import errno
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple, Protocol, get_args

#: The compressions that can be chosen.
Compression = Literal["lz4", "zstd"]
COMPRESSIONS: Final = get_args(Compression)


class FileExtent(NamedTuple):
    """A part of a local file that other processes may map."""

    path: str
    offset: int
    size: int


class CorruptSpill(OSError):  # noqa: N818 - the name says what happened
    """The bytes of a spilled object are gone, cut short, or not those that were written."""

    def __init__(self, oid: bytes, place: str, reason: str) -> None:
        super().__init__(errno.EIO, f"object {oid.hex()} is damaged: {reason}", place)
        self.oid = oid
        """The object."""
        self.place = place
        """The file that it was in."""
        self.reason = reason
        """What is wrong with it."""

    def __reduce__(self) -> tuple[type[CorruptSpill], tuple[bytes, str, str]]:
        return CorruptSpill, (self.oid, self.place, self.reason)


@dataclass(frozen=True, slots=True)
class SpillStatistics:
    """What a storage keeps now. Sizes are in bytes."""

    objects: int
    """Objects that were spilled and not deleted."""
    object_bytes: int
    """Their bytes in memory."""
    stored_bytes: int
    """Their bytes as they are written, perhaps compressed."""
    segments: int
    """Files, or remote objects, that they are in."""
    direct_bytes: int
    """Bytes of the files of objects that were written straight to a file of their own."""
    allocated_bytes: int
    """What all of it takes where it is kept, deleted objects included whose space is not free."""
    damaged: int
    """Objects that could not be read back, so far."""
    directories_failing: int
    """Directories that are left out for a while, because writing to them failed."""


class Storage(Protocol):
    """Keeps the bytes of objects outside memory. Its methods may be called from several threads.

    The caller orders the calls about *one* object: it does not delete what is being written, read
    or mapped. Those that may take long are `write`, `read_into` and `locate`.
    """

    def write(self, objects: Sequence[tuple[bytes, memoryview]]) -> None:
        """Keep objects, all or (when it fails) none of them.

        Raises:
            OSError: it failed; `is_full` tells whether for want of space.
        """

    def read_into(self, oid: bytes, view: memoryview) -> None:
        """Fill a view with an object's bytes.

        Raises:
            CorruptSpill: they are gone or not what was written.
            OSError: they cannot be read now.
        """

    def locate(self, oid: bytes) -> FileExtent:
        """Where other processes can map an object, after making sure that it is whole.

        Where it is a copy, the file may be gone before it is mapped: then ask again.

        Raises:
            CorruptSpill: its bytes are gone or not what was written.
            OSError: they cannot be read now, or there is no room for a copy.
        """

    def direct_path(self, oid: bytes, size: int) -> FileExtent:
        """A file of its own, which another process will write as the object.

        Raises:
            OSError: there is no room for it (`is_full`).
        """

    def delete(self, oids: Iterable[bytes]) -> None:
        """Forget objects, known or not; their space is given back in the background."""

    def check(self) -> None:
        """Raise `OSError` when nothing could be written now."""

    def statistics(self) -> SpillStatistics:
        """Count what is kept."""

    def interrupt(self) -> None:
        """Let calls that wait for a server fail soon; `close` follows."""

    def close(self) -> None:
        """Remove everything that this storage keeps. Closing again does nothing."""
