"""The books of files that hold one object each, which another process writes.

Objects that do not fit into memory are written so, by whoever makes them. The caller holds a lock.
"""

from __future__ import annotations

from pathlib import Path

from ..fileio import draft_path
from .checked_file import file_size
from .storage import FileExtent


class OwnFiles:
    """The files, by object."""

    def __init__(self) -> None:
        self._extents: dict[bytes, FileExtent] = {}
        #: Object -> how its file looked when it was whole.
        self._whole: dict[bytes, tuple[int, ...]] = {}
        self._num_made = 0
        self._unwanted: list[str] = []
        self.allocated = 0
        """Bytes that all of them take when they are written."""

    def get(self, oid: bytes) -> FileExtent | None:
        """The file of an object."""
        return self._extents.get(oid)

    def add(self, oid: bytes, size: int, directory: Path) -> FileExtent:
        """A new file for an object, in place of the one that it may have."""
        self.discard(oid)
        self._num_made += 1
        name = f"{oid.hex()}-{self._num_made}"  # another attempt of it may be on its way out
        extent = self._extents[oid] = FileExtent(str(directory / name), 0, size)
        self.allocated += file_size(size)
        return extent

    def discard(self, oid: bytes) -> None:
        """Forget an object, known or not; `take_unwanted` tells of its file."""
        self._whole.pop(oid, None)
        extent = self._extents.pop(oid, None)
        if extent is not None:
            self.allocated -= file_size(extent.size)
            self._unwanted.append(extent.path)

    def is_whole(self, oid: bytes, looks: tuple[int, ...]) -> bool:
        """Whether the file was whole when it looked like that."""
        return self._whole.get(oid) == looks

    def found_whole(self, oid: bytes, extent: FileExtent, looks: tuple[int, ...]) -> None:
        """A file was read and was whole; it looked like that before."""
        if self._extents.get(oid) is extent:
            self._whole[oid] = looks

    def take_unwanted(self) -> list[str]:
        """The files of forgotten objects, each told once."""
        unwanted, self._unwanted = self._unwanted, []
        return unwanted


def looks_of(path: str) -> tuple[int, ...]:
    """What changes when a file is changed."""
    found = Path(path).stat()
    return found.st_ino, found.st_size, found.st_mtime_ns


def remove(path: str) -> None:
    """Remove a file, written or not."""
    Path(path).unlink(missing_ok=True)
    draft_path(Path(path)).unlink(missing_ok=True)
